// The life of an admitted job between its hold and its receipt, and what the ledger says of it.
#include <algorithm>

#include "actors/broker/broker.h"
#include "actors/ledger/receipt.h"
#include "actors/rules.h"
#include "base/ensure.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// An unanswered write is sent again after this; the ledger takes each only once.
constexpr Duration write_retry = seconds(1);
constexpr Duration lead_retry_max = seconds(60);
// Workers that lost their broker try one address after the other, twice a second.
constexpr Duration rejoin_least = milliseconds(1500);
// A job that waits again waits from the ledger's answer on, which takes a healthy one less than
// this.
constexpr Duration answer_limit = seconds(5);

// Why a lost run is not repeated, as may_run_again() decided; for its receipt.
std::string not_again(const std::string& detail, const AppConfig* app, std::uint32_t losses) {
  std::string why = "it was lost " + std::to_string(losses) + " times";
  if (losses < limits::attempts_max && app != nullptr)
    why = app->executor == ExecutorKind::external
              ? "its process is the caller's"
              : Setting{"apps", app->name, "retries"}.equals(std::int64_t{app->command.retries});
  return detail + (detail.empty() ? "" : "; ") + "not run again: " + why;
}

}  // namespace

void Broker::on(const Leading& leading) {
  if (this->leading() || leading.ticket != last_ticket_) return;
  epoch_ = leading.epoch;
  placement_.drain({leading.draining.begin(), leading.draining.end()});
  for (const LearnedRuns& row : leading.learned) learned_.restore(row);
  read_reservations();
  for (const auto& open : leading.open) {
    Job& job = admit(open.hold);
    hold_grows(open.hold, open);
    job.promise = open.promise;
    job.attempt = open.attempt;
    job.leases = open.attempt;
    job.losses = open.losses;
    job.presumed_leased = open.leased;
    if (open.leased) job.lease_node = open.node;
    if (open.leased) awaited_.insert(open.node);
    unwatched_.erase(open.hold->job);
    if (!open.hold->body->detached) unwatched_[open.hold->job] = now_;
  }
  for (Partition& one : partitions_) one.dispatcher.use(capacity(one));
  tell_sizes();
  down_since_ = leading.last_record ? leading.last_record : now_;
  grace_least_ = now_ + rejoin_least;
  grace_ends_ = now_ + config_->broker.rejoin_grace;
  // Without worker processes of their own, all runs died with the process: nobody can report any.
  if (leading.open.empty() || config_->broker.worker_address.empty()) end_grace();
  const auto asked = std::exchange(before_lead_, {});
  for (const auto& message : asked) std::visit([this](const auto& one) { on(one); }, message);
}

// Over early once every node that had a lease has said what it runs and what ended meanwhile, and
// others had the time to: the ledger may not have heard yet of the last leases before it. Of a job
// on several nodes it knows only the one that runs it.
bool Broker::grace_is_over() const {
  if (now_ >= grace_ends_) return true;
  if (!awaited_.empty() || now_ < grace_least_) return false;
  return std::none_of(jobs_.begin(), jobs_.end(), [this](const auto& entry) {
    return entry.second.presumed_leased && shape_of(entry.second.hold).spread == Spread::nodes;
  });
}

void Broker::end_grace() {
  grace_ends_ = {};
  awaited_.clear();
  std::vector<JobId> unreported;
  for (const auto& [id, job] : jobs_)
    if (job.presumed_leased) unreported.push_back(id);
  std::sort(unreported.begin(), unreported.end());
  for (const JobId id : unreported)
    lose_attempt(jobs_.at(id), Errc::node_lost,
                 "the broker restarted and no worker reported this run");
  // The time without a broker is added to what was promised before it, and what the debt of the old
  // lane may have been; or what can be proven from here on, for a broker before this one may have
  // ended before it could say so.
  std::vector<std::pair<JobId, Instant>> moved;
  for (const Partition& queue : partitions_) {
    const Capacity& slots = queue.dispatcher.capacity();
    const std::int64_t unpinned = std::max<std::int64_t>(slots.unpinned(), 1);
    const Duration debt{slots.longest.ms * slots.largest / unpinned};
    const Duration added = now_ - down_since_ + (slots.is_tiny() ? Duration{} : debt);
    queue.dispatcher.walk([&](const Ahead&, const Waiting& waiting) {
      const Job& job = jobs_.at(waiting.job);
      moved.emplace_back(waiting.job, std::max(job.promise + added, bound_of(job)));
    });
  }
  for (const auto& [id, promise] : moved) restate(jobs_.at(id), promise, "the broker restarted");
  slots_changed("the broker restarted");
}

