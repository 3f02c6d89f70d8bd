#include "gpu/decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/ensure.h"
#include "gpu/layer_loader.h"

namespace gpupool {
namespace {

constexpr std::int64_t neighbours = 9;
constexpr float norm_epsilon = 1e-6F;
// Neighbourhoods are made for so many values at once: 16 MB in f32.
constexpr std::int64_t wide_values = std::int64_t{4} << 20;

std::int64_t pixels_at_once(std::int64_t channels) {
  return std::max<std::int64_t>(1, wide_values / (neighbours * channels));
}

}  // namespace

class Decoder::Loader {
 public:
  Loader(Decoder& decoder, Weights& weights)
      : decoder_(decoder), shape_(decoder.shape_), layers_(decoder.device_, weights) {}

  Status load() {
    side_ = shape_.latent_side;
    channels_ = shape_.widths.back();
    entry();
    resnet("mid_block.resnets.0", channels_);
    if (shape_.attends) attention("mid_block.attentions.0");
    resnet("mid_block.resnets.1", channels_);
    for (std::size_t level = 0; level < shape_.widths.size(); ++level) {
      const std::string name = "up_blocks." + std::to_string(level) + ".";
      const std::int64_t width = shape_.widths[shape_.widths.size() - 1 - level];
      for (std::int64_t i = 0; i < shape_.resnets; ++i)
        resnet(name + "resnets." + std::to_string(i), width);
      if (level + 1 < shape_.widths.size()) enlarge(name + "upsamplers.0.conv");
    }
    exit();
    allocate();
    return layers_.finish();
  }

 private:
  void add(std::variant<Entry, Resnet, Attention, Enlarge, Exit> layer, std::int64_t outputs) {
    decoder_.stages_.push_back(
        {.layer = std::move(layer), .side = side_, .inputs = channels_, .outputs = outputs});
    channels_ = outputs;
  }

  Norm norm(const std::string& name, std::int64_t channels) {
    Norm norm;
    norm.weight = layers_.table("decoder." + name + ".weight", {1, channels}, {channels});
    norm.bias = layers_.table("decoder." + name + ".bias", {1, channels}, {channels});
    return norm;
  }

  // The file has [outputs, inputs, row, column]; a neighbourhood has its channels innermost.
  std::unique_ptr<Linear> convolution(const std::string& name, MatrixSize channels,
                                      float factor = 1) {
    const std::string full = "decoder." + name;
    const std::vector<float> in_file =
        layers_.take(full + ".weight", {channels.rows, channels.columns, 3, 3});
    std::vector<float> weight(in_file.size());
    const auto inputs = static_cast<std::size_t>(channels.columns);
    for (std::size_t i = 0; i < in_file.size(); ++i) {
      const std::size_t output = i / (inputs * neighbours);
      const std::size_t input = i / neighbours % inputs;
      weight[(output * neighbours + i % neighbours) * inputs + input] = factor * in_file[i];
    }
    return layers_.linear(weight, layers_.bias(full, channels.rows),
                          {channels.rows, neighbours * channels.columns});
  }
  // Of one pixel.
  std::unique_ptr<Linear> mixing(const std::string& name, MatrixSize channels, float factor = 1) {
    std::vector<float> weight =
        layers_.take(name + ".weight", {channels.rows, channels.columns, 1, 1});
    for (float& value : weight) value *= factor;
    return layers_.linear(weight, layers_.bias(name, channels.rows), channels);
  }

  void entry() {
    // The first layer undoes the scaling: one product less.
    const float unscale = 1 / shape_.scaling;
    const std::int64_t latents = shape_.latent_channels;
    Entry entry;
    if (shape_.mixes_latents) entry.mix = mixing("post_quant_conv", {latents, latents}, unscale);
    entry.convolution =
        convolution("conv_in", {channels_, latents}, shape_.mixes_latents ? 1 : unscale);
    const std::int64_t width = std::exchange(channels_, latents);
    add(std::move(entry), width);
  }

