#pragma once
// A thread for each value of a result. Grid: enough blocks of element_threads for all of them.

#include "gpu/cuda/grid.h"

namespace gpupool::cuda {

inline constexpr int element_threads = 256;

struct Element {
  std::int64_t row = 0;
  std::int64_t column = 0;
  bool is_there = false;
};

// The one that this thread makes.
template <class T>
__device__ Element element_of(const Rows<T>& all) {
  const std::int64_t i = std::int64_t{blockIdx.x} * element_threads + threadIdx.x;
  return {i / all.columns, i % all.columns, i < all.rows * all.columns};
}

__device__ inline float silu(float x) { return x / (1.0F + expf(-x)); }

}  // namespace gpupool::cuda
