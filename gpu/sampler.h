#pragma once
// The sampler: from noise to a picture, step by step along the network's velocity, with
// classifier-free guidance. The network sees the same picture twice in each step, with the prompt
// and without. Written over Device; owns its working memory there. One thread.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "gpu/dit.h"
#include "gpu/schedule.h"

namespace gpupool {

enum class StepVerdict { go_on, stop };

// Steps done so far, 1 to `of`.
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

class Sampler {
 public:
  static Result<std::unique_ptr<Sampler>> make(Device& device, Dit& network);

  // The planes of the picture, or nothing if on_step (which may be empty) said stop. Errors:
  // device_failed, also when a value is no longer finite.
  Result<std::optional<std::vector<float>>> run(const SampleRequest& request,
                                                const OnStep& on_step);
  // The same from given noise instead of the seed's.
  Result<std::optional<std::vector<float>>> run_from(std::span<const float> noise,
                                                     const SampleRequest& request,
                                                     const OnStep& on_step);

 private:
  Sampler(Device& device, Dit& network) : device_(device), network_(network) {}

  Result<std::optional<std::vector<float>>> denoise(const SampleRequest& request,
                                                    const OnStep& on_step);
  void take_step(const SampleRequest& request, std::int64_t prepared, float step);

  Device& device_;
  Dit& network_;
  Buffer picture_;   // [1, values], noise at first
  Buffer velocity_;  // [2, values]: with the prompt, without
};

}  // namespace gpupool
