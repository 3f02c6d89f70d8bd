#pragma once
// `gpupool top`: the operator's live view in a terminal. Keys and screen in the calling thread; a
// thread of its own asks the pool, so that keys work while the pool is being looked for.

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct TopOptions {
  double interval_s = 1;
  bool once = false;  // print one frame and end; also where standard output is no terminal
};

ExitCode top(const Connection& connection, const TopOptions& options);

}  // namespace gpupool
