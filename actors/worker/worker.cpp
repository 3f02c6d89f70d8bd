#include "actors/worker/worker.h"

#include <algorithm>
#include <utility>

#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration repeat_interval = seconds(1);  // of an end that the broker hasn't seen
constexpr std::size_t heartbeats_kept = 8192;     // a lease that echoes one forgotten is refused
constexpr std::size_t ends_kept = 512;

// "GPU-8f1b...", "GPU 0", or "CPU, 2 threads".
std::vector<std::string> device_names(const WorkerConfig& worker) {
  std::vector<std::string> names;
  for (const DeviceConfig& one : worker.devices) {
    if (one.kind == DeviceKind::cuda)
      names.push_back(one.device.size() > 3 ? one.device : "GPU " + one.device);
    else
      names.push_back("CPU, " + std::to_string(one.threads) +
                      (one.threads == 1 ? " thread" : " threads"));
  }
  return names;
}

// As its processes find it. No GPU has the name of a cpu device, so that they find none.
std::string visible_name(const DeviceConfig& device, std::uint32_t number) {
  return device.kind == DeviceKind::cuda ? device.device : "cpu-" + std::to_string(number);
}

}  // namespace

Worker::Worker(const Config& config, NodeId node, Incarnation incarnation, std::string build,
               std::string secret)
    : config_(config),
      node_(node),
      incarnation_(incarnation),
      build_(std::move(build)),
      secret_(std::move(secret)) {
  std::uint32_t device = 0;
  for (const DeviceConfig& each : config.worker.devices) {
    for (std::uint32_t i = 0; i < each.slots; ++i) {
      const SlotIndex index{static_cast<std::uint32_t>(slots_.size())};
      slots_.emplace_back(config, Slot::Place{.node = node,
                                              .slot = index,
                                              .device = device,
                                              .partition = each.partition,
                                              .memory = each.slot_memory(),
                                              .visible = visible_name(each, device)});
    }
    if (each.kind == DeviceKind::cuda) watches_.emplace(device, DeviceWatch(config.worker, each));
    ++device;
  }
  deadline_of_.assign(slots_.size(), Instant::never());
  is_free_.assign(slots_.size(), false);
  told_why_.resize(slots_.size());
  for (std::uint32_t i = 0; i < slots_.size(); ++i) note({i});
}

Effects Worker::start(Instant now) {
  Effects out;
  now_ = now;
  broker_heard_ = now;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    SlotActions actions;
    slots_[i].start(now, actions);
    carry_out(now, {i}, std::move(actions), out);
  }
  join(now, out);
  next_beat_ = now + config_.worker.heartbeat_interval;
  out.wake_at = next_deadline();
  return out;
}

// The message comes before the clock: a step that waited in the mailbox while this process was
// stopped still counts before its run is called stalled.
Effects Worker::step(Instant now, const ToWorker& message) {
  Effects out;
  now_ = now;
  freed_untold_ = 0;
  std::visit([&](const auto& each) { on(now, each, out); }, message);
  advance(now, out);
  if (joined_ && freed_untold_ > 0) beat(now, out);  // they can be lent again right away
  out.wake_at = next_deadline();
  return out;
}

// ---- Heartbeats and epochs -------------------------------------------------------------------

void Worker::advance(Instant now, Effects& out) {
  std::vector<std::uint32_t> due;
  for (const auto& [at, slot] : slot_deadlines_) {
    if (at > now) break;
    due.push_back(slot);
  }
  std::sort(due.begin(), due.end());
  for (const std::uint32_t slot : due) {
    SlotActions actions;
    slots_[slot].advance(now, actions);
    carry_out(now, {slot}, std::move(actions), out);
  }
  release_companions(now, out);
  repeat_ends(now, out);
  if (now < next_beat_) return;
  for (const auto& [device, watch] : watches_) heed(now, device, out);
  broker_is_lost(now) ? join(now, out) : beat(now, out);
  // After a pause of the whole process one heartbeat is enough.
  next_beat_ = std::max(next_beat_ + config_.worker.heartbeat_interval, now + milliseconds(1));
}

void Worker::beat(Instant now, Effects& out) {
  out.to(to_broker(), ToBroker{Heartbeat{.node = node_,
                                         .incarnation = incarnation_,
                                         .number = new_heartbeat(now),
                                         .slots = slot_reports(),
                                         .draining = stop_by_.has_value()}});
  tell_again(now, out);
}

void Worker::join(Instant now, Effects& out) {
  out.to(to_broker(), ToBroker{Join{.node = node_,
                                    .name = config_.worker.name,
                                    .incarnation = incarnation_,
                                    .build = build_,
                                    .heartbeat = new_heartbeat(now),
                                    .slots = slot_reports(),
                                    .draining = stop_by_.has_value(),
                                    .devices = device_names(config_.worker)}});
}

