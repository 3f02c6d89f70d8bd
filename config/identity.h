#pragma once
// [identity], [rates] and [[groups]]: who callers are, how often they may ask, and which of them
// share something: read and checked. For config/load.cpp.

#include "config/config.h"
#include "config/section.h"

namespace gpupool {

// After the tiers.
void read_identity(Section section, Config& config);
void read_rates(Section section, Config& config);
GroupConfig read_group(Section& section, const Config& config);

}  // namespace gpupool
