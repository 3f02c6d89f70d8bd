// The life of an admitted job between its hold and its receipt, and what the ledger says of it.
#include <algorithm>

#include "actors/broker/broker.h"
#include "actors/ledger/receipt.h"
#include "base/ensure.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// An unanswered write is sent again after this; the ledger takes each only once.
constexpr Duration write_retry = seconds(1);
constexpr Duration lead_retry_max = seconds(60);

}  // namespace

void Broker::on(const Leading& leading) {
  if (this->leading() || leading.ticket != last_ticket_) return;
  epoch_ = leading.epoch;
  placement_.drain({leading.draining.begin(), leading.draining.end()});
  for (const auto& open : leading.open) {
    Job& job = admit(open.hold);
    job.promise = open.promise;
    job.attempt = open.attempt;
    job.leases = open.attempt;
    job.losses = open.losses;
    job.presumed_leased = open.leased;
    unwatched_.erase(open.hold->job);
    if (!open.hold->body->detached) unwatched_[open.hold->job] = now_;
  }
  tell_sizes();
  down_since_ = leading.last_record ? leading.last_record : now_;
  grace_ends_ = now_ + config_->broker.rejoin_grace;
  // Without worker processes of their own, all runs died with the process: nobody can report any.
  if (leading.open.empty() || config_->broker.worker_address.empty()) end_grace();
  const auto asked = std::exchange(before_lead_, {});
  for (const auto& message : asked) std::visit([this](const auto& one) { on(one); }, message);
}

void Broker::end_grace() {
  grace_ends_ = {};
  std::vector<JobId> unreported;
  for (const auto& [id, job] : jobs_)
    if (job.presumed_leased) unreported.push_back(id);
  std::sort(unreported.begin(), unreported.end());
  for (const JobId id : unreported)
    lose_attempt(jobs_.at(id), Errc::node_lost,
                 "the broker restarted and no worker reported this run");
  // The time without a broker is added to what was promised before it.
  const Duration downtime = now_ - down_since_;
  std::vector<std::pair<JobId, Instant>> moved;
  queue_.walk([&](std::uint32_t, const Waiting& waiting) {
    const Job& job = jobs_.at(waiting.job);
    moved.emplace_back(waiting.job, std::max(job.promise + downtime, bound_of(job)));
  });
  for (const auto& [id, promise] : moved) restate(jobs_.at(id), promise, "the broker restarted");
}

// Jobs that arrived before this one and wait for a slot, or for the ledger to let them wait again.
std::int64_t Broker::older_than(JobId job) const {
  return queue_.older_than(job) + std::distance(returning_.begin(), returning_.lower_bound(job));
}

Instant Broker::bound_of(const Job& job) const {
  return promised_start(now_, longest_occupancy(*config_, job.hold->partition),
                        older_than(job.hold->job));
}

void Broker::enqueue(Job& job) {
  job.phase = Phase::queued;
  queue_.push({job.hold->job, shape_of(job.hold), job.hold->declared});
}

// The oldest job starts first. While it waits for its slots nothing younger is leased, however many
// slots are free: so they fall free together at last, whatever its size, and every promise keeps
// its bound (promise.h). Only a shape that is not there at all is not waited for (slots_changed()).
void Broker::dispatch() {
  if (!leading() || in_grace() || stopping()) return;
  const auto is_there = [this](const Shape& shape) {
    // A single slot that is away is away for everybody: then there is nobody to step aside for.
    const bool here = shape.slots == 1 || placement_.has(shape);
    if (!here) away_.insert(shape);
    return here;
  };
  while (const Waiting* next = queue_.first(is_there)) {
    Job& job = jobs_.at(next->job);
    const auto place = placement_.pick(next->shape, job.hold->body->app);
    if (!place || !leaves_room(*next)) return;
    lease(job, *place);
  }
}

