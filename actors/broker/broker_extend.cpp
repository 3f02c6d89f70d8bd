// Holds that grow: a job of an app with duration = "auto" holds what such runs took, and more step
// by step while it runs and its account can pay. Each step is durable before its worker hears of
// it; the worker ends the run where its hold ends. So what is charged is never more than was held.
#include <algorithm>

#include "actors/broker/broker.h"
#include "actors/describe.h"

namespace gpupool {
namespace {

// So long before its hold ends the next step is asked for: time for a slow commit and the way.
constexpr Duration extension_lead = seconds(2);
constexpr Duration extension_least = seconds(5);
constexpr Duration extension_retry = seconds(1);  // without an answer, or after a refusal
// Less than this is no use to anybody.
constexpr Duration useful_least = milliseconds(100);

}  // namespace

void Broker::hold_grows(const Hold& hold, const OpenHold& so_far) {
  if (hold.learned == Duration{}) return;
  growing_[hold.job] = {.held = hold.learned + duration_for(so_far.extended_by, hold.factor),
                        .number = so_far.extensions + 1};
}

// How long the job may run by what is held for it.
Duration Broker::held_of(const Job& job) const {
  const auto growing = growing_.find(job.hold->job);
  return growing == growing_.end() ? job.hold->declared : growing->second.held;
}

void Broker::plan_extension(const Job& job) {
  const auto growing = growing_.find(job.hold->job);
  if (growing == growing_.end()) return;
  GrowingHold& hold = growing->second;
  const bool needs_more = job.phase == Phase::running && hold.held < job.hold->declared;
  plan_extension(growing->first, hold,
                 needs_more ? job.began + hold.held - extension_lead : Instant{});
}

void Broker::plan_extension(JobId job, GrowingHold& hold, Instant due) {
  if (hold.due) extensions_.erase({hold.due, job});
  hold.due = due;
  if (due) extensions_.insert({due, job});
}

void Broker::ask_for_extensions() {
  while (!extensions_.empty() && extensions_.begin()->first <= now_) {
    const JobId id = extensions_.begin()->second;
    GrowingHold& hold = growing_.at(id);
    plan_extension(id, hold, {});
    Job& job = jobs_.at(id);
    if (job.phase != Phase::running || job.cancelling) continue;
    const Duration step = std::max(extension_least, Duration{hold.held.ms / 2});
    ask_for_extension(job, hold, std::min(step, job.hold->declared - hold.held));
  }
}

void Broker::ask_for_extension(Job& job, GrowingHold& hold, Duration by) {
  plan_extension(job.hold->job, hold, now_ + extension_retry);
  hold.asked = true;
  ask_ledger(Extend{.epoch = epoch_,
                    .job = job.hold->job,
                    .number = hold.number,
                    .by = cost_of(by, job.hold->factor)});
}

void Broker::on(const Extended& extended) {
  Job* job = find(extended.job);
  const auto growing = growing_.find(extended.job);
  if (!job || growing == growing_.end()) return;
  GrowingHold& hold = growing->second;
  if (extended.number < hold.number) return;  // an answer that was late
  hold.asked = hold.refused = false;
  hold.number = extended.number + 1;
  hold.held = duration_for(extended.held, job->hold->factor);
  plan_extension(*job);
  if (!job->has_slot()) return;
  tell_worker(job->place.node(), ExtendRun{epoch_, extended.job, job->attempt, hold.held});
  job->notice = "its hold was extended to " + seconds_text(hold.held);
  tell(*job);
  job->notice.clear();
}

// What is left is held too; beyond that the run is warned, and ends unless its account can pay
// again in time.
void Broker::on(const NotExtended& refused) {
  Job* job = find(refused.job);
  const auto growing = growing_.find(refused.job);
  if (!job || growing == growing_.end() || job->phase != Phase::running) return;
  GrowingHold& hold = growing->second;
  if (refused.number != hold.number || !std::exchange(hold.asked, false)) return;
  hold.refused = refused.code == Errc::quota_exceeded;
  const Duration rest = duration_for(GpuTime{refused.have}, job->hold->factor);
  if (refused.code == Errc::quota_exceeded && rest >= useful_least && refused.have < refused.want)
    return ask_for_extension(*job, hold, std::min(rest, job->hold->declared - hold.held));
  const Instant ends = job->began + hold.held;
  std::string why = "the pool's ledger cannot write now";
  if (refused.code == Errc::quota_exceeded)
    why = "its account has " + seconds_text(GpuTime{refused.have}) + " left";
  const std::string notice = "no more can be held for it, as " + why +
                             ": it ends when it has run " + seconds_text(hold.held) + ", at " +
                             utc_text(ends);
  if (job->notice == notice) return;
  job->notice = notice;
  tell(*job);
}

// A run that ended with its hold, though its account could have paid for more as far as anybody
// said: a broker was away, or the ledger could not write. That is no fault of its account.
bool Broker::pool_missed_extension(const RunEnded& ended) const {
  if (ended.outcome != Outcome::expired || ended.cause != Errc::quota_exceeded) return false;
  const auto growing = growing_.find(ended.job);
  return growing != growing_.end() && !growing->second.refused;
}

// What its worker says of a run that grows: since when it is on, and how long it may last as far as
// the worker has heard.
void Broker::catch_up(Job& job, const SlotReport& report) {
  const auto growing = growing_.find(job.hold->job);
  if (growing == growing_.end() || report.ran == Duration{}) return;
  const Instant began = now_ - report.ran;
  if (began < job.began) {
    job.began = began;
    plan_extension(job);
  }
  if (report.held < growing->second.held)
    tell_worker(job.place.node(),
                ExtendRun{epoch_, job.hold->job, job.attempt, growing->second.held});
}

}  // namespace gpupool
