#pragma once
// One seed of the simulation from its beginning to its end.

#include <cstdint>
#include <ostream>
#include <string>

#include "tests/sim/trace.h"

namespace gpupool::sim {

// What is wrong with this seed; empty: nothing. `trace`: every message as it is sent, nullptr: not.
std::string failure_of(std::uint64_t seed, std::ostream* trace, Coverage& coverage);

}  // namespace gpupool::sim
