#pragma once
// The command line of gpupool-command, which only gpupoold writes.

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gpupool {

inline constexpr std::int64_t check_bytes = 1024 * 1024;  // of a sandbox that is only tried

struct CommandOptions {
  bool check = false;
  std::string run_as = "nobody";
  std::int64_t scratch = check_bytes;
  std::int64_t memory_max = 0;
  std::int64_t processes_max = 0;
  std::string folder;  // empty: in a sandbox
};

// Empty: these are not its words.
inline std::optional<CommandOptions> read_command_options(int count, char** words) {
  CommandOptions options;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--check") {
      options.check = true;
      continue;
    }
    if (i + 1 >= count) return std::nullopt;
    const std::string value = words[++i];
    if (word == "--run-as") {
      options.run_as = value;
    } else if (word == "--folder") {
      options.folder = value;
    } else if (word == "--scratch" || word == "--memory-max" || word == "--processes-max") {
      std::int64_t& number = word == "--scratch"      ? options.scratch
                             : word == "--memory-max" ? options.memory_max
                                                      : options.processes_max;
      const char* end = value.data() + value.size();
      const auto [stop, failure] = std::from_chars(value.data(), end, number);
      if (failure != std::errc{} || stop != end || number < 0) return std::nullopt;
    } else {
      return std::nullopt;
    }
  }
  return options;
}

}  // namespace gpupool
