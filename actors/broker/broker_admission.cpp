// What clients ask of the broker: submit, cancel, follow, list.
#include <algorithm>
#include <limits>

#include "actors/broker/broker.h"
#include "actors/describe.h"
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

// Whoever says so may use the warm processes of that Space, so a client's word does not count.
bool names_a_space(const Submit& submit) {
  return !is_visitor(submit.session) &&
         std::any_of(submit.body.arguments.begin(), submit.body.arguments.end(),
                     [](const Argument& one) { return one.key == space_argument; });
}

// A request may leave the size to its app; the job has the one that it is admitted at.
JobRequest of_size(const JobRequest& request, const std::string& size) {
  JobRequest body = request;
  if (!size.empty()) body.size = size;
  return body;
}

// Where the slots of one job have to lie.
std::string lie_text(const std::string& partition, Spread spread) {
  return "they have to be of partition " + partition + ", on " +
         (spread == Spread::device ? "one device" : "different devices") +
         (spread == Spread::devices ? " of one node" : "");
}

// The app of a partition of which a job can occupy its slots for that long, or null.
const AppConfig* app_with(const Config& config, const std::string& partition, Duration occupancy) {
  for (const AppConfig& app : config.apps)
    if (app.partition == partition && occupancy_of(config, app, app.longest) == occupancy)
      return &app;
  return nullptr;
}

// What a promise is made of: the jobs before it, and how long any job there may take.
std::string reckoned(const Config& config, const std::string& name, const Partition& queue,
                     Duration wait) {
  const Duration longest = queue.dispatcher.capacity().longest;
  const std::int64_t older = queue.waiting().jobs;
  std::string text = (older == 0 ? "no" : std::to_string(older)) +
                     std::string(older < 2 ? " job waits" : " jobs wait") +
                     " before it, and a job there may take " + seconds_text(longest);
  if (const AppConfig* app = app_with(config, name, longest))
    text += " (" + seconds_text(app->longest) + " longest_s + " + seconds_text(app->start_limit) +
            " start_limit_s of [[apps]] " + app->name + " + " +
            seconds_text(config.worker.kill_grace) + " kill_grace_s + " +
            seconds_text(config.worker.slot_check) + " slot_check_s of [worker])";
  if (wait == longest * 2 * (older + 1))  // with two lanes the sum is a longer one
    text += "; in a pool as small as this 2 x " + seconds_text(longest) + " x (" +
            std::to_string(older) + " + 1) = " + seconds_text(wait);
  return text;
}

}  // namespace

void Broker::on(const Submit& submit) {
  Pending pending{.session = submit.session, .query = submit.query};
  Reserve reserve = reserve_for(submit.caller, submit.body, Asking::submit, pending);
  reserve.ticket = ++last_ticket_;
  reserve.request = submit.request;
  if (names_a_space(submit))
    object(reserve, {.code = Errc::bad_request,
                     .detail = "the argument \"space\" is for the device API of a node alone"});
  reserve.body_hash = submit.body_hash;
  pending_[reserve.ticket] = pending;
  partition(pending.partition).pending.add(pending.waiting);
  ask_ledger(std::move(reserve));
}

// The same without anything that stays: the ledger answers the session.
void Broker::on(const Quote& quote) {
  Pending pending;
  const Reserve reserve = reserve_for(quote.caller, quote.body, Asking::quote, pending);
  const Partition& queue = partition(pending.partition);
  QuoteAnswer answer{.query = quote.query,
                     .likely_start = Instant::never(),
                     .likely_latest = Instant::never(),
                     .promise = reserve.promise,
                     .ahead = static_cast<std::uint64_t>(queue.waiting().jobs)};
  if (pending.starts_at_once) {
    answer.likely_start = answer.likely_latest = now_;
  } else if (reserve.verdict == Errc{} && may_foresee(queue)) {
    constexpr JobId newcomer{std::numeric_limits<std::uint64_t>::max()};
    Dispatcher with_newcomer = queue.dispatcher;
    pending.waiting.job = newcomer;
    with_newcomer.push(pending.waiting);
    answer.likely_start = forecast(with_newcomer, Runs::likely).start_of(newcomer);
    const Instant latest = forecast(with_newcomer, Runs::long_ones).start_of(newcomer);
    if (latest != Instant::never())
      answer.likely_latest = std::max(
          latest, std::min(now_ + queue.foresight.later_end(latest - now_), answer.promise));
  }
  ask_ledger(QuoteQuery{.session = quote.session, .reserve = reserve, .answer = answer});
}

