#pragma once
// The sampler: from noise to a picture, step by step by what the network predicts, with
// classifier-free guidance, and through a decoder where the network draws latents. The network sees
// the same picture twice in each step, with the prompt and without. Written over Device; owns its
// working memory there. One thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "gpu/decoder.h"
#include "gpu/dit.h"
#include "gpu/schedule.h"

namespace gpupool {

enum class StepVerdict { go_on, stop };

// Steps done so far, 1 to `of`; the stages of a decoder are the last of them.
struct StepProgress {
  std::int32_t finished = 0;
  std::int32_t of = 0;
};
using OnStep = std::function<StepVerdict(StepProgress)>;

struct SampleRequest {
  Prompt prompt;
  Prompt without;  // what guidance leads away from: the null prompt
  std::int32_t steps = 0;
  float guidance = 1;  // 1: the prompt alone, at half the cost
  Seed seed;
};

struct SamplerOptions {
  std::function<Schedule(std::int32_t steps)> schedule = even_schedule;
  Decoder* decoder = nullptr;  // outlives the sampler; nullptr: the network draws pixels
};

class Sampler {
 public:
  static Result<std::unique_ptr<Sampler>> make(Device& device, Dit& network,
                                               SamplerOptions options = {});

  // The planes of the picture, or nothing if on_step (which may be empty) said stop. Errors:
  // device_failed, also when a value is no longer finite.
  Result<std::optional<std::vector<float>>> run(const SampleRequest& request,
                                                const OnStep& on_step);
  // The picture, or where the network draws latents these, as it would be if the network said the
  // same in all steps to come as in the last one that the device was given: for on_step, while it
  // is called. Waits for the device.
  std::vector<float> foreseen();
  // The same as run() from given noise instead of the seed's.
  Result<std::optional<std::vector<float>>> run_from(std::span<const float> noise,
                                                     const SampleRequest& request,
                                                     const OnStep& on_step);

 private:
  class Teller;

  Sampler(Device& device, Dit& network, SamplerOptions options)
      : device_(device), network_(network), options_(std::move(options)) {}

  Result<std::optional<std::vector<float>>> draw(const SampleRequest& request,
                                                 const OnStep& on_step);
  Result<StepVerdict> denoise(const SampleRequest& request, Teller& teller);
  Result<StepVerdict> decode(Teller& teller);
  void predict(const SampleRequest& request, std::int64_t prepared);

  Device& device_;
  Dit& network_;
  const SamplerOptions options_;
  Schedule schedule_;      // of the present run
  std::size_t begun_ = 0;  // steps of it that the device was given
  Buffer picture_;         // [1, values], noise at first
  Buffer prediction_;      // [2, values]: with the prompt, without
  Buffer decoded_;         // [1, values of the decoder]
};

}  // namespace gpupool
