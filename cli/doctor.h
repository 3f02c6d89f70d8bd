#pragma once
// `gpupool doctor`: which of the things between a person and their job is the problem, and what to
// do about it. Asks the pool, changes nothing.

#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct DoctorOptions {
  std::string app;  // that should be admitted; empty: none is asked about
  std::string size;
  std::string duration_s;  // as typed
};

// 0: nothing is wrong; else of the first problem: 2 for this machine's own, 5 where no pool was
// reached, 3 for what the pool would refuse.
ExitCode doctor(const Connection& connection, const DoctorOptions& options);

}  // namespace gpupool
