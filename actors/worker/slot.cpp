#include "actors/worker/slot.h"

#include <algorithm>
#include <utility>

#include "actors/worker/fault.h"
#include "base/ensure.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration step_interval = milliseconds(100);     // between two steps told to the broker
constexpr Duration extension_margin = milliseconds(100);  // then its SIGTERM may be on the way

}  // namespace

std::string Slot::in_seconds(Duration duration) {
  return std::to_string(duration.ms / 1000) + "." + std::to_string(duration.ms % 1000 / 100) + " s";
}

RunEnded Slot::pool_fault(Errc cause, std::string detail) {
  return {
      .outcome = Outcome::failed, .cause = cause, .pool_fault = true, .detail = std::move(detail)};
}

Slot::Slot(const Config& config, Place place) : config_(config), place_(std::move(place)) {
  // The first diffusion app of its partition is the warm one: its model takes the longest to load.
  for (const ExecutorKind kind : {ExecutorKind::diffusion, ExecutorKind::command})
    for (const AppConfig& app : config.apps)
      if (warm_app_.empty() && app.executor == kind && app.partition == place_.partition)
        warm_app_ = app.name;
}

const AppConfig& Slot::app_of(const Run& run) const {
  const AppConfig* app = config_.app(run.lease.app);
  GPUPOOL_ENSURE(app != nullptr, run.lease.app);
  return *app;
}

void Slot::start(Instant now, SlotActions& out) { restore(now, out); }

void Slot::take(Instant now, const Lease& lease, Rank rank, SlotActions& out) {
  GPUPOOL_ENSURE(state() == SlotState::free, place_.slot);
  begin_run(now, lease, std::move(rank), out);
}

void Slot::begin_run(Instant now, const Lease& lease, Rank rank, SlotActions& out) {
  run_ = Run{.lease = lease, .rank = std::move(rank), .held = lease.declared};
  if (lease.held > Duration{}) run_->held = std::min(lease.held, lease.declared);
  run_->start_by = now + app_of(*run_).start_limit;
  if (app_of(*run_).executor == ExecutorKind::noop) return run_nothing(now, out);
  if (process_) return evict(now, out);  // the run goes on once it has gone
  place_run(now, out);
}

void Slot::place_run(Instant now, SlotActions& out) {
  const Lease& lease = run_->lease;
  if (life_ == Life::absent) {
    start_executor(now, lease.app, out);
  } else if (app_ == lease.app) {
    hand_over(out);
  } else {
    make_room(now, lease.app, out);  // then the lease's own executor is started
  }
}

void Slot::run_nothing(Instant now, SlotActions& out) {
  run_->began = now;
  end(now, {.outcome = Outcome::succeeded, .detail = remark()}, out);
}

void Slot::accompany(const Lease& lease, Instant until) {
  GPUPOOL_ENSURE(state() == SlotState::free, place_.slot);
  companion_ = Companion{.job = lease.job, .attempt = lease.attempt, .until = until};
  if (!lease.runs_on) companion_->runs_on = lease.slot;
}

void Slot::fail(Instant now, Error why, SlotActions& out) {
  if (!run_ || run_->cancelled || run_->doom || (run_->began && now >= run_->end_at)) return;
  if (run_->guest) return end_guest(now, pool_fault(why.code, std::move(why.detail)), out);
  run_->doom = std::move(why);
  run_->give_up = now + config_.worker.kill_grace;
  if (life_ != Life::ending) kill_executor(now, out);
}

void Slot::leave(Instant now, SlotActions& out) {
  GPUPOOL_ENSURE(!run_, place_.slot);
  companion_.reset();
  restore(now, out);
}

void Slot::cancel(Instant now, SlotActions& out) {
  if (!run_ || run_->cancelled || run_->doom || (run_->began && now >= run_->end_at)) return;
  if (run_->guest) return end_guest(now, {.outcome = Outcome::cancelled, .ran = ran(now)}, out);
  run_->cancelled = true;
  if (!run_->handed_over) return end(now, {.outcome = Outcome::cancelled}, out);
  run_->kill_at = now + config_.worker.kill_grace;
  out.executors.emplace_back(EndBy{.slot = place_.slot, .at = now, .kill_at = run_->kill_at});
}

