#pragma once
// What shapes each op of a Device takes: every device checks them here, first of all. One that does
// not fit is a bug of the caller and ends the process.

#include "base/ensure.h"
#include "gpu/device.h"

namespace gpupool {

inline bool same_size(const ConstActivations& a, const ConstActivations& b) {
  return a.rows == b.rows && a.columns == b.columns;
}

// One row per sample, as many columns as the activations, and samples of equally many rows.
inline bool fits_samples(const ConstMatrix& per_sample, const ConstActivations& rows) {
  return per_sample.rows > 0 && rows.rows % per_sample.rows == 0 &&
         per_sample.columns == rows.columns;
}

inline void check_upload(std::span<const float> from, const Activations& to) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(from.size()) == to.rows * to.columns, from.size());
}

inline void check_download(const ConstActivations& from, std::span<float> to) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(to.size()) == from.rows * from.columns, to.size());
}

inline constexpr std::int64_t buffer_values_max = std::int64_t{1} << 34;  // 64 GiB in f32

inline void check_allocate(MatrixSize size) {
  GPUPOOL_ENSURE(size.rows > 0 && size.columns > 0, size.rows, size.columns);
  GPUPOOL_ENSURE(size.columns <= buffer_values_max / size.rows, size.rows, size.columns);
}

inline void check_weights(const LinearWeights& weights) {
  GPUPOOL_ENSURE(
      static_cast<std::int64_t>(weights.weight.size()) == weights.outputs * weights.inputs,
      weights.weight.size(), weights.outputs, weights.inputs);
  GPUPOOL_ENSURE(
      weights.bias.empty() || static_cast<std::int64_t>(weights.bias.size()) == weights.outputs,
      weights.bias.size(), weights.outputs);
}

inline void check_part(MatrixSize layer, OutputRange outputs) {
  GPUPOOL_ENSURE(
      outputs.first >= 0 && outputs.count > 0 && outputs.first + outputs.count <= layer.rows,
      outputs.first, outputs.count, layer.rows);
}

inline void check_linear(MatrixSize layer, const ConstActivations& in,
                         const ConstActivations& out) {
  GPUPOOL_ENSURE(in.rows == out.rows && in.columns == layer.columns && out.columns == layer.rows,
                 in.rows, in.columns, out.rows, out.columns, layer.columns, layer.rows);
}

inline void check_modulated_norm(const ConstMatrix& in, const Modulation& modulation,
                                 const ConstActivations& out) {
  GPUPOOL_ENSURE(same_size(in, out) && fits_samples(modulation.shift, in) &&
                     same_size(modulation.shift, modulation.scale),
                 in.rows, in.columns, modulation.shift.rows, modulation.shift.columns);
}

inline void check_residual_norm(const Residual& residual, const Modulation& modulation,
                                const ConstActivations& out) {
  const ConstMatrix stream = residual.stream;
  GPUPOOL_ENSURE(same_size(stream, residual.branch) && same_size(stream, out) &&
                     fits_samples(residual.gate, stream) &&
                     same_size(residual.gate, modulation.shift) &&
                     same_size(residual.gate, modulation.scale),
                 stream.rows, stream.columns, residual.gate.rows, residual.gate.columns);
}

inline void check_attention(const AttentionInput& input, const ConstActivations& out) {
  GPUPOOL_ENSURE(
      input.samples > 0 && input.heads > 0 && same_size(input.queries, out) &&
          same_size(input.keys, input.values) && input.keys.columns == input.queries.columns &&
          input.queries.columns % input.heads == 0 && input.queries.rows % input.samples == 0 &&
          input.keys.rows % input.samples == 0 && input.keys.rows > 0,
      input.samples, input.heads, input.queries.rows, input.keys.rows);
}

inline void check_patchify(const ConstMatrix& picture, const PatchGrid& grid, std::int64_t first,
                           const Matrix& tokens) {
  GPUPOOL_ENSURE(picture.rows == 1 && picture.columns == grid.values() && first >= 0 &&
                     first + tokens.rows <= grid.tokens() &&
                     tokens.columns == grid.values_per_patch(),
                 picture.rows, picture.columns, tokens.rows, tokens.columns);
}

inline void check_unpatchify(const ConstMatrix& tokens, const PatchGrid& grid,
                             const Matrix& picture) {
  GPUPOOL_ENSURE(tokens.rows == picture.rows * grid.tokens() && picture.columns == grid.values() &&
                     tokens.columns == grid.values_per_patch(),
                 picture.rows, picture.columns, tokens.rows, tokens.columns);
}

inline void check_add(const Matrix& stream, const ConstMatrix& rows) {
  GPUPOOL_ENSURE(rows.rows > 0 && stream.rows % rows.rows == 0 && stream.columns == rows.columns,
                 stream.rows, stream.columns, rows.rows, rows.columns);
}

inline void check_time_features(const TimeFeatures& features, const Matrix& out) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(features.times.size()) == out.rows &&
                     out.columns % 2 == 0 && features.shift < out.columns / 2,
                 features.times.size(), out.rows, out.columns, features.shift);
}

inline void check_embedding_mean(const ConstMatrix& table, std::span<const std::int32_t> tokens,
                                 const Matrix& out) {
  GPUPOOL_ENSURE(!tokens.empty() && out.rows == 1 && out.columns == table.columns, out.rows,
                 out.columns);
  for (const std::int32_t token : tokens)
    GPUPOOL_ENSURE(token >= 0 && token < table.rows, token, table.rows);
}

inline void check_join(const Conditions& conditions, const Matrix& out) {
  GPUPOOL_ENSURE(out.rows == conditions.times.rows * conditions.prompts.rows &&
                     out.columns == conditions.times.columns &&
                     out.columns == conditions.prompts.columns,
                 out.rows, out.columns, conditions.times.rows, conditions.prompts.rows);
}

inline void check_guide(const Guidance& guidance, const Matrix& out) {
  GPUPOOL_ENSURE(same_size(guidance.conditional, guidance.unconditional) &&
                     same_size(guidance.conditional, out),
                 out.rows, out.columns);
}

inline void check_advance(const Matrix& picture, const ConstMatrix& prediction) {
  GPUPOOL_ENSURE(same_size(picture, prediction), picture.rows, picture.columns);
}

inline void check_neighbours(const ConstActivations& in, const MapGrid& grid, std::int64_t first,
                             const ConstActivations& out) {
  GPUPOOL_ENSURE(grid.enlarge > 0 && grid.side % grid.enlarge == 0 &&
                     in.rows * grid.enlarge * grid.enlarge == grid.pixels() && first >= 0 &&
                     first + out.rows <= grid.pixels() && out.columns == 9 * in.columns,
                 in.rows, in.columns, out.rows, out.columns, grid.side, first);
}

inline void check_group_norm(const ConstMatrix& in, const GroupNorm& norm,
                             const ConstActivations& out) {
  GPUPOOL_ENSURE(same_size(in, out) && in.rows > 0 && norm.groups > 0 &&
                     in.columns % norm.groups == 0 && norm.weight.rows == 1 &&
                     norm.weight.columns == in.columns && same_size(norm.weight, norm.bias) &&
                     norm.activation != Activation::gelu_tanh,
                 in.rows, in.columns, norm.groups, norm.weight.columns);
}

}  // namespace gpupool
