// Runs of external apps: the caller's own process computes on the slot, and may stay there, warm,
// for the next run of the same task. What the pool can do to it is to kill it.
#include <algorithm>
#include <utility>

#include "actors/worker/lease_token.h"
#include "actors/worker/slot.h"
#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr Duration eviction_interval = seconds(1);  // between two orders to kill

bool is_same_task(const std::vector<Argument>& a, const std::vector<Argument>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Argument& one, const Argument& other) {
                      return one.key == other.key && one.value == other.value;
                    });
}

}  // namespace

void Slot::admit(Instant now, const Lease& lease, Admission admission, SlotActions& out) {
  GPUPOOL_ENSURE(state() == SlotState::free, place_.slot);
  run_ = Run{.lease = lease, .held = lease.declared};
  if (lease.held > Duration{}) run_->held = std::min(lease.held, lease.declared);
  run_->guest = Guest{.admission = std::move(admission)};
  // What is in the way is killed, which takes no longer than any other end of a run.
  run_->start_by = now + config_.worker.kill_grace;
  clear_for_guest(now, out);
}

// Nobody is let in beside an executor of the pool, nor beside the process of another task: an old
// one that its caller has forgotten is killed here.
void Slot::clear_for_guest(Instant now, SlotActions& out) {
  if (run_->guest->granted) return;
  if (life_ != Life::absent && life_ != Life::broken) {
    if (life_ != Life::ending) kill_executor(now, out);
    if (life_ != Life::absent) return;
  }
  const Lease& lease = run_->lease;
  if (process_ && (process_->is_leaving() || process_->app != lease.app ||
                   !is_same_task(process_->task, lease.body->arguments)))
    return evict(now, out);
  grant(now, out);
}

void Slot::grant(Instant now, SlotActions& out) {
  run_->guest->granted = true;
  run_->guest->idle = process_.has_value();
  run_->start_by = now + app_of(*run_).start_limit;
  out.broker.emplace_back(granted());
  if (run_->guest->idle) begin_guest(now, out);
}

RunGranted Slot::granted() const {
  return {.node = place_.node,
          .job = run_->lease.job,
          .attempt = run_->lease.attempt,
          .grant = Grant{.slot = place_.slot,
                         .device = run_->guest->admission.devices,
                         .token = run_->guest->admission.token,
                         .idle = run_->guest->idle}};
}

// Told once: a process that comes all the same starts the count again, and nothing else.
void Slot::begin_guest(Instant now, SlotActions& out) {
  if (!run_->began)
    out.broker.emplace_back(
        RunBegan{.node = place_.node, .job = run_->lease.job, .attempt = run_->lease.attempt});
  run_->began = now;
  set_end(out);
}

bool Slot::shows(const std::string& token) const {
  return run_ && run_->guest && run_->guest->granted &&
         is_same_secret(run_->guest->admission.token, token);
}

Errc Slot::allow(Instant now, const LocalProcess& process, SlotActions& out) {
  GPUPOOL_ENSURE(run_ && run_->guest, place_.slot);
  if (run_->guest->allowed) return process_ && process_->name == process ? Errc{} : Errc::forbidden;
  // The warm one was of no use to its caller, who may have forgotten it.
  if (process_ && process_->name != process && !process_->is_leaving())
    out.executors.emplace_back(KillProcess{.slot = place_.slot, .process = process_->name});
  process_ = Process{.name = process, .app = run_->lease.app, .task = run_->lease.body->arguments};
  run_->guest->allowed = true;
  run_->guest->lost = {};
  begin_guest(now, out);
  // Last: once this is carried out, its end is known, too.
  out.executors.emplace_back(WatchProcess{.slot = place_.slot, .process = process});
  return {};
}

bool Slot::let_go(const LocalProcess& process) {
  if (!process_ || process_->name != process) return true;
  if (run_ || process_->is_leaving()) return false;
  process_.reset();
  return true;
}

Slot::Released Slot::release(Instant now, Verdict verdict, SlotActions& out) {
  const bool was_used = bool{run_->began};
  if (!was_used) {
    end_guest(now, {.outcome = Outcome::cancelled, .detail = "released before it was used"}, out);
    return Released::unused;
  }
  if (verdict == Verdict::failed) {
    end_guest(now,
              {.outcome = Outcome::failed,
               .cause = Errc::program_failed,
               .detail = "its caller says that it failed",
               .ran = ran(now)},
              out);
    return Released::used;
  }
  end(now, {.outcome = Outcome::succeeded, .detail = remark(), .ran = ran(now)}, out);
  return Released::used;
}

// Whatever is left of its process goes with it: nothing computes without a lease, and what failed
// holds memory.
void Slot::end_guest(Instant now, RunEnded how, SlotActions& out) {
  evict(now, out);
  end(now, std::move(how), out);
}

void Slot::evict(Instant now, SlotActions& out) {
  if (process_ && !process_->is_leaving()) kill_process(now, out);
}

void Slot::kill_process(Instant now, SlotActions& out) {
  process_->kill_again = now + eviction_interval;
  out.executors.emplace_back(KillProcess{.slot = place_.slot, .process = process_->name});
}

void Slot::on(Instant now, const ProcessGone& gone, SlotActions& out) {
  if (!process_ || process_->name != gone.process) return;
  process_.reset();
  if (!run_) return restore(now, out);
  if (!run_->guest) return place_run(now, out);
  if (!run_->guest->granted) return clear_for_guest(now, out);
  // Where this worker stood still, its guard was the one who ended it.
  if (run_->began && now >= run_->end_at) return end_guest(now, expired(now), out);
  if (run_->guest->allowed)
    return end_guest(now,
                     {.outcome = Outcome::failed,
                      .cause = Errc::program_failed,
                      .detail = "its process ended before it gave the lease back",
                      .ran = ran(now)},
                     out);
  // Its caller finds it dead, too, and starts another one, which has as long as any other.
  run_->guest->lost = now;
}

void Slot::advance_guest(Instant now, SlotActions& out) {
  if (now < guest_deadline()) return;
  const std::string limit = in_seconds(app_of(*run_).start_limit);
  if (!run_->guest->granted) {
    end_guest(now, pool_fault(Errc::start_limit_missed, "what ran there before could not be ended"),
              out);
  } else if (!run_->began) {
    end_guest(now,
              pool_fault(Errc::start_limit_missed,
                         "its process did not come within " + limit + " of the grant"),
              out);
  } else if (run_->guest->lost && now < run_->end_at) {
    end_guest(now,
              {.outcome = Outcome::failed,
               .cause = Errc::program_failed,
               .detail = "its process ended, and no other came within " + limit,
               .ran = ran(run_->guest->lost)},
              out);
  } else {
    end_guest(now, expired(now), out);
  }
}

Instant Slot::guest_deadline() const {
  if (!run_->guest->granted || !run_->began) return run_->start_by;
  if (!run_->guest->lost) return run_->end_at;
  return std::min(run_->end_at, run_->guest->lost + app_of(*run_).start_limit);
}

}  // namespace gpupool
