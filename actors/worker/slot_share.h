#pragma once
// What one slot has of its device, in the words that its executor's program understands: arguments
// behind the model's, and variables of its environment. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"

namespace gpupool {

struct SlotShare {
  DeviceKind kind = DeviceKind::cpu;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // "NAME=value"
  std::string device;                    // a GPU, as configured; empty: none
  std::uint32_t threads = 0;             // of a cpu device
  std::vector<std::uint32_t> cores;      // that they are kept on; empty: any
};

// Of all slots of a node, in their order. A cpu device's slots share its threads, each has at
// least one, and its cores; a GPU's slots all see that GPU, and no other.
std::vector<SlotShare> shares_of(const WorkerConfig& worker);

// Where the ranks of an app that may spread over nodes find those on others; empty: it may not, and
// its ranks stay on the loopback.
std::vector<std::string> rank_arguments(const Config& config, const AppConfig& app);

}  // namespace gpupool
