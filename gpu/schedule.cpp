#include "gpu/schedule.h"

#include "base/ensure.h"

namespace gpupool {

Schedule even_schedule(std::int32_t steps) {
  GPUPOOL_ENSURE(steps >= 1, steps);
  Schedule schedule;
  schedule.times.reserve(static_cast<std::size_t>(steps));
  for (std::int32_t i = 0; i < steps; ++i) {
    // From i, not by repeated subtraction: no error adds up, and t is the nearest float.
    schedule.times.push_back(static_cast<float>(1.0 - double{1.0} * i / steps));
  }
  schedule.step = static_cast<float>(1.0 / steps);
  return schedule;
}

}  // namespace gpupool
