#pragma once
// The clocks of this machine, for the shells and programs that hand time to the cores. Thread-safe.

#include <ctime>

#include "base/time.h"

namespace gpupool {

inline Instant read_clock(clockid_t clock) {
  timespec reading{};
  clock_gettime(clock, &reading);
  return {std::int64_t{reading.tv_sec} * 1000 + reading.tv_nsec / 1'000'000};
}

inline Instant wall_time() { return read_clock(CLOCK_REALTIME); }
// Counts on while the machine sleeps, never goes back; what leases and deadlines are measured by.
inline Instant boot_time() { return read_clock(CLOCK_BOOTTIME); }

// To measure how long something took: microseconds of a clock that is never set.
inline std::int64_t steady_us() {
  timespec reading{};
  clock_gettime(CLOCK_MONOTONIC, &reading);
  return std::int64_t{reading.tv_sec} * 1'000'000 + reading.tv_nsec / 1'000;
}

}  // namespace gpupool