std::uint64_t Worker::new_heartbeat(Instant now) {
  sent_.push_back(now);
  if (sent_.size() > heartbeats_kept) sent_.pop_front();
  return ++heartbeat_;
}

bool Worker::broker_is_lost(Instant now) const {
  return !joined_ || now - broker_seen_ >= config_.broker.heartbeat_loss;
}

// It may be another one than before, which knows nothing of this node.
Effects Worker::meet_broker(Instant now) {
  Effects out;
  now_ = now;
  broker_heard_ = now;
  joined_ = false;
  join(now, out);
  out.wake_at = next_deadline();
  return out;
}

// Earlier than it is lost: whoever takes over should find this node while it still counts on it.
bool Worker::seeks_broker() const {
  return now_ - broker_heard_ >= config_.broker.heartbeat_suspect;
}

void Worker::on(Instant, const Tick&, Effects&) {}

void Worker::on(Instant now, const Joined& joined, Effects&) {
  if (joined.epoch < epoch_) return;
  broker_heard_ = now;
  const bool is_new = joined.epoch > epoch_;
  epoch_ = joined.epoch;
  joined_ = joined.refused == Errc{};
  if (!joined_) return;  // asked again with the next heartbeat
  broker_seen_ = now;
  if (!is_new) return;
  for (auto& [run, end] : unseen_) end.send_again = now;  // a new broker has heard of none of them
  if (!unseen_.empty()) repeat_at_ = now;
}

void Worker::on(Instant now, const HeartbeatSeen& seen, Effects& out) {
  if (!seen.epoch) {
    broker_heard_ = now;
    // Once per interval is enough: the join that is on its way answers the rest.
    if (!std::exchange(joined_, false)) return;
    return join(now, out);
  }
  if (seen.epoch < epoch_ || seen.number > heartbeat_) return;
  epoch_ = seen.epoch;
  joined_ = true;
  broker_seen_ = now;
  broker_heard_ = now;
}

// ---- Stopping --------------------------------------------------------------------------------

void Worker::on(Instant now, const Stop& stop, Effects& out) {
  stop_by_ = stop.by;
  if (joined_) beat(now, out);  // the broker leases nothing here from now on
}

bool Worker::stopped() const {
  if (!stop_by_) return false;
  const bool at_rest =
      unseen_.empty() && std::all_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
        return slot.is_clear() && !slot.companion();
      });
  return at_rest || now_ >= *stop_by_;
}

// ---- Leases ----------------------------------------------------------------------------------

void Worker::on(Instant now, const Lease& lease, Effects& out) {
  if (lease.node != node_ || is_known(now, lease, out)) return;
  if (const auto error = objection(now, lease)) {
    out.to(to_broker(), ToBroker{LeaseRefused{.node = node_,
                                              .job = lease.job,
                                              .attempt = lease.attempt,
                                              .code = error->code,
                                              .want = error->want,
                                              .have = error->have}});
    return;
  }
  epoch_ = lease.epoch;
  const auto hold = [&](SlotIndex slot, Instant until) {
    SlotActions actions;
    slots_[slot.value].accompany(lease, until);
    slots_[slot.value].evict(now, actions);
    for (ToExecutors& command : actions.executors) out.to(to_executors(), std::move(command));
    companions_.insert(slot.value);
    note(slot);
  };
  // Its own node may take the lease as late as it can, has it as long as can be, and has a clock of
  // its own, which may be slower by 1 %.
  Instant until = Instant::never();
  if (lease.runs_on) {
    const Duration longest = config_.worker.heartbeat_stale +
                             occupancy_of(config_, *config_.app(lease.app), lease.declared);
    until = now + longest + Duration{longest.ms / 100};
  }
  if (has_ranks(lease)) return start_ranks(now, lease, until, out);
  for (const SlotIndex slot : lease.more_slots) hold(slot, until);
  if (lease.runs_on) return hold(lease.slot, until);
  if (config_.app(lease.app)->executor == ExecutorKind::external)
    return take_external(now, lease, out);
  SlotActions actions;
  slots_[lease.slot.value].take(now, lease, actions);
  carry_out(now, lease.slot, std::move(actions), out);
}

bool Worker::is_known(Instant now, const Lease& lease, Effects& out) {
  const RunName name{lease.job, lease.attempt};
  if (const auto ended = unseen_.find(name); ended != unseen_.end()) {
    repeat_end(now, ended->second, out);
    return true;
  }
  if (lease.runs_on)
    return std::any_of(companions_.begin(), companions_.end(), [&](std::uint32_t companion) {
      return holds(companion, lease.job, lease.attempt);
    });
  return recent_names_.contains(name) || carries(lease.job, lease.attempt);
}

