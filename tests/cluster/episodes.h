#pragma once
// The episodes of the cluster's tests: which ones run, and the cluster that they share.

#include <cstdint>

#include "tests/cluster/hosts.h"

namespace gpupool::test {

struct Plan {
  std::uint64_t episodes = 10;
  std::uint64_t first = 0;
  std::uint64_t seed = 1;
};

Plan& plan();

// Made at its first use, for all tests of this program.
Hosts& cluster();
void end_cluster();

}  // namespace gpupool::test
