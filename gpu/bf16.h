#pragma once
// bfloat16: the upper half of a float, in memory only; all arithmetic is in f32. Host and device
// compile this same source. Plain value.

#include <bit>
#include <cstdint>

#include "gpu/noise.h"

namespace gpupool {

struct Bf16 {
  std::uint16_t bits = 0;
  friend bool operator==(const Bf16&, const Bf16&) = default;
};

GPUPOOL_HOST_DEVICE inline float to_float(float value) { return value; }
GPUPOOL_HOST_DEVICE inline float to_float(Bf16 value) {
  const std::uint32_t bits = std::uint32_t{value.bits} << 16U;
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

// To the nearest, of two equally near ones to the even one; not a number stays none.
template <class To>
GPUPOOL_HOST_DEVICE inline To from_float(float value) = delete;
template <>
GPUPOOL_HOST_DEVICE inline float from_float<float>(float value) {
  return value;
}
template <>
GPUPOOL_HOST_DEVICE inline Bf16 from_float<Bf16>(float value) {
#if defined(__CUDA_ARCH__)
  const std::uint32_t bits = __float_as_uint(value);
#else
  const auto bits = std::bit_cast<std::uint32_t>(value);
#endif
  if (value != value) return {static_cast<std::uint16_t>(bits >> 16U | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U)};
}

}  // namespace gpupool
