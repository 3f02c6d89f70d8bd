#pragma once
// Attention of heads too wide for a tile: the one in an autoencoder's middle, a few hundred
// channels over all pixels, once a picture. A block has one query; each thread keeps some of its
// columns in registers and the block adds up every score (online softmax as in attention.h). f32
// throughout. Grid: (queries of a sample, heads, samples). Block: norm_threads.

#include "gpu/cuda/attention.h"
#include "gpu/cuda/norm.h"

namespace gpupool::cuda {

inline constexpr int wide_columns = 8;  // of a thread
inline constexpr int attention_width_max = wide_columns * norm_threads;

template <class T>
__global__ void attention_wide_kernel(AttentionTask<T> task) {
  GPUPOOL_SHARED(float, parts, norm_threads / warp_size);
  const std::int64_t sample = blockIdx.z;
  const std::int64_t row = sample * task.queries_per_sample + blockIdx.x;
  const std::int64_t left = std::int64_t{blockIdx.y} * task.head_width;
  float query[wide_columns];
  float sums[wide_columns] = {};
  GPUPOOL_UNROLL
  for (int i = 0; i < wide_columns; ++i) {
    const int c = i * norm_threads + static_cast<int>(threadIdx.x);
    query[i] = 0;
    if (c < task.head_width) query[i] = task.scale * to_float(task.queries.at(row, left + c));
  }
  float top = -INFINITY;
  float total = 0;
  const std::int64_t end_of_keys = (sample + 1) * task.keys_per_sample;
  for (std::int64_t key = sample * task.keys_per_sample; key < end_of_keys; ++key) {
    float part = 0;
    GPUPOOL_UNROLL
    for (int i = 0; i < wide_columns; ++i) {
      const int c = i * norm_threads + static_cast<int>(threadIdx.x);
      if (c < task.head_width) part += query[i] * to_float(task.keys.at(key, left + c));
    }
    const float score = block_sum(part, parts);
    const float new_top = fmaxf(top, score);
    const float shrink = expf(top - new_top);
    const float weight = expf(score - new_top);
    GPUPOOL_UNROLL
    for (int i = 0; i < wide_columns; ++i) {
      const int c = i * norm_threads + static_cast<int>(threadIdx.x);
      if (c < task.head_width)
        sums[i] = sums[i] * shrink + weight * to_float(task.values.at(key, left + c));
    }
    total = total * shrink + weight;
    top = new_top;
  }
  GPUPOOL_UNROLL
  for (int i = 0; i < wide_columns; ++i) {
    const int c = i * norm_threads + static_cast<int>(threadIdx.x);
    if (c < task.head_width) task.out.at(row, left + c) = from_float<T>(sums[i] / total);
  }
}

}  // namespace gpupool::cuda
