#pragma once
// Gaussian noise as a pure function of (seed, index): no state, so any device, thread or rank makes
// its part of a picture's noise alone and the parts always fit. Philox4x32-10 (Salmon, Moraes, Dror
// and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11) gives the bits, Box and Muller's
// transform the bell. Host and device compile this same source. It computes in double and rounds
// once, so that math libraries which differ in a last bit still agree on the float.

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define GPUPOOL_HOST_DEVICE __host__ __device__
#else
#define GPUPOOL_HOST_DEVICE
#endif

namespace gpupool {

struct Seed {
  std::uint64_t value = 0;
};

struct PhiloxBlock {
  std::uint32_t word[4];
};

// Ten rounds of the bijection of `counter` under `seed`.
GPUPOOL_HOST_DEVICE inline PhiloxBlock philox(PhiloxBlock counter, Seed seed) {
  auto key_low = static_cast<std::uint32_t>(seed.value);
  auto key_high = static_cast<std::uint32_t>(seed.value >> 32U);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t even = std::uint64_t{0xD2511F53U} * counter.word[0];
    const std::uint64_t odd = std::uint64_t{0xCD9E8D57U} * counter.word[2];
    counter = PhiloxBlock{{static_cast<std::uint32_t>(odd >> 32U) ^ counter.word[1] ^ key_low,
                           static_cast<std::uint32_t>(odd),
                           static_cast<std::uint32_t>(even >> 32U) ^ counter.word[3] ^ key_high,
                           static_cast<std::uint32_t>(even)}};
    key_low += 0x9E3779B9U;   // the golden ratio
    key_high += 0xBB67AE85U;  // sqrt(3) - 1
  }
  return counter;
}

// Standard normal. One block serves four neighbours: two uniform pairs, two normals of each.
GPUPOOL_HOST_DEVICE inline float noise_at(Seed seed, std::uint64_t index) {
  const std::uint64_t number = index / 4;
  const PhiloxBlock block = philox(PhiloxBlock{{static_cast<std::uint32_t>(number),
                                                static_cast<std::uint32_t>(number >> 32U), 0, 0}},
                                   seed);
  // By choice, not by an index: registers have no addresses.
  const bool second = index % 4 >= 2;
  const std::uint32_t for_radius = second ? block.word[2] : block.word[0];
  const std::uint32_t for_angle = second ? block.word[3] : block.word[1];
  const double two_to_minus_32 = 1.0 / 4294967296.0;
  // Half a step away from 0 and 1, where the logarithm would end.
  const double radius = std::sqrt(-2.0 * std::log((for_radius + 0.5) * two_to_minus_32));
  const double turns = (for_angle + 0.5) * two_to_minus_32;
#if defined(__CUDA_ARCH__)
  // In half turns: the reduction of radians would need local memory.
  return static_cast<float>(radius * (index % 2 == 0 ? cospi(2 * turns) : sinpi(2 * turns)));
#else
  const double angle = 6.283185307179586 * turns;
  return static_cast<float>(radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle)));
#endif
}

}  // namespace gpupool