// Older jobs that are about to wait again: free slots are kept for them while the ledger writes it
// down, but no longer than it takes a healthy one. Which slots one of several will need is not
// known before, so all are kept for it.
bool Broker::leaves_room(const Waiting& next) const {
  if (returning_.empty()) return true;
  std::uint32_t kept = 0;
  for (auto it = returning_.begin(); it != returning_.end() && *it < next.job; ++it) {
    const Job& older = jobs_.at(*it);
    if (now_ - older.requeue_asked >= write_retry) continue;
    if (older.hold->slots > 1) return false;
    ++kept;
  }
  return placement_.free_slots() >= kept + next.shape.slots;
}

void Broker::lease(Job& job, const Place& place) {
  queue_.remove(job.hold->job);
  placement_.lend(place, job.hold->job);
  Node& node = *placement_.find(place.node);
  job.phase = Phase::leased;
  job.place = place;
  // A number of its own for each lease: what is said of one can never be taken for another.
  job.attempt = ++job.leases;
  job.node_name = node.name;
  job.leased_at = now_;
  job.began = {};
  job.step = job.of_steps = 0;
  ask_ledger(Leased{epoch_, job.hold->job, job.attempt, node.id, node.name});
  resend_lease(job, node);
  tell(job);
}

// The pool's fault: the job keeps its hold and its arrival and runs again, a bounded number of
// times.
void Broker::lose_attempt(Job& job, Errc cause, const std::string& detail) {
  if (job.phase == Phase::settling || job.phase == Phase::requeueing) return;
  if (job.has_slot()) placement_.take_back(job.place, job.hold->job);
  queue_.remove(job.hold->job);
  job.presumed_leased = false;
  ++job.losses;
  if (job.cancelling) {
    settle(job, {.outcome = Outcome::cancelled});
  } else if (job.losses >= limits::attempts_max) {
    settle(job, {.outcome = Outcome::failed, .cause = cause, .detail = detail});
  } else {
    job.phase = Phase::requeueing;
    job.notice = detail;
    job.requeue_asked = now_;
    job.requeue = Requeue{.epoch = epoch_,
                          .job = job.hold->job,
                          .attempt = job.leases,
                          .cause = cause,
                          .detail = detail,
                          .promise = bound_of(job)};
    writing_[job.hold->job] = now_ + write_retry;
    returning_.insert(job.hold->job);
    ask_ledger(*job.requeue);
  }
}

void Broker::on(const Requeued& requeued) {
  Job* job = find(requeued.job);
  if (!job || job->phase != Phase::requeueing || job->requeue->attempt != requeued.attempt) return;
  job->promise = job->requeue->promise;
  job->requeue.reset();
  writing_.erase(requeued.job);
  returning_.erase(requeued.job);
  acknowledge(*job);
  enqueue(*job);
  if (job->cancelling) {
    settle(*job, {.outcome = Outcome::cancelled});
    return;
  }
  tell(*job);
  restate_promises("an older job has to run again");
}

// Replaces the hold by what was really used. `how` says outcome, cause and what ran.
void Broker::settle(Job& job, Settle how) {
  GPUPOOL_ENSURE(job.phase != Phase::settling, job.hold->job);
  queue_.remove(job.hold->job);
  unwatched_.erase(job.hold->job);
  restating_.erase(job.hold->job);
  job.presumed_leased = false;
  job.phase = Phase::settling;
  how.epoch = epoch_;
  how.job = job.hold->job;
  how.attempt = job.attempt;
  how.leased_at = job.leased_at;
  how.node = job.node_name;
  if (how.outcome == Outcome::cancelled && !job.cancelled_by.empty())
    how.detail = "cancelled by " + job.cancelled_by;
  job.settle = std::move(how);
  writing_[job.hold->job] = now_ + write_retry;
  ask_ledger(*job.settle);
}

void Broker::on(const Settled& settled) {
  const Job* job = find(settled.settled.job);
  if (!job) return;
  end(settled.settled.job, job->watchers.empty() ? Shared<JobDone>() : Shared(done_of(settled)));
}

void Broker::on(const SettledBefore& settled) {
  if (find(settled.job)) end(settled.job, settled.done);
}

