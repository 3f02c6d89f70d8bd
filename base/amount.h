#pragma once
// GpuTime: what quota is counted in, whole milliseconds of one slot. Exact integer arithmetic with
// overflow as a broken invariant; no floating point anywhere. Durations become costs only through
// cost_of(), so a factor is never applied twice.

#include <compare>
#include <cstdint>
#include <ostream>
#include <tuple>

#include "base/ensure.h"
#include "base/time.h"

namespace gpupool {

struct GpuTime {
  std::int64_t ms = 0;

  auto fields() { return std::tie(ms); }
  friend auto operator<=>(const GpuTime&, const GpuTime&) = default;
  friend GpuTime operator+(GpuTime a, GpuTime b) {
    std::int64_t sum = 0;
    GPUPOOL_ENSURE(!__builtin_add_overflow(a.ms, b.ms, &sum), a.ms, b.ms);
    return {sum};
  }
  friend GpuTime operator-(GpuTime a, GpuTime b) {
    std::int64_t difference = 0;
    GPUPOOL_ENSURE(!__builtin_sub_overflow(a.ms, b.ms, &difference), a.ms, b.ms);
    return {difference};
  }
  GpuTime& operator+=(GpuTime other) { return *this = *this + other; }
  GpuTime& operator-=(GpuTime other) { return *this = *this - other; }
  friend std::ostream& operator<<(std::ostream& out, GpuTime t) { return out << t.ms << " ms"; }
};

// The cost of `declared` time at a size whose factor is `factor` (large 1, xlarge 2).
inline GpuTime cost_of(Duration declared, std::uint32_t factor) {
  std::int64_t cost = 0;
  GPUPOOL_ENSURE(!__builtin_mul_overflow(declared.ms, std::int64_t{factor}, &cost), declared.ms);
  return {cost};
}

// The longest duration that `amount` pays for at `factor`, rounded down to the millisecond.
inline Duration duration_for(GpuTime amount, std::uint32_t factor) {
  GPUPOOL_ENSURE(factor > 0, factor);
  return {amount.ms / std::int64_t{factor}};
}

}  // namespace gpupool
