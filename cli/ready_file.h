#pragma once
// The file for scripts that says how far a daemon's start has come and where it is reached, on
// ports that the system may have chosen: lines of "key = value".

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace gpupool {

// Replaced whole, so that no reader sees half of it. file_unwritable: whoever waits for it would
// wait for ever.
Status write_ready_file(const std::string& path,
                        const std::vector<std::pair<std::string, std::string>>& lines);

}  // namespace gpupool
