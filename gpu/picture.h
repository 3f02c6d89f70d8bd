#pragma once
// From the network's values to bytes that a person can see: float planes in [-1, 1] become 8-bit
// RGB, enlarged by a whole factor, and then a PNG file. Pure functions; the same input gives the
// same bytes on every run. Usable from any thread.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace gpupool {

// Rows from top to bottom, three bytes (red, green, blue) a pixel, without padding.
struct Picture {
  std::int32_t width = 0;
  std::int32_t height = 0;
  std::vector<std::uint8_t> rgb;
};

// Square planes as the network gives them: [3, side, side], red plane first, -1 black and 1 full;
// or [1, side, side], gray.
struct Planes {
  std::span<const float> values;
  std::int32_t side = 0;
};

enum class Enlarge {
  smooth,   // Catmull-Rom: passes through the pixels, without blocks
  nearest,  // every pixel becomes a square
};

// A picture of (side * factor) x (side * factor) pixels; factor >= 1. A factor of 1 is exact.
Picture to_picture(const Planes& planes, std::int32_t factor, Enlarge enlarge);

// The bytes of a PNG file, 8-bit RGB.
Result<std::string> encode_png(const Picture& picture);

}  // namespace gpupool
