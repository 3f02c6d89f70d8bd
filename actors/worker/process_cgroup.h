#pragma once
// Control groups, where this machine and user allow them: cgroup v1 or v2. One for a run bounds
// what all its processes have together, which limits of single processes can't; one for a caller's
// own process bounds nothing and keeps whatever that starts together, however it was forked. Free
// functions; any thread.

#include <sys/types.h>

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
// False: somebody still is, be it a process that has been killed and is not through with its end.
bool remove_cgroup(const std::string& name);

// Puts a process into a group `name` below the one that it is in, so that all limits which it has
// stay as they are. Returns the group's folder; empty: there is none, as that is not allowed here.
std::string set_apart(pid_t pid, const std::string& name);
// SIGKILL to everything in the group; what is forked meanwhile is found by the next call. True, and
// the folder is removed, once nobody is in it.
bool clear_cgroup(const std::string& folder);

}  // namespace gpupool