bool Worker::carries(JobId job, std::uint32_t attempt) const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [&](const Slot& slot) { return slot.carries(job, attempt); });
}

// All that the lease names are slots of this node, none twice, and each is free.
bool Worker::all_free(const Lease& lease) const {
  std::vector<SlotIndex> named{lease.slot};
  named.insert(named.end(), lease.more_slots.begin(), lease.more_slots.end());
  std::sort(named.begin(), named.end());
  if (std::adjacent_find(named.begin(), named.end()) != named.end()) return false;
  return std::all_of(named.begin(), named.end(), [this](SlotIndex slot) {
    return slot.value < slots_.size() && slots_[slot.value].state() == SlotState::free;
  });
}

std::optional<Error> Worker::objection(Instant now, const Lease& lease) const {
  const Duration limit = config_.worker.heartbeat_stale;
  const Duration age = age_of(now, lease.heartbeat);
  const Error refused{.code = Errc::lease_refused, .want = age.ms, .have = limit.ms};
  if (lease.epoch < epoch_)
    return Error{.code = Errc::stale_epoch,
                 .want = static_cast<std::int64_t>(lease.epoch.value),
                 .have = static_cast<std::int64_t>(epoch_.value)};
  if (stop_by_) return Error{.code = Errc::pool_unavailable};
  if (lease.incarnation != incarnation_ || age > limit || !all_free(lease)) return refused;
  // It was held and let go. Whoever still counts on it has to know.
  if (lease.runs_on && recent_names_.contains({lease.job, lease.attempt})) return refused;
  if (config_.app(lease.app) == nullptr) return Error{.code = Errc::unknown_app};
  if (lease.declared <= Duration{} || lease.declared.ms > limits::duration_ms_max)
    return Error{
        .code = Errc::illegal_duration, .want = lease.declared.ms, .have = limits::duration_ms_max};
  if (std::ssize(unseen_) >= limits::unseen_ends_max)
    return Error{
        .code = Errc::overloaded, .want = std::ssize(unseen_) + 1, .have = limits::unseen_ends_max};
  return std::nullopt;
}

// One that is forgotten, or was never sent, counts as older than the limit.
Duration Worker::age_of(Instant now, std::uint64_t heartbeat) const {
  const std::uint64_t back = heartbeat_ - heartbeat;
  if (heartbeat <= heartbeat_ && back < sent_.size()) return now - sent_[sent_.size() - 1 - back];
  return config_.worker.heartbeat_stale + milliseconds(1);
}

void Worker::on(Instant now, const CancelRun& cancel, Effects& out) {
  if (cancel.epoch < epoch_) return;
  with_run(now, cancel, out, [&](Slot& slot, SlotActions& actions) {
    if (!slot.companion()) slot.cancel(now, actions);  // the other ranks end with the first
  });
  const std::vector<std::uint32_t> companions(companions_.begin(), companions_.end());
  for (const std::uint32_t place : companions)
    if (holds(place, cancel.job, cancel.attempt)) call_off(now, place, out);
}

void Worker::on(Instant now, const ExtendRun& extend, Effects& out) {
  if (extend.epoch < epoch_) return;
  with_run(now, extend, out,
           [&](Slot& slot, SlotActions& actions) { slot.extend(now, extend.held, actions); });
}

// On the slot that runs what a command is about, if there is one.
template <class Command, class Act>
void Worker::with_run(Instant now, const Command& command, Effects& out, const Act& act) {
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].carries(command.job, command.attempt)) continue;
    SlotActions actions;
    act(slots_[i], actions);
    carry_out(now, {i}, std::move(actions), out);
  }
}

// ---- Ends ------------------------------------------------------------------------------------

void Worker::carry_out(Instant now, SlotIndex slot, SlotActions actions, Effects& out) {
  const bool was_free = is_free_[slot.value];
  note(slot);
  for (ToExecutors& command : actions.executors) out.to(to_executors(), std::move(command));
  for (ToBroker& news : actions.broker) out.to(to_broker(), std::move(news));
  tell_if_changed(slot, out);
  if (actions.rank_ended) rank_ended(now, slot, *actions.rank_ended, out);
  if (!actions.ended) return;
  const RunName name{actions.ended->job, actions.ended->attempt};
  remember(name);
  // The usual end leaves the slot as ready as it was: the end itself says so, which spares a
  // heartbeat for every run.
  actions.ended->slots_free = is_free_[slot.value];
  if (actions.ended->slots_free && !was_free) --freed_untold_;
  out.to(to_broker(), ToBroker{*actions.ended});
  end_ranks(now, *actions.ended, out);
  const Instant again = now + repeat_interval;
  unseen_.emplace(name, UnseenEnd{.report = std::move(*actions.ended), .send_again = again});
  repeat_at_ = std::min(repeat_at_, again);
}

