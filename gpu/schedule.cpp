#include "gpu/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/ensure.h"

namespace gpupool {
namespace {

// How much noise the training's step i of n adds, as a variance.
double beta_at(const DdimOptions& options, std::int32_t i) {
  const double n = options.train_steps;
  const double along = options.train_steps > 1 ? i / (n - 1) : 0;
  if (options.betas == Betas::cosine) {
    // Nichol and Dhariwal 2021: what is left of the picture falls like a squared cosine.
    const auto left = [](double t) {
      const double cosine = std::cos((t + 0.008) / 1.008 * 1.5707963267948966);
      return cosine * cosine;
    };
    return std::min(1 - left((i + 1) / n) / left(i / n), 0.999);
  }
  if (options.betas == Betas::linear)
    return options.beta_start + along * (options.beta_end - options.beta_start);
  const double first = std::sqrt(options.beta_start);
  const double root = first + along * (std::sqrt(options.beta_end) - first);
  return root * root;
}

// The part of the picture's variance that is left after each of the training's steps.
std::vector<double> alphas_of(const DdimOptions& options) {
  std::vector<double> alphas;
  double left = 1;
  for (std::int32_t i = 0; i < options.train_steps; ++i)
    alphas.push_back(left *= 1 - beta_at(options, i));
  return alphas;
}

// Rounded as NumPy rounds: of two equally near numbers to the even one.
std::int32_t time_at(const DdimOptions& options, std::int32_t steps, std::int32_t i) {
  const double n = options.train_steps;
  const std::int32_t last = options.train_steps - 1;
  double time = 0;
  switch (options.spacing) {
    case Spacing::leading:
      time = (steps - 1 - i) * (options.train_steps / steps) + options.offset;
      break;
    case Spacing::trailing:
      time = std::nearbyint(n - i * (n / steps)) - 1;
      break;
    case Spacing::linspace:
      time = steps > 1 ? std::nearbyint((steps - 1 - i) * ((n - 1) / (steps - 1))) : 0;
      break;
  }
  return std::clamp(static_cast<std::int32_t>(time), 0, last);
}

// With a the part of the picture in the variance now and b after the step: x = sqrt(a) clean +
// sqrt(1 - a) noise, and the step makes sqrt(b) clean + sqrt(1 - b) noise of that.
StepTerms terms_of(Predicts predicts, double a, double b) {
  const double picture = std::sqrt(a);
  const double noise = std::sqrt(1 - a);
  double clean_x = 0;
  double clean_m = 1;
  double noise_x = 1 / noise;
  double noise_m = -picture / noise;
  if (predicts == Predicts::noise) {
    clean_x = 1 / picture;
    clean_m = -noise / picture;
    noise_x = 0;
    noise_m = 1;
  } else if (predicts == Predicts::velocity) {
    clean_x = picture;
    clean_m = -noise;
    noise_x = noise;
    noise_m = picture;
  }
  const double left = std::sqrt(1 - b);
  return {.clean_x = static_cast<float>(clean_x),
          .clean_m = static_cast<float>(clean_m),
          .keep = static_cast<float>(std::sqrt(b)),
          .noise_x = static_cast<float>(left * noise_x),
          .noise_m = static_cast<float>(left * noise_m)};
}

}  // namespace

Schedule even_schedule(std::int32_t steps) {
  GPUPOOL_ENSURE(steps >= 1, steps);
  Schedule schedule;
  for (std::int32_t i = 0; i < steps; ++i) {
    // From i, not by repeated subtraction: no error adds up, and t is the nearest float.
    schedule.times.push_back(static_cast<float>(1.0 - double{1.0} * i / steps));
    schedule.steps.push_back({.clean_m = -static_cast<float>(1.0 / steps)});
  }
  return schedule;
}

Schedule ddim_schedule(const DdimOptions& options, std::int32_t steps) {
  GPUPOOL_ENSURE(steps >= 1 && steps <= options.train_steps, steps, options.train_steps);
  const std::vector<double> alphas = alphas_of(options);
  const auto alpha_at = [&](std::int32_t time) { return alphas[static_cast<std::size_t>(time)]; };
  const double last = options.ends_clean ? 1 : alphas.front();
  Schedule schedule;
  for (std::int32_t i = 0; i < steps; ++i) {
    const std::int32_t time = time_at(options, steps, i);
    const std::int32_t next = time - options.train_steps / steps;
    StepTerms terms = terms_of(options.predicts, alpha_at(time), next >= 0 ? alpha_at(next) : last);
    terms.limit = options.limit;
    schedule.times.push_back(static_cast<float>(time));
    schedule.steps.push_back(terms);
  }
  return schedule;
}

}  // namespace gpupool
