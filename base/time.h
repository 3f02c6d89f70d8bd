#pragma once
// Time as an argument. An Instant is a point in ledger time or, on a worker, of its CLOCK_BOOTTIME;
// a Duration is a difference. Both count whole milliseconds. There is no now() here: core code
// cannot ask what time it is. Only shells read clocks (base/steady.h).

#include <compare>
#include <cstdint>
#include <limits>
#include <ostream>
#include <tuple>

namespace gpupool {

struct Duration {
  std::int64_t ms = 0;

  auto fields() { return std::tie(ms); }
  friend auto operator<=>(const Duration&, const Duration&) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return {a.ms + b.ms}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return {a.ms - b.ms}; }
  friend constexpr Duration operator*(Duration a, std::int64_t n) { return {a.ms * n}; }
  friend std::ostream& operator<<(std::ostream& out, Duration d) { return out << d.ms << " ms"; }
};

constexpr Duration milliseconds(std::int64_t n) { return {n}; }
constexpr Duration seconds(std::int64_t n) { return {n * 1000}; }
constexpr Duration minutes(std::int64_t n) { return {n * 60'000}; }
constexpr Duration hours(std::int64_t n) { return {n * 3'600'000}; }

struct Instant {
  std::int64_t ms =
      0;  // since 1970-01-01T00:00:00Z, or since boot on a worker; 0 means "never yet"

  auto fields() { return std::tie(ms); }
  explicit operator bool() const { return ms != 0; }
  static constexpr Instant never() { return {std::numeric_limits<std::int64_t>::max()}; }
  friend auto operator<=>(const Instant&, const Instant&) = default;
  friend constexpr Instant operator+(Instant t, Duration d) { return {t.ms + d.ms}; }
  friend constexpr Instant operator-(Instant t, Duration d) { return {t.ms - d.ms}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return {a.ms - b.ms}; }
  friend std::ostream& operator<<(std::ostream& out, Instant t) { return out << t.ms; }
};

}  // namespace gpupool
