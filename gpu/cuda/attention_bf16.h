#pragma once
// Attention in bf16 on the tensor cores, as in Dao, "FlashAttention-2", 2023: a warp has 16 queries
// in registers and goes over all keys and values, a tile at a time; scores, their softmax (online,
// in f32) and the sums never leave its registers. Tiles come through shared memory, the next one
// while this one is used. Weights are rounded to bf16 for their product with the values.
// Grid: (tiles of attention_bf16_queries, heads, samples). Block: attention_bf16_threads.

#include "gpu/cuda/attention.h"
#include "gpu/cuda/tensor_cores.h"

namespace gpupool::cuda {

inline constexpr int queries_per_warp = 16;  // the rows of a product
inline constexpr int attention_bf16_threads = 128;
inline constexpr int attention_bf16_queries =
    attention_bf16_threads / warp_size * queries_per_warp;  // of a block

// How values are moved between registers, shared memory and the device's memory.
enum class Access { one_by_one, in_pieces };

// In pieces, where the rows of every head begin at a multiple of 16 bytes and end at one.
// Proved by "Values move in pieces exactly where all rows of all heads begin and end at one".
inline Access access_for(const AttentionTask<Bf16>& task) {
  const auto fits = [&](const auto& rows) {
    constexpr std::uintptr_t piece_bytes = piece_values * sizeof(Bf16);
    return reinterpret_cast<std::uintptr_t>(rows.memory.values) % piece_bytes == 0 &&
           rows.stride % piece_values == 0;
  };
  const bool all_fit = task.head_width % piece_values == 0 && fits(task.queries) &&
                       fits(task.keys) && fits(task.values) && fits(task.out);
  return all_fit ? Access::in_pieces : Access::one_by_one;
}

// The rows of one sample and the columns of one head.
template <class T>
struct Head {
  Rows<T> all;
  std::int64_t end = 0;   // of the rows
  std::int64_t left = 0;  // the first column
  int width = 0;

