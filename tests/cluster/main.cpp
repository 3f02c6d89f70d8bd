// The cluster's test program: Catch2's options, and how many episodes, from which seed. As root it
// runs in a world of its own; otherwise it says why not, and skips.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <random>

#include "tests/cluster/episodes.h"
#include "tests/cluster/world.h"

namespace {

constexpr int skipped_exit = 77;  // what ctest takes for "Skipped"

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace

int main(int count, char** words) {
  using Catch::clara::Opt;
  auto& plan = gpupool::test::plan();
  plan.episodes = number_from("GPUPOOL_CLUSTER_EPISODES", plan.episodes);
  plan.seed = number_from("GPUPOOL_CLUSTER_SEED", std::random_device{}());
  Catch::Session session;
  session.cli(session.cli() | Opt(plan.episodes, "N")["--episodes"]("how many episodes") |
              Opt(plan.first, "N")["--first"]("the first one's number") |
              Opt(plan.seed, "N")["--seed"]("of what happens in them"));
  if (const int wrong = session.applyCommandLine(count, words); wrong != 0) return wrong;
  if (session.configData().showHelp || session.configData().listTests) return session.run();
  if (const std::string why = gpupool::test::why_no_world(); !why.empty()) {
    std::printf("SKIPPED: the cluster was not tested: %s\n", why.c_str());
    return skipped_exit;
  }
  return gpupool::test::run_in_own_world([&] {
    const int failed = session.run();
    gpupool::test::end_cluster();
    return failed == 0 ? 0 : 1;
  });
}
