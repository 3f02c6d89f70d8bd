#pragma once
// A network small enough to make up: random weights of every shape that a Dit asks for.

#include "gpu/cpu/device_cpu.h"
#include "gpu/dit.h"
#include "gpu/noise.h"
#include "gpu/weights.h"

namespace gpupool {

inline DitShape small_shape() {
  return {.grid = {.channels = 3, .side = 8, .patch = 2},
          .width = 32,
          .depth = 2,
          .heads = 2,
          .mlp_width = 64,
          .vocabulary = 10,
          .time_frequencies = 16};
}

struct NamedTensor {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

inline std::vector<NamedTensor> small_tensors(std::int64_t channels = 3) {
  std::vector<NamedTensor> tensors;
  const auto add = [&](const std::string& name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    const Seed seed{tensors.size() + 1};
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.2F * noise_at(seed, i);
    tensors.push_back({name, shape, values});
  };
  const auto add_layer = [&](const std::string& name, std::int64_t outputs, std::int64_t inputs) {
    add(name + ".weight", {outputs, inputs});
    add(name + ".bias", {outputs});
  };
  add("x_embedder.proj.weight", {32, channels, 2, 2});
  add("x_embedder.proj.bias", {32});
  add("pos_embed", {1, 16, 32});
  add_layer("t_embedder.mlp.0", 32, 16);
  add_layer("t_embedder.mlp.2", 32, 32);
  add("y_embedder.embedding_table.weight", {10, 32});
  add_layer("y_embedder.mlp.0", 32, 32);
  add_layer("y_embedder.mlp.2", 32, 32);
  for (const std::string block : {"blocks.0.", "blocks.1."}) {
    add_layer(block + "adaLN_modulation.1", 192, 32);
    add(block + "attn.qkv.weight", {96, 32});
    add(block + "attn.proj.weight", {32, 32});
    add(block + "mlp.fc1.weight", {64, 32});
    add(block + "mlp.fc2.weight", {32, 64});
  }
  add_layer("final_layer.adaLN_modulation.1", 64, 32);
  add_layer("final_layer.linear", 4 * channels, 32);
  return tensors;
}

inline Weights small_weights() {
  Weights weights;
  for (NamedTensor& tensor : small_tensors())
    weights.put(tensor.name, tensor.shape, std::move(tensor.values));
  return weights;
}

inline Prompt prompt_of(std::vector<std::int32_t> tokens) {
  return {.tokens = std::move(tokens), .unknown_words = {}};
}

}  // namespace gpupool
