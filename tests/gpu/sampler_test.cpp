#include "gpu/sampler.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "gpu/schedule.h"
#include "tests/gpu/behind_device.h"
#include "tests/gpu/small_network.h"

using namespace gpupool;

namespace {

struct Studio {
  std::unique_ptr<Device> device;
  std::unique_ptr<Dit> network;
  std::unique_ptr<Sampler> sampler;

  explicit Studio(std::unique_ptr<Device> on = make_cpu_device(1)) : device(std::move(on)) {
    Weights weights = small_weights();
    network = *Dit::load(*device, small_shape(), {}, weights);
    sampler = *Sampler::make(*device, *network);
  }
  std::vector<float> draw(const SampleRequest& request) { return **sampler->run(request, {}); }
};

SampleRequest request_of(std::int32_t steps, float guidance) {
  return {.prompt = prompt_of({1, 2}),
          .without = prompt_of({0}),
          .steps = steps,
          .guidance = guidance,
          .seed = Seed{5}};
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(double{a[i]} - b[i]));
  }
  return largest;
}

}  // namespace

TEST_CASE("A schedule leads from 1 to 0 in equal steps") {
  const auto steps = GENERATE(1, 3, 30, 1000);
  const Schedule schedule = even_schedule(steps);
  REQUIRE(schedule.times.size() == static_cast<std::size_t>(steps));
  CHECK(schedule.times.front() == 1.0F);
  CHECK(schedule.times.back() == Approx(1.0 / steps).epsilon(1e-5));
  REQUIRE(schedule.steps.size() == schedule.times.size());
  for (const StepTerms& step : schedule.steps) {
    CHECK(step.clean_m == Approx(-1.0 / steps));
    CHECK(step.clean_x == 1);
    CHECK(step.keep == 1);
  }
}

TEST_CASE("DDIM led by the truth ends at the picture, whatever the network predicts") {
  const DdimOptions options{
      .betas = GENERATE(Betas::linear, Betas::scaled_linear, Betas::cosine),
      .predicts = GENERATE(Predicts::noise, Predicts::picture, Predicts::velocity),
      .spacing = GENERATE(Spacing::leading, Spacing::trailing)};
  const std::int32_t steps = GENERATE(1, 8, 50, 1000);
  const Schedule schedule = ddim_schedule(options, steps);
  // How much of the picture is left at each time, from the steps of a network that predicts noise.
  DdimOptions of_noise = options;
  of_noise.predicts = Predicts::noise;
  const Schedule known = ddim_schedule(of_noise, steps);
  const double clean = 0.7;
  const double noise = -1.3;
  double x = 0;
  for (std::size_t i = 0; i < schedule.steps.size(); ++i) {
    const double picture = 1 / double{known.steps[i].clean_x};
    const double rest = std::sqrt(1 - picture * picture);
    if (i == 0) x = picture * clean + rest * noise;
    const double truth[] = {noise, clean, picture * noise - rest * clean};
    const double m = truth[static_cast<int>(options.predicts)];
    const StepTerms& step = schedule.steps[i];
    x = step.keep * (step.clean_x * x + step.clean_m * m) + step.noise_x * x + step.noise_m * m;
  }
  CHECK(x == Approx(clean).margin(2e-3));
}

TEST_CASE("DDIM's times are those of the training, spaced as told") {
  const auto times = [](Spacing spacing, std::int32_t steps, std::int32_t offset = 0) {
    return ddim_schedule({.spacing = spacing, .offset = offset}, steps).times;
  };
  CHECK(times(Spacing::leading, 4) == std::vector<float>{750, 500, 250, 0});
  CHECK(times(Spacing::leading, 3, 1) == std::vector<float>{667, 334, 1});
  CHECK(times(Spacing::trailing, 4) == std::vector<float>{999, 749, 499, 249});
  CHECK(times(Spacing::linspace, 4) == std::vector<float>{999, 666, 333, 0});
  CHECK(times(Spacing::leading, 1000, 1).front() == 999);
  CHECK(times(Spacing::trailing, 1) == std::vector<float>{999});
}

