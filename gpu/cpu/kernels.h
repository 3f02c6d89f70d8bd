#pragma once
// The CPU device's loops, each over a part of an op that one thread does alone: rows, or one head
// of one sample. Shapes were checked by the device. Pure but for their outputs; any thread.

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "gpu/bf16.h"
#include "gpu/cpu/threads.h"
#include "gpu/device.h"

namespace gpupool {

struct RowRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

// Precondition: they are of this type.
template <class Value, class Byte>
MatrixView<Value> rows_of(const ActivationsView<Byte>& view) {
  constexpr bool is_f32 = std::is_same_v<std::remove_const_t<Value>, float>;
  GPUPOOL_ENSURE(view.dtype == (is_f32 ? Dtype::f32 : Dtype::bf16), view.rows, view.columns);
  return {reinterpret_cast<Value*>(view.values), view.rows, view.columns, view.stride};
}

// norm.cpp
void modulated_norm_rows(ConstMatrix in, const Modulation& modulation, Activations out,
                         RowRange rows);
void residual_norm_rows(const Residual& residual, const Modulation& modulation, Activations out,
                        RowRange rows);

// attention.cpp: one head of one sample, for a block of its queries.
struct AttentionPart {
  std::int64_t sample = 0;
  std::int64_t head = 0;
  RowRange queries;  // within the sample
};
inline constexpr std::int64_t attention_queries = 256;  // in one part, at most
// How many values attend() needs for itself; queries, keys and values are in the precision of
// `out`.
std::int64_t attention_scratch(const AttentionInput& input);
void attend(const AttentionInput& input, Activations out, const AttentionPart& part,
            std::span<float> scratch);

// elementwise.cpp
void patchify_rows(ConstMatrix picture, const PatchGrid& grid, std::int64_t first, Matrix tokens,
                   RowRange rows);
void unpatchify_rows(ConstMatrix tokens, const PatchGrid& grid, Matrix picture, RowRange rows);
void add_rows(Matrix stream, ConstMatrix added, RowRange rows);
void time_features_rows(const TimeFeatures& features, Matrix out);
void embedding_mean_row(ConstMatrix table, std::span<const std::int32_t> tokens, float* out);
void join_rows(const Conditions& conditions, Matrix out, RowRange rows);
void guide_rows(const Guidance& guidance, Matrix out, RowRange rows);
void advance_rows(Matrix picture, ConstMatrix prediction, const StepTerms& step, RowRange rows);
void noise_rows(const NoiseRange& range, Matrix out, RowRange rows);
void convert_rows(ConstMatrix from, Bf16* to);  // without gaps between the rows

// feature_map.cpp
void neighbours_rows(ConstActivations in, const MapGrid& grid, std::int64_t first, Activations out,
                     RowRange rows);
// Of the values of each channel in a block of rows: their mean, and the sum of their squared
// distances from it. One row per block.
struct MapMoments {
  Matrix mean;
  Matrix squares;
};
inline constexpr std::int64_t moments_rows = 256;  // in one block
void moments_of_block(ConstMatrix in, std::int64_t block, const MapMoments& out);
// One row: what is taken from a channel's values, and what they are multiplied by then. `all` has
// the blocks of a map of `pixels`.
struct ChannelTerms {
  Matrix mean;
  Matrix factor;
};
void channel_terms(const MapMoments& all, std::int64_t pixels, const GroupNorm& norm,
                   const ChannelTerms& out);
void group_norm_rows(ConstMatrix in, const ChannelTerms& terms, const GroupNorm& norm,
                     Activations out, RowRange rows);

// matmul.cpp: products through oneDNN. A library failure comes back as an Error.
class MatmulEngine {
 public:
  // precision: of the weights and of what they are multiplied with. All sums are f32.
  MatmulEngine(Threads& threads, Dtype precision);
  ~MatmulEngine();

  static bool multiplies_bf16();  // this machine: elsewhere oneDNN has no such products

  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights);
  Result<std::unique_ptr<Linear>> part_of(const Linear& layer, OutputRange outputs);  // a copy
  Status run(const Linear& layer, ConstActivations in, Activations out, Activation activation);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gpupool