  __device__ bool has(std::int64_t row, int column) const { return row < end && column < width; }
  __device__ auto address(std::int64_t row, int column) const {
    return &all.at(row, left + column);
  }
  // Zero where there is none, so that it adds nothing to a product.
  __device__ Bf16 value(std::int64_t row, int column) const {
    if (!has(row, column)) return {};
    return all.at(row, left + column);
  }
};

// Of keys, or of values. A row is a piece longer than a head, so that the rows of a matrix of 8 x 8
// begin in different banks. Two tiles of keys and two of values fit into the 48 KiB of a block.
template <int width_max>
struct Tile {
  static constexpr int rows = width_max <= 80 ? 64 : 32;
  static constexpr int pitch = width_max + piece_values;
  static constexpr int values = rows * pitch;
};
template <int width_max>
using Tiles = SharedArray<Bf16, 4 * Tile<width_max>::values>;

// A piece; zeros where there is no such row or column.
template <int width_max>
__device__ void start_piece(const Head<const Bf16>& from, std::int64_t row, int column,
                            Access access, Tiles<width_max> tiles, int to) {
  if (access == Access::one_by_one) {
    for (int j = 0; j < piece_values; ++j) tiles[to + j] = from.value(row, column + j);
  } else if (from.has(row, column)) {
    start_copy(&tiles[to], from.address(row, column));
  } else {
    clear_piece(&tiles[to]);
  }
}

// A tile of each, one behind the other.
struct KeysAndValues {
  Head<const Bf16> keys;
  Head<const Bf16> values;
};
template <int width_max>
__device__ void start_tiles(const KeysAndValues& from, std::int64_t first, Access access,
                            Tiles<width_max> tiles, int offset) {
  using Of = Tile<width_max>;
  constexpr int pieces = width_max / piece_values;
  for (int i = threadIdx.x; i < Of::rows * pieces; i += attention_bf16_threads) {
    const std::int64_t row = first + i / pieces;
    const int column = i % pieces * piece_values;
    const int to = offset + i / pieces * Of::pitch + column;
    start_piece<width_max>(from.keys, row, column, access, tiles, to);
    start_piece<width_max>(from.values, row, column, access, tiles, to + Of::values);
  }
}

// What a lane has of its warp's queries: of rows lane / 4 and lane / 4 + 8.
template <int width_max>
struct Attended {
  SumPart sums[width_max / 8] = {};
  float top[2] = {-INFINITY, -INFINITY};  // of the scores so far, as powers of two
  float total[2] = {};                    // of the weights that this lane has seen
};

template <int width_max>
__device__ void load_queries(const Head<const Bf16>& from, std::int64_t first, Access access,
                             LeftPart (&queries)[width_max / 16]) {
  const int lane = threadIdx.x % warp_size;
  GPUPOOL_UNROLL
  for (int step = 0; step < width_max / 16; ++step) {
    GPUPOOL_UNROLL
    for (int i = 0; i < 4; ++i) {
      const std::int64_t row = first + lane / 4 + i % 2 * 8;
      const int column = step * 16 + i / 2 * 8 + lane % 4 * 2;
      queries[step].pairs[i] = access == Access::in_pieces && from.has(row, column)
                                   ? load_pair(from.address(row, column))
                                   : pair_of(from.value(row, column), from.value(row, column + 1));
    }
  }
}

// scores = queries * keys^T. The row of a key is a column of the right matrix.
template <int width_max>
__device__ void add_scores(const LeftPart (&queries)[width_max / 16], Tiles<width_max> tiles,
                           int offset, SumPart (&scores)[Tile<width_max>::rows / 8]) {
  const int lane = threadIdx.x % warp_size;
  const int key = lane / 16 * 8 + lane % 8;
  const int column = lane / 8 % 2 * 8;
  GPUPOOL_UNROLL
  for (int step = 0; step < width_max / 16; ++step) {
    GPUPOOL_UNROLL
    for (int i = 0; i < Tile<width_max>::rows / 16; ++i) {
      const Matrices keys = load_matrices(
          &tiles[offset + (i * 16 + key) * Tile<width_max>::pitch + step * 16 + column]);
      add_product(scores[2 * i], queries[step], {keys.pairs[0], keys.pairs[1]});
      add_product(scores[2 * i + 1], queries[step], {keys.pairs[2], keys.pairs[3]});
    }
  }
}

// A key that is not there gets no weight.
template <int width_max>
__device__ void hide_beyond(int count, SumPart (&scores)[Tile<width_max>::rows / 8]) {
  const int lane = threadIdx.x % warp_size;
  GPUPOOL_UNROLL
  for (int i = 0; i < Tile<width_max>::rows / 8; ++i) {
    GPUPOOL_UNROLL
    for (int j = 0; j < 4; ++j)
      if (i * 8 + lane % 4 * 2 + j % 2 >= count) scores[i].values[j] = -INFINITY;
  }
}

// Scores to weights, in place: 2^(factor * score - top).
template <int width_max>
__device__ void weigh(SumPart (&scores)[Tile<width_max>::rows / 8], float factor,
                      Attended<width_max>& attended) {
  GPUPOOL_UNROLL
  for (int row = 0; row < 2; ++row) {
    float tile_top = -INFINITY;
    GPUPOOL_UNROLL
    for (const SumPart& part : scores)
      tile_top = fmaxf(tile_top, fmaxf(part.values[row * 2], part.values[row * 2 + 1]));
    const float top = fmaxf(attended.top[row], quad_max(tile_top) * factor);
    const float shrink = power_of_two(attended.top[row] - top);
    attended.top[row] = top;
    attended.total[row] *= shrink;
    GPUPOOL_UNROLL
    for (SumPart& part : scores) {
      GPUPOOL_UNROLL
      for (int j = 2 * row; j < 2 * row + 2; ++j) {
        part.values[j] = power_of_two(fmaf(part.values[j], factor, -top));
        attended.total[row] += part.values[j];
      }
    }
    GPUPOOL_UNROLL
    for (SumPart& sum : attended.sums) {
      sum.values[row * 2] *= shrink;
      sum.values[row * 2 + 1] *= shrink;
    }
  }
}

// sums += weights * values. The sums of one product lie as the left matrix of the next one.
template <int width_max>
__device__ void add_values(const SumPart (&weights)[Tile<width_max>::rows / 8],
                           Tiles<width_max> tiles, int offset, Attended<width_max>& attended) {
  const int lane = threadIdx.x % warp_size;
  GPUPOOL_UNROLL
  for (int step = 0; step < Tile<width_max>::rows / 16; ++step) {
    const float(&first)[4] = weights[2 * step].values;
    const float(&second)[4] = weights[2 * step + 1].values;
    const LeftPart left = {{rounded_pair(first[0], first[1]), rounded_pair(first[2], first[3]),
                            rounded_pair(second[0], second[1]),
                            rounded_pair(second[2], second[3])}};
    GPUPOOL_UNROLL
    for (int i = 0; i < width_max / 16; ++i) {
      const Matrices values =
          load_transposed(&tiles[offset + (step * 16 + lane % 16) * Tile<width_max>::pitch +
                                 i * 16 + lane / 16 * 8]);
      add_product(attended.sums[2 * i], left, {values.pairs[0], values.pairs[1]});
      add_product(attended.sums[2 * i + 1], left, {values.pairs[2], values.pairs[3]});
    }
  }
}

template <int width_max>
__device__ void write_attended(const Attended<width_max>& attended, std::int64_t first,
                               Access access, const Head<Bf16>& to) {
  const int lane = threadIdx.x % warp_size;
  GPUPOOL_UNROLL
  for (int row = 0; row < 2; ++row) {
    const float share = 1.0F / quad_sum(attended.total[row]);
    const std::int64_t query = first + lane / 4 + row * 8;
    GPUPOOL_UNROLL
    for (int i = 0; i < width_max / 8; ++i) {
      const int column = i * 8 + lane % 4 * 2;
      const float a = attended.sums[i].values[row * 2] * share;
      const float b = attended.sums[i].values[row * 2 + 1] * share;
      if (access == Access::in_pieces && to.has(query, column)) {
        store_pair(to.address(query, column), rounded_pair(a, b));
        continue;
      }
      if (to.has(query, column)) to.all.at(query, to.left + column) = from_float<Bf16>(a);
      if (to.has(query, column + 1)) to.all.at(query, to.left + column + 1) = from_float<Bf16>(b);
    }
  }
}

template <int width_max>
__global__ void __launch_bounds__(attention_bf16_threads)
    attention_bf16_kernel(AttentionTask<Bf16> task, Access access) {
  static_assert(width_max % 16 == 0);
  GPUPOOL_SHARED(Bf16, tiles, 4 * Tile<width_max>::values);
  const std::int64_t sample = blockIdx.z;
  const std::int64_t left = std::int64_t{blockIdx.y} * task.head_width;
  const std::int64_t end_of_queries = (sample + 1) * task.queries_per_sample;
  const std::int64_t end_of_keys = (sample + 1) * task.keys_per_sample;
  const KeysAndValues from{{task.keys, end_of_keys, left, task.head_width},
                           {task.values, end_of_keys, left, task.head_width}};
  int offset = 0;  // of the tiles in use: keys, then values; the other two lie beside them
  std::int64_t first = sample * task.keys_per_sample;
  start_tiles<width_max>(from, first, access, tiles, offset);

  const std::int64_t first_query = sample * task.queries_per_sample +
                                   std::int64_t{blockIdx.x} * attention_bf16_queries +
                                   threadIdx.x / warp_size * queries_per_warp;
  LeftPart queries[width_max / 16];
  load_queries<width_max>({task.queries, end_of_queries, left, task.head_width}, first_query,
                          access, queries);
  constexpr float log2_of_e = 1.4426950408889634F;
  Attended<width_max> attended;
  for (; first < end_of_keys; first += Tile<width_max>::rows) {
    wait_for_copies();
    __syncthreads();  // everybody's part of these tiles is there, and the others have been read
    const int other = 2 * Tile<width_max>::values - offset;
    if (first + Tile<width_max>::rows < end_of_keys)
      start_tiles<width_max>(from, first + Tile<width_max>::rows, access, tiles, other);
    SumPart scores[Tile<width_max>::rows / 8] = {};
    add_scores<width_max>(queries, tiles, offset, scores);
    if (end_of_keys - first < Tile<width_max>::rows)
      hide_beyond<width_max>(static_cast<int>(end_of_keys - first), scores);
    weigh<width_max>(scores, task.scale * log2_of_e, attended);
    add_values<width_max>(scores, tiles, offset + Tile<width_max>::values, attended);
    offset = other;
  }
  write_attended<width_max>(attended, first_query, access,
                            {task.out, end_of_queries, left, task.head_width});
}

}  // namespace gpupool::cuda
