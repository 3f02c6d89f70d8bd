#pragma once
// Layer norm without weights of its own, modulated per sample (adaLN; Peebles and Xie 2023), a
// block for each row. Grid: rows. Block: norm_threads. The row is read three times, from the
// cache after the first: mean, variance about that mean, result.

#include "gpu/bf16.h"
#include "gpu/cuda/grid.h"

namespace gpupool::cuda {

inline constexpr int norm_threads = 128;

// Per sample, f32.
struct NormTerms {
  Rows<const float> shift;
  Rows<const float> scale;
  float epsilon = 0;
  std::int64_t rows_per_sample = 1;
};

__device__ inline float block_sum(float value, SharedArray<float, norm_threads / warp_size> parts) {
  value = warp_sum(value);
  if (threadIdx.x % warp_size == 0) parts[threadIdx.x / warp_size] = value;
  __syncthreads();
  float total = 0;
  for (int warp = 0; warp < norm_threads / warp_size; ++warp) total += parts[warp];
  __syncthreads();  // the parts can be written again
  return total;
}

template <class Out>
__device__ void norm_row(const Rows<const float>& in, const NormTerms& terms, const Rows<Out>& out,
                         SharedArray<float, norm_threads / warp_size> parts) {
  const std::int64_t row = blockIdx.x;
  const std::int64_t sample = row / terms.rows_per_sample;
  const auto columns = static_cast<float>(in.columns);
  float sum = 0;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += norm_threads) sum += in.at(row, c);
  const float mean = block_sum(sum, parts) / columns;
  float squares = 0;
  for (std::int64_t c = threadIdx.x; c < in.columns; c += norm_threads) {
    const float centred = in.at(row, c) - mean;
    squares += centred * centred;
  }
  const float variance = block_sum(squares, parts) / columns;
  const float inverse_deviation = 1.0F / sqrtf(variance + terms.epsilon);
  for (std::int64_t c = threadIdx.x; c < in.columns; c += norm_threads) {
    const float normed = (in.at(row, c) - mean) * inverse_deviation;
    const float scale = terms.scale.at(sample, c);
    const float shift = terms.shift.at(sample, c);
    out.at(row, c) = from_float<Out>(normed * (1.0F + scale) + shift);
  }
}

template <class Out>
__global__ void modulated_norm_kernel(Rows<const float> in, NormTerms terms, Rows<Out> out) {
  GPUPOOL_SHARED(float, parts, norm_threads / warp_size);
  norm_row(in, terms, out, parts);
}

// stream += gate * branch first. Each value of the stream is written and read again by one thread.
template <class Branch>
__global__ void residual_norm_kernel(Rows<float> stream, Rows<const Branch> branch,
                                     Rows<const float> gate, NormTerms terms, Rows<Branch> out) {
  GPUPOOL_SHARED(float, parts, norm_threads / warp_size);
  const std::int64_t row = blockIdx.x;
  const std::int64_t sample = row / terms.rows_per_sample;
  for (std::int64_t c = threadIdx.x; c < stream.columns; c += norm_threads) {
    const float before = stream.at(row, c);
    const float factor = gate.at(sample, c);
    stream.at(row, c) = before + factor * to_float(branch.at(row, c));
  }
  const Rows<const float> in{stream.memory, stream.rows, stream.columns, stream.stride};
  norm_row(in, terms, out, parts);
}

}  // namespace gpupool::cuda