void Slot::extend(Instant now, Duration held, SlotActions& out) {
  if (!run_ || (run_->began && now + extension_margin >= run_->end_at)) return;
  const Duration may = std::min(held, run_->lease.declared);
  if (may <= run_->held) return;
  run_->held = may;
  if (run_->began && !run_->cancelled && !run_->doom) set_end(out);
}

// By the supervisor's own timer too. Rank 0 ends first, and the others with it: one that stopped
// before it would look like a rank that was lost.
void Slot::set_end(SlotActions& out) {
  run_->end_at = run_->began + run_->held;
  if (run_->rank.number > 0) run_->end_at = run_->end_at + config_.worker.kill_grace;
  run_->kill_at = run_->end_at + config_.worker.kill_grace;
  if (run_->guest) {  // advance_guest() kills it at its end; this covers a worker that can't
    out.executors.emplace_back(
        EndBy{.slot = place_.slot, .at = run_->end_at, .kill_at = run_->kill_at});
    return;
  }
  // A hold that may grow is no end yet.
  const bool is_warned = app_of(*run_).executor == ExecutorKind::command &&
                         run_->held == run_->lease.declared && run_->held > command_warning;
  run_->warn_at = is_warned ? run_->end_at - command_warning : Instant::never();
  out.executors.emplace_back(EndBy{.slot = place_.slot,
                                   .at = run_->end_at,
                                   .kill_at = run_->kill_at,
                                   .warn_at = is_warned ? run_->warn_at : Instant{}});
}

void Slot::hand_over(SlotActions& out) {
  const Lease& lease = run_->lease;
  const std::size_t slots = 1 + lease.more_slots.size();
  run_->handed_over = true;
  const Instant last = run_->start_by + config_.worker.kill_grace;
  out.executors.emplace_back(EndBy{.slot = place_.slot, .at = last, .kill_at = last});
  out.executors.emplace_back(StartRun{.slot = place_.slot,
                                      .job = lease.job,
                                      .attempt = lease.attempt,
                                      .app = lease.app,
                                      .body = lease.body,
                                      .rank = run_->rank.number,
                                      .ranks = run_->rank.of,
                                      .slots = static_cast<std::uint32_t>(slots),
                                      .declared = lease.declared});
  for (const RankLeft& left : run_->found) tell_found(left, out);
}

// ---- The run ---------------------------------------------------------------------------------

void Slot::on(Instant now, const ExecutorBegan& began, SlotActions& out) {
  if (!carries(began.job, began.attempt) || !run_->handed_over || run_->began) return;
  run_->began = run_->last_step = now;
  run_->end_at = now + run_->held;
  if (run_->rank.number == 0)
    out.broker.emplace_back(
        RunBegan{.node = place_.node, .job = began.job, .attempt = began.attempt});
  if (!run_->cancelled && !run_->doom) set_end(out);  // else its end is nearer already
}

void Slot::on(Instant now, const ExecutorStep& step, SlotActions& out) {
  if (!carries(step.job, step.attempt) || !run_->began) return;
  run_->last_step = now;
  run_->left.clear();  // no step ends without all ranks: they have met
  if (run_->rank.number > 0) return;
  const bool is_last = step.step >= step.of_steps;
  if (run_->last_told && !is_last && now - run_->last_told < step_interval) return;
  run_->last_told = now;
  out.broker.emplace_back(RunStep{.node = place_.node,
                                  .job = step.job,
                                  .attempt = step.attempt,
                                  .step = step.step,
                                  .of_steps = step.of_steps});
}

void Slot::on(Instant now, const ExecutorDone& done, SlotActions& out) {
  if (!carries(done.job, done.attempt) || !run_->handed_over) return;
  RunEnded how = verdict_of(now, done);
  how.log = done.log;
  how.exit_code = done.exit_code;
  how.signal = done.signal;
  if (app_of(*run_).executor == ExecutorKind::command && !how.pool_fault) {
    how.result = done.result;  // also what one that failed or was stopped has left
    how.ran = run_->began ? std::clamp(done.ran, Duration{}, run_->held) : Duration{};
  }
  if (how.outcome == Outcome::succeeded) device_faults_ = 0;
  if (done.cause != Errc{} && fault_of(done.cause) == Fault::device) suspect(now, done.detail, out);
  end(now, std::move(how), out);
}

