#pragma once
// What a request may say to the built-in diffusion executor, read from its key=value arguments. The
// broker's admission and the executor itself share this reading, so what was admitted never fails
// in the executor for its form. Pure; usable from any thread.

#include <cstdint>
#include <string>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

struct DiffusionArguments {
  std::string prompt;  // 1 to 1000 bytes of UTF-8 on one line, without spaces around it
  std::uint32_t steps = 30;
  std::uint64_t seed = 0;
  double guidance = 3;
  std::uint32_t pixels = 0;  // 0: what the model draws, at least 256
};

// Errors: bad_request; the detail names the key and what it may be.
Result<DiffusionArguments> parse_diffusion_arguments(const std::vector<Argument>& arguments);

}  // namespace gpupool
