#pragma once
// Attention with an online softmax (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018; tiled as in Dao and others, "FlashAttention", 2022): the matrix of scores never
// exists. A block has a tile of queries of one head of one sample and goes over the keys and values
// a tile at a time. Four threads share a query; they are neighbours in a warp. f32 throughout:
// attention_bf16.h is for bf16.
// Grid: (query tiles, heads, samples). Block: attention_threads.

#include "gpu/cuda/grid.h"

namespace gpupool::cuda {

inline constexpr int attention_queries = 32;  // of a tile
inline constexpr int attention_keys = 32;     // of a tile
inline constexpr int threads_per_query = 4;
inline constexpr int attention_threads = attention_queries * threads_per_query;
inline constexpr int keys_per_thread = attention_keys / threads_per_query;

template <class T>
struct AttentionTask {
  Rows<const T> queries;
  Rows<const T> keys;
  Rows<const T> values;
  Rows<T> out;
  std::int64_t queries_per_sample = 0;
  std::int64_t keys_per_sample = 0;
  int head_width = 0;
  float scale = 0;  // of the scores
};

inline constexpr std::int64_t head_width_max = 128;

// Launches the kernel whose registers and tiles fit a head best.
template <class Launch>
void for_head_width(std::int64_t width, const Launch& launch) {
  if (width <= 64) return launch.template operator()<64>();
  if (width <= 80) return launch.template operator()<80>();
  launch.template operator()<head_width_max>();
}

__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(0xFFFFFFFFU, value, 1);
  return value + __shfl_xor_sync(0xFFFFFFFFU, value, 2);
}
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFU, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xFFFFFFFFU, value, 2));
}

// Rows `first` and after of one head, zeros beyond the last; a row of the tile is one value longer,
// so that neighbouring rows begin in different banks.
template <int width_max>
__device__ void load_tile(const Rows<const float>& from, std::int64_t first, std::int64_t end,
                          int head_width, float factor,
                          SharedArray<float, attention_keys*(width_max + 1)> tile) {
  const std::int64_t left = std::int64_t{blockIdx.y} * head_width;
  for (int i = threadIdx.x; i < attention_keys * head_width; i += attention_threads) {
    const int row = i / head_width;
    const int column = i % head_width;
    float value = 0;
    if (first + row < end) value = from.at(first + row, left + column);
    tile[row * (width_max + 1) + column] = factor * value;
  }
}

template <int width_max>
__global__ void __launch_bounds__(attention_threads) attention_kernel(AttentionTask<float> task) {
  static_assert(attention_queries == attention_keys && width_max % threads_per_query == 0);
  constexpr int pitch = width_max + 1;
  GPUPOOL_SHARED(float, queries, attention_queries* pitch);
  GPUPOOL_SHARED(float, tile, attention_keys* pitch);
  GPUPOOL_SHARED(float, weights, attention_queries*(attention_keys + 1));
  const int query = threadIdx.x / threads_per_query;
  const int part = threadIdx.x % threads_per_query;
  const std::int64_t sample = blockIdx.z;
  const std::int64_t first_query =
      sample * task.queries_per_sample + std::int64_t{blockIdx.x} * attention_queries;
  const std::int64_t end_of_queries = (sample + 1) * task.queries_per_sample;
  const std::int64_t end_of_keys = (sample + 1) * task.keys_per_sample;
  load_tile<width_max>(task.queries, first_query, end_of_queries, task.head_width, task.scale,
                       queries);

  float sums[width_max / threads_per_query] = {};  // columns part, part + 4, ...
  float top = -INFINITY;
  float total = 0;
  for (std::int64_t first = sample * task.keys_per_sample; first < end_of_keys;
       first += attention_keys) {
    __syncthreads();  // everybody has read the values before
    load_tile<width_max>(task.keys, first, end_of_keys, task.head_width, 1.0F, tile);
    __syncthreads();
    float scores[keys_per_thread];
    float tile_top = -INFINITY;
    for (int i = 0; i < keys_per_thread; ++i) {
      const int key = i * threads_per_query + part;
      float score = 0;
      for (int c = 0; c < task.head_width; ++c) {
        const float q = queries[query * pitch + c];
        const float k = tile[key * pitch + c];
        score += q * k;
      }
      scores[i] = first + key < end_of_keys ? score : -INFINITY;
      tile_top = fmaxf(tile_top, scores[i]);
    }
    const float new_top = fmaxf(top, quad_max(tile_top));
    const float shrink = expf(top - new_top);
    float tile_total = 0;
    for (int i = 0; i < keys_per_thread; ++i) {
      const float weight = expf(scores[i] - new_top);
      weights[query * (attention_keys + 1) + i * threads_per_query + part] = weight;
      tile_total += weight;
    }
    total = total * shrink + quad_sum(tile_total);
    top = new_top;
    __syncthreads();  // everybody has read the keys, and the weights are there
    load_tile<width_max>(task.values, first, end_of_keys, task.head_width, 1.0F, tile);
    __syncthreads();
    for (float& sum : sums) sum *= shrink;
    for (int key = 0; key < attention_keys; ++key) {
      const float weight = weights[query * (attention_keys + 1) + key];
      GPUPOOL_UNROLL
      for (int i = 0; i < width_max / threads_per_query; ++i) {
        const int column = i * threads_per_query + part;
        if (column >= task.head_width) continue;
        const float value = tile[key * pitch + column];
        sums[i] += weight * value;
      }
    }
  }
  if (first_query + query >= end_of_queries) return;
  GPUPOOL_UNROLL
  for (int i = 0; i < width_max / threads_per_query; ++i) {
    const int column = i * threads_per_query + part;
    if (column < task.head_width)
      task.out.at(first_query + query, std::int64_t{blockIdx.y} * task.head_width + column) =
          sums[i] / total;
  }
}

}  // namespace gpupool::cuda