TEST_CASE("The sampler reports every step in order") {
  Studio studio;
  std::vector<std::int32_t> seen;
  const auto picture = studio.sampler->run(request_of(20, 3), [&](StepProgress progress) {
    CHECK(progress.of == 20);
    seen.push_back(progress.finished);
    return StepVerdict::go_on;
  });
  REQUIRE(picture);
  CHECK(picture->has_value());
  REQUIRE(seen.size() == 20);
  for (std::int32_t i = 0; i < 20; ++i) CHECK(seen[static_cast<std::size_t>(i)] == i + 1);
}

TEST_CASE("On a device that runs behind, the sampler tells of steps that are over, each once") {
  Studio studio(std::make_unique<BehindDevice>(make_cpu_device(1)));
  const std::vector<float> expected = Studio().draw(request_of(20, 3));
  std::vector<std::int32_t> seen;
  const auto note = [&](StepProgress progress) {
    seen.push_back(progress.finished);
    return StepVerdict::go_on;
  };
  const auto picture = studio.sampler->run(request_of(20, 3), note);
  REQUIRE(picture);
  CHECK(**picture == expected);
  REQUIRE(seen.size() == 20);
  for (std::int32_t i = 0; i < 20; ++i) CHECK(seen[static_cast<std::size_t>(i)] == i + 1);

  const auto stop_at = GENERATE(1, 7, 19, 20);
  const auto stopped = studio.sampler->run(request_of(20, 3), [&](StepProgress progress) {
    return progress.finished == stop_at ? StepVerdict::stop : StepVerdict::go_on;
  });
  REQUIRE(stopped);
  CHECK_FALSE(stopped->has_value());
  CHECK(studio.draw(request_of(20, 3)) == expected);
}

TEST_CASE("The sampler stops at the step that is told to stop, and draws again afterwards") {
  Studio studio;
  const std::vector<float> expected = studio.draw(request_of(20, 3));
  const auto stop_at = GENERATE(1, 7, 20);
  int steps = 0;
  const auto stopped = studio.sampler->run(request_of(20, 3), [&](StepProgress progress) {
    ++steps;
    return progress.finished == stop_at ? StepVerdict::stop : StepVerdict::go_on;
  });
  REQUIRE(stopped);
  CHECK_FALSE(stopped->has_value());
  CHECK(steps == stop_at);
  CHECK(studio.draw(request_of(20, 3)) == expected);
}

TEST_CASE("The seed alone decides the noise that a picture starts from") {
  Studio studio;
  SampleRequest request = request_of(4, 3);
  const std::vector<float> first = studio.draw(request);
  CHECK(studio.draw(request) == first);
  std::vector<float> noise(first.size());
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = noise_at(request.seed, i);
  CHECK(**studio.sampler->run_from(noise, request, {}) == first);
  request.seed = Seed{6};
  CHECK(largest_difference(studio.draw(request), first) > 1e-2);
}

TEST_CASE("Guidance 1 is the prompt alone and guidance 0 the null prompt alone") {
  Studio studio;
  const std::vector<float> alone = studio.draw(request_of(5, 1));
  CHECK(largest_difference(alone, studio.draw(request_of(5, 1.0001F))) < 1e-2);
  SampleRequest without = request_of(5, 1);
  without.prompt = without.without;
  CHECK(largest_difference(studio.draw(without), studio.draw(request_of(5, 0))) < 1e-4);
  CHECK(largest_difference(alone, studio.draw(request_of(5, 0))) > 1e-3);
}

TEST_CASE("A picture that is no longer finite is a device failure") {
  Studio studio;
  const std::vector<float> noise(3 * 8 * 8, std::numeric_limits<float>::infinity());
  const auto picture = studio.sampler->run_from(noise, request_of(3, 3), {});
  REQUIRE_FALSE(picture);
  CHECK(picture.error().code == Errc::device_failed);
}
