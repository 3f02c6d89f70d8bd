#pragma once
// A control group for one run, where this machine and user allow it: cgroup v1 or v2. It bounds
// what all processes of the run have together, which limits of single processes can't. Without one
// these still hold. Free functions; any thread.

#include <cstdint>
#include <string>
#include <vector>

namespace gpupool {

struct CgroupLimits {
  std::int64_t memory_bytes = 0;  // 0: not limited
  std::uint32_t processes = 0;    // threads counted; 0: not limited
};

// Makes the group `name` below this process' own, in every hierarchy where that can be done, and
// joins it: so does what this process starts from now on. Returns what is bounded: "memory",
// "pids".
std::vector<std::string> join_cgroup(const std::string& name, const CgroupLimits& limits);

// Removes the group `name` below this process' own, wherever there is one and nobody is in it.
void remove_cgroup(const std::string& name);

}  // namespace gpupool
