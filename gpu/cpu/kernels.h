#pragma once
// The CPU device's loops, each over a part of an op that one thread does alone: rows, or one head
// of one sample. Shapes were checked by the device. Pure but for their outputs; any thread.

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "gpu/cpu/threads.h"
#include "gpu/device.h"

namespace gpupool {

struct RowRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

// norm.cpp
void modulated_norm_rows(ConstMatrix in, const Modulation& modulation, Matrix out, RowRange rows);
void residual_norm_rows(const Residual& residual, const Modulation& modulation, Matrix out,
                        RowRange rows);

// attention.cpp: one head of one sample, for a block of its queries.
struct AttentionPart {
  std::int64_t sample = 0;
  std::int64_t head = 0;
  RowRange queries;  // within the sample
};
inline constexpr std::int64_t attention_queries = 64;  // in one part, at most
void attend(const AttentionInput& input, Matrix out, const AttentionPart& part,
            std::vector<float>& scratch);

// elementwise.cpp
void patchify_rows(ConstMatrix picture, const PatchGrid& grid, std::int64_t first, Matrix tokens,
                   RowRange rows);
void unpatchify_rows(ConstMatrix tokens, const PatchGrid& grid, Matrix picture, RowRange rows);
void add_positions_rows(Matrix tokens, ConstMatrix positions, RowRange rows);
void time_features_rows(const TimeFeatures& features, Matrix out);
void embedding_mean_row(ConstMatrix table, std::span<const std::int32_t> tokens, float* out);
void join_rows(const Conditions& conditions, Matrix out, RowRange rows);
void guide_rows(const Guidance& guidance, Matrix out, RowRange rows);
void advance_rows(Matrix picture, ConstMatrix prediction, const StepTerms& step, RowRange rows);
void noise_rows(const NoiseRange& range, Matrix out, RowRange rows);

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
  explicit MatmulEngine(Threads& threads);
  ~MatmulEngine();

  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights);
  Status run(const Linear& layer, ConstMatrix in, Matrix out, Activation activation);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gpupool