// Never more than was held: what lies between SIGTERM and the end is the pool's time.
Duration Slot::ran(Instant now) const {
  if (!run_->began) return {};
  return std::clamp(now - run_->began, Duration{}, run_->held);
}

// What the receipt of a success has to say beyond its numbers. Of ranks on several nodes the broker
// adds which: it knows their names.
std::string Slot::remark() const {
  const Lease& lease = run_->lease;
  const std::size_t slots = 1 + lease.more_slots.size() + lease.elsewhere;
  if (slots == 1 || app_of(*run_).executor == ExecutorKind::command) return {};
  if (run_->rank.of == 1)
    return "ran on one of the " + std::to_string(slots) +
           " slots that it held: a noop app has no ranks";
  const std::string ranks = "by " + std::to_string(run_->rank.of) + " ranks";
  return run_->rank.devices.empty() ? ranks : ranks + ", on devices " + run_->rank.devices;
}

RunEnded Slot::verdict_of(Instant now, const ExecutorDone& done) const {
  if (done.stopped)
    return verdict_without_answer(
        now, {.code = Errc::executor_crashed,
              .detail = "the run was stopped by a signal that the pool did not send"});
  if (done.cause == Errc{})
    return {
        .outcome = Outcome::succeeded, .detail = remark(), .ran = ran(now), .result = done.result};
  if (fault_of(done.cause) == Fault::program)
    return {
        .outcome = Outcome::failed, .cause = done.cause, .detail = done.detail, .ran = ran(now)};
  return pool_fault(done.cause, done.detail);
}

// The run stopped or its executor is gone, without a result: why?
RunEnded Slot::verdict_without_answer(Instant now, Error what_happened) const {
  if (run_->doom) return pool_fault(run_->doom->code, run_->doom->detail);
  if (run_->cancelled) return {.outcome = Outcome::cancelled, .ran = ran(now)};
  if (run_->began && now >= run_->end_at) return expired(now);
  if (!run_->began && now >= run_->start_by)
    return pool_fault(Errc::start_limit_missed, std::move(what_happened.detail));
  return pool_fault(what_happened.code, std::move(what_happened.detail));
}

// At its declared end, or before it where no more could be held for it.
RunEnded Slot::expired(Instant now) const {
  RunEnded how{.outcome = Outcome::expired, .ran = ran(now)};
  if (run_->held < run_->lease.declared) {
    how.cause = Errc::quota_exceeded;
    how.detail = "its hold of " + in_seconds(run_->held) + " was not extended in time";
  }
  return how;
}

void Slot::end(Instant now, RunEnded how, SlotActions& out) {
  how.node = place_.node;
  how.job = run_->lease.job;
  how.attempt = run_->lease.attempt;
  how.epoch = run_->lease.epoch;
  how.began = run_->began != Instant{};
  if (how.detail.size() > limits::detail_bytes_max) how.detail.resize(limits::detail_bytes_max);
  if (helps_elsewhere() && how.pool_fault && !companion_->is_over)
    companion_->lost = Error{.code = how.cause, .detail = how.detail};
  (run_->rank.number == 0 ? out.ended : out.rank_ended) = std::move(how);
  const bool had_executor =
      app_ == run_->lease.app && (life_ == Life::starting || life_ == Life::ready);
  // What a command has left behind must go: its executor serves one run, and the end of that kills
  // everything that it started.
  const bool was_used = run_->handed_over && app_of(*run_).executor == ExecutorKind::command;
  run_.reset();
  if (had_executor && was_used)
    kill_executor(now, out);
  else if (had_executor || process_)
    out.executors.emplace_back(Disarm{.slot = place_.slot});
  restore(now, out);
}

// ---- Time ------------------------------------------------------------------------------------

void Slot::advance(Instant now, SlotActions& out) {
  if (run_) advance_run(now, out);
  advance_executor(now, out);
}

