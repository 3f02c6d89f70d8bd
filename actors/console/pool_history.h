#pragma once
// What the console remembers of the pool's last day: pulses of broker and ledger and the refusals
// of sessions, in minutes and quarters of an hour, and the runs of the last 15 minutes. Always
// bounded: 60 minutes, 96 quarters, 60 seconds, spans_max runs. Gaps stay gaps: a period in which
// nothing was heard is left out. Pure; the console's thread.

#include <deque>
#include <map>

#include "actors/messages/overview.h"

namespace gpupool {

class PoolHistory {
 public:
  static constexpr std::size_t spans_max = 1'000;
  static constexpr Duration spans_kept = minutes(15);

  void hear(const PoolPulse& pulse);
  void hear(Instant now, const LedgerPulse& pulse);
  void refused(Instant now, Errc code);

  // Everything but nodes, queue, audit and announcement.
  void fill(Instant now, Overview& overview) const;

 private:
  using Refusals = std::map<Errc, std::uint64_t>;
  struct Period {
    Instant at{};
    std::uint64_t busy = 0;  // slots, summed over pulses
    std::uint64_t up = 0;
    std::uint64_t started = 0;
    Histogram waits;
    Refusals refused;
  };
  struct Second {
    Instant at{};
    std::uint64_t commits = 0;
    std::uint64_t records = 0;
    Refusals refused;
  };
  struct Ring {
    Duration length;
    std::size_t most;
    std::deque<Period> periods{};
  };

  static Period& present(Ring& ring, Instant now);
  Second& present(Instant now);
  static PoolPeriod view_of(const Period& period);
  static std::vector<PoolPeriod> view_of(const Ring& ring, Instant now);
  static std::vector<CodeCount> list_of(const Refusals& refusals);

  PoolPulse last_;
  LedgerPulse ledger_;
  Refusals refused_;
  Ring hour_{minutes(1), 60};
  Ring day_{minutes(15), 96};
  std::deque<Second> minute_;
  std::deque<SlotSpan> spans_;
  std::uint64_t left_out_ = 0;  // of those that would still be shown
  Instant left_out_at_{};       // the last of them
};

}  // namespace gpupool