// All that the broker has to say of a request, and how it would wait.
Reserve Broker::reserve_for(const Caller& caller, const JobRequest& request, Asking asking,
                            Pending& pending) {
  const Admission found = examine(*config_, request, asking);
  Reserve reserve{.epoch = epoch_,
                  .caller = caller,
                  .body = of_size(request, found.size),
                  .size = found.size,
                  .slots = found.slots,
                  .factor = found.factor,
                  .declared = found.declared,
                  .occupancy = found.occupancy,
                  .app_longest = found.app_longest,
                  .verdict = found.verdict,
                  .want = found.want,
                  .have = found.have,
                  .detail = found.detail,
                  .files = found.files};
  const AppConfig* app = config_->app(request.app);
  if (found.automatic && app != nullptr)
    reserve.learned = learned_.first_held(app->name, app->default_duration);
  pending.partition = placement_.partition(found.partition);
  pending.waiting = {.shape = shape_for(found.slots, found.spread),
                     .declared = found.declared,
                     .occupancy = found.occupancy};
  examine_pool(request, reserve, pending);
  reserve.partition = placement_.name_of(pending.partition);
  return reserve;
}

// The checks that depend on the pool's present state: its shapes, nodes, room in the queue, the
// promise.
void Broker::examine_pool(const JobRequest& body, Reserve& reserve, Pending& pending) {
  const Shape& shape = pending.waiting.shape;
  const auto queues = queues_for(reserve.caller.account, pending.partition, shape);
  const auto all = [&queues](const auto& is) {
    return std::all_of(queues.begin(), queues.end(), is);
  };
  const bool none_healthy =
      all([this](PartitionId one) { return !placement_.has_healthy_slot(one); });
  if (shape.slots > 1 && !none_healthy && knows_nodes(config_->broker.rejoin_grace) &&
      all([&](PartitionId one) { return lacks(one, shape); }))
    object(reserve, {.code = Errc::size_unavailable,
                     .want = shape.slots,
                     .have = placement_.largest(pending.partition, shape.spread),
                     .detail = lie_text(placement_.name_of(pending.partition), shape.spread)});
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

  std::size_t waiting = pending_.size();
  for (const Partition& one : partitions_) waiting += one.dispatcher.size() + one.returning.size();
  if (waiting >= config_->broker.queue_max)
    object(reserve, {.code = Errc::overloaded,
                     .want = static_cast<std::int64_t>(waiting) + 1,
                     .have = config_->broker.queue_max});
  choose_queue(queues, reserve, pending);
  const Duration wait = reserve.promise - now_;
  if (body.max_wait > Duration{} && wait > body.max_wait && !pending.starts_at_once)
    object(reserve, {.code = Errc::promise_too_late,
                     .want = body.max_wait.ms,
                     .have = wait.ms,
                     .detail = reckoned(*config_, placement_.name_of(pending.partition),
                                        partition(pending.partition), wait)});
}

