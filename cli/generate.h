#pragma once
// `gpupool generate`: from a prompt to a picture in a file and a receipt.

#include <optional>
#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct GenerateOptions {
  std::string prompt;
  std::string output;  // empty: a name made from the prompt
  std::string app = "emoji";
  std::string size;
  std::string duration_s;  // as typed; empty: the app's default
  std::string max_wait_s;
  std::optional<std::uint64_t> seed;
  std::string steps;  // as typed, and empty for the pool's default; the pool knows the bounds
  std::string guidance;
  std::string pixels;
};

ExitCode generate(const Connection& connection, const GenerateOptions& options);

}  // namespace gpupool
