#pragma once
// A small seeded generator for simulations, ids and jitter: splitmix64 (Steele, Lea and Flood,
// "Fast splittable pseudorandom number generators", OOPSLA 2014). fork(name) gives an independent
// stream, so that drawing more of one thing never changes another. Not for secrets.

#include <cstdint>
#include <string_view>

namespace gpupool {

class Prng {
 public:
  explicit Prng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() { return mix(state_ += golden_gamma); }

  // Uniform in [0, bound); bound > 0. The modulo bias is below bound / 2^64.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  // Uniform in [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

  Prng fork(std::string_view name) const {
    std::uint64_t hash = state_ ^ 0xcbf29ce484222325U;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return Prng{mix(hash)};
  }

 private:
  static constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15U;
  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  std::uint64_t state_;
};

}  // namespace gpupool
