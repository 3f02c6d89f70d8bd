// What `gpupool simulate` prints of what it found.

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/simulate.h"

using namespace gpupool;

namespace {

Simulated sample() {
  PolicyReport fifo{.policy = "fifo", .slots = 8, .all = {2, 10, 5, 15, 15, 15}, .jain = 0.5};
  fifo.of_short = {1, 5, 5, 5, 5, 5};
  fifo.refused[Errc::overloaded] = 3;
  PolicyReport floor = fifo;
  floor.policy = "floor";
  floor.violations = 0;
  floor.worst_of_bound = 0.25;
  floor.foresight =
      ForesightErrors{.count = 7, .by_latest = 0.875, .median_error = 1.25, .median_wait = 12};
  return {.trace = "a.csv",
          .requests = 5,
          .accounts = 2,
          .seeds = 20,
          .short_most = seconds(30),
          .reports = {fifo, floor}};
}

}  // namespace

TEST_CASE("A simulation is told with its waits, refusals by code, and what was promised") {
  const std::string view = view_of(sample());
  CHECK_THAT(view, Catch::Contains("5 requests of 2 accounts; 0 rows passed over"));
  CHECK_THAT(view, Catch::Contains("medians over 20 seeds"));
  CHECK_THAT(view, Catch::Contains("refused 3 (overloaded); promises nothing"));
  CHECK_THAT(view, Catch::Contains("promises broken: 0, the closest at 0.25 of its promise"));
  CHECK_THAT(view, Catch::Contains("  likely starts of 7 that waited: 87.5 % had started by the "
                                   "later end; half were within 1.2 s, where half waited 12.0 s"));
  CHECK_THAT(view, !Catch::Contains("\n               xlarge"));  // there are none
  for (std::size_t at = 0; at < view.size();) {
    const std::size_t end = std::min(view.find('\n', at), view.size());
    CHECK(end - at <= 140);
    at = end + 1;
  }
}

TEST_CASE("The JSON of a simulation has null where a policy promises nothing") {
  const auto json = nlohmann::json::parse(json_text_of(sample()));
  CHECK(json["requests"] == 5);
  REQUIRE(json["results"].size() == 2);
  const auto& fifo = json["results"][0];
  CHECK(fifo["policy"] == "fifo");
  CHECK(fifo["mean_wait_s"] == 10.0);
  CHECK(fifo["p95_short_s"] == 5.0);
  CHECK(fifo["worst_wait_s"] == 15.0);
  CHECK(fifo["refused"]["overloaded"] == 3);
  CHECK(fifo["promise_violations"].is_null());
  CHECK(json["results"][1]["promise_violations"] == 0);
  CHECK_FALSE(fifo.contains("likely_start"));
  CHECK(json["results"][1]["likely_start"]["by_later_end"] == 0.875);
}
