#pragma once
// The latest start that the pool commits to at admission: the bound of scheduling.md, which holds
// whatever arrives later, since every occupancy is enforced. From then on a promise moves only when
// the pool's slots get fewer or an older job has to run again, and says why. Pure functions, exact
// in milliseconds, rounded up, at most `wait_max`.

#include <cstdint>

#include "actors/broker/queue.h"
#include "base/time.h"
#include "config/config.h"

namespace gpupool {

// What the slots of a partition can do for those who wait.
struct Capacity {
  std::uint32_t slots = 0;    // S: healthy, on nodes that take leases
  std::uint32_t largest = 1;  // m: slots of the largest size
  Duration longest{};         // D: the longest occupancy

  // K: how many jobs of several slots can have a place kept for them at once.
  std::uint32_t pins() const;
  // Too small for two lanes: the older one goes first, always.
  bool is_tiny() const { return slots <= largest * pins(); }
  // c0: slots that no pin can ever keep idle.
  std::int64_t unpinned() const { return std::int64_t{slots} - largest * pins(); }
  friend bool operator==(const Capacity&, const Capacity&) = default;
};

inline constexpr std::int64_t inverse_phi = 4;  // the old lane gets at least a quarter
inline constexpr Duration wait_max = hours(24 * 365 * 1'000);

// The longest wait of a job of so many slots behind those that are older and not leased yet.
Duration longest_wait(const Capacity& capacity, const Ahead& older, std::uint32_t slots);

// What one more older job, of this work and so many slots, adds to it.
Duration added_wait(const Capacity& capacity, const Waiting& older, std::uint32_t slots);

// The longest occupancy that any app of this partition can ask for.
Duration longest_occupancy(const Config& config, const std::string& partition);

}  // namespace gpupool
