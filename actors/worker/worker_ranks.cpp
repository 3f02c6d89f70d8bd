// Jobs of several slots: the ranks of one run, and slots that are held for a run on another.
#include <algorithm>
#include <utility>

#include "actors/worker/worker.h"

namespace gpupool {

// A rank on each slot, the first one's is 0.
void Worker::start_ranks(Instant now, const Lease& lease, Effects& out) {
  Slot::Rank rank{.of = static_cast<std::uint32_t>(lease.more_slots.size() + 1)};
  std::vector<SlotIndex> slots{lease.slot};
  slots.insert(slots.end(), lease.more_slots.begin(), lease.more_slots.end());
  for (const SlotIndex slot : slots)
    rank.where +=
        (rank.where.empty() ? "" : ", ") + std::to_string(slots_[slot.value].report(now).device);
  for (const SlotIndex slot : slots) {
    SlotActions actions;
    if (rank.number == 0) {
      slots_[slot.value].take(now, lease, rank, actions);
    } else {
      companions_.insert(slot.value);
      slots_[slot.value].help(now, lease, rank, actions);
    }
    ++rank.number;
    carry_out(now, slot, std::move(actions), out);
  }
}

// What one rank leaves the others find, those too that have yet to start.
void Worker::on(Instant now, const RankLeft& left, Effects& out) {
  const auto carries = [&](std::uint32_t slot) {
    return slots_[slot].carries(left.job, left.attempt);
  };
  if (left.slot.value >= slots_.size() || !carries(left.slot.value)) return;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slot == left.slot.value || !carries(slot)) continue;
    SlotActions actions;
    slots_[slot].find(left, actions);
    carry_out(now, {slot}, std::move(actions), out);
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

// A rank that is lost takes the run with it.
void Worker::rank_ended(Instant now, SlotIndex slot, const RunEnded& how, Effects& out) {
  const SlotIndex first = *slots_[slot.value].companion()->runs_on;
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

void Worker::release_companions(Instant now, Effects& out) {
  const std::vector<std::uint32_t> companions(companions_.begin(), companions_.end());
  for (const std::uint32_t place : companions) {
    const auto& held = slots_[place].companion();
    if (now < held->until && !held->runs_on) continue;
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
