#pragma once
// LedgerClock: ledger time over readings passed in (design 2.9). Wall time at the start plus steady
// time (CLOCK_BOOTTIME) since; never below the last record and never standing still: a wall clock
// behind the last record at the start only means that ledger time goes on from that record. What
// always holds: now() never goes back. Owned by the ledger's shell; pure, reads no clock itself.

#include <algorithm>
#include <cstdlib>
#include <string>

#include "actors/ledger/journal.h"

namespace gpupool {

// What to do about a wall clock that jumped while the pool was down, on the same boot.
enum class JumpedClock : std::uint8_t { refuse = 1, accept = 2 };

class LedgerClock {
 public:
  static constexpr Duration jump_max = hours(1);

  // At a start: `reading` is the clocks now, `tail` the end of the journal. On the same boot the
  // time that passed since the last record is known, so a wall clock that differs by more than
  // jump_max is refused: clock_jumped, want = the difference (signed), have = jump_max.
  static Result<LedgerClock> start(const ClockStamp& reading, const JournalTail& tail,
                                   JumpedClock policy) {
    if (tail.sequence == 0) return LedgerClock(reading, reading.wall);
    LedgerClock clock(reading, std::max(reading.wall, tail.at));
    // A boot clock behind its own last stamp is another machine's, whatever the boot id says.
    const Duration passed = reading.boot - tail.stamp.boot;
    clock.same_boot_ = reading.boot_id == tail.stamp.boot_id && passed >= Duration{};
    clock.gap_ = reading.wall - tail.at;
    if (!clock.same_boot_ || policy == JumpedClock::accept) return clock;
    const Duration jump = reading.wall - (tail.at + passed);
    if (jump <= jump_max && jump >= Duration{} - jump_max) return clock;
    return Error{.code = Errc::clock_jumped,
                 .want = jump.ms,
                 .have = jump_max.ms,
                 .detail =
                     "the wall clock was set while the pool was down; if it is right now, "
                     "start once with --accept-clock"};
  }

  // Ledger time at a reading of CLOCK_BOOTTIME.
  Instant now(Instant boot) {
    latest_ = std::max(latest_, base_ + (boot - boot_at_start_));
    return latest_;
  }

  // Of the start: whether there was a boot clock to compare with, and the time since the last
  // record by the wall clock (negative: that clock is behind it). For the log.
  bool same_boot() const { return same_boot_; }
  Duration gap() const { return gap_; }

 private:
  LedgerClock(const ClockStamp& reading, Instant base)
      : base_(base), boot_at_start_(reading.boot), latest_(base) {}

  Instant base_;
  Instant boot_at_start_;
  Instant latest_;
  bool same_boot_ = false;
  Duration gap_{};
};

}  // namespace gpupool
