#pragma once
// The command line of gpupoold, and what gpupoold(8) says beside it. No more than words: the daemon
// carries them out (cli/gpupoold.cpp).

#include <CLI/CLI.hpp>
#include <string>

#include "cli/manual.h"

namespace gpupool {

struct DaemonOptions {
  std::string file;
  bool only_check = false;
  bool accept_clock = false;
  bool json = false;
  bool manual = false;
  const CLI::App* devices = nullptr;  // parsed(): that is what was asked for
};

// `options` stays where it is for as long as `app` parses.
void add_daemon_options(CLI::App& app, DaemonOptions& options);

ManualText daemon_manual();

}  // namespace gpupool
