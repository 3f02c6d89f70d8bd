// What clients ask of the broker: submit, cancel, follow, list.
#include <algorithm>

#include "actors/broker/broker.h"
#include "actors/ledger/blob.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// A request that finds a free slot starts as soon as the ledger has its hold. That must take less
// than this, or the promise is restated.
constexpr Duration admission_limit = seconds(5);

void object(Reserve& reserve, const Error& error) {
  if (reserve.verdict != Errc{}) return;
  reserve.verdict = error.code;
  reserve.want = error.want;
  reserve.have = error.have;
  reserve.detail = error.detail;
}

// Empty where no node is there at all, which the sentence of the refusal says itself.
std::string why_none_is_healthy(const Placement& placement) {
  const bool drained =
      std::any_of(placement.all().begin(), placement.all().end(),
                  [](const auto& entry) { return !entry.second.lost && entry.second.draining; });
  return drained ? "no node takes new jobs now: an operator is draining them" : "";
}

// A request may leave the size to its app; the job has the one that it is admitted at.
JobRequest of_size(const JobRequest& request, const std::string& size) {
  JobRequest body = request;
  if (!size.empty()) body.size = size;
  return body;
}

}  // namespace

void Broker::on(const Submit& submit) {
  const Admission found = examine(*config_, submit.body);
  Reserve reserve{.ticket = ++last_ticket_,
                  .epoch = epoch_,
                  .caller = submit.caller,
                  .request = submit.request,
                  .body = of_size(submit.body, found.size),
                  .body_hash = submit.body_hash,
                  .partition = found.partition,
                  .size = found.size,
                  .slots = found.slots,
                  .factor = found.factor,
                  .declared = found.declared,
                  .occupancy = found.occupancy,
                  .app_longest = found.app_longest,
                  .promise = {},
                  .verdict = found.verdict,
                  .want = found.want,
                  .have = found.have,
                  .detail = found.detail};
  Pending pending{.session = submit.session,
                  .query = submit.query,
                  .waiting = {.shape = shape_for(found.slots, found.spread),
                              .declared = found.declared,
                              .occupancy = found.occupancy}};
  examine_pool(submit, reserve, pending);
  pending_[reserve.ticket] = pending;
  pending_work_.add(pending.waiting);
  ask_ledger(std::move(reserve));
}

// The checks that depend on the pool's present state: its shapes, nodes, room in the queue, the
// promise.
void Broker::examine_pool(const Submit& submit, Reserve& reserve, Pending& pending) {
  const Shape& shape = pending.waiting.shape;
  const bool none_healthy = !placement_.has_healthy_slot();
  if (shape.slots > 1 && !none_healthy && knows_nodes(config_->broker.rejoin_grace) && lacks(shape))
    object(reserve, {.code = Errc::size_unavailable,
                     .want = shape.slots,
                     .have = placement_.largest(shape.spread)});
  // Right after a start the nodes are still on their way; the queue takes the job meanwhile.
  const bool settled_in = now_ - started_ >= config_->broker.rejoin_grace;
  if (stopping())
    object(reserve, {.code = Errc::pool_unavailable,
                     .want = 1,
                     .have = 0,
                     .detail = "the pool is stopping; try again in a moment"});
  if (settled_in && none_healthy)
    object(reserve, {.code = Errc::pool_unavailable,
                     .want = 1,
                     .have = 0,
                     .detail = why_none_is_healthy(placement_)});

  const Ahead waiting = all_waiting();
  if (waiting.jobs >= config_->broker.queue_max)
    object(reserve,
           {.code = Errc::overloaded, .want = waiting.jobs + 1, .have = config_->broker.queue_max});

  pending.starts_at_once = fits_at_once(shape, submit.body.app);
  reserve.promise =
      now_ + (pending.starts_at_once ? admission_limit
                                     : longest_wait(dispatcher_.capacity(), waiting, shape.slots));
  const Duration wait = reserve.promise - now_;
  if (submit.body.max_wait > Duration{} && wait > submit.body.max_wait && !pending.starts_at_once)
    object(reserve,
           {.code = Errc::promise_too_late, .want = submit.body.max_wait.ms, .have = wait.ms});
}

// Whether slots are free for a newcomer beside those that earlier ones are about to take. One that
// needs several together can count on them only if nobody else is on the way, nor can anybody who
// comes after it.
bool Broker::fits_at_once(const Shape& shape, const std::string& app) const {
  if (in_grace() || dispatcher_.size() > 0) return false;
  if (shape.slots > 1) return pending_.empty() && placement_.pick(shape, app).has_value();
  return pending_work_.gangs == 0 && placement_.free_slots() > pending_.size();
}

std::optional<Broker::Pending> Broker::take_pending(std::uint64_t ticket) {
  const auto asked = pending_.extract(ticket);
  if (!asked) return std::nullopt;
  Ahead answered;
  answered.add(asked.mapped().waiting);
  pending_work_ -= answered;
  return asked.mapped();
}

// Jobs that stand before a newcomer and are not on a slot: queued, between two attempts, or their
// hold not yet answered.
Ahead Broker::all_waiting() const {
  Ahead all = dispatcher_.all();
  for (const auto& [job, waiting] : returning_) all.add(waiting);
  all += pending_work_;
  return all;
}

