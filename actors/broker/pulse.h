#pragma once
// What the broker counts for the console: totals since it led, and the runs whose slots were given
// back. Always: no more than spans_max of these wait for the next pulse; the others are counted. It
// decides nothing. Pure; the broker's thread.

#include <vector>

#include "actors/broker/job.h"
#include "actors/messages/overview.h"

namespace gpupool {

class PulseBook {
 public:
  static constexpr std::size_t spans_max = 512;

  void admitted() { ++totals_.admitted; }
  // A lease, so long after the admission; promised: the latest start that was.
  void leased(Instant now, Instant admitted_at, Instant promised);
  void requeued() { ++totals_.requeued; }
  void settled(Outcome outcome, Duration ran, GpuTime charged);
  // The job leaves these slots, one after the other.
  void left(Instant now, const Job& job, const std::string& node, SlotIndex slot);

  bool is_due(Instant now) const { return now >= due_; }
  // The totals and what ended since the last one. What is there at this moment is the broker's to
  // fill in.
  PoolPulse take(Instant now);

 private:
  PoolPulse totals_;
  Instant due_{};
};

}  // namespace gpupool
