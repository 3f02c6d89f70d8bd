#pragma once
// TOML to Config. A key that the file leaves out keeps its value of default_config(); an unknown
// key, a wrong type or a value that cannot work is Errc::config_invalid with the first such line in
// `want` and "file:line: key: expected ..., found ..." in `detail`. Paths that a file gives are
// relative to its folder. Reads the file and the secret files that it names; keeps nothing.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

Result<Config> load_config(const std::filesystem::path& file);
Result<Config> parse_config(std::string_view text, const std::filesystem::path& file);

// Every key that a configuration file may hold, with its tables: "worker.devices.kind". Sorted.
std::vector<std::string> config_keys();

// The secret in a key file: its bytes without a final newline. Refused, with the reason in
// `detail`, unless it has the length that HS256 asks for (RFC 7518, section 3.2: no shorter than
// the hash) and nobody but the owner may read it.
Result<std::string> read_secret(const std::filesystem::path& file);

}  // namespace gpupool
