#pragma once
// Values for tests of devices and kernels: drawn ones, and how far two matrices lie apart.

#include <catch2/catch.hpp>
#include <cmath>

#include "gpu/noise.h"
#include "tests/gpu/reference.h"

namespace gpupool {

// Values in [-1, 1), different for every `stream`.
inline reference::Values random_values(MatrixSize size, std::uint64_t stream) {
  reference::Values out({size.rows, size.columns});
  for (std::size_t i = 0; i < out.all.size(); ++i) {
    const PhiloxBlock block = philox({{static_cast<std::uint32_t>(i), 0, 0, 0}}, Seed{stream});
    out.all[i] = static_cast<float>(block.word[0]) / 2147483648.0F - 1.0F;
  }
  return out;
}

inline double largest_difference(const reference::Values& a, const reference::Values& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double largest = 0;
  for (std::size_t i = 0; i < a.all.size(); ++i) {
    // A value that is not a number must count as far away.
    const double difference = std::abs(double{a.all[i]} - b.all[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? 1e30 : difference;
  }
  return largest;
}

}  // namespace gpupool
