#pragma once
// The decoder of an autoencoder (Rombach and others, "High-resolution image synthesis with latent
// diffusion models", CVPR 2022): makes a picture of the small map of latents that a network drew.
// It works in stages, so that a long one can tell how far it is and be stopped. Written over
// Device, on which it owns its layers and its working memory; a feature map there has a row for
// each pixel. Tensor names are those of AutoencoderKL in the diffusers package. One thread.

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "base/result.h"
#include "gpu/device.h"
#include "gpu/weights.h"

namespace gpupool {

struct DecoderShape {
  std::int64_t latent_channels = 4;
  std::int64_t latent_side = 0;  // pixels
  std::int64_t channels = 3;     // of the picture
  std::vector<std::int64_t>
      widths;                // channels of each level, the finest first; each divides into groups
  std::int64_t resnets = 3;  // at each level
  std::int64_t groups = 32;
  float scaling = 1;          // the latents were multiplied by it
  bool attends = true;        // in the middle, over all pixels
  bool mixes_latents = true;  // "post_quant_conv"

  std::int64_t side() const { return latent_side << (widths.size() - 1); }
};

class Decoder {
 public:
  // Takes what it needs out of `weights`, which is of the decoder alone; one that is missing, has
  // another shape or is left over is file_malformed. device_failed: no memory.
  static Result<std::unique_ptr<Decoder>> load(Device& device, const DecoderShape& shape,
                                               Weights& weights);

  const DecoderShape& shape() const { return shape_; }
  std::int64_t stages() const { return static_cast<std::int64_t>(stages_.size()); }

  // All of them in order decode one picture. latents: one row, [channels, side, side], read by the
  // first stage; picture: the same, written by the last.
  void run(std::int64_t stage, ConstMatrix latents, Matrix picture);

 private:
  struct Norm {
    Buffer weight;  // [1, channels]; so is the next
    Buffer bias;
  };
  struct Entry {
    std::unique_ptr<Linear> mix;  // none: they come as they are
    std::unique_ptr<Linear> convolution;
  };
  struct Resnet {
    Norm first_norm;
    std::unique_ptr<Linear> first;
    Norm second_norm;
    std::unique_ptr<Linear> second;
    std::unique_ptr<Linear> shortcut;  // where the number of channels changes
  };
  struct Attention {
    Norm norm;
    std::unique_ptr<Linear> qkv;
    std::unique_ptr<Linear> projection;
  };
  struct Enlarge {
    std::unique_ptr<Linear> convolution;
  };
  struct Exit {
    Norm norm;
    std::unique_ptr<Linear> convolution;
  };
  // The sizes are of what it makes.
  struct Stage {
    std::variant<Entry, Resnet, Attention, Enlarge, Exit> layer;
    std::int64_t side = 0;
    std::int64_t inputs = 0;  // channels
    std::int64_t outputs = 0;

    std::int64_t pixels() const { return side * side; }
  };
  class Loader;

  Decoder(Device& device, const DecoderShape& shape) : device_(device), shape_(shape) {}

  void run(const Stage& stage, const Entry& entry, ConstMatrix latents);
  void run(const Stage& stage, const Resnet& resnet);
  void run(const Stage& stage, const Attention& attention);
  void run(const Stage& stage, const Enlarge& enlarge);
  void run(const Stage& stage, const Exit& exit, Matrix picture);
  Matrix stream(std::int64_t pixels, std::int64_t channels) const;
  void norm(const Norm& norm, Activation activation, ConstMatrix in, Activations out);
  void convolve(const Linear& layer, ConstActivations in, const MapGrid& grid, Matrix out);

  Device& device_;
  const DecoderShape shape_;
  std::vector<Stage> stages_;
  // Each as large as the largest map.
  Buffer streams_[2];       // what the stages add to, and what the next one starts
  std::size_t stream_ = 0;  // which is the first
  Buffer branch_;
  Buffer normed_;  // activations
  Buffer wide_;    // activations: neighbourhoods of some pixels, or queries, keys and values
};

}  // namespace gpupool