void Slot::advance_run(Instant now, SlotActions& out) {
  if (run_->guest) return advance_guest(now, out);
  if (now >= run_->give_up)
    return end(now,
               verdict_without_answer(now, {.code = Errc::executor_crashed,
                                            .detail = "the executor could not be ended"}),
               out);
  if (run_->give_up != Instant::never()) return;
  if (now >= run_->warn_at) warn(now, out);
  const AppConfig& app = app_of(*run_);
  if (!run_->began && !run_->cancelled && now >= run_->start_by) {
    run_->doom = Error{.code = Errc::start_limit_missed,
                       .detail = "it did not begin within " + in_seconds(app.start_limit)};
  } else if (now >= stalls_at()) {
    run_->doom = Error{.code = Errc::executor_stalled,
                       .detail = "it reported no step for " + in_seconds(app.stall)};
  } else if (now < run_->kill_at) {
    return;
  }
  // At kill_at the supervisor kills by its own timer; this order covers one that can't.
  run_->give_up = now + config_.worker.kill_grace;
  if (life_ != Life::ending) kill_executor(now, out);
}

// The supervisor sends the signal by its own timer; this is for those who follow the job.
void Slot::warn(Instant now, SlotActions& out) {
  run_->warn_at = Instant::never();
  if (run_->cancelled || run_->doom || now >= run_->end_at) return;
  out.broker.emplace_back(RunWarned{.node = place_.node,
                                    .job = run_->lease.job,
                                    .attempt = run_->lease.attempt,
                                    .left = command_warning});
}

// After the declared end the executor is stopping and owes no step; the kill is near anyway. What
// a command does is its own affair.
Instant Slot::stalls_at() const {
  if (!run_->began || run_->cancelled) return Instant::never();
  if (app_of(*run_).executor == ExecutorKind::command) return Instant::never();
  const Instant at = run_->last_step + app_of(*run_).stall;
  return at < run_->end_at ? at : Instant::never();
}

Instant Slot::run_deadline() const {
  if (run_->guest) return guest_deadline();
  if (run_->give_up != Instant::never()) return run_->give_up;
  if (run_->cancelled) return run_->kill_at;
  return std::min({run_->began ? stalls_at() : run_->start_by, run_->kill_at, run_->warn_at});
}

Instant Slot::next_deadline() const {
  Instant next = run_ ? run_deadline() : check_until_;
  if (companion_) next = std::min(next, companion_->until);
  if (life_ == Life::starting && !run_)
    next = std::min(next, asked_ + config_.app(app_)->start_limit);
  if (life_ == Life::ending) next = std::min(next, kill_again_);
  if (life_ == Life::broken) next = std::min(next, retry_at_);
  for (const Aside& one : aside_) next = std::min(next, one.kill_again);
  if (process_) next = std::min(next, process_->kill_again);
  return next;
}

// ---- What it looks like ----------------------------------------------------------------------

SlotState Slot::state() const {
  // Whatever its rank does. When the run is over it is being cleared.
  if (helps_elsewhere()) return companion_->is_over ? SlotState::checking : SlotState::held;
  if (run_) return run_->began ? SlotState::running : SlotState::starting;
  if (companion_) return SlotState::checking;  // while its run is on, the worker says more
  if (!why().empty()) return SlotState::down;
  const bool needs_nothing = life_ == Life::absent && warm_app_.empty() && !is_evicting();
  return life_ == Life::ready || needs_nothing ? SlotState::free : SlotState::checking;
}

SlotReport Slot::report(Instant now) const {
  SlotReport report{.slot = place_.slot,
                    .device = place_.device,
                    .state = state(),
                    .partition = place_.partition,
                    .why = why()};
  if (report.state == SlotState::held) {
    report.job = companion_->job;
    report.attempt = companion_->attempt;
  } else if (run_ && !helps_elsewhere()) {
    report.job = run_->lease.job;
    report.attempt = run_->lease.attempt;
    report.held = run_->held;
    if (run_->began) report.ran = std::max(now - run_->began, Duration{1});
  }
  if (life_ == Life::ready) report.warm_app = app_;
  if (process_ && !process_->is_leaving()) report.warm_app = process_->app;
  return report;
}

bool Slot::carries(JobId job, std::uint32_t attempt) const {
  return run_ && run_->lease.job == job && run_->lease.attempt == attempt;
}

}  // namespace gpupool