Instant Broker::bound_of(const Job& job) const {
  const Partition& queue = partition_of(job);
  return now_ + longest_wait(queue.dispatcher.capacity(), queue.older_than(job.hold->job),
                             job.hold->slots);
}

Waiting Broker::waiting_of(const Hold& hold) const {
  return {.job = hold.job,
          .shape = shape_of(hold),
          .declared = hold.declared,
          .occupancy = hold.occupancy,
          .tier_rank = hold.tier_rank,
          .quota_band = hold.quota_band};
}

void Broker::enqueue(Job& job) {
  job.phase = Phase::queued;
  job.foreseen_at = {};
  const Waiting waiting = waiting_of(job.hold);
  Partition& queue = partition_of(job);
  if (waiting.shape.slots > 1 && !placement_.has(queue.id, waiting.shape))
    queue.away.insert(waiting.shape);
  queue.dispatcher.push(waiting);
}

void Broker::dispatch() {
  if (!leading() || in_grace() || stopping()) return;
  for (Partition& one : partitions_) dispatch(one);
  for (const ReservedFor& reserved : reserved_) {
    if (!reserved.is_on(now_)) continue;
    while (Job* job = first_for(reserved)) {
      // Its partition may have been without its shape for longer than was promised.
      if (job->promise < now_) restate(*job, now_, "it waited for slots that were not there");
      move(*job, reserved.reservation.id);
      dispatch(partition(reserved.reservation.id));
    }
  }
}

void Broker::dispatch(Partition& queue) {
  const auto app_of = [this](JobId job) { return jobs_.at(job).hold->body->app; };
  while (leaves_room(queue)) {
    const auto start = queue.dispatcher.next(now_, placement_, app_of);
    if (!start) return;
    lease(jobs_.at(start->waiting.job), start->place);
  }
}

// For jobs that are about to wait again free slots are kept while the ledger writes it down, but no
// longer than it takes a healthy one. Which slots one of several will need is not known before, so
// all are kept for it.
bool Broker::leaves_room(const Partition& queue) const {
  std::size_t kept = 0;
  for (const auto& [id, waiting] : queue.returning) {
    if (now_ - jobs_.at(id).requeue_asked >= write_retry) continue;
    if (waiting.shape.slots > 1) return false;
    ++kept;
  }
  return kept == 0 ||
         placement_.free_slots({.partition = queue.id, .now = now_, .ends = now_}) > kept;
}

void Broker::lease(Job& job, const Place& place) {
  placement_.lend(place, job.hold->job, {.from = now_, .until = now_ + job.hold->occupancy});
  Node& node = *placement_.find(place.node());
  if (job.foreseen_at) partition_of(job).foresight.note(job.foreseen, now_ - job.foreseen_at);
  job.phase = Phase::leased;
  job.place = place;
  // A number of its own for each lease: what is said of one can never be taken for another.
  job.attempt = ++job.leases;
  job.lease_node = node.id;
  job.node_name = node.name;
  job.leased_at = now_;
  pulse_.leased(now_, job.hold->admitted_at, job.promise);
  job.began = {};
  job.step = job.of_steps = 0;
  job.grant = {};
  ask_ledger(Leased{epoch_, job.hold->job, job.attempt, node.id, node.name});
  for (const NodeId id : place.nodes()) resend_lease(job, *placement_.find(id));
  tell(job);
}

// The pool's fault: the job keeps its hold and its arrival and runs again, a bounded number of
// times.
void Broker::lose_attempt(Job& job, Errc cause, const std::string& detail) {
  if (job.phase == Phase::settling || job.phase == Phase::requeueing) return;
  if (job.has_slot()) leave_slots(job, {});
  if (job.phase == Phase::queued) partition_of(job).dispatcher.remove(job.hold->job, placement_);
  job.presumed_leased = false;
  leave_what_is_over(job);
  ++job.losses;
  if (job.cancelling) {
    settle(job, {.outcome = Outcome::cancelled});
  } else if (!may_run_again(job, cause)) {
    const AppConfig* app = config_->app(job.hold->body->app);
    settle(
        job,
        {.outcome = Outcome::failed, .cause = cause, .detail = not_again(detail, app, job.losses)});
  } else {
    job.phase = Phase::requeueing;
    pulse_.requeued();
    job.notice = detail;
    job.requeue_asked = now_;
    job.requeue = std::make_unique<Requeue>(Requeue{.epoch = epoch_,
                                                    .job = job.hold->job,
                                                    .attempt = job.leases,
                                                    .cause = cause,
                                                    .detail = detail,
                                                    .promise = bound_of(job) + answer_limit});
    writing_[job.hold->job] = now_ + write_retry;
    partition_of(job).returning[job.hold->job] = waiting_of(job.hold);
    ask_ledger(*job.requeue);
  }
}

