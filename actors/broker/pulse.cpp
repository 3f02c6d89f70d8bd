#include "actors/broker/pulse.h"

#include <utility>

#include "actors/histogram.h"

namespace gpupool {
namespace {

constexpr Duration pulse_interval = seconds(1);

}  // namespace

void PulseBook::leased(Instant now, Instant admitted_at, Instant promised) {
  ++totals_.started;
  if (now > promised) ++totals_.missed;
  note(totals_.waits, wait_bounds_us, (now - admitted_at).ms * 1000);
}

void PulseBook::settled(Outcome outcome, Duration ran, GpuTime charged) {
  switch (outcome) {
    case Outcome::succeeded:
      ++totals_.succeeded;
      break;
    case Outcome::failed:
      ++totals_.failed;
      break;
    case Outcome::expired:
      ++totals_.expired;
      break;
    case Outcome::cancelled:
      ++totals_.cancelled;
      break;
  }
  totals_.charged += charged;
  if (ran > Duration{}) note(totals_.runs, run_bounds_us, ran.ms * 1000);
}

void PulseBook::left(Instant now, const Job& job, const std::string& node, SlotIndex slot) {
  if (totals_.spans.size() >= spans_max) {
    ++totals_.left_out;
    return;
  }
  totals_.spans.push_back({.node = node,
                           .slot = slot,
                           .job = job.hold->job,
                           .account = job.hold->account,
                           .app = job.hold->body->app,
                           .from = job.leased_at,
                           .began = job.began,
                           .to = now});
}

PoolPulse PulseBook::take(Instant now) {
  due_ = now + pulse_interval;
  PoolPulse pulse = totals_;
  pulse.at = now;
  totals_.spans.clear();
  totals_.left_out = 0;
  return pulse;
}

}  // namespace gpupool
