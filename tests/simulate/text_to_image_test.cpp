// The published table of docs/scheduling.md, over a real trace that is kept
// beside the project and not in it.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "simulate/report.h"

using namespace gpupool;

TEST_CASE("On the text-to-image trace the floor waits as long as it is published to wait") {
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  const std::filesystem::path root = source == nullptr ? "." : source;
  const auto file = root / "../shared/traces/gentd26_text_to_image_requests.csv";
  if (!std::filesystem::exists(file)) {
    WARN("skipped: the trace is not here (" << file.string() << ")");
    return;
  }
  const auto columns = load_trace_columns(root / "config/trace-text-to-image.toml");
  REQUIRE(columns);
  const auto text = read_trace_file(file.string());
  REQUIRE(text);
  std::map<Policy, PolicyReport> reports;
  for (const Policy policy : {Policy::fifo, Policy::shortest, Policy::floor}) {
    std::vector<PolicyReport> rounds;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      auto trace = parse_csv_trace(*text, *columns, {.seed = seed});
      REQUIRE(trace);
      CHECK(trace->requests.size() == 26'392);
      set_load(*trace, 8, 0.6);
      const ReplayOptions options{
          .rules = {.policy = policy}, .slots = 8, .queue_cap = seconds(900)};
      const auto replayed = replay(*trace, options);
      REQUIRE(replayed);
      rounds.push_back(report_of(*trace, *replayed, options, seconds(30)));
    }
    reports[policy] = median_of(rounds);
  }
  const PolicyReport& floor = reports[Policy::floor];
  CHECK(floor.violations == 0);
  CHECK(floor.all.mean <= 0.5 * reports[Policy::fifo].all.mean);
  CHECK(floor.all.max <= 0.45 * reports[Policy::shortest].all.max);
  CHECK(floor.of_short.p95 <= 1.1 * reports[Policy::shortest].of_short.p95);
}