// A command may have done something that must not happen twice, from the moment at which it began.
// Whether one on a lost node did, nobody knows. A caller's process cannot be started anew; a lease
// that no node took was none. Precondition: this loss is counted already.
bool Broker::may_run_again(const Job& job, Errc cause) const {
  if (job.losses >= limits::attempts_max) return false;
  const AppConfig* app = config_->app(job.hold->body->app);
  if (!app || cause == Errc::lease_refused) return true;
  if (app->executor == ExecutorKind::external) return false;
  if (app->executor != ExecutorKind::command) return true;
  return (!job.began && cause != Errc::node_lost) || job.losses <= app->command.retries;
}

void Broker::on(const Requeued& requeued) {
  Job* job = find(requeued.job);
  if (!job || job->phase != Phase::requeueing || job->requeue->attempt != requeued.attempt) return;
  job->promise = job->requeue->promise;
  job->requeue.reset();
  writing_.erase(requeued.job);
  partition_of(*job).returning.erase(requeued.job);
  acknowledge(*job);
  leave_what_is_over(*job);
  enqueue(*job);
  if (job->cancelling) {
    settle(*job, {.outcome = Outcome::cancelled});
    return;
  }
  tell(*job);
  restate(*job, bound_of(*job), "the ledger was slow to take it back");
  restate_for(*job, "an older job has to run again");
}

// Replaces the hold by what was really used. `how` says outcome, cause and what ran.
void Broker::settle(Job& job, Settle how) {
  GPUPOOL_ENSURE(job.phase != Phase::settling, job.hold->job);
  if (job.phase == Phase::queued) partition_of(job).dispatcher.remove(job.hold->job, placement_);
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
  job.settle = std::make_unique<Settle>(std::move(how));
  writing_[job.hold->job] = now_ + write_retry;
  ask_ledger(*job.settle);
}

void Broker::on(const Settled& settled) {
  const Job* job = find(settled.settled.job);
  if (!job) return;
  pulse_.settled(settled.settled.outcome, settled.settled.ran,
                 settled.settled.charged_quota + settled.settled.charged_credits);
  if (settled.settled.outcome == Outcome::succeeded)
    learned_.note(job->hold->account, job->hold->body->app, settled.settled.ran);
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
  if (job.has_slot()) leave_slots(job, {});
  for (const SessionId session : job.watchers)
    if (const auto it = followed_.find(session); it != followed_.end()) {
      std::erase(it->second, id);
      if (it->second.empty()) followed_.erase(it);
    }
  const auto account = by_account_.find(job.hold->account);
  AccountJobs& jobs = account->second;
  jobs.erase(std::lower_bound(jobs.begin(), jobs.end(), id));
  if (jobs.empty()) by_account_.erase(account);
  Partition& queue = partition_of(job);
  if (job.phase == Phase::queued) queue.dispatcher.remove(id, placement_);
  queue.returning.erase(id);
  --queue.jobs;
  unwatched_.erase(id);
  writing_.erase(id);
  restating_.erase(id);
  if (auto growing = growing_.extract(id)) plan_extension(id, growing.mapped(), {});
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

// What the younger ones wait for longer now, or what can be proven from here on if that is less.
void Broker::restate_for(const Job& older, const std::string& reason) {
  const Partition& queue = partition_of(older);
  const Capacity& slots = queue.dispatcher.capacity();
  const Waiting work = waiting_of(older.hold);
  std::vector<std::pair<JobId, Instant>> moved;
  queue.dispatcher.walk([&](const Ahead& ahead, const Waiting& waiting) {
    if (waiting.job <= work.job) return;
    const Duration added = added_wait(slots, work, waiting.shape.slots);
    const Duration fresh = longest_wait(slots, ahead, waiting.shape.slots);
    moved.emplace_back(waiting.job, std::min(jobs_.at(waiting.job).promise + added, now_ + fresh));
  });
  for (const auto& [id, promise] : moved) restate(jobs_.at(id), promise, reason);
}

// Moves every promise that can no longer be proven; the others stand.
void Broker::restate_promises(const Partition& queue, const std::string& reason) {
  std::vector<std::pair<JobId, Instant>> moved;
  Ahead before;
  auto returning = queue.returning.begin();
  queue.dispatcher.walk([&](const Ahead& ahead, const Waiting& waiting) {
    for (; returning != queue.returning.end() && returning->first < waiting.job; ++returning)
      before.add(returning->second);
    Ahead older = ahead;
    older += before;
    moved.emplace_back(
        waiting.job, now_ + longest_wait(queue.dispatcher.capacity(), older, waiting.shape.slots));
  });
  for (const auto& [id, promise] : moved) restate(jobs_.at(id), promise, reason);
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
