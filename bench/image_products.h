#pragma once
// The products of a network's layers on our CPU device and by oneDNN as it comes: one primitive for
// the whole product, on threads of its own, weights in the layout that it likes best. For
// bench_image; prints nothing.

#include <cstdint>

#include "base/result.h"

namespace gpupool::bench {

struct ProductSpeed {
  double ours_gflops = 0;  // 10^9 operations a second over all shapes
  double onednn_gflops = 0;
};

enum class Network { emoji, dit_xl2 };

// A guided step's four products of a block, medians of `repeat` in turn.
Result<ProductSpeed> measure_products(Network network, std::int32_t threads, std::int64_t repeat);

}  // namespace gpupool::bench
