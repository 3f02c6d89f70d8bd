// Jobs of several slots: the ranks of one run, and slots that are held for a run on another.
#include <algorithm>
#include <utility>

#include "actors/worker/worker.h"

namespace gpupool {

// Rank 0 is on the node that runs the job; on one that holds slots for it they come later.
bool Worker::has_ranks(const Lease& lease) const {
  return config_.app(lease.app)->executor == ExecutorKind::diffusion &&
         lease.more_slots.size() + lease.elsewhere > 0 &&
         bool{lease.runs_on} == (lease.first_rank > 0);
}

// A rank on each slot of the lease, in their order.
void Worker::start_ranks(Instant now, Lease lease, Instant until, Effects& out) {
  Slot::Rank rank{.number = lease.first_rank,
                  .of = static_cast<std::uint32_t>(lease.more_slots.size() + 1) + lease.elsewhere};
  std::vector<SlotIndex> slots{lease.slot};
  slots.insert(slots.end(), lease.more_slots.begin(), lease.more_slots.end());
  // Who runs the job is told when more is held for it, and ends it when no more can be: those that
  // help on another node end with it.
  if (lease.runs_on) lease.held = {};
  for (const SlotIndex slot : slots) {
    if (lease.elsewhere > 0) break;
    rank.devices +=
        (rank.devices.empty() ? "" : ", ") + std::to_string(slots_[slot.value].device());
  }
  for (const SlotIndex slot : slots) {
    SlotActions actions;
    if (rank.number == 0) {
      slots_[slot.value].take(now, lease, rank, actions);
    } else {
      companions_.insert(slot.value);
      slots_[slot.value].help(now, lease, rank, until, actions);
    }
    ++rank.number;
    carry_out(now, slot, std::move(actions), out);
  }
}

// What one rank leaves the others find, those too that have yet to start, and those on other nodes.
void Worker::on(Instant now, const RankLeft& left, Effects& out) {
  const auto carries = [&](std::uint32_t slot) {
    return slots_[slot].carries(left.job, left.attempt);
  };
  if (left.slot.value >= slots_.size() || !carries(left.slot.value)) return;
  SlotActions sharing;
  slots_[left.slot.value].share(left, sharing);
  carry_out(now, left.slot, std::move(sharing), out);
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slot == left.slot.value || !carries(slot)) continue;
    SlotActions actions;
    slots_[slot].find(left, actions);
    carry_out(now, {slot}, std::move(actions), out);
  }
}

// With every heartbeat. What was heard before changes nothing anywhere.
void Worker::tell_again(Instant now, Effects& out) {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    SlotActions actions;
    slots_[slot].tell_again(actions);
    if (!actions.broker.empty()) carry_out(now, {slot}, std::move(actions), out);
  }
}

// Likewise of ranks on other nodes.
void Worker::on(Instant now, const RankShared& shared, Effects& out) {
  if (shared.node == node_) return;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].carries(shared.job, shared.attempt)) continue;
    SlotActions actions;
    slots_[slot].find(
        {.job = shared.job, .attempt = shared.attempt, .key = shared.key, .value = shared.value},
        actions);
    carry_out(now, {slot}, std::move(actions), out);
  }
}

// A rank that is lost takes the run with it. Where another node runs it, the broker does.
void Worker::rank_ended(Instant now, SlotIndex slot, const RunEnded& how, Effects& out) {
  const auto& helped = slots_[slot.value].companion();
  if (!helped->runs_on) {
    SlotActions actions;
    slots_[slot.value].tell_again(actions);
    return carry_out(now, slot, std::move(actions), out);
  }
  const SlotIndex first = *helped->runs_on;
  if (!how.pool_fault || !slots_[first.value].carries(how.job, how.attempt)) return;
  SlotActions actions;
  slots_[first.value].fail(now, {.code = how.cause, .detail = "another rank: " + how.detail},
                           actions);
  carry_out(now, first, std::move(actions), out);
}

// The others end with the first one: by themselves when it has its result.
void Worker::end_ranks(Instant now, const RunEnded& first, Effects& out) {
  const std::vector<std::uint32_t> companions(companions_.begin(), companions_.end());
  for (const std::uint32_t place : companions) {
    if (!slots_[place].carries(first.job, first.attempt)) continue;
    SlotActions actions;
    first.outcome == Outcome::succeeded ? slots_[place].finish_soon(now, actions)
                                        : slots_[place].cancel(now, actions);
    carry_out(now, {place}, std::move(actions), out);
  }
}

// Of a run on another node.
bool Worker::holds(std::uint32_t companion, JobId job, std::uint32_t attempt) const {
  const auto& held = slots_[companion].companion();
  return !held->runs_on && held->job == job && held->attempt == attempt;
}

void Worker::call_off(Instant now, std::uint32_t companion, Effects& out) {
  SlotActions actions;
  slots_[companion].call_off(now, actions);
  carry_out(now, {companion}, std::move(actions), out);
}

void Worker::release_companions(Instant now, Effects& out) {
  const std::vector<std::uint32_t> companions(companions_.begin(), companions_.end());
  for (const std::uint32_t place : companions) {
    const auto& held = slots_[place].companion();
    if (!held->runs_on && now >= held->until) call_off(now, place, out);
    if (!held->runs_on && !held->is_over) continue;
    const Slot* first = held->runs_on ? &slots_[held->runs_on->value] : nullptr;
    if (first && (first->carries(held->job, held->attempt) || !first->is_clear())) continue;
    if (!slots_[place].is_clear()) continue;  // its rank
    release(now, place, out);
  }
}

void Worker::release(Instant now, std::uint32_t companion, Effects& out) {
  const auto& held = slots_[companion].companion();
  if (!held->runs_on) remember({held->job, held->attempt});
  SlotActions actions;
  slots_[companion].leave(now, actions);
  companions_.erase(companion);
  carry_out(now, {companion}, std::move(actions), out);
}

}  // namespace gpupool
