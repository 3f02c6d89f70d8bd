#include "gpu/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/ensure.h"

namespace gpupool {

Result<std::unique_ptr<Sampler>> Sampler::make(Device& device, Dit& network) {
  GPUPOOL_ENSURE(network.capacity().samples >= 2, network.capacity().samples);
  const std::int64_t values = network.shape().grid.values();
  std::unique_ptr<Sampler> sampler(new Sampler(device, network));
  Result<Buffer> picture = device.allocate({1, values});
  if (!picture) return picture.error();
  Result<Buffer> velocity = device.allocate({2, values});
  if (!velocity) return velocity.error();
  sampler->picture_ = *std::move(picture);
  sampler->velocity_ = *std::move(velocity);
  return sampler;
}

Result<std::optional<std::vector<float>>> Sampler::run(const SampleRequest& request,
                                                       const OnStep& on_step) {
  device_.noise({.seed = request.seed, .first = 0}, picture_.all());
  return denoise(request, on_step);
}

Result<std::optional<std::vector<float>>> Sampler::run_from(std::span<const float> noise,
                                                            const SampleRequest& request,
                                                            const OnStep& on_step) {
  device_.upload(noise, picture_.all());
  return denoise(request, on_step);
}

Result<std::optional<std::vector<float>>> Sampler::denoise(const SampleRequest& request,
                                                           const OnStep& on_step) {
  const Schedule schedule = even_schedule(request.steps);
  const std::array<Prompt, 2> prompts = {request.prompt, request.without};
  const std::size_t samples = request.guidance == 1.0F ? 1 : 2;
  const auto ahead = static_cast<std::size_t>(network_.capacity().steps_ahead);
  const auto go_on = [&](StepProgress progress) {
    return on_step ? on_step(progress) : StepVerdict::go_on;
  };
  std::int32_t told = 0;
  for (std::size_t i = 0; i < schedule.times.size(); ++i) {
    if (i % ahead == 0) {
      const std::size_t count = std::min(ahead, schedule.times.size() - i);
      network_.condition(std::span(schedule.times).subspan(i, count),
                         std::span(prompts).first(samples));
    }
    const RepeatKey key{.step = static_cast<std::int64_t>(i % ahead),
                        .samples = static_cast<std::int64_t>(samples),
                        .guidance = request.guidance,
                        .step_size = schedule.step};
    device_.repeat(key, [&] { take_step(request, key.step, schedule.step); });
    const Result<std::int32_t> left = device_.pace();
    if (!left) return left.error();
    if (const Status together = network_.status(); !together) return together.error();
    const auto finished = static_cast<std::int32_t>(i) + 1 - *left;
    if (finished > 0 && go_on({finished, request.steps}) == StepVerdict::stop)
      return std::optional<std::vector<float>>{};
    told = std::max(told, finished);
  }
  const Status done = device_.finish();
  if (!done) return done.error();
  if (told < request.steps && go_on({request.steps, request.steps}) == StepVerdict::stop)
    return std::optional<std::vector<float>>{};
  std::vector<float> planes(static_cast<std::size_t>(network_.shape().grid.values()));
  device_.download(picture_.all(), planes);
  if (!std::all_of(planes.begin(), planes.end(), [](float v) { return std::isfinite(v); })) {
    return Error{.code = Errc::device_failed, .detail = "the picture holds infinite values"};
  }
  return std::optional(std::move(planes));
}

// Without guidance there is one velocity; with it the guided one replaces the conditional one.
void Sampler::take_step(const SampleRequest& request, std::int64_t prepared, float step) {
  const std::int64_t samples = request.guidance == 1.0F ? 1 : 2;
  const Matrix velocities = velocity_.all().row_block(0, samples);
  const Matrix velocity = velocities.row_block(0, 1);
  network_.velocity(picture_.all(), prepared, velocities);
  if (samples == 2) {
    device_.guide({.conditional = velocity,
                   .unconditional = velocities.row_block(1, 1),
                   .scale = request.guidance},
                  velocity);
  }
  device_.euler_step(picture_.all(), velocity, step);
}

}  // namespace gpupool
