// The life of a slot's executors: start, check, end, and which of them stay warm beside the one
// that is resident.
#include <algorithm>
#include <utility>

#include "actors/worker/fault.h"
#include "actors/worker/slot.h"
#include "base/ensure.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration kill_interval = seconds(1);  // between two orders to kill

// Between two starts, doubled after each that failed.
struct Pause {
  Duration first;
  Duration longest;
};
constexpr Pause after_failed_start{seconds(1), seconds(30)};
// A device that fails run after run must not eat every job: each gets another device meanwhile.
constexpr Pause after_device_fault{seconds(10), seconds(300)};

Duration pause_after(std::uint32_t failures, Pause pause) {
  Duration wait = pause.first;
  for (std::uint32_t i = 1; i < failures && wait < pause.longest; ++i) wait = wait * 2;
  return std::min(wait, pause.longest);
}

Error what_happened(const ExecutorExited& exited) {
  Error error{.code = cause_of_exit(exited.signal, exited.exit_code),
              .detail = exited.signal != 0
                            ? "the executor was ended by signal " + std::to_string(exited.signal)
                            : "the executor exited with code " + std::to_string(exited.exit_code)};
  if (!exited.detail.empty()) error.detail += ": " + exited.detail;
  return error;
}

// As much of it as heartbeats carry, cut between characters.
std::string in_few_words(const std::string& text) {
  auto end = static_cast<std::size_t>(limits::slot_words_bytes_max);
  if (text.size() <= end) return text;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return text.substr(0, end);
}

}  // namespace

void Slot::start_executor(Instant now, const std::string& app, SlotActions& out) {
  app_ = app;
  asked_ = now;
  was_ready_ = false;
  make_room_beside(now, {.app = app, .memory = memory_of(app)}, out);
  life_ = is_clearing() ? Life::clearing : Life::starting;
  if (life_ == Life::clearing) return;
  std::erase_if(aside_, [&](const Aside& one) { return one.app == app; });
  out.executors.emplace_back(StartExecutor{.slot = place_.slot, .app = app});
  if (run_) {
    // A worker that dies now can't enforce the start limit; the supervisor's own timer can.
    const Instant last = run_->start_by + config_.worker.kill_grace;
    out.executors.emplace_back(EndBy{.slot = place_.slot, .at = last, .kill_at = last});
  }
}

void Slot::kill_executor(Instant now, SlotActions& out) {
  if (life_ == Life::absent) return;  // what is in the way is a caller's process
  if (life_ == Life::clearing) {      // its own was not started yet
    life_ = Life::absent;
    return;
  }
  life_ = Life::ending;
  kill_again_ = now + kill_interval;
  out.executors.emplace_back(KillExecutor{.slot = place_.slot});
}

// The check of an idle slot: its warm executor becomes ready, or the slot goes down.
void Slot::restore(Instant now, SlotActions& out) {
  if (life_ == Life::ready || warm_app_.empty() || companion_ || !out_.empty()) return;
  if (check_until_ == Instant::never()) check_until_ = now + config_.worker.slot_check;
  if (life_ == Life::absent) start_executor(now, warm_app_, out);
}

void Slot::on(Instant, const ExecutorReady& ready, SlotActions& out) {
  if (life_ != Life::starting || ready.app != app_) return;
  life_ = Life::ready;
  was_ready_ = true;
  failed_starts_ = 0;
  check_until_ = Instant::never();
  down_.clear();
  if (!run_) return;
  GPUPOOL_ENSURE(app_ == run_->lease.app, app_, run_->lease.app);
  hand_over(out);
}

void Slot::on(Instant now, const ExecutorExited& exited, SlotActions& out) {
  if (exited_aside(now, exited, out)) return;
  if (life_ == Life::absent || life_ == Life::broken || life_ == Life::clearing) return;
  break_down(now, exited);
  app_.clear();
  if (!run_) return restore(now, out);
  if (run_->guest) return clear_for_guest(now, out);
  const bool made_room = life_ == Life::absent && !run_->handed_over && !run_->doom;
  if (made_room) return start_executor(now, run_->lease.app, out);
  RunEnded how = verdict_without_answer(now, what_happened(exited));
  how.log = exited.log;
  end(now, std::move(how), out);
}

