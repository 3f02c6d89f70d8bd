// The simulation as a test; GPUPOOL_SIM_SEEDS says of how many seeds (300). gpupool-sim repeats
// one.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>

#include "tests/sim/run.h"
#include "tests/sim/world.h"

namespace gpupool::sim {
namespace {

// What every message and code of the pool is seen in; some come once in a hundred seeds.
constexpr std::uint64_t seeds_for_coverage = 300;

std::optional<std::uint64_t> number_from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

std::string repeat_command(std::uint64_t seed) {
  return "seed " + std::to_string(seed) + " failed; repeat it with: gpupool-sim --trace --seed " +
         std::to_string(seed);
}

// Codes that no core of this version returns in a pool like the simulated ones, and why.
std::string why_not_here(Errc code) {
  const auto number = static_cast<int>(code);
  if (code == Errc::job_finished) return "nothing asks for it yet: a finished job has its receipt";
  if (code == Errc::timed_out || code == Errc::version_mismatch) return "";
  if (number >= 300 && number < 400) return "frames and connections: net/ and cli/";
  if (code == Errc::journal_refused) return "";
  if (number >= 500) return "files, clocks, configuration and tokens: before a core runs";
  return "";
}

// Sent by the gateway itself, before its session hears of the client, or between it and the device
// APIs of nodes.
bool is_the_gateways(const std::string& message) {
  return message == "SessionWelcome" || message.starts_with("Visitor");
}

void check_coverage(const Coverage& coverage) {
  const auto check_messages = [&](const auto* variant) {
    for (const std::string& name : names_of(variant)) {
      INFO("message " << name);
      CHECK((coverage.messages.contains(name) || is_the_gateways(name)));
    }
  };
  check_messages(static_cast<ToBroker*>(nullptr));
  check_messages(static_cast<ToLedger*>(nullptr));
  check_messages(static_cast<ToWorker*>(nullptr));
  check_messages(static_cast<ToSession*>(nullptr));
  check_messages(static_cast<ToClient*>(nullptr));
  check_messages(static_cast<ToExecutors*>(nullptr));
  const std::vector<Errc> codes{
#define GPUPOOL_ERROR(number, name, unit) Errc::name,
#include "base/errors.def"
#undef GPUPOOL_ERROR
  };
  for (const Errc code : codes) {
    INFO("error code " << gpupool::name_of(code) << " " << why_not_here(code));
    CHECK((coverage.codes.contains(code) || !why_not_here(code).empty()));
  }
}

}  // namespace

TEST_CASE("The whole pool keeps its promises and its books under every fault", "[sim]") {
  const auto count = number_from_environment("GPUPOOL_SIM_SEEDS").value_or(seeds_for_coverage);
  Coverage coverage;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    INFO(repeat_command(seed));  // also printed if a core aborts
    CHECK(failure_of(seed, nullptr, coverage) == "");
  }
  if (count < seeds_for_coverage) return;
  check_coverage(coverage);
  CHECK(coverage.events["runs on several slots"] > 0);
  CHECK(coverage.events["runs on several nodes"] > 0);
  CHECK(coverage.events["runs of several ranks"] > 0);
  CHECK(coverage.events["runs of callers' own processes"] > 0);
  CHECK(coverage.events["warm processes used again"] > 0);
  CHECK(coverage.events["holds on a group's credits"] > 0);
  CHECK(coverage.events["ranks beside another node's"] > 0);
  CHECK(coverage.events[name_of(FaultKind::commit_torn)] > 0);
  CHECK(coverage.events[name_of(FaultKind::commit_doubled)] > 0);
  std::cout << count << " seeds: " << coverage.summary() << '\n';
}

TEST_CASE("A seed decides everything: twice the same seed is twice the same simulation", "[sim]") {
  std::ostringstream first;
  std::ostringstream second;
  World(7, &first).run();
  World(7, &second).run();
  CHECK(first.str().size() > 1000);
  CHECK((first.str() == second.str()));
}

}  // namespace gpupool::sim