void Broker::end(JobId id, const Shared<JobDone>& done) {
  Job& job = jobs_.at(id);
  acknowledge(job);
  for (const SessionId session : job.watchers)
    tell_session(session, JobSettled{.session = session, .query = 0, .done = done});
  forget(id);
}

// The end that led to this write is durable now: its worker may forget it.
void Broker::acknowledge(Job& job) {
  if (!job.ended) return;
  tell_worker(job.ended->node, EndSeen{job.ended->job, job.ended->attempt});
  job.ended.reset();
}

void Broker::forget(JobId id) {
  Job& job = jobs_.at(id);
  if (job.has_slot()) placement_.take_back(job.place, id);
  for (const SessionId session : job.watchers)
    if (const auto it = followed_.find(session); it != followed_.end()) {
      std::erase(it->second, id);
      if (it->second.empty()) followed_.erase(it);
    }
  const auto account = by_account_.find(job.hold->account);
  account->second.erase(id);
  if (account->second.empty()) by_account_.erase(account);
  queue_.remove(id);
  unwatched_.erase(id);
  writing_.erase(id);
  returning_.erase(id);
  restating_.erase(id);
  jobs_.erase(id);
}

void Broker::on(const LedgerRefused& refused) {
  if (refused.code == Errc::stale_epoch) {
    deposed_ = true;
    return;
  }
  Job* job = find(refused.job);
  if (!job || refused.code != Errc::job_unknown) return;
  for (const SessionId session : job->watchers)
    tell_session(session, BrokerError{.session = session,
                                      .query = 0,
                                      .code = Errc::job_unknown,
                                      .detail = "the ledger has no open hold of this job"});
  forget(refused.job);
}

void Broker::restate(Job& job, Instant promise, const std::string& reason) {
  const auto asked = restating_.find(job.hold->job);
  if (promise <= job.promise || (asked != restating_.end() && promise <= asked->second.promise))
    return;
  if (restating_.empty()) restate_again_ = now_ + write_retry;
  const Restate restate{epoch_, job.hold->job, promise, reason};
  restating_[job.hold->job] = restate;
  job.notice = reason;
  ask_ledger(restate);
}

// Moves every promise that can no longer be proven; the others stand.
void Broker::restate_promises(const std::string& reason) {
  std::vector<JobId> moved;
  std::int64_t older = 0;
  auto returning = returning_.begin();
  queue_.walk([&](std::uint32_t, const Waiting& waiting) {
    for (; returning != returning_.end() && *returning < waiting.job; ++returning) ++older;
    const Job& job = jobs_.at(waiting.job);
    const Duration longest = longest_occupancy(*config_, job.hold->partition);
    if (provable_start(now_, longest, older++) > job.promise) moved.push_back(waiting.job);
  });
  for (const JobId id : moved) restate(jobs_.at(id), bound_of(jobs_.at(id)), reason);
}

void Broker::on(const Restated& restated) {
  const auto asked = restating_.find(restated.job);
  if (asked != restating_.end() && asked->second.promise <= restated.promise)
    restating_.erase(asked);
  Job* job = find(restated.job);
  if (!job) return;
  job->promise = std::max(job->promise, restated.promise);
  if (job->phase == Phase::queued) tell(*job);
}

void Broker::write_again() {
  if (!leading() && now_ >= lead_again_) {
    // Each lead raises the epoch, and only the answer to the latest counts: a slow ledger is asked
    // ever less often, or no answer would be the latest.
    lead_retry_ = std::min(lead_retry_ * 2, lead_retry_max);
    lead_again_ = now_ + lead_retry_;
    ask_ledger(Lead{.ticket = ++last_ticket_});
  }
  for (auto& [id, due] : writing_) {
    if (now_ < due) continue;
    due = now_ + write_retry;
    const Job& job = jobs_.at(id);
    if (job.settle) ask_ledger(*job.settle);
    if (job.requeue) ask_ledger(*job.requeue);
  }
  if (restating_.empty() || now_ < restate_again_) return;
  restate_again_ = now_ + write_retry;
  for (const auto& [id, restate] : restating_) ask_ledger(restate);
}

}  // namespace gpupool
