// The small ops: everything that touches each value once.

#include <cmath>

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"
#include "gpu/noise.h"

namespace gpupool {

void patchify_rows(ConstMatrix picture, const PatchGrid& grid, std::int64_t first, Matrix tokens,
                   RowRange rows) {
  const std::int64_t across = grid.side / grid.patch;
  for (std::int64_t row = rows.first; row < rows.end; ++row) {
    const std::int64_t token = first + row;
    const std::int64_t top = token / across * grid.patch;
    const std::int64_t left = token % across * grid.patch;
    float* out = tokens.row(row);
    for (std::int64_t channel = 0; channel < grid.channels; ++channel) {
      for (std::int64_t y = 0; y < grid.patch; ++y) {
        const float* in = picture.values + (channel * grid.side + top + y) * grid.side + left;
        for (std::int64_t x = 0; x < grid.patch; ++x) *out++ = in[x];
      }
    }
  }
}

void unpatchify_rows(ConstMatrix tokens, const PatchGrid& grid, Matrix picture, RowRange rows) {
  const std::int64_t across = grid.side / grid.patch;
  for (std::int64_t row = rows.first; row < rows.end; ++row) {
    const std::int64_t token = row % grid.tokens();
    float* plane = picture.row(row / grid.tokens());
    const std::int64_t top = token / across * grid.patch;
    const std::int64_t left = token % across * grid.patch;
    const float* in = tokens.row(row);
    for (std::int64_t y = 0; y < grid.patch; ++y) {
      for (std::int64_t x = 0; x < grid.patch; ++x) {
        for (std::int64_t channel = 0; channel < grid.channels; ++channel) {
          plane[(channel * grid.side + top + y) * grid.side + left + x] = *in++;
        }
      }
    }
  }
}

GPUPOOL_CLONES
void add_rows(Matrix stream, ConstMatrix added, RowRange rows) {
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    float* to = stream.row(r);
    const float* from = added.row(r % added.rows);
    for (std::int64_t c = 0; c < stream.columns; c += lanes) {
      const std::int64_t left = stream.columns - c;
      store_up_to(load_up_to(to + c, left, 0) + load_up_to(from + c, left, 0), to + c, left);
    }
  }
}

void time_features_rows(const TimeFeatures& features, Matrix out) {
  const std::int64_t half = out.columns / 2;
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const auto time = static_cast<double>(features.times[static_cast<std::size_t>(r)]);
    float* row = out.row(r);
    for (std::int64_t j = 0; j < half; ++j) {
      // In double: the angle reaches a thousand, where a float is only good to four decimals.
      const double frequency = std::exp(-std::log(10000.0) * static_cast<double>(j) /
                                        static_cast<double>(half - features.shift));
      row[j] = static_cast<float>(std::cos(time * frequency));
      row[half + j] = static_cast<float>(std::sin(time * frequency));
    }
  }
}

void embedding_mean_row(ConstMatrix table, std::span<const std::int32_t> tokens, float* out) {
  const float share = 1.0F / static_cast<float>(tokens.size());
  for (std::int64_t c = 0; c < table.columns; ++c) {
    float total = 0;
    for (const std::int32_t token : tokens) total += table.row(token)[c];
    out[c] = total * share;
  }
}

void join_rows(const Conditions& conditions, Matrix out, RowRange rows) {
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const float* time = conditions.times.row(r / conditions.prompts.rows);
    const float* prompt = conditions.prompts.row(r % conditions.prompts.rows);
    for (std::int64_t c = 0; c < out.columns; ++c) {
      const float joined = time[c] + prompt[c];
      out.row(r)[c] = joined / (1.0F + std::exp(-joined));
    }
  }
}

void guide_rows(const Guidance& guidance, Matrix out, RowRange rows) {
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const float* with = guidance.conditional.row(r);
    const float* without = guidance.unconditional.row(r);
    for (std::int64_t c = 0; c < out.columns; ++c) {
      out.row(r)[c] = without[c] + guidance.scale * (with[c] - without[c]);
    }
  }
}

void advance_rows(Matrix picture, ConstMatrix prediction, const StepTerms& step, RowRange rows) {
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    for (std::int64_t c = 0; c < picture.columns; ++c) {
      const float x = picture.row(r)[c];
      const float m = prediction.row(r)[c];
      float clean = step.clean_x * x + step.clean_m * m;
      // What is not a number stays that.
      if (clean > step.limit) clean = step.limit;
      if (clean < -step.limit) clean = -step.limit;
      picture.row(r)[c] = step.keep * clean + (step.noise_x * x + step.noise_m * m);
    }
  }
}

void noise_rows(const NoiseRange& range, Matrix out, RowRange rows) {
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    for (std::int64_t c = 0; c < out.columns; ++c) {
      const auto index = static_cast<std::uint64_t>(r * out.columns + c);
      out.row(r)[c] = noise_at(range.seed, range.first + index);
    }
  }
}

GPUPOOL_CLONES
void convert_rows(ConstMatrix from, Bf16* to) {
  for (std::int64_t r = 0; r < from.rows; ++r, to += from.columns) {
    for (std::int64_t c = 0; c < from.columns; c += lanes) {
      const std::int64_t left = from.columns - c;
      store_up_to(load_up_to(from.row(r) + c, left, 0), to + c, left);
    }
  }
}

}  // namespace gpupool
