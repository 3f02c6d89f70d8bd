#pragma once
// A picture model, ready to draw: the network's weights on a device, its sampler and, where it
// draws latents, its decoder, loaded from one folder: ours (config.json, vocab.json and one
// *.safetensors; golden.safetensors, which tests use, doesn't count) or a DiTPipeline saved by the
// diffusers package (model_index.json). This is the engine's whole door. A Model owns its device
// and threads; use it from one thread at a time. load() makes the network's memory. A picture
// depends only on the model and the request, never on the number of threads (test: "A picture is
// the same on one thread and on three").

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "gpu/device.h"
#include "gpu/picture.h"
#include "gpu/sampler.h"

namespace gpupool {

// Bounds of a request; a request beyond them is refused as bad_request, with the numbers in detail.
inline constexpr std::int32_t steps_max = 10000;
inline constexpr float guidance_max = 50.0F;
inline constexpr std::int32_t pixels_max = 2048;
inline constexpr std::size_t prompt_bytes_max = 1024;

struct GenerateRequest {
  std::string prompt;       // words, or a class of the model; empty means "anything"
  std::int32_t steps = 30;  // 1 to steps_max
  float guidance = 3;       // 0 to guidance_max; 1 follows the prompt without guidance
  std::uint64_t seed = 0;   // the same seed and request give the same picture
  std::int32_t pixels = 0;  // side of the picture: a whole multiple of Model::native_pixels(); 0:
                            // the smallest that is at least 256
};

struct Generated {
  Picture picture;
  std::vector<std::string> unknown_words;  // words of the prompt that the model never learned
};

class Model {
 public:
  // The device becomes the model's own. Errors: file_unreadable, file_malformed, unsupported (a
  // convention of the files that this engine doesn't know), device_failed (no memory); detail names
  // the file and the tensor.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& folder,
                                             std::unique_ptr<Device> device);
  // On the CPU in f32, with so many threads, the calling one included.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& folder,
                                             std::int32_t threads);
  ~Model();

  // Calls on_step after each step. Empty when on_step said stop: that is an outcome, not an error.
  // Errors: bad_request, device_failed. An empty on_step is allowed.
  // With `ranks` several models draw it together, each its part; all make the same call, and all
  // have the picture.
  Result<std::optional<Generated>> generate(const GenerateRequest& request, const OnStep& on_step,
                                            Comm* ranks = nullptr);

  // What the picture will be as far as the last step tells, in the network's own size, for on_step
  // while it is called: of latents three channels as colours, which shows forms at best. Nothing
  // where a value is not finite. Waits for the device, so ask seldom. Precondition: the picture is
  // drawn without ranks, each of which has its part alone.
  std::optional<Picture> preview();

  // Checks a request without drawing: what generate() would refuse at once, it refuses.
  Status check(const GenerateRequest& request) const;

  // bad_request: the model draws classes, and this is none.
  Result<Prompt> read_prompt(std::string_view text) const;
  Prompt no_prompt() const;
  bool draws_classes() const;

  std::int32_t native_pixels() const;
  std::int32_t pixels_of(const GenerateRequest& request) const;
  std::int64_t parameters() const;  // weights in the file, for people
  const std::string& name() const;  // config.json's "model"

  // What the model is made of, for those who compare it with something: tests and benchmarks.
  Device& device();
  Dit& network();
  Sampler& sampler();

 private:
  struct Parts;
  explicit Model(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace gpupool