Job& Broker::admit(const Hold& hold) {
  Job& job = jobs_[hold.job];
  job.hold = hold;
  job.promise = hold.promise;
  by_account_[hold.account].insert(hold.job);
  if (jobs_.size() == 1) longest_open_ = {};
  longest_open_ = std::max(longest_open_, hold.occupancy);
  if (!hold.body->detached) unwatched_[hold.job] = now_;
  enqueue(job);
  return job;
}

void Broker::on(const Held& held) {
  const auto asked = take_pending(held.ticket);
  Job& job = admit(held.hold);
  // Before its client is told anything: one that starts at once has no place in the queue to tell.
  dispatch();
  if (asked && asked->session) attach(job, asked->session, asked->query);
  if (asked && asked->starts_at_once && job.phase == Phase::queued)
    restate(job, bound_of(job), "the slot that was free at admission is not free any more");
}

void Broker::on(const NotHeld& refused) {
  const auto asked = take_pending(refused.ticket);
  if (!asked || !asked->session) return;
  tell_session(
      asked->session,
      SubmitRefused{.session = asked->session, .query = asked->query, .refusal = refused.refusal});
}

void Broker::on(const AlreadyHeld& known) {
  const auto asked = take_pending(known.ticket);
  if (!asked || !asked->session) return;
  const SessionId session = asked->session;
  const std::uint64_t query = asked->query;
  Job* job = known.closed ? nullptr : find(known.job);
  if (job) {
    attach(*job, session, query);
  } else if (known.closed) {
    tell_session(session, JobSettled{.session = session, .query = query, .done = known.done});
  } else {
    tell_session(session, BrokerError{.session = session,
                                      .query = query,
                                      .code = Errc::outcome_unknown,
                                      .detail = "ask again in a moment"});
  }
}

void Broker::attach(Job& job, SessionId session, std::uint64_t query) {
  if (std::find(job.watchers.begin(), job.watchers.end(), session) == job.watchers.end()) {
    job.watchers.push_back(session);
    followed_[session].push_back(job.hold->job);
  }
  unwatched_.erase(job.hold->job);
  JobEvent event = event_of(job);
  event.hold = job.hold;
  tell_session(session, JobMoved{.session = session, .query = query, .event = std::move(event)});
}

void Broker::on(const Watch& watch) {
  Job* job = find(watch.job);
  if (job && job->hold->account == watch.account) {
    attach(*job, watch.session, watch.query);
    return;
  }
  tell_session(
      watch.session,
      BrokerError{
          .session = watch.session, .query = watch.query, .code = Errc::job_unknown, .detail = {}});
}

void Broker::on(const Cancel& cancel) {
  Job* job = find(cancel.job);
  if (!job || job->hold->account != cancel.account) {
    tell_session(cancel.session, BrokerError{.session = cancel.session,
                                             .query = cancel.query,
                                             .code = Errc::job_unknown,
                                             .detail = {}});
    return;
  }
  attach(*job, cancel.session, cancel.query);
  cancel_job(*job);
}

void Broker::cancel_job(Job& job) {
  switch (job.phase) {
    case Phase::queued:
      settle(job, {.outcome = Outcome::cancelled});
      break;
    case Phase::leased:
    case Phase::running:
      job.cancelling = true;
      tell_worker(job.place.node, CancelRun{epoch_, job.hold->job, job.attempt});
      break;
    case Phase::requeueing:  // settled as cancelled once the ledger has answered
      job.cancelling = true;
      break;
    case Phase::settling:
      break;
  }
}

void Broker::on(const JobsQuery& query) {
  JobsList list{.session = query.session, .answer = {.query = query.query, .jobs = {}}};
  if (const auto it = by_account_.find(query.account); it != by_account_.end())
    for (const JobId id : it->second) {
      if (query.job && query.job != id) continue;
      if (list.answer.jobs.size() >= static_cast<std::size_t>(limits::jobs_page_max)) break;
      const Job& job = jobs_.at(id);
      list.answer.jobs.push_back(event_of(job));
      // A page of large requests would be no frame.
      list.answer.jobs.back().hold = has_blob(job.hold) ? Shared(outline_of(job.hold)) : job.hold;
    }
  tell_session(query.session, std::move(list));
}

void Broker::on(const ClientGone& gone) {
  for (auto& [ticket, asked] : pending_)
    if (asked.session == gone.session) asked.session = {};  // its job, if any, starts unwatched
  const auto followed = followed_.extract(gone.session);
  if (!followed) return;
  for (const JobId id : followed.mapped()) {
    Job* job = find(id);
    if (!job) continue;
    std::erase(job->watchers, gone.session);
    if (job->watchers.empty() && !job->hold->body->detached) unwatched_[id] = now_;
  }
}

// A queued job is cancelled after its client has been gone for client_grace; running jobs go on. A
// pool that stops takes its clients' connections away itself, which is no fault of theirs.
void Broker::cancel_the_abandoned() {
  if (stopping()) return;
  std::vector<JobId> abandoned;
  for (const auto& [id, since] : unwatched_)
    if (now_ - since >= config_->broker.client_grace && jobs_.at(id).phase == Phase::queued)
      abandoned.push_back(id);
  for (const JobId id : abandoned)
    settle(jobs_.at(id),
           {.outcome = Outcome::cancelled, .detail = "its client was gone while it was queued"});
}

}  // namespace gpupool
