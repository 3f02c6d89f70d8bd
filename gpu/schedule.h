#pragma once
// The times at which a picture is denoised. Rectified flow (Liu, Gong and Liu 2022) runs on a
// straight path from noise at t = 1 to the picture at t = 0, x_t = (1 - t) picture + t noise;
// Euler's method walks it in equal steps. Pure; usable from any thread.

#include <cstdint>
#include <vector>

namespace gpupool {

struct Schedule {
  std::vector<float> times;  // where the velocity is asked for; begins at 1, falls, stays above 0
  float step = 0;            // the length of every step; times.size() of them lead from 1 to 0
};

// steps >= 1.
Schedule even_schedule(std::int32_t steps);

}  // namespace gpupool