void Worker::remember(const RunName& ended) {
  if (!recent_names_.insert(ended).second) return;
  recent_ends_.push_back(ended);
  if (recent_ends_.size() <= ends_kept) return;
  recent_names_.erase(recent_ends_.front());
  recent_ends_.pop_front();
}

void Worker::note(SlotIndex slot) {
  const std::uint32_t place = slot.value;
  if (const Instant at = slots_[place].next_deadline(); at != deadline_of_[place]) {
    slot_deadlines_.erase({deadline_of_[place], place});
    deadline_of_[place] = at;
    if (at != Instant::never()) slot_deadlines_.insert({at, place});
  }
  const bool is_free = slots_[place].state() == SlotState::free;
  if (is_free && !is_free_[place]) ++freed_untold_;
  is_free_[place] = is_free;
}

// Looks through the ends only when the earliest of them may be due.
void Worker::repeat_ends(Instant now, Effects& out) {
  if (now < repeat_at_) return;
  repeat_at_ = Instant::never();
  for (auto& [run, end] : unseen_) {
    if (now >= end.send_again)
      repeat_end(now, end, out);
    else
      repeat_at_ = std::min(repeat_at_, end.send_again);
  }
}

// By now its slots may carry another run.
void Worker::repeat_end(Instant now, UnseenEnd& end, Effects& out) {
  end.send_again = now + repeat_interval;
  repeat_at_ = std::min(repeat_at_, end.send_again);
  end.report.slots_free = false;
  out.to(to_broker(), ToBroker{end.report});
}

void Worker::on(Instant, const EndSeen& seen, Effects&) { unseen_.erase({seen.job, seen.attempt}); }

// Bytes of results are the shell's: it reads them from its ResultStore
// (actors/worker/result_store.h).
void Worker::on(Instant, const FetchResult&, Effects&) {}
void Worker::on(Instant, const FetchLog&, Effects&) {}

// A run's files come from the ledger, through the broker. What gets lost is asked for again.
void Worker::on(Instant, const FetchFiles& wanted, Effects& out) {
  FetchFiles asked = wanted;
  asked.node = node_;
  if (carries(wanted.job, wanted.attempt)) out.to(to_broker(), ToBroker{std::move(asked)});
}
void Worker::on(Instant, const FilesPiece& piece, Effects& out) {
  const bool is_here = piece.slot.value < slots_.size() &&
                       slots_[piece.slot.value].carries(piece.job, piece.attempt);
  if (is_here) out.to(to_executors(), ToExecutors{piece});
}

// ---- Executors -------------------------------------------------------------------------------

template <class Report>
void Worker::tell_slot(Instant now, const Report& report, Effects& out) {
  if (report.slot.value >= slots_.size()) return;
  SlotActions actions;
  slots_[report.slot.value].on(now, report, actions);
  carry_out(now, report.slot, std::move(actions), out);
}

template void Worker::tell_slot(Instant now, const ProcessGone& gone, Effects& out);

void Worker::on(Instant now, const ExecutorReady& ready, Effects& out) {
  tell_slot(now, ready, out);
}
void Worker::on(Instant now, const ExecutorBegan& began, Effects& out) {
  tell_slot(now, began, out);
}
void Worker::on(Instant now, const ExecutorStep& step, Effects& out) { tell_slot(now, step, out); }
void Worker::on(Instant now, const ExecutorDone& done, Effects& out) { tell_slot(now, done, out); }
void Worker::on(Instant now, const ExecutorExited& exited, Effects& out) {
  tell_slot(now, exited, out);
}

// ---- Time ------------------------------------------------------------------------------------

Instant Worker::next_deadline() const {
  Instant next = std::min(next_beat_, repeat_at_);
  if (!slot_deadlines_.empty()) next = std::min(next, slot_deadlines_.begin()->first);
  if (stop_by_ && *stop_by_ > now_) next = std::min(next, *stop_by_);
  return next;
}

std::vector<SlotReport> Worker::slot_reports() const {
  std::vector<SlotReport> reports;
  for (const Slot& slot : slots_) reports.push_back(report_of(slot));
  return reports;
}

// A slot that is held for a run looks like the one that carries it, so that the broker finds the
// run's slots all together. When the run has ended they are being cleared.
SlotReport Worker::report_of(const Slot& slot) const {
  SlotReport report = slot.report(now_);
  const auto& held = slot.companion();
  if (!held || !held->runs_on) return report;
  const Slot& first = slots_[held->runs_on->value];
  SlotReport runs{.state = SlotState::checking};
  if (first.carries(held->job, held->attempt)) runs = first.report(now_);
  report.state = runs.state;
  report.job = runs.job;
  report.attempt = runs.attempt;
  report.ran = runs.ran;
  report.held = runs.held;
  return report;
}

}  // namespace gpupool
