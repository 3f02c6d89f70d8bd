#pragma once
// gpupool run -- CMD: a command of the caller's own on a slot, as if it ran here: its files go
// there first, its output comes as it is written, and its exit code is this program's. 121 to 125
// are the pool's own, and 2 is a mistake in the command line.

#include <cstdint>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct RunOptions {
  std::string app = "run";
  std::vector<std::string> command;
  std::vector<std::string> files;  // or folders
  std::string out;                 // a folder for what it leaves in $GPUPOOL_OUT; empty: nowhere
  std::string size;
  std::string duration_s;
  std::string max_wait_s;
};

// What `run` returns where the command did not end by itself.
enum class RunExit : int {
  refused = 121,      // nothing ran, with the numbers why
  no_pool = 122,      // not reachable, or lost: the job may still run
  pool_failed = 123,  // the pool's fault, uncharged
  out_of_time = 124,  // stopped at its declared end
  files = 125,        // its files, --out, or where its output goes; a bad command line is 2
};

ExitCode run_command(const Connection& connection, const RunOptions& options);

}  // namespace gpupool