// Where it starts at once, else where the earliest start can be promised; on reserved slots only if
// it is sure to be over when the reservation is.
void Broker::choose_queue(const std::vector<PartitionId>& queues, Reserve& reserve,
                          Pending& pending) {
  const Waiting& waiting = pending.waiting;
  const auto until = [this](PartitionId queue) {
    for (const ReservedFor& one : reserved_)
      if (one.reservation.id == queue) return one.reservation.until;
    return Instant::never();
  };
  std::optional<Instant> best;
  for (const PartitionId id : queues) {
    const Partition& queue = partition(id);
    if (queues.size() > 1 && lacks(id, waiting.shape)) continue;
    if (fits_at_once(queue, waiting, reserve.body->app)) {
      pending.starts_at_once = true;
      pending.partition = id;
      reserve.promise = now_ + admission_limit;
      return;
    }
    const Instant bound =
        now_ + longest_wait(queue.dispatcher.capacity(), queue.waiting(), waiting.shape.slots);
    if ((best && *best <= bound) || bound + waiting.occupancy > until(id)) continue;
    best = bound;
    pending.partition = id;
  }
  reserve.promise = best.value_or(now_ + wait_max);
  // Only a reservation has the shape, and not for long enough.
  if (!best)
    object(reserve, {.code = Errc::size_unavailable,
                     .want = waiting.shape.slots,
                     .have = placement_.largest(pending.partition, waiting.shape.spread),
                     .detail = "others are reserved, and not for long enough"});
}

// Whether slots are free for a newcomer beside those that earlier ones are about to take. One that
// needs several together can count on them only if nobody else is on the way, nor can anybody who
// comes after it.
bool Broker::fits_at_once(const Partition& queue, const Waiting& waiting,
                          const std::string& app) const {
  if (in_grace() || queue.dispatcher.size() > 0) return false;
  const Need need{.partition = queue.id,
                  .shape = waiting.shape,
                  .now = now_,
                  .ends = now_ + admission_limit + waiting.occupancy};
  if (waiting.shape.slots > 1)
    return queue.pending.jobs == 0 && placement_.pick(need, app).has_value();
  return queue.pending.gangs == 0 && placement_.free_slots(need) > queue.pending.jobs;
}

std::optional<Broker::Pending> Broker::take_pending(std::uint64_t ticket) {
  const auto asked = pending_.extract(ticket);
  if (!asked) return std::nullopt;
  Ahead answered;
  answered.add(asked.mapped().waiting);
  partition(asked.mapped().partition).pending -= answered;
  return asked.mapped();
}

Job& Broker::admit(const Shared<Hold>& hold) {
  Job& job = jobs_[hold->job];
  job.hold = hold;
  job.promise = hold->promise;
  job.partition = partition_of(*hold);
  AccountJobs& jobs = by_account_[hold->account];
  jobs.insert(std::lower_bound(jobs.begin(), jobs.end(), hold->job), hold->job);
  partition(job.partition).take(*hold);
  if (!hold->body->detached) unwatched_[hold->job] = now_;
  enqueue(job);
  return job;
}

void Broker::on(const Held& held) {
  const auto asked = take_pending(held.ticket);
  Job& job = admit(held.hold);
  pulse_.admitted();
  hold_grows(held.hold, {});
  // Before its client is told anything: one that starts at once has no place in the queue to tell.
  dispatch();
  if (asked && asked->session) attach(job, asked->session, asked->query);
  if (!asked || job.phase != Phase::queued) return;
  if (asked->partition != job.partition)
    restate(job, bound_of(job), "the slots that were reserved for it are not there any more");
  else if (asked->starts_at_once)
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
      tell_worker(job.place.node(), CancelRun{epoch_, job.hold->job, job.attempt});
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
      Job& job = jobs_.at(id);
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
    auto& watchers = job->watchers;
    watchers.erase(std::remove(watchers.begin(), watchers.end(), gone.session), watchers.end());
    if (watchers.empty() && !job->hold->body->detached) unwatched_[id] = now_;
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
           {.outcome = Outcome::cancelled,
            .detail = "its client was gone for " + seconds_text(config_->broker.client_grace) +
                      " while it was queued, [broker] client_grace_s"});
}

}  // namespace gpupool