  void resnet(const std::string& name, std::int64_t outputs) {
    Resnet resnet;
    resnet.first_norm = norm(name + ".norm1", channels_);
    resnet.first = convolution(name + ".conv1", {outputs, channels_});
    resnet.second_norm = norm(name + ".norm2", outputs);
    resnet.second = convolution(name + ".conv2", {outputs, outputs});
    if (channels_ != outputs)
      resnet.shortcut = mixing("decoder." + name + ".conv_shortcut", {outputs, channels_});
    add(std::move(resnet), outputs);
  }

  // Queries, keys and values by one product.
  void attention(const std::string& name) {
    Attention attention;
    attention.norm = norm(name + ".group_norm", channels_);
    std::vector<float> weight;
    std::vector<float> bias;
    for (const char* part : {".to_q", ".to_k", ".to_v"}) {
      const std::string full = "decoder." + name + part;
      const std::vector<float> of_part = layers_.take(full + ".weight", {channels_, channels_});
      const std::vector<float> bias_of_part = layers_.take(full + ".bias", {channels_});
      weight.insert(weight.end(), of_part.begin(), of_part.end());
      bias.insert(bias.end(), bias_of_part.begin(), bias_of_part.end());
    }
    attention.qkv = layers_.linear(weight, bias, {3 * channels_, channels_});
    attention.projection = layers_.linear("decoder." + name + ".to_out.0", {channels_, channels_});
    add(std::move(attention), channels_);
  }

  void enlarge(const std::string& name) {
    side_ *= 2;
    add(Enlarge{convolution(name, {channels_, channels_})}, channels_);
  }

  void exit() {
    Exit exit;
    exit.norm = norm("conv_norm_out", channels_);
    exit.convolution = convolution("conv_out", {shape_.channels, channels_});
    add(std::move(exit), shape_.channels);
  }

  void allocate() {
    std::int64_t map = 0;
    std::int64_t wide = 0;
    for (const Stage& stage : decoder_.stages_) {
      const std::int64_t channels = std::max(stage.inputs, stage.outputs);
      map = std::max(map, stage.pixels() * channels);
      wide = std::max(wide,
                      std::min(stage.pixels(), pixels_at_once(channels)) * neighbours * channels);
      if (std::holds_alternative<Attention>(stage.layer))
        wide = std::max(wide, stage.pixels() * 3 * channels);
    }
    for (Buffer& stream : decoder_.streams_) stream = layers_.allocate({1, map});
    decoder_.branch_ = layers_.allocate({1, map});
    decoder_.normed_ = layers_.allocate_activations({1, map});
    decoder_.wide_ = layers_.allocate_activations({1, wide});
  }

