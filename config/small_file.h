#pragma once
// Small files that are read whole: configuration and secrets. Says why one cannot be read; keeps
// nothing.

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace gpupool {

// file_unreadable, with the reason in `detail`, also if it has more than `most` bytes.
Result<std::string> read_small_file(const std::filesystem::path& file, std::int64_t most);

// What stands in a secret's file, without a final newline. Refused if anybody but its owner may
// read it.
Result<std::string> read_owners_file(const std::filesystem::path& file, std::int64_t most);

Error unreadable(const std::filesystem::path& file, std::string why);

}  // namespace gpupool
