#pragma once
// What a kernel of ours is written against, so that its source also runs in the emulated grid of
// the tests (tests/gpu/kernels/emulated_grid.h), which checks every access. Beside plain CUDA there
// are two rules: memory of the device is a Memory, shared memory is made by GPUPOOL_SHARED; and
// both are only used by [], with the value read into a variable of its type, or as an address that
// & makes of that, for atomicAdd and the functions of tensor_cores.h. A block has whole warps, and
// no thread of it returns before the block's last barrier.

#include <cstdint>
#include <type_traits>

#include "gpu/tensor.h"

#if !defined(GPUPOOL_EMULATED_GRID)

namespace gpupool::cuda {

template <class T>
struct Memory {
  T* values = nullptr;
  __device__ __forceinline__ T& operator[](std::int64_t i) const { return values[i]; }
  __device__ __forceinline__ operator Memory<const T>() const requires(!std::is_const_v<T>) {
    return {values};
  }
};

#define GPUPOOL_UNROLL _Pragma("unroll")
// Aligned for pieces of 16 bytes, and not initialized whatever the type's constructor does.
#define GPUPOOL_SHARED(type, name, size)                                    \
  __shared__ alignas(16) unsigned char name##_bytes[sizeof(type) * (size)]; \
  type(&name)[size] = reinterpret_cast<type(&)[size]>(name##_bytes)
template <class T, int size>
using SharedArray = T (&)[size];

}  // namespace gpupool::cuda

#endif

namespace gpupool::cuda {

// A MatrixView as a kernel sees it.
template <class T>
struct Rows {
  Memory<T> memory;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;

  __device__ decltype(auto) at(std::int64_t row, std::int64_t column) const {
    return memory[row * stride + column];
  }
};

inline constexpr int warp_size = 32;

__device__ inline float warp_sum(float value) {
  for (int other = warp_size / 2; other > 0; other /= 2)
    value += __shfl_xor_sync(0xFFFFFFFFU, value, other);
  return value;
}

}  // namespace gpupool::cuda
