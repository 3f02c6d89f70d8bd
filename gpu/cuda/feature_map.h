#pragma once
// What a convolution and a norm need of a feature map: a row for each pixel, a column for each
// channel. The norm of groups takes three kernels: the moments of each channel in blocks of pixels,
// what follows from them for a channel, and its use.

#include "gpu/bf16.h"
#include "gpu/cuda/element.h"
#include "gpu/cuda/norm.h"
#include "gpu/device.h"

namespace gpupool::cuda {

// A thread for each value.
template <class From, class To>
__global__ void neighbours_kernel(Rows<const From> map, MapGrid grid, std::int64_t first,
                                  Rows<To> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const std::int64_t place = it.column / map.columns;  // of nine
  const std::int64_t y = (first + it.row) / grid.side + place / 3 - 1;
  const std::int64_t x = (first + it.row) % grid.side + place % 3 - 1;
  float value = 0;
  if (y >= 0 && x >= 0 && y < grid.side && x < grid.side) {
    const std::int64_t across = grid.side / grid.enlarge;
    const From from = map.at(y / grid.enlarge * across + x / grid.enlarge, it.column % map.columns);
    value = to_float(from);
  }
  out.at(it.row, it.column) = from_float<To>(value);
}

inline constexpr int moments_rows = 64;  // in one block

// Of the values of each channel in each block of rows: their mean, and the sum of their squared
// distances from it.
template <class T>
struct MapMoments {
  Rows<T> mean;
  Rows<T> squares;
};

// Grid: (blocks of rows, element_threads channels each). The rows are read twice, from the cache
// after the first time.
__global__ void moments_kernel(Rows<const float> map, MapMoments<float> out) {
  const std::int64_t channel = std::int64_t{blockIdx.y} * element_threads + threadIdx.x;
  if (channel >= map.columns) return;
  const std::int64_t block = blockIdx.x;
  const std::int64_t first = block * moments_rows;
  const std::int64_t end = first + moments_rows < map.rows ? first + moments_rows : map.rows;
  float total = 0;
  for (std::int64_t r = first; r < end; ++r) total += map.at(r, channel);
  const float mean = total / static_cast<float>(end - first);
  float squares = 0;
  for (std::int64_t r = first; r < end; ++r) {
    const float centred = map.at(r, channel) - mean;
    squares += centred * centred;
  }
  out.mean.at(block, channel) = mean;
  out.squares.at(block, channel) = squares;
}

// What is taken from a channel's values, and what they are multiplied by then: one row each.
template <class T>
struct ChannelTerms {
  Rows<T> mean;
  Rows<T> factor;
};

// The moments of parts make those of the whole (Chan, Golub and LeVeque 1983). Grid: groups. Block:
// norm_threads.
__global__ void channel_terms_kernel(MapMoments<const float> all, std::int64_t pixels,
                                     std::int64_t groups, Rows<const float> weight, float epsilon,
                                     ChannelTerms<float> out) {
  GPUPOOL_SHARED(float, parts, norm_threads / warp_size);
  const std::int64_t channels = weight.columns / groups;
  const std::int64_t first = blockIdx.x * channels;
  const std::int64_t count = all.mean.rows * channels;
  const auto values = static_cast<float>(pixels * channels);
  const auto rows_in = [&](std::int64_t block) {
    const std::int64_t left = pixels - block * moments_rows;
    return static_cast<float>(left < moments_rows ? left : moments_rows);
  };
  float total = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += norm_threads)
    total += rows_in(i / channels) / values * all.mean.at(i / channels, first + i % channels);
  const float mean = block_sum(total, parts);
  float squares = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += norm_threads) {
    const float distance = all.mean.at(i / channels, first + i % channels) - mean;
    const float within = all.squares.at(i / channels, first + i % channels);
    squares += within + rows_in(i / channels) * distance * distance;
  }
  const float variance = block_sum(squares, parts) / values;
  for (std::int64_t c = threadIdx.x; c < channels; c += norm_threads) {
    const float of_channel = weight.at(0, first + c);
    out.mean.at(0, first + c) = mean;
    out.factor.at(0, first + c) = of_channel / sqrtf(variance + epsilon);
  }
}

// A thread for each value.
template <class Out>
__global__ void group_norm_kernel(Rows<const float> map, ChannelTerms<const float> terms,
                                  Rows<const float> bias, Activation activation, Rows<Out> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const float centred = map.at(it.row, it.column) - terms.mean.at(0, it.column);
  const float value = centred * terms.factor.at(0, it.column) + bias.at(0, it.column);
  out.at(it.row, it.column) = from_float<Out>(activation == Activation::silu ? silu(value) : value);
}

}  // namespace gpupool::cuda
