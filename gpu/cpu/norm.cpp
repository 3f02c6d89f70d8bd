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

template <class Value>
struct NormRow {
  const float* in;
  const float* shift;
  const float* scale;
  Value* out;
};

template <class Value>
GPUPOOL_INLINE void norm_row(const NormRow<Value>& row, std::int64_t columns, float epsilon) {
  const Moments moments = moments_of(row.in, columns, epsilon);
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    const Lanes normed =
        (load_up_to(row.in + c, left, 0) - moments.mean) * moments.inverse_deviation;
    const Lanes scale = load_up_to(row.scale + c, left, 0) + 1.0F;
    store_up_to(normed * scale + load_up_to(row.shift + c, left, 0), row.out + c, left);
  }
}

template <class Value>
struct ResidualRow {
  float* stream;
  const Value* branch;
  const float* gate;
};

template <class Value>
GPUPOOL_INLINE void add_gated_row(const ResidualRow<Value>& row, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    const Lanes added = load_up_to(row.gate + c, left, 0) * load_up_to(row.branch + c, left, 0);
    store_up_to(load_up_to(row.stream + c, left, 0) + added, row.stream + c, left);
  }
}

template <class Value>
GPUPOOL_INLINE void modulated_norm(ConstMatrix in, const Modulation& modulation,
                                   const MatrixView<Value>& out, RowRange rows) {
  const std::int64_t rows_per_sample = in.rows / modulation.shift.rows;
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const std::int64_t sample = r / rows_per_sample;
    norm_row<Value>(
        {in.row(r), modulation.shift.row(sample), modulation.scale.row(sample), out.row(r)},
        in.columns, modulation.epsilon);
  }
}

template <class Value>
GPUPOOL_INLINE void residual_norm(const Residual& residual, const Modulation& modulation,
                                  const MatrixView<Value>& out, RowRange rows) {
  const Matrix& stream = residual.stream;
  const auto branch = rows_of<const Value>(residual.branch);
  const std::int64_t rows_per_sample = stream.rows / residual.gate.rows;
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    const std::int64_t sample = r / rows_per_sample;
    add_gated_row<Value>({stream.row(r), branch.row(r), residual.gate.row(sample)}, stream.columns);
    norm_row<Value>(
        {stream.row(r), modulation.shift.row(sample), modulation.scale.row(sample), out.row(r)},
        stream.columns, modulation.epsilon);
  }
}

}  // namespace

GPUPOOL_CLONES
void modulated_norm_rows(ConstMatrix in, const Modulation& modulation, Activations out,
                         RowRange rows) {
  if (out.dtype == Dtype::f32)
    modulated_norm(in, modulation, rows_of<float>(out), rows);
  else
    modulated_norm(in, modulation, rows_of<Bf16>(out), rows);
}

GPUPOOL_CLONES
void residual_norm_rows(const Residual& residual, const Modulation& modulation, Activations out,
                        RowRange rows) {
  if (out.dtype == Dtype::f32)
    residual_norm(residual, modulation, rows_of<float>(out), rows);
  else
    residual_norm(residual, modulation, rows_of<Bf16>(out), rows);
}

}  // namespace gpupool
