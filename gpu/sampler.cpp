#include "gpu/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <utility>

#include "base/ensure.h"

namespace gpupool {

// Waits until at most one step is left to the device, and tells of those that are over, each once.
class Sampler::Teller {
 public:
  Teller(Device& device, const OnStep& on_step, std::int32_t of)
      : device_(device), on_step_(on_step), of_(of) {}

  Result<StepVerdict> step_begun() {
    const Result<std::int32_t> left = device_.pace();
    if (!left) return left.error();
    return tell(++begun_ - *left);
  }
  Result<StepVerdict> all_over() {
    if (const Status done = device_.finish(); !done) return done.error();
    return tell(of_);
  }

 private:
  StepVerdict tell(std::int32_t finished) {
    if (finished <= told_) return StepVerdict::go_on;
    told_ = finished;
    return on_step_ ? on_step_({finished, of_}) : StepVerdict::go_on;
  }

  Device& device_;
  const OnStep& on_step_;
  const std::int32_t of_;
  std::int32_t begun_ = 0;
  std::int32_t told_ = 0;
};

Result<std::unique_ptr<Sampler>> Sampler::make(Device& device, Dit& network,
                                               SamplerOptions options) {
  GPUPOOL_ENSURE(network.capacity().samples >= 2, network.capacity().samples);
  const std::int64_t values = network.shape().grid.values();
  std::unique_ptr<Sampler> sampler(new Sampler(device, network, std::move(options)));
  const auto place = [&](Buffer& buffer, MatrixSize size) -> Status {
    Result<Buffer> made = device.allocate(size);
    if (!made) return made.error();
    buffer = *std::move(made);
    return ok();
  };
  if (const Status made = place(sampler->picture_, {1, values}); !made) return made.error();
  if (const Status made = place(sampler->prediction_, {2, values}); !made) return made.error();
  if (const Decoder* const decoder = sampler->options_.decoder) {
    const DecoderShape& shape = decoder->shape();
    const std::int64_t pixels = shape.side() * shape.side();
    const Status made = place(sampler->decoded_, {1, shape.channels * pixels});
    if (!made) return made.error();
  }
  return sampler;
}

Result<std::optional<std::vector<float>>> Sampler::run(const SampleRequest& request,
                                                       const OnStep& on_step) {
  device_.noise({.seed = request.seed, .first = 0}, picture_.all());
  return draw(request, on_step);
}

Result<std::optional<std::vector<float>>> Sampler::run_from(std::span<const float> noise,
                                                            const SampleRequest& request,
                                                            const OnStep& on_step) {
  device_.upload(noise, picture_.all());
  return draw(request, on_step);
}

// Every step is linear in the picture and the prediction, but for the limit of a clean picture's
// values, which is passed over here; so the steps that are left are one.
std::vector<float> Sampler::foreseen() {
  float of_picture = 1;
  float of_prediction = 0;
  for (std::size_t i = begun_; i < schedule_.steps.size(); ++i) {
    const StepTerms& step = schedule_.steps[i];
    const float x = step.keep * step.clean_x + step.noise_x;
    of_picture *= x;
    of_prediction = of_prediction * x + step.keep * step.clean_m + step.noise_m;
  }
  std::vector<float> values(static_cast<std::size_t>(picture_.all().columns));
  std::vector<float> prediction(values.size());
  device_.download(picture_.all(), values);
  device_.download(prediction_.all().row_block(0, 1), prediction);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = of_picture * values[i] + of_prediction * prediction[i];
  return values;
}

Result<std::optional<std::vector<float>>> Sampler::draw(const SampleRequest& request,
                                                        const OnStep& on_step) {
  Decoder* const decoder = options_.decoder;
  const auto stages = decoder == nullptr ? 0 : static_cast<std::int32_t>(decoder->stages());
  Teller teller(device_, on_step, request.steps + stages);
  Result<StepVerdict> verdict = denoise(request, teller);
  if (verdict && *verdict == StepVerdict::go_on) verdict = decode(teller);
  if (verdict && *verdict == StepVerdict::go_on) verdict = teller.all_over();
  if (!verdict) return verdict.error();
  if (*verdict == StepVerdict::stop) {
    // With ranks the device can be waiting for those that go on: who made the Comm ends it.
    if (!network_.is_alone()) return std::optional<std::vector<float>>{};
    if (const Status done = device_.finish(); !done) return done.error();
    return std::optional<std::vector<float>>{};
  }
  if (const Status together = network_.status(); !together) return together.error();
  const Matrix picture = decoder == nullptr ? picture_.all() : decoded_.all();
  std::vector<float> planes(static_cast<std::size_t>(picture.columns));
  device_.download(picture, planes);
  if (!std::all_of(planes.begin(), planes.end(), [](float v) { return std::isfinite(v); })) {
    return Error{.code = Errc::device_failed, .detail = "the picture holds infinite values"};
  }
  return std::optional(std::move(planes));
}

Result<StepVerdict> Sampler::denoise(const SampleRequest& request, Teller& teller) {
  schedule_ = options_.schedule(request.steps);
  const Schedule& schedule = schedule_;
  const std::array<Prompt, 2> prompts = {request.prompt, request.without};
  const std::size_t samples = request.guidance == 1.0F ? 1 : 2;
  const auto ahead = static_cast<std::size_t>(network_.capacity().steps_ahead);
  for (std::size_t i = 0; i < schedule.times.size(); ++i) {
    if (i % ahead == 0) {
      const std::size_t count = std::min(ahead, schedule.times.size() - i);
      network_.condition(std::span(schedule.times).subspan(i, count),
                         std::span(prompts).first(samples));
    }
    const RepeatKey key{.step = static_cast<std::int64_t>(i % ahead),
                        .samples = static_cast<std::int64_t>(samples),
                        .guidance = request.guidance};
    const auto ops = [&] { predict(request, key.step); };
    if (network_.is_alone())
      device_.repeat(key, std::cref(ops));  // what ops captures is too large to be kept
    else
      ops();  // what ranks say to each other can't be recorded, and the key does not tell of them
    device_.advance(picture_.all(), prediction_.all().row_block(0, 1), schedule.steps[i]);
    begun_ = i + 1;
    const Result<StepVerdict> verdict = teller.step_begun();
    if (!verdict) return verdict.error();
    if (const Status together = network_.status(); !together) return together.error();
    if (*verdict == StepVerdict::stop) return verdict;
  }
  return StepVerdict::go_on;
}

Result<StepVerdict> Sampler::decode(Teller& teller) {
  const std::int64_t stages = options_.decoder == nullptr ? 0 : options_.decoder->stages();
  for (std::int64_t stage = 0; stage < stages; ++stage) {
    options_.decoder->run(stage, picture_.all(), decoded_.all());
    const Result<StepVerdict> verdict = teller.step_begun();
    if (!verdict || *verdict == StepVerdict::stop) return verdict;
  }
  return StepVerdict::go_on;
}

// Without guidance there is one prediction; with it the guided one replaces the conditional one.
void Sampler::predict(const SampleRequest& request, std::int64_t prepared) {
  const std::int64_t samples = request.guidance == 1.0F ? 1 : 2;
  const Matrix predictions = prediction_.all().row_block(0, samples);
  network_.velocity(picture_.all(), prepared, predictions);
  if (samples == 1) return;
  device_.guide({.conditional = predictions.row_block(0, 1),
                 .unconditional = predictions.row_block(1, 1),
                 .scale = request.guidance},
                predictions.row_block(0, 1));
}

}  // namespace gpupool
