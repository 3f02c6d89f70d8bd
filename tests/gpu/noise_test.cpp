#include "gpu/noise.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace gpupool;

namespace {

void check_block(PhiloxBlock counter, Seed seed, PhiloxBlock expected) {
  const PhiloxBlock got = philox(counter, seed);
  for (int i = 0; i < 4; ++i) CHECK(got.word[i] == expected.word[i]);
}

struct Moments {
  double mean = 0;
  double square = 0;
  double fourth = 0;
};

Moments moments_of(Seed seed, std::uint64_t count) {
  Moments moments;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double value = noise_at(seed, i);
    moments.mean += value / static_cast<double>(count);
    moments.square += value * value / static_cast<double>(count);
    moments.fourth += value * value * value * value / static_cast<double>(count);
  }
  return moments;
}

}  // namespace

TEST_CASE("Philox agrees with the known answers of its authors' Random123") {
  check_block({{0, 0, 0, 0}}, Seed{0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check_block({{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}}, Seed{0xffffffffffffffff},
              {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  check_block({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, Seed{0x299f31d0a4093822},
              {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("Noise has the moments of a standard normal") {
  constexpr std::uint64_t count = 200'000;
  const Moments moments = moments_of(Seed{42}, count);
  // Four standard errors of each: 1, sqrt(2) and sqrt(96) over sqrt(count).
  CHECK(std::abs(moments.mean) < 4 * 1.0 / 447);
  CHECK(std::abs(moments.square - 1) < 4 * 1.42 / 447);
  CHECK(std::abs(moments.fourth - 3) < 4 * 9.8 / 447);
}

TEST_CASE("Neighbouring indexes and neighbouring seeds give unrelated noise") {
  constexpr std::uint64_t count = 100'000;
  for (const std::uint64_t lag : {1U, 2U, 3U, 4U, 192U}) {
    double along = 0;
    double across = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      along += double{noise_at(Seed{1}, i)} * noise_at(Seed{1}, i + lag) / count;
      across += double{noise_at(Seed{1}, i)} * noise_at(Seed{1 + lag}, i) / count;
    }
    CHECK(std::abs(along) < 4.0 / 316);
    CHECK(std::abs(across) < 4.0 / 316);
  }
}

TEST_CASE("Noise depends on its index alone, whatever was drawn before") {
  std::vector<float> forwards;
  for (std::uint64_t i = 0; i < 64; ++i) forwards.push_back(noise_at(Seed{3}, i));
  for (std::uint64_t i = 64; i-- > 0;) REQUIRE(noise_at(Seed{3}, i) == forwards[i]);
}

TEST_CASE("Noise beyond the 32nd bit of the index does not repeat") {
  const std::uint64_t far = std::uint64_t{1} << 40U;
  CHECK(noise_at(Seed{3}, far) != noise_at(Seed{3}, 0));
  CHECK(noise_at(Seed{3}, far + 1) != noise_at(Seed{3}, 1));
}

TEST_CASE("Noise keeps its values from release to release") {
  // A receipt's seed must draw the same picture next year.
  CHECK(noise_at(Seed{0}, 0) == Approx(0.99113768));
  CHECK(noise_at(Seed{0}, 1) == Approx(-0.924662588));
  CHECK(noise_at(Seed{7}, 3071) == Approx(-0.924573109));
}
