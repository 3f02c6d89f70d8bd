#include "gpu/dit.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/ensure.h"
#include "gpu/comm_shapes.h"
#include "gpu/layer_loader.h"
#include "gpu/op_shapes.h"

namespace gpupool {
namespace {

// Parts of a block's modulation, each `width` values: attention's, then the MLP's.
enum Part : std::int64_t { attention_shift = 0, attention_gate = 2, mlp_shift = 3, mlp_gate = 5 };
constexpr std::int64_t parts_per_block = 6;
constexpr std::int64_t parts_at_end = 2;

}  // namespace

Result<std::unique_ptr<Dit>> Dit::load(Device& device, const DitShape& shape,
                                       const DitCapacity& capacity, Weights& weights) {
  const std::int64_t widest = std::max(3 * shape.width, shape.mlp_width);
  if (capacity.samples * shape.grid.tokens() > buffer_values_max / widest)
    return Error{.code = Errc::unsupported,
                 .detail = std::to_string(shape.grid.tokens()) + " tokens of " +
                           std::to_string(widest) + " values: too large"};
  std::unique_ptr<Dit> dit(new Dit(device, shape, capacity));
  LayerLoader loader(device, weights);
  const std::int64_t width = shape.width;
  const PatchGrid& grid = shape.grid;
  Layers& layers = dit->layers_;

  layers.patch_embedding = loader.linear("x_embedder.proj", {width, grid.values_per_patch()},
                                         {width, grid.channels, grid.patch, grid.patch});
  layers.positions = loader.table("pos_embed", {grid.tokens(), width}, {1, grid.tokens(), width});
  GPUPOOL_ENSURE(shape.embedders == 1 || shape.embedders == shape.depth, shape.embedders);
  for (std::int64_t i = 0; i < shape.embedders; ++i) {
    const std::string of = i == 0 ? "" : "blocks." + std::to_string(i) + ".";
    Embedder& embedder = layers.embedders.emplace_back();
    embedder.time_in = loader.linear(of + "t_embedder.mlp.0", {width, shape.time_frequencies});
    embedder.time_out = loader.linear(of + "t_embedder.mlp.2", {width, width});
    embedder.embeddings = loader.table(of + "y_embedder.embedding_table.weight",
                                       {shape.vocabulary, width}, {shape.vocabulary, width});
    if (shape.prompts == Prompts::classes) continue;
    embedder.prompt_in = loader.linear(of + "y_embedder.mlp.0", {width, width});
    embedder.prompt_out = loader.linear(of + "y_embedder.mlp.2", {width, width});
  }
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string name = "blocks." + std::to_string(i) + ".";
    Block& block = layers.blocks.emplace_back();
    block.modulation = loader.linear(name + "adaLN_modulation.1", {parts_per_block * width, width});
    block.qkv = loader.linear(name + "attn.qkv", {3 * width, width});
    block.projection = loader.linear(name + "attn.proj", {width, width});
    block.mlp_in = loader.linear(name + "mlp.fc1", {shape.mlp_width, width});
    block.mlp_out = loader.linear(name + "mlp.fc2", {width, shape.mlp_width});
  }
  layers.final_modulation =
      loader.linear("final_layer.adaLN_modulation.1", {parts_at_end * width, width});
  layers.final_projection = loader.linear("final_layer.linear", {grid.values_per_patch(), width});

  const std::int64_t rows = capacity.samples * grid.tokens();
  const std::int64_t conditions = capacity.steps_ahead * capacity.samples;
  Memory& memory = dit->memory_;
  memory.patches = loader.allocate({rows, grid.values_per_patch()});
  memory.stream = loader.allocate({rows, width});
  memory.normed = loader.allocate_activations({rows, width});
  memory.branch = loader.allocate_activations({rows, width});
  memory.qkv = loader.allocate_activations({rows, 3 * width});
  memory.hidden = loader.allocate_activations({rows, shape.mlp_width});
  memory.features = loader.allocate({capacity.steps_ahead, shape.time_frequencies});
  memory.times = loader.allocate({2 * capacity.steps_ahead, width});
  memory.prompts = loader.allocate({3 * capacity.samples, width});
  memory.conditions = loader.allocate({conditions, width});
  memory.modulation =
      loader.allocate({conditions, (parts_per_block * shape.depth + parts_at_end) * width});

  const Status loaded = loader.finish();
  if (!loaded) return loaded.error();
  return dit;
}

