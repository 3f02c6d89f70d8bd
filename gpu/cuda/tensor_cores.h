#pragma once
// What a warp does on Hopper beyond plain CUDA: products of small bf16 matrices on the tensor
// cores, matrices from shared memory into registers, and copies into shared memory that go on
// beside the thread. All lanes of a warp call the first two together. How a warp shares a matrix
// is in the PTX ISA: "Matrix Fragments for mma.m16n8k16 with floating point type" and "Warp-level
// matrix load instruction: ldmatrix". tests/gpu/kernels/emulated_tensor_cores.h is the other
// implementation.

#include "gpu/bf16.h"
#include "gpu/cuda/grid.h"

namespace gpupool::cuda {

// Two values side by side, the first in the lower half.
using Bf16Pair = std::uint32_t;

// A copy, or a lane's part of a load, moves this many bf16 values, which are 16 bytes.
inline constexpr int piece_values = 8;

// A lane's part of a matrix. With g = lane / 4 and t = lane % 4:
struct LeftPart {  // 16 x 16: columns 2t and 2t + 1 of rows g and g + 8, then 8 columns further
  Bf16Pair pairs[4];
};
struct RightPart {  // 16 x 8: rows 2t and 2t + 1 of column g, then 8 rows further
  Bf16Pair pairs[2];
};
struct SumPart {  // 16 x 8, f32: columns 2t and 2t + 1 of row g, then of row g + 8
  float values[4];
};
struct Matrices {  // four of 8 x 8: columns 2t and 2t + 1 of row g of each
  Bf16Pair pairs[4];
};

__device__ inline Bf16Pair pair_of(Bf16 first, Bf16 second) {
  return Bf16Pair{first.bits} | Bf16Pair{second.bits} << 16U;
}

#if !defined(GPUPOOL_EMULATED_GRID)

__device__ inline Bf16Pair rounded_pair(float first, float second) {
  Bf16Pair pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

// Good to 2^-22 of itself; below 2^-126 it is zero.
__device__ inline float power_of_two(float exponent) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(exponent));
  return power;
}

// The first value of a pair lies at a multiple of 4 bytes.
__device__ inline Bf16Pair load_pair(const Bf16* from) {
  return *reinterpret_cast<const Bf16Pair*>(from);
}
__device__ inline void store_pair(Bf16* to, Bf16Pair pair) {
  *reinterpret_cast<Bf16Pair*>(to) = pair;
}

// A piece of zeros, at a multiple of 16 bytes.
__device__ inline void clear_piece(Bf16* to) { *reinterpret_cast<uint4*>(to) = uint4{}; }

// sum += left * right.
__device__ inline void add_product(SumPart& sum, const LeftPart& left, const RightPart& right) {
  float(&d)[4] = sum.values;
  const Bf16Pair(&a)[4] = left.pairs;
  const Bf16Pair(&b)[2] = right.pairs;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline unsigned shared_address(const Bf16* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Lane 8 i + r names row r of matrix i: a piece in shared memory, at a multiple of 16 bytes.
__device__ inline Matrices load_matrices(const Bf16* row) {
  Matrices all;
  Bf16Pair(&d)[4] = all.pairs;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
  return all;
}
// The same, of each matrix the transposed one.
__device__ inline Matrices load_transposed(const Bf16* row) {
  Matrices all;
  Bf16Pair(&d)[4] = all.pairs;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
  return all;
}

// Begins to copy a piece from the device's memory into shared memory, both at a multiple of 16
// bytes. It is there when this thread has waited, for other threads behind a barrier after that.
__device__ inline void start_copy(Bf16* to, const Bf16* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from))
               : "memory");
}
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#endif

}  // namespace gpupool::cuda
