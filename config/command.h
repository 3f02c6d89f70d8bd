#pragma once
// The keys of a command app: its command line, parameters, environment and sandbox. For load.cpp.

#include "config/config.h"
#include "config/section.h"

namespace gpupool {

void read_command(Section& section, AppConfig& app);
// What they say must agree with itself and with the rest of the configuration.
void check_command(Section& section, const Config& config, const AppConfig& app);

// Of any app: so many jobs at once are so many slots that no other app has, a partition of its own.
void check_concurrency(Section& section, const Config& config, const AppConfig& app);

}  // namespace gpupool