void Dit::condition(std::span<const float> times, std::span<const Prompt> prompts) {
  steps_ = static_cast<std::int64_t>(times.size());
  samples_ = static_cast<std::int64_t>(prompts.size());
  GPUPOOL_ENSURE(steps_ >= 1 && steps_ <= capacity_.steps_ahead, steps_, capacity_.steps_ahead);
  GPUPOOL_ENSURE(samples_ >= 1 && samples_ <= capacity_.samples, samples_, capacity_.samples);

  std::vector<float> scaled(times.begin(), times.end());
  for (float& time : scaled) time *= shape_.time_scale;
  device_.time_features({.times = scaled, .shift = shape_.frequency_shift},
                        memory_.features.all().row_block(0, steps_));

  const std::int64_t rows = steps_ * samples_;
  const Matrix conditions = memory_.conditions.all().row_block(0, rows);
  const Matrix modulation = memory_.modulation.all().row_block(0, rows);
  const std::int64_t block_columns = parts_per_block * shape_.width;
  for (std::int64_t i = 0; i < shape_.depth; ++i) {
    const auto index = static_cast<std::size_t>(i);
    if (i < shape_.embedders) embed(layers_.embedders[index], prompts, conditions);
    device_.linear(*layers_.blocks[index].modulation, conditions,
                   modulation.column_block(i * block_columns, block_columns), Activation::none);
    if (i > 0) continue;  // the final layer has the first block's condition
    device_.linear(
        *layers_.final_modulation, conditions,
        modulation.column_block(shape_.depth * block_columns, parts_at_end * shape_.width),
        Activation::none);
  }
}

// Of the times whose features are there, with every prompt.
void Dit::embed(const Embedder& embedder, std::span<const Prompt> prompts, const Matrix& out) {
  const Matrix time_hidden = memory_.times.all().row_block(0, steps_);
  const Matrix time = memory_.times.all().row_block(steps_, steps_);
  device_.linear(*embedder.time_in, memory_.features.all().row_block(0, steps_), time_hidden,
                 Activation::silu);
  device_.linear(*embedder.time_out, time_hidden, time, Activation::none);

  const Matrix mean = memory_.prompts.all().row_block(0, samples_);
  const Matrix prompt_hidden = memory_.prompts.all().row_block(samples_, samples_);
  const Matrix prompt = memory_.prompts.all().row_block(2 * samples_, samples_);
  for (std::int64_t i = 0; i < samples_; ++i) {
    device_.embedding_mean(embedder.embeddings.all(), prompts[static_cast<std::size_t>(i)].tokens,
                           mean.row_block(i, 1));
  }
  if (shape_.prompts == Prompts::classes)
    return device_.join({.times = time, .prompts = mean}, out);
  device_.linear(*embedder.prompt_in, mean, prompt_hidden, Activation::silu);
  device_.linear(*embedder.prompt_out, prompt_hidden, prompt, Activation::none);
  device_.join({.times = time, .prompts = prompt}, out);
}

ConstMatrix Dit::part_of(const Matrix& modulation, std::int64_t part) const {
  return modulation.column_block(part * shape_.width, shape_.width);
}

// Shift and scale stand side by side, in this order, wherever a modulation has them.
Modulation Dit::modulation_at(const Matrix& modulation, std::int64_t first_part) const {
  const bool of_mlp = first_part % parts_per_block == mlp_shift;
  return {.shift = part_of(modulation, first_part),
          .scale = part_of(modulation, first_part + 1),
          .epsilon = of_mlp ? shape_.mlp_norm_epsilon : shape_.norm_epsilon};
}

void Dit::velocity(ConstMatrix picture, std::int64_t step, Matrix out) {
  GPUPOOL_ENSURE(step >= 0 && step < steps_, step, steps_);
  own_ = own_share();
  const std::int64_t tokens = own_.tokens;
  const std::int64_t rows = own_.samples * tokens;
  const Matrix modulation =
      memory_.modulation.all().row_block(step * samples_ + own_.first_sample, own_.samples);
  const Matrix patches = memory_.patches.all().row_block(0, rows);
  const Matrix stream = memory_.stream.all().row_block(0, rows);
  const Activations normed = memory_.normed.activations().row_block(0, rows);

  for (std::int64_t i = 0; i < own_.samples; ++i) {
    device_.patchify(picture, shape_.grid, own_.first_token, patches.row_block(i * tokens, tokens));
  }
  device_.linear(*layers_.patch_embedding, patches, stream, Activation::none);
  device_.add(stream, layers_.positions.all().row_block(own_.first_token, tokens));
  device_.modulated_norm(stream, modulation_at(modulation, attention_shift), normed);
  for (std::int64_t i = 0; i < shape_.depth; ++i) run_block(i, modulation);
  device_.linear(*layers_.final_projection, normed, patches, Activation::none);
  if (own_.tokens < shape_.grid.tokens()) {
    const Matrix joined = memory_.joined.all().row_block(0, samples_ * shape_.grid.tokens());
    start_gather(patches, joined);
    ranks_->finish_gathers();
    return device_.unpatchify(joined, shape_.grid, out);
  }
  const Matrix own_rows = out.row_block(own_.first_sample, own_.samples);
  device_.unpatchify(patches, shape_.grid, own_rows);
  if (own_.samples < samples_) ranks_->all_gather(own_rows, {1, 1}, out);
}

