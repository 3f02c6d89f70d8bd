#pragma once
// The times at which a picture is denoised, and what a step does at each. Pure; usable from any
// thread.

#include <cstdint>
#include <limits>
#include <vector>

#include "gpu/device.h"

namespace gpupool {

// One of each for every step, in their order.
struct Schedule {
  std::vector<float> times;      // where the network is asked
  std::vector<StepTerms> steps;  // what its answer does to the picture
};

// Rectified flow (Liu, Gong and Liu 2022) runs on a straight path from noise at t = 1 to the
// picture at t = 0, x_t = (1 - t) picture + t noise, and the network predicts a velocity; Euler's
// method walks the path in equal steps. steps >= 1. Times begin at 1, fall, and stay above 0.
Schedule even_schedule(std::int32_t steps);

enum class Betas { linear, scaled_linear, cosine };
enum class Predicts { noise, picture, velocity };
enum class Spacing { leading, trailing, linspace };

// A network that was trained to undo `train_steps` small additions of noise. The names and defaults
// are those of the diffusers package's DDIMScheduler.
struct DdimOptions {
  std::int32_t train_steps = 1000;
  double beta_start = 0.0001;
  double beta_end = 0.02;
  Betas betas = Betas::linear;
  Predicts predicts = Predicts::noise;
  Spacing spacing = Spacing::leading;
  std::int32_t offset = 0;  // of leading times
  bool ends_clean = true;   // the last step leads to a picture without noise
  float limit = std::numeric_limits<float>::infinity();  // of a clean picture's values
};

// DDIM (Song, Meng and Ermon, "Denoising diffusion implicit models", 2021) without noise of its
// own. 1 <= steps <= train_steps. Times are whole: the training's steps.
Schedule ddim_schedule(const DdimOptions& options, std::int32_t steps);

}  // namespace gpupool
