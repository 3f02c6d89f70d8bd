#pragma once
// gpupoold --check-config: everything that can be found out about a configuration without starting
// a pool, and without leaving a trace: whether the folders can be written, the ledger is one, the
// weights can be read. The file itself was checked, and its keys read, when it was loaded.

#include <string>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// What was found, a line for each part; or the first thing that would keep the pool from working,
// with its key in `detail`.
Result<std::string> check_surroundings(const Config& config);

}  // namespace gpupool
