#pragma once
// Sixteen f32 values that move as one, on any x86-64 (and elsewhere): the compiler's vector types
// become one AVX-512 register, two of AVX2 or four of SSE. A function marked GPUPOOL_CLONES is
// compiled once for each of these and the loader picks; what it calls from here is inlined into
// each. No intrinsics, no machine of its own in the build flags.

#include <cstdint>

#include "gpu/bf16.h"

// The loader chooses a clone before a sanitizer is awake to watch it, so there they are left out.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GPUPOOL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define GPUPOOL_CLONES
#endif
#define GPUPOOL_INLINE [[gnu::always_inline]] inline

// Lanes are passed by value only between functions that are inlined, so no calling convention is
// concerned.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace gpupool {

inline constexpr std::int64_t lanes = 16;
typedef float Lanes __attribute__((vector_size(64)));
typedef std::int32_t IntLanes __attribute__((vector_size(64)));
typedef std::uint32_t WordLanes __attribute__((vector_size(64)));
typedef std::uint16_t HalfLanes __attribute__((vector_size(32)));

GPUPOOL_INLINE Lanes load(const float* from) {
  Lanes value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
GPUPOOL_INLINE void store(const Lanes& value, float* to) {
  __builtin_memcpy(to, &value, sizeof value);
}

// bf16 is the upper half of a float, rounded as from_float<Bf16>() does.
GPUPOOL_INLINE Lanes load(const Bf16* from) {
  HalfLanes halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  const WordLanes words = __builtin_convertvector(halves, WordLanes) << 16;
  Lanes value;
  __builtin_memcpy(&value, &words, sizeof value);
  return value;
}
GPUPOOL_INLINE void store(const Lanes& value, Bf16* to) {
  WordLanes words;
  __builtin_memcpy(&words, &value, sizeof words);
  const WordLanes rounded = (words + 0x7FFF + (words >> 16 & 1)) >> 16;
  const WordLanes not_a_number = words >> 16 | 0x40;
  const HalfLanes halves =
      __builtin_convertvector(value == value ? rounded : not_a_number, HalfLanes);
  __builtin_memcpy(static_cast<void*>(to), &halves, sizeof halves);
}

// The first `count` lanes, or all of them if there are more; the others are `rest`.
template <class Value>
GPUPOOL_INLINE Lanes load_up_to(const Value* from, std::int64_t count, float rest) {
  if (count >= lanes) return load(from);
  Lanes value = rest - Lanes{};
  for (std::int64_t i = 0; i < count; ++i) value[i] = to_float(from[i]);
  return value;
}
template <class Value>
GPUPOOL_INLINE void store_up_to(const Lanes& value, Value* to, std::int64_t count) {
  if (count >= lanes) return store(value, to);
  for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<Value>(value[i]);
}

GPUPOOL_INLINE float sum(const Lanes& value) {
  float part[lanes];
  store(value, part);
  for (std::int64_t half = lanes / 2; half >= 1; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) part[i] += part[i + half];
  }
  return part[0];
}
GPUPOOL_INLINE Lanes larger(const Lanes& a, const Lanes& b) { return a > b ? a : b; }
GPUPOOL_INLINE float largest(const Lanes& value) {
  float part[lanes];
  store(value, part);
  for (std::int64_t half = lanes / 2; half >= 1; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) {
      part[i] = part[i] > part[i + half] ? part[i] : part[i + half];
    }
  }
  return part[0];
}

// e^x to about one unit in the last place; below -87 it is 0 or nearly, above 88 about 1.6e38.
// x = n ln 2 + r with |r| <= ln 2 / 2, so e^x = 2^n e^r, and seven terms of the series suffice for
// e^r: the eighth is below 2^-27.
GPUPOOL_INLINE Lanes exponential(const Lanes& power_of_e) {
  Lanes x = power_of_e;
  const Lanes low = -87.0F - Lanes{};
  const Lanes high = 88.0F - Lanes{};
  x = x < low ? low : x;
  x = x > high ? high : x;
  // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the low bits of the sum.
  const float shift = 12582912.0F;
  const Lanes shifted = x * 1.44269504F + shift;
  const Lanes n = shifted - shift;
  // ln 2 in two pieces: n times the first is exact.
  const Lanes r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  Lanes power = r * (1.0F / 5040) + 1.0F / 720;
  power = power * r + 1.0F / 120;
  power = power * r + 1.0F / 24;
  power = power * r + 1.0F / 6;
  power = power * r + 0.5F;
  power = power * r + 1.0F;
  power = power * r + 1.0F;
  IntLanes bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  IntLanes exponent;
  __builtin_memcpy(&exponent, &power, sizeof exponent);
  exponent += bits << 23;  // what the shift left above the low bits falls out on the left
  __builtin_memcpy(&power, &exponent, sizeof power);
  return power;
}

}  // namespace gpupool
