#pragma once
// A process that is nobody's child here, with all that it started: what there is of it, and its
// end. For the worker (process_watch.h) and for the guard that outlives it (cli/guard.h). Not for
// two threads at once.

#include <string>
#include <vector>

#include "actors/worker/process.h"

namespace gpupool {

struct ProcessTree {
  ProcessName root;
  std::string group{};                  // its control group (process_cgroup.h); empty: it has none
  std::vector<ProcessName> children{};  // its own, as far as a kill has met them

  // SIGKILL to all of it. What is forked meanwhile is met by the next call: until is_gone().
  void kill();
  // Whether nothing of it is left; of what has no group, as far as descent can tell.
  bool is_gone() const;
};

}  // namespace gpupool