  Decoder& decoder_;
  const DecoderShape& shape_;
  LayerLoader layers_;
  std::int64_t side_ = 0;
  std::int64_t channels_ = 0;  // after the stages so far
};

Result<std::unique_ptr<Decoder>> Decoder::load(Device& device, const DecoderShape& shape,
                                               Weights& weights) {
  GPUPOOL_ENSURE(!shape.widths.empty() && shape.latent_side > 0, shape.latent_side);
  std::unique_ptr<Decoder> decoder(new Decoder(device, shape));
  if (const Status loaded = Loader(*decoder, weights).load(); !loaded) return loaded.error();
  return decoder;
}

void Decoder::run(std::int64_t index, ConstMatrix latents, Matrix picture) {
  GPUPOOL_ENSURE(index >= 0 && index < stages(), index, stages());
  const Stage& stage = stages_[static_cast<std::size_t>(index)];
  if (const auto* entry = std::get_if<Entry>(&stage.layer)) return run(stage, *entry, latents);
  if (const auto* exit = std::get_if<Exit>(&stage.layer)) return run(stage, *exit, picture);
  if (const auto* resnet = std::get_if<Resnet>(&stage.layer)) return run(stage, *resnet);
  if (const auto* attention = std::get_if<Attention>(&stage.layer)) return run(stage, *attention);
  run(stage, std::get<Enlarge>(stage.layer));
}

Matrix Decoder::stream(std::int64_t pixels, std::int64_t channels) const {
  return streams_[stream_].all().shaped(pixels, channels);
}

void Decoder::norm(const Norm& of, Activation activation, ConstMatrix in, Activations out) {
  device_.group_norm(in,
                     {.weight = of.weight.all(),
                      .bias = of.bias.all(),
                      .groups = shape_.groups,
                      .epsilon = norm_epsilon,
                      .activation = activation},
                     out);
}

// As a product over neighbourhoods, which are made for a part of the pixels at a time.
void Decoder::convolve(const Linear& layer, ConstActivations in, const MapGrid& grid, Matrix out) {
  const std::int64_t most = pixels_at_once(in.columns);
  for (std::int64_t first = 0; first < out.rows; first += most) {
    const std::int64_t rows = std::min(most, out.rows - first);
    const Activations around = wide_.activations().shaped(rows, neighbours * in.columns);
    device_.neighbours(in, grid, first, around);
    device_.linear(layer, around, out.row_block(first, rows), Activation::none);
  }
}

// Patches of one pixel are a feature map.
void Decoder::run(const Stage& stage, const Entry& entry, ConstMatrix latents) {
  const PatchGrid grid{.channels = stage.inputs, .side = stage.side, .patch = 1};
  Matrix map = branch_.all().shaped(stage.pixels(), stage.inputs);
  device_.patchify(latents, grid, 0, map);
  if (entry.mix != nullptr) {
    const Matrix mixed = streams_[1 - stream_].all().shaped(stage.pixels(), stage.inputs);
    device_.linear(*entry.mix, map, mixed, Activation::none);
    map = mixed;
  }
  convolve(*entry.convolution, map, {.side = stage.side}, stream(stage.pixels(), stage.outputs));
}

void Decoder::run(const Stage& stage, const Resnet& resnet) {
  const MapGrid grid{.side = stage.side};
  const Matrix in = stream(stage.pixels(), stage.inputs);
  const Matrix branch = branch_.all().shaped(stage.pixels(), stage.outputs);
  const Activations normed = normed_.activations();
  const Activations first = normed.shaped(stage.pixels(), stage.inputs);
  const Activations second = normed.shaped(stage.pixels(), stage.outputs);
  norm(resnet.first_norm, Activation::silu, in, first);
  convolve(*resnet.first, first, grid, branch);
  norm(resnet.second_norm, Activation::silu, branch, second);
  convolve(*resnet.second, second, grid, branch);
  if (resnet.shortcut != nullptr) {
    stream_ = 1 - stream_;
    device_.linear(*resnet.shortcut, in, stream(stage.pixels(), stage.outputs), Activation::none);
  }
  device_.add(stream(stage.pixels(), stage.outputs), branch);
}

void Decoder::run(const Stage& stage, const Attention& attention) {
  const std::int64_t width = stage.outputs;
  const Matrix in = stream(stage.pixels(), width);
  const Matrix branch = branch_.all().shaped(stage.pixels(), width);
  const Activations normed = normed_.activations().shaped(stage.pixels(), width);
  const Activations qkv = wide_.activations().shaped(stage.pixels(), 3 * width);
  norm(attention.norm, Activation::none, in, normed);
  device_.linear(*attention.qkv, normed, qkv, Activation::none);
  device_.attention({.queries = qkv.column_block(0, width),
                     .keys = qkv.column_block(width, width),
                     .values = qkv.column_block(2 * width, width)},
                    normed);
  device_.linear(*attention.projection, normed, branch, Activation::none);
  device_.add(in, branch);
}

void Decoder::run(const Stage& stage, const Enlarge& enlarge) {
  const Matrix in = stream(stage.pixels() / 4, stage.inputs);
  stream_ = 1 - stream_;
  convolve(*enlarge.convolution, in, {.side = stage.side, .enlarge = 2},
           stream(stage.pixels(), stage.outputs));
}

void Decoder::run(const Stage& stage, const Exit& exit, Matrix picture) {
  const Activations normed = normed_.activations().shaped(stage.pixels(), stage.inputs);
  norm(exit.norm, Activation::silu, stream(stage.pixels(), stage.inputs), normed);
  const Matrix out = branch_.all().shaped(stage.pixels(), stage.outputs);
  convolve(*exit.convolution, normed, {.side = stage.side}, out);
  device_.unpatchify(out, {.channels = stage.outputs, .side = stage.side, .patch = 1}, picture);
}

}  // namespace gpupool
