#pragma once
// [http], [web] and [[spaces]], and what an app of callers' own processes needs: read and checked.
// For config/load.cpp.

#include "config/config.h"
#include "config/section.h"

namespace gpupool {

void read_http(Section section, Config& config);
void read_web(Section section, Config& config);
// After the apps.
SpaceConfig read_space(Section& section, const Config& config);

// Of an app that was read, beside the earlier ones; for another executor it sees that no external
// app has its partition, where a model that stays warm would share a device with their processes.
// Sets the start limit of an external app unless the file does.
void check_external(Section& section, const Config& config, AppConfig& app);

}  // namespace gpupool
