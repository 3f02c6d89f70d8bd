#include "bench/dit_xl2.h"

#include <string>
#include <utility>

namespace gpupool::bench {
namespace {

// So small that nothing grows through the blocks; how large they are doesn't change the time.
class RandomWeights {
 public:
  Weights take() { return std::move(weights_); }
  void tensor(const std::string& name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) {
      // xorshift64 of Marsaglia 2003.
      state_ ^= state_ << 13U;
      state_ ^= state_ >> 7U;
      state_ ^= state_ << 17U;
      value = (static_cast<float>(state_ >> 40U) / 16777216.0F - 0.5F) * 0.04F;
    }
    weights_.put(name, shape, std::move(values));
  }
  void layer(const std::string& name, MatrixSize size) {
    tensor(name + ".weight", {size.rows, size.columns});
    tensor(name + ".bias", {size.rows});
  }

 private:
  std::uint64_t state_ = 1;
  Weights weights_;
};

}  // namespace

Weights random_weights(const DitShape& shape) {
  RandomWeights weights;
  const std::int64_t width = shape.width;
  const PatchGrid& grid = shape.grid;
  weights.tensor("x_embedder.proj.weight", {width, grid.channels, grid.patch, grid.patch});
  weights.tensor("x_embedder.proj.bias", {width});
  weights.tensor("pos_embed", {1, grid.tokens(), width});
  weights.layer("t_embedder.mlp.0", {width, shape.time_frequencies});
  weights.layer("t_embedder.mlp.2", {width, width});
  weights.tensor("y_embedder.embedding_table.weight", {shape.vocabulary, width});
  weights.layer("y_embedder.mlp.0", {width, width});
  weights.layer("y_embedder.mlp.2", {width, width});
  for (std::int64_t i = 0; i < shape.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    weights.layer(block + "adaLN_modulation.1", {6 * width, width});
    weights.layer(block + "attn.qkv", {3 * width, width});
    weights.layer(block + "attn.proj", {width, width});
    weights.layer(block + "mlp.fc1", {shape.mlp_width, width});
    weights.layer(block + "mlp.fc2", {width, shape.mlp_width});
  }
  weights.layer("final_layer.adaLN_modulation.1", {2 * width, width});
  weights.layer("final_layer.linear", {grid.values_per_patch(), width});
  return weights.take();
}

}  // namespace gpupool::bench
