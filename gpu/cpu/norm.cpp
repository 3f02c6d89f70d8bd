// Layer norm without weights of its own, modulated per sample: adaLN of Peebles and Xie, "Scalable
// diffusion models with transformers", ICCV 2023.

#include <cmath>

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"

namespace gpupool {
namespace {

struct Moments {
  float mean = 0;
  float inverse_deviation = 0;
};

// Two passes: the mean first, so that the variance is not a difference of large numbers.
GPUPOOL_INLINE Moments moments_of(const float* in, std::int64_t columns, float epsilon) {
  Lanes total{};
  for (std::int64_t c = 0; c < columns; c += lanes) total += load_up_to(in + c, columns - c, 0);
  const float mean = sum(total) / static_cast<float>(columns);
  Lanes squares{};
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const Lanes centred = load_up_to(in + c, columns - c, mean) - mean;
    squares += centred * centred;
  }
  const float variance = sum(squares) / static_cast<float>(columns);
  return {mean, 1.0F / std::sqrt(variance + epsilon)};
}

struct NormRow {
  const float* in;
  const float* shift;
  const float* scale;
  float* out;
};

GPUPOOL_INLINE void norm_row(const NormRow& row, std::int64_t columns, float epsilon) {
  const Moments moments = moments_of(row.in, columns, epsilon);
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    const Lanes normed =
        (load_up_to(row.in + c, left, 0) - moments.mean) * moments.inverse_deviation;
    const Lanes scale = load_up_to(row.scale + c, left, 0) + 1.0F;
    store_up_to(normed * scale + load_up_to(row.shift + c, left, 0), row.out + c, left);
  }
}

struct ResidualRow {
  float* stream;
  const float* branch;
  const float* gate;
};

GPUPOOL_INLINE void add_gated_row(const ResidualRow& row, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    const Lanes added = load_up_to(row.gate + c, left, 0) * load_up_to(row.branch + c, left, 0);
    store_up_to(load_up_to(row.stream + c, left, 0) + added, row.stream + c, left);
  }
}

}  // namespace

GPUPOOL_CLONES
void modulated_norm_rows(ConstMatrix in, const Modulation& modulation, Matrix out, RowRange rows) {
  const std::int64_t rows_per_sample = in.rows / modulation.shift.rows;
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const std::int64_t sample = r / rows_per_sample;
    norm_row({in.row(r), modulation.shift.row(sample), modulation.scale.row(sample), out.row(r)},
             in.columns, modulation.epsilon);
  }
}

GPUPOOL_CLONES
void residual_norm_rows(const Residual& residual, const Modulation& modulation, Matrix out,
                        RowRange rows) {
  const Matrix& stream = residual.stream;
  const ConstMatrix branch = residual.branch.f32();
  const std::int64_t rows_per_sample = stream.rows / residual.gate.rows;
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const std::int64_t sample = r / rows_per_sample;
    add_gated_row({stream.row(r), branch.row(r), residual.gate.row(sample)}, stream.columns);
    norm_row(
        {stream.row(r), modulation.shift.row(sample), modulation.scale.row(sample), out.row(r)},
        stream.columns, modulation.epsilon);
  }
}

}  // namespace gpupool