// One that was ready is missed by nobody, unless its device is why it has gone.
void Slot::break_down(Instant now, const ExecutorExited& exited) {
  const Error why = what_happened(exited);
  const bool was_told = std::exchange(suspect_, false);
  const bool is_device = was_told || fault_of(why.code) == Fault::device;
  life_ = was_ready_ && !is_device ? Life::absent : Life::broken;
  if (life_ == Life::absent) return;
  retry_at_ = now + (is_device ? pause_after(++device_faults_, after_device_fault)
                               : pause_after(++failed_starts_, after_failed_start));
  if (!was_told) down_ = in_few_words(exited.detail.empty() ? why.detail : exited.detail);
}

// The device failed a run, whatever the executor thinks of itself: nothing more runs in it.
void Slot::suspect(Instant now, const std::string& why, SlotActions& out) {
  suspect_ = true;
  down_ = in_few_words(why.empty() ? "its device failed a run" : why);
  if (life_ != Life::ending) kill_executor(now, out);
}

void Slot::take_out(Instant now, const std::string& why, SlotActions& out) {
  if (in_few_words(why) == out_) return;
  out_ = in_few_words(why);
  if (out_.empty() && !run_) restore(now, out);
}

void Slot::resume(Instant now) {
  device_faults_ = failed_starts_ = 0;
  if (life_ == Life::broken) retry_at_ = now;
}

void Slot::advance_executor(Instant now, SlotActions& out) {
  if (!run_ && now >= check_until_) {
    check_until_ = Instant::never();
    if (down_.empty())
      down_ = "not ready " + std::to_string(config_.worker.slot_check.ms / 1000) +
              " s after its check began";
  }
  for (Aside& one : aside_)
    if (now >= one.kill_again) kill_aside(now, one, out);
  if (process_ && now >= process_->kill_again) kill_process(now, out);
  if (life_ == Life::starting && !run_ && now >= asked_ + config_.app(app_)->start_limit)
    return kill_executor(now, out);
  if (life_ == Life::ending && now >= kill_again_) return kill_executor(now, out);
  if (life_ == Life::broken && now >= retry_at_) {
    life_ = Life::absent;
    if (warm_app_.empty()) down_.clear();
    restore(now, out);
  }
}

// ---- Those that are set aside ----------------------------------------------------------------

// Before another app's executor starts: the resident one stays warm if both fit, with as many of
// the others as do.
void Slot::make_room(Instant now, const std::string& app, SlotActions& out) {
  const std::int64_t both = memory_of(app) + memory_of(app_);
  make_room_beside(now, {.app = app, .memory = both, .joining = 1}, out);
  if (both > place_.memory) return kill_executor(now, out);
  aside_.push_back({.app = app_, .memory = memory_of(app_)});
  out.executors.emplace_back(SetAside{.slot = place_.slot});
  start_executor(now, app, out);
}

// Of those that are set aside: those that were used least recently go first. What an app that says
// nothing takes could be everything, so it stays alone.
// Invariant: what is set aside and what is resident never take more than the slot's memory.
void Slot::make_room_beside(Instant now, const Newcomer& who, SlotActions& out) {
  std::int64_t total = who.memory;
  std::int64_t kept = std::ssize(aside_) + who.joining;
  for (const Aside& one : aside_)
    if (one.app != who.app && !one.is_leaving()) total += one.memory;
  for (Aside& one : aside_) {
    if (total <= place_.memory && kept <= limits::warm_executors_max) break;
    if (one.app == who.app || one.is_leaving()) continue;
    total -= one.memory;
    --kept;
    kill_aside(now, one, out);
  }
}

std::int64_t Slot::memory_of(const std::string& app) const {
  const std::int64_t known = config_.app(app)->memory_bytes;
  return known > 0 ? known : place_.memory + 1;
}

void Slot::kill_aside(Instant now, Aside& aside, SlotActions& out) {
  aside.kill_again = now + kill_interval;
  out.executors.emplace_back(KillExecutor{.slot = place_.slot, .app = aside.app});
}

bool Slot::is_clearing() const {
  return std::any_of(aside_.begin(), aside_.end(),
                     [](const Aside& one) { return one.is_leaving(); });
}

// Whether it was one of them. The last that had to go makes room for the next resident.
bool Slot::exited_aside(Instant now, const ExecutorExited& exited, SlotActions& out) {
  const auto gone = std::find_if(aside_.begin(), aside_.end(),
                                 [&](const Aside& one) { return one.app == exited.app; });
  if (gone == aside_.end()) return false;
  aside_.erase(gone);
  if (life_ == Life::clearing && !is_clearing()) start_executor(now, std::string(app_), out);
  return true;
}

}  // namespace gpupool
