#pragma once
// What a running process takes over from a configuration file that it reads again: tiers, the
// durations and tiers of apps, and the keys of tokens. Everything else waits for a restart and is
// named, so that nobody believes in a change that has not happened. Tiers and apps may be in use by
// open jobs, so a reload never removes one. Pure.

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

struct Reload {
  Config config;                     // what holds from now on
  std::vector<std::string> changed;  // keys that were taken over: "tiers.free.allowance_s"
  std::vector<std::string> waiting;  // keys that differ and need a restart: "broker.queue_max"
};

// Error: config_invalid, if what would be taken over contradicts what waits for a restart.
Result<Reload> reload(const Config& running, const Config& fresh);

}  // namespace gpupool
