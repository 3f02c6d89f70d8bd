#pragma once
// The network: a diffusion transformer (Peebles and Xie, "Scalable diffusion models with
// transformers", ICCV 2023) over pixels or a decoder's latents, conditioned on a prompt's words or
// on a class. It says in which direction a noisy picture moves. Written over Device; owns its
// layers and all its working memory there, made once by load(). Tensor names are those of the
// original DiT. One thread.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "gpu/comm.h"
#include "gpu/device.h"
#include "gpu/text.h"
#include "gpu/weights.h"

namespace gpupool {

// What of a prompt conditions the network: the mean of its words' embeddings, through a small MLP,
// or the embedding of its one class as it is.
enum class Prompts : std::uint8_t { words, classes };

struct DitShape {
  PatchGrid grid{};
  std::int64_t width = 0;  // values per token
  std::int64_t depth = 0;  // blocks
  std::int64_t heads = 0;  // divides width
  std::int64_t mlp_width = 0;
  std::int64_t vocabulary = 0;        // words or classes, the null token included
  std::int64_t time_frequencies = 0;  // even: a cosine and a sine each
  std::int64_t frequency_shift = 0;   // of TimeFeatures
  float time_scale = 1000;
  float norm_epsilon = 1e-6F;
  float mlp_norm_epsilon = 1e-6F;  // of the norm before each MLP
  Prompts prompts = Prompts::words;
  std::int64_t embedders =
      1;  // of time and prompt: one, or one per block ("blocks.<i>." from 1 on)
};

// How much work the network's memory is made for.
struct DitCapacity {
  std::int64_t samples = 2;       // in one step: with the prompt and without
  std::int64_t steps_ahead = 16;  // whose conditions are computed together
};

class Dit {
 public:
  // Takes every tensor it needs out of `weights`; one that is missing, has another shape or is left
  // over is file_malformed. A "<layer>.bias" is used where there is one. device_failed: no memory;
  // unsupported: more of it than any device has.
  static Result<std::unique_ptr<Dit>> load(Device& device, const DitShape& shape,
                                           const DitCapacity& capacity, Weights& weights);

  const DitShape& shape() const { return shape_; }
  const DitCapacity& capacity() const { return capacity_; }

  // From now on each rank computes its own part of the tokens, until the next call; `ranks`
  // outlives that, and all of them make the same calls and get the same results. nullptr: this
  // device computes all. The first time makes memory. Errors: unsupported (more ranks than tokens),
  // device_failed.
  Status use(Comm* ranks);

  // Prepares up to capacity().steps_ahead times, each with every prompt (one per sample). All that
  // depends on time and prompt alone is computed here, for many steps in one product: it reads half
  // of the network's weights, and would do so again at each step.
  void condition(std::span<const float> times, std::span<const Prompt> prompts);

  // The velocity at the prepared time number `step`: one row per prompt. `picture` has one row,
  // which all prompts share.
  void velocity(ConstMatrix picture, std::int64_t step, Matrix out);
  bool is_alone() const { return ranks_ == nullptr; }
  // device_failed: a rank is gone, and what was computed since is not good.
  Status status() const;

 private:
  struct Block {
    std::unique_ptr<Linear> modulation;
    std::unique_ptr<Linear> qkv;
    std::unique_ptr<Linear> queries;      // with ranks: a part of qkv
    std::unique_ptr<Linear> keys_values;  // with ranks: the other part
    std::unique_ptr<Linear> projection;
    std::unique_ptr<Linear> mlp_in;
    std::unique_ptr<Linear> mlp_out;
  };
  struct Embedder {
    std::unique_ptr<Linear> time_in;
    std::unique_ptr<Linear> time_out;
    std::unique_ptr<Linear> prompt_in;  // of words; so is the next
    std::unique_ptr<Linear> prompt_out;
    Buffer embeddings;  // [vocabulary, width]
  };
  struct Layers {
    std::unique_ptr<Linear> patch_embedding;
    std::vector<Embedder> embedders;
    std::vector<Block> blocks;
    std::unique_ptr<Linear> final_modulation;
    std::unique_ptr<Linear> final_projection;
    Buffer positions;  // [tokens, width]
  };
  // Named by what it holds; rows are samples * tokens of this rank unless said otherwise.
  struct Memory {
    Buffer patches;     // [.., values per patch], the input's and later the output's
    Buffer stream;      // [.., width], what the blocks add to
    Buffer normed;      // [.., width], also the attention's result
    Buffer branch;      // [.., width]
    Buffer qkv;         // [.., 3 width]
    Buffer hidden;      // [.., mlp width]
    Buffer gathered;    // with ranks: keys and values of all tokens, [samples * tokens, 2 width]
    Buffer joined;      // with ranks: output patches of all tokens
    Buffer features;    // [steps ahead, frequencies]
    Buffer times;       // [2 steps ahead, width]: hidden layer, then result
    Buffer prompts;     // [3 samples, width]: mean, hidden layer, result
    Buffer conditions;  // [steps ahead * samples, width]
    Buffer modulation;  // [steps ahead * samples, 6 width per block + 2 width]
  };
  // What this rank computes of a step.
  struct Share {
    std::int64_t first_sample = 0;
    std::int64_t samples = 0;
    std::int64_t first_token = 0;
    std::int64_t tokens = 0;
  };
  Dit(Device& device, const DitShape& shape, const DitCapacity& capacity)
      : device_(device), shape_(shape), capacity_(capacity) {}

  void embed(const Embedder& embedder, std::span<const Prompt> prompts, const Matrix& out);
  void run_block(std::int64_t index, const Matrix& modulation);
  void attend(const Block& block, const Activations& normed);
  Share own_share() const;
  Status make_for_ranks();
  void start_gather(const ConstActivations& mine, const Activations& all);
  Modulation modulation_at(const Matrix& modulation, std::int64_t first_part) const;
  ConstMatrix part_of(const Matrix& modulation, std::int64_t part) const;

  Device& device_;
  DitShape shape_;
  DitCapacity capacity_;
  Comm* ranks_ = nullptr;             // nullptr: this device computes all tokens
  std::vector<std::int64_t> shares_;  // tokens of each rank
  Layers layers_;
  Memory memory_;
  std::int64_t samples_ = 0;  // as last prepared
  Share own_{};               // of the step that is being computed
  std::int64_t steps_ = 0;
};

}  // namespace gpupool
