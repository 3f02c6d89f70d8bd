#include "actors/worker/worker.h"

#include <algorithm>
#include <utility>

#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration repeat_interval = seconds(1);  // of an end that the broker hasn't seen
constexpr std::size_t heartbeats_kept = 8192;     // a lease that echoes one forgotten is refused
constexpr std::size_t ends_kept = 512;

}  // namespace

Worker::Worker(const Config& config, NodeId node, Incarnation incarnation, std::string build)
    : config_(config), node_(node), incarnation_(incarnation), build_(std::move(build)) {
  std::uint32_t device = 0;
  for (const DeviceConfig& each : config.worker.devices) {
    for (std::uint32_t i = 0; i < each.slots; ++i) {
      const SlotIndex index{static_cast<std::uint32_t>(slots_.size())};
      slots_.emplace_back(config, Slot::Place{.node = node, .slot = index, .device = device});
    }
    ++device;
  }
}

Effects Worker::start(Instant now) {
  Effects out;
  for (Slot& slot : slots_) {
    SlotActions actions;
    slot.start(now, actions);
    carry_out(now, std::move(actions), out);
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
  const auto free_before = free_slots();
  std::visit([&](const auto& each) { on(now, each, out); }, message);
  advance(now, out);
  if (joined_ && free_slots() > free_before) beat(now, out);  // it can be lent again right away
  out.wake_at = next_deadline();
  return out;
}

// ---- Heartbeats and epochs -------------------------------------------------------------------

void Worker::advance(Instant now, Effects& out) {
  for (Slot& slot : slots_) {
    SlotActions actions;
    slot.advance(now, actions);
    carry_out(now, std::move(actions), out);
  }
  repeat_ends(now, out);
  if (now < next_beat_) return;
  broker_is_lost(now) ? join(now, out) : beat(now, out);
  // After a pause of the whole process one heartbeat is enough.
  next_beat_ = std::max(next_beat_ + config_.worker.heartbeat_interval, now + milliseconds(1));
}

void Worker::beat(Instant now, Effects& out) {
  out.to(to_broker(), ToBroker{Heartbeat{.node = node_,
                                         .incarnation = incarnation_,
                                         .number = new_heartbeat(now),
                                         .slots = slot_reports()}});
}

void Worker::join(Instant now, Effects& out) {
  out.to(to_broker(), ToBroker{Join{.node = node_,
                                    .name = config_.worker.name,
                                    .incarnation = incarnation_,
                                    .build = build_,
                                    .heartbeat = new_heartbeat(now),
                                    .slots = slot_reports()}});
}

std::uint64_t Worker::new_heartbeat(Instant now) {
  sent_.push_back(now);
  if (sent_.size() > heartbeats_kept) sent_.pop_front();
  return ++heartbeat_;
}

bool Worker::broker_is_lost(Instant now) const {
  return !joined_ || now - broker_seen_ >= config_.broker.heartbeat_loss;
}

void Worker::on(Instant, const Tick&, Effects&) {}

void Worker::on(Instant now, const Joined& joined, Effects&) {
  if (joined.epoch < epoch_) return;
  const bool is_new = joined.epoch > epoch_;
  epoch_ = joined.epoch;
  joined_ = joined.refused == Errc{};
  if (!joined_) return;  // asked again with the next heartbeat
  broker_seen_ = now;
  if (!is_new) return;
  for (UnseenEnd& end : unseen_) end.send_again = now;  // a new broker has heard of none of them
}

void Worker::on(Instant now, const HeartbeatSeen& seen, Effects& out) {
  if (!seen.epoch) {
    // Once per interval is enough: the join that is on its way answers the rest.
    if (!std::exchange(joined_, false)) return;
    return join(now, out);
  }
  if (seen.epoch < epoch_ || seen.number > heartbeat_) return;
  epoch_ = seen.epoch;
  joined_ = true;
  broker_seen_ = now;
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
  SlotActions actions;
  slots_[lease.slot.value].take(now, lease, actions);
  carry_out(now, std::move(actions), out);
}

bool Worker::is_known(Instant now, const Lease& lease, Effects& out) {
  for (UnseenEnd& end : unseen_) {
    if (end.report.job != lease.job || end.report.attempt != lease.attempt) continue;
    end.send_again = now;
    repeat_ends(now, out);
    return true;
  }
  const RunName name{lease.job, lease.attempt};
  return std::find(recent_ends_.begin(), recent_ends_.end(), name) != recent_ends_.end() ||
         std::any_of(slots_.begin(), slots_.end(),
                     [&](const Slot& slot) { return slot.carries(lease.job, lease.attempt); });
}

std::optional<Error> Worker::objection(Instant now, const Lease& lease) const {
  const Duration limit = config_.worker.heartbeat_stale;
  const Duration age = age_of(now, lease.heartbeat);
  const Error refused{.code = Errc::lease_refused, .want = age.ms, .have = limit.ms};
  if (lease.epoch < epoch_)
    return Error{.code = Errc::stale_epoch,
                 .want = static_cast<std::int64_t>(lease.epoch.value),
                 .have = static_cast<std::int64_t>(epoch_.value)};
  if (lease.incarnation != incarnation_ || age > limit) return refused;
  if (lease.slot.value >= slots_.size() || slots_[lease.slot.value].state() != SlotState::free)
    return refused;
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
  for (Slot& slot : slots_) {
    if (!slot.carries(cancel.job, cancel.attempt)) continue;
    SlotActions actions;
    slot.cancel(now, actions);
    carry_out(now, std::move(actions), out);
  }
}

// ---- Ends ------------------------------------------------------------------------------------

void Worker::carry_out(Instant now, SlotActions actions, Effects& out) {
  for (ToExecutors& command : actions.executors) out.to(to_executors(), std::move(command));
  for (ToBroker& news : actions.broker) out.to(to_broker(), std::move(news));
  if (!actions.ended) return;
  recent_ends_.push_back({actions.ended->job, actions.ended->attempt});
  if (recent_ends_.size() > ends_kept) recent_ends_.pop_front();
  out.to(to_broker(), ToBroker{*actions.ended});
  unseen_.push_back({.report = std::move(*actions.ended), .send_again = now + repeat_interval});
}

void Worker::repeat_ends(Instant now, Effects& out) {
  for (UnseenEnd& end : unseen_) {
    if (now < end.send_again) continue;
    end.send_again = now + repeat_interval;
    out.to(to_broker(), ToBroker{end.report});
  }
}

void Worker::on(Instant, const EndSeen& seen, Effects&) {
  std::erase_if(unseen_, [&](const UnseenEnd& end) {
    return end.report.job == seen.job && end.report.attempt == seen.attempt;
  });
}

// Bytes of results are the shell's: it reads them from its ResultStore
// (actors/worker/result_store.h).
void Worker::on(Instant, const FetchResult&, Effects&) {}

// ---- Executors -------------------------------------------------------------------------------

template <class Report>
void Worker::tell_slot(Instant now, const Report& report, Effects& out) {
  if (report.slot.value >= slots_.size()) return;
  SlotActions actions;
  slots_[report.slot.value].on(now, report, actions);
  carry_out(now, std::move(actions), out);
}

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
  Instant next = next_beat_;
  for (const Slot& slot : slots_) next = std::min(next, slot.next_deadline());
  for (const UnseenEnd& end : unseen_) next = std::min(next, end.send_again);
  return next;
}

std::ptrdiff_t Worker::free_slots() const {
  return std::count_if(slots_.begin(), slots_.end(),
                       [](const Slot& slot) { return slot.state() == SlotState::free; });
}

std::vector<SlotReport> Worker::slot_reports() const {
  std::vector<SlotReport> reports;
  for (const Slot& slot : slots_) reports.push_back(slot.report());
  return reports;
}

}  // namespace gpupool
