#pragma once
// The small ops: everything that touches each value once, a thread for each value of the result.

#include "gpu/bf16.h"
#include "gpu/cuda/element.h"
#include "gpu/device.h"
#include "gpu/noise.h"

namespace gpupool::cuda {

// Where a value of a token lies in its picture's row: a patch begins at (top, left).
struct PixelOf {
  std::int64_t across;  // patches

  __device__ std::int64_t index(const PatchGrid& grid, std::int64_t token, std::int64_t channel,
                                std::int64_t y, std::int64_t x) const {
    const std::int64_t top = token / across * grid.patch;
    const std::int64_t left = token % across * grid.patch;
    return (channel * grid.side + top + y) * grid.side + left + x;
  }
};

__global__ void patchify_kernel(Rows<const float> picture, PatchGrid grid, std::int64_t first,
                                Rows<float> tokens) {
  const Element it = element_of(tokens);
  if (!it.is_there) return;
  const std::int64_t x = it.column % grid.patch;
  const std::int64_t y = it.column / grid.patch % grid.patch;
  const std::int64_t channel = it.column / (grid.patch * grid.patch);
  const PixelOf pixel{grid.side / grid.patch};
  const float value = picture.at(0, pixel.index(grid, first + it.row, channel, y, x));
  tokens.at(it.row, it.column) = value;
}

__global__ void unpatchify_kernel(Rows<const float> tokens, PatchGrid grid, Rows<float> pictures) {
  const Element it = element_of(tokens);
  if (!it.is_there) return;
  const std::int64_t channel = it.column % grid.channels;
  const std::int64_t x = it.column / grid.channels % grid.patch;
  const std::int64_t y = it.column / (grid.channels * grid.patch);
  const std::int64_t per_picture = grid.tokens();
  const PixelOf pixel{grid.side / grid.patch};
  const float value = tokens.at(it.row, it.column);
  pictures.at(it.row / per_picture, pixel.index(grid, it.row % per_picture, channel, y, x)) = value;
}

__global__ void add_kernel(Rows<float> stream, Rows<const float> rows) {
  const Element it = element_of(stream);
  if (!it.is_there) return;
  const float before = stream.at(it.row, it.column);
  const float added = rows.at(it.row % rows.rows, it.column);
  stream.at(it.row, it.column) = before + added;
}

// In double: the angle reaches a thousand, where a float is only good to four decimals. In half
// turns, since the reduction of radians needs local memory.
__global__ void time_features_kernel(Memory<const float> times, std::int64_t shift,
                                     Rows<float> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const std::int64_t half = out.columns / 2;
  const std::int64_t j = it.column % half;
  const double frequency =
      exp(-log(10000.0) * static_cast<double>(j) / static_cast<double>(half - shift));
  const float time = times[it.row];
  const double half_turns = static_cast<double>(time) * frequency / 3.141592653589793;
  out.at(it.row, it.column) =
      static_cast<float>(it.column < half ? cospi(half_turns) : sinpi(half_turns));
}

__global__ void embedding_mean_kernel(Rows<const float> table, Memory<const std::int32_t> tokens,
                                      int count, Rows<float> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  float total = 0;
  for (int i = 0; i < count; ++i) {
    const std::int32_t token = tokens[i];
    total += table.at(token, it.column);
  }
  out.at(0, it.column) = total * (1.0F / static_cast<float>(count));
}

__global__ void join_kernel(Rows<const float> times, Rows<const float> prompts, Rows<float> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const float time = times.at(it.row / prompts.rows, it.column);
  const float prompt = prompts.at(it.row % prompts.rows, it.column);
  out.at(it.row, it.column) = silu(time + prompt);
}

__global__ void silu_kernel(Rows<float> values) {
  const Element it = element_of(values);
  if (!it.is_there) return;
  const float before = values.at(it.row, it.column);
  values.at(it.row, it.column) = silu(before);
}

// Also to another precision.
template <class From, class To>
__global__ void copy_kernel(Rows<const From> from, Rows<To> to) {
  const Element it = element_of(to);
  if (!it.is_there) return;
  const From value = from.at(it.row, it.column);
  to.at(it.row, it.column) = from_float<To>(to_float(value));
}

__global__ void guide_kernel(Rows<const float> conditional, Rows<const float> unconditional,
                             float scale, Rows<float> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const float with = conditional.at(it.row, it.column);
  const float without = unconditional.at(it.row, it.column);
  out.at(it.row, it.column) = without + scale * (with - without);
}

// What is not a number stays that.
__global__ void advance_kernel(Rows<float> picture, Rows<const float> prediction, StepTerms step) {
  const Element it = element_of(picture);
  if (!it.is_there) return;
  const float x = picture.at(it.row, it.column);
  const float m = prediction.at(it.row, it.column);
  float clean = step.clean_x * x + step.clean_m * m;
  if (clean > step.limit) clean = step.limit;
  if (clean < -step.limit) clean = -step.limit;
  picture.at(it.row, it.column) = step.keep * clean + (step.noise_x * x + step.noise_m * m);
}

__global__ void noise_kernel(NoiseRange range, Rows<float> out) {
  const Element it = element_of(out);
  if (!it.is_there) return;
  const auto index = static_cast<std::uint64_t>(it.row * out.columns + it.column);
  out.at(it.row, it.column) = noise_at(range.seed, range.first + index);
}

}  // namespace gpupool::cuda