// In: the stream, and its norm under this block's attention modulation. Out: the stream after the
// block, and its norm under the next block's modulation, or under the final layer's. Each residual
// is thus added by the norm that reads it next.
void Dit::run_block(std::int64_t index, const Matrix& modulation) {
  const Block& block = layers_.blocks[static_cast<std::size_t>(index)];
  const std::int64_t rows = own_.samples * own_.tokens;
  const Matrix stream = memory_.stream.all().row_block(0, rows);
  const Activations normed = memory_.normed.activations().row_block(0, rows);
  const Activations branch = memory_.branch.activations().row_block(0, rows);
  const Activations hidden = memory_.hidden.activations().row_block(0, rows);
  const std::int64_t first = parts_per_block * index;

  attend(block, normed);
  device_.linear(*block.projection, normed, branch, Activation::none);
  device_.residual_norm(
      {.stream = stream, .branch = branch, .gate = part_of(modulation, first + attention_gate)},
      modulation_at(modulation, first + mlp_shift), normed);

  device_.linear(*block.mlp_in, normed, hidden, Activation::gelu_tanh);
  device_.linear(*block.mlp_out, hidden, branch, Activation::none);
  device_.residual_norm(
      {.stream = stream, .branch = branch, .gate = part_of(modulation, first + mlp_gate)},
      modulation_at(modulation, first + parts_per_block), normed);
}

// ---- Ranks -------------------------------------------------------------------------------------

Status Dit::use(Comm* ranks) {
  ranks_ = nullptr;
  if (ranks == nullptr) return ok();
  const std::int64_t tokens = shape_.grid.tokens();
  if (ranks->size() > tokens)
    return Error{.code = Errc::unsupported,
                 .detail = std::to_string(ranks->size()) + " ranks for " + std::to_string(tokens) +
                           " tokens"};
  if (memory_.joined.activations().rows == 0)
    if (const Status made = make_for_ranks(); !made) return made;
  shares_.clear();
  const auto first_of = [&](std::int64_t rank) { return tokens * rank / ranks->size(); };
  for (std::int64_t rank = 0; rank < ranks->size(); ++rank)
    shares_.push_back(first_of(rank + 1) - first_of(rank));
  ranks_ = ranks;
  return ok();
}

Status Dit::make_for_ranks() {
  const std::int64_t width = shape_.width;
  const std::int64_t rows = capacity_.samples * shape_.grid.tokens();
  for (Block& block : layers_.blocks) {
    auto queries = device_.part_of(*block.qkv, {0, width});
    if (!queries) return queries.error();
    auto keys_values = device_.part_of(*block.qkv, {width, 2 * width});
    if (!keys_values) return keys_values.error();
    block.queries = *std::move(queries);
    block.keys_values = *std::move(keys_values);
  }
  Result<Buffer> gathered = device_.allocate_activations({rows, 2 * width});
  if (!gathered) return gathered.error();
  Result<Buffer> joined = device_.allocate({rows, shape_.grid.values_per_patch()});
  if (!joined) return joined.error();
  memory_.gathered = *std::move(gathered);
  memory_.joined = *std::move(joined);  // last: it tells that all is there
  return ok();
}

// Two ranks take a sample each and exchange one result a step; otherwise the tokens are shared, and
// the ranks exchange keys and values in every block (docs/benchmarks.md has both).
Dit::Share Dit::own_share() const {
  const std::int64_t tokens = shape_.grid.tokens();
  if (ranks_ == nullptr) return {.samples = samples_, .tokens = tokens};
  const auto rank = static_cast<std::size_t>(ranks_->rank());
  if (ranks_->size() == 2 && samples_ == 2)
    return {.first_sample = ranks_->rank(), .samples = 1, .tokens = tokens};
  return {.samples = samples_,
          .first_token = first_row(shares_, ranks_->rank()),
          .tokens = shares_[rank]};
}

Status Dit::status() const { return ranks_ == nullptr ? ok() : ranks_->status(); }

// Of each sample the rows of all ranks, in the order of their tokens.
void Dit::start_gather(const ConstActivations& mine, const Activations& all) {
  const std::int64_t tokens = shape_.grid.tokens();
  for (std::int64_t i = 0; i < samples_; ++i)
    ranks_->start_gather(mine.row_block(i * own_.tokens, own_.tokens), shares_,
                         all.row_block(i * tokens, tokens));
}

// In: the norm. Out, in its place: what the queries of this rank find among the keys and values of
// all, which pass between the ranks while the queries are computed.
void Dit::attend(const Block& block, const Activations& normed) {
  const std::int64_t width = shape_.width;
  const std::int64_t tokens = shape_.grid.tokens();
  const Activations qkv = memory_.qkv.activations().row_block(0, normed.rows);
  const Activations queries = qkv.column_block(0, width);
  Activations keys_values = qkv.column_block(width, 2 * width);
  if (own_.tokens == tokens) {
    device_.linear(*block.qkv, normed, qkv, Activation::none);
  } else {
    const Activations gathered = memory_.gathered.activations().row_block(0, samples_ * tokens);
    device_.linear(*block.keys_values, normed, keys_values, Activation::none);
    start_gather(keys_values, gathered);
    device_.linear(*block.queries, normed, queries, Activation::none);
    ranks_->finish_gathers();
    keys_values = gathered;
  }
  device_.attention({.queries = queries,
                     .keys = keys_values.column_block(0, width),
                     .values = keys_values.column_block(width, width),
                     .samples = own_.samples,
                     .heads = shape_.heads},
                    normed);
}

}  // namespace gpupool
