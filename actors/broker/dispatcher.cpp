#include "actors/broker/dispatcher.h"

#include <algorithm>

#include "base/ensure.h"

namespace gpupool {
namespace {

// Of those that could go on the slots of a pin, so many of the shortest are looked at.
constexpr std::size_t backfill_looked_at = 64;

}  // namespace

void Dispatcher::use(const Capacity& capacity) {
  capacity_ = capacity;
  clamp_debt();
}

void Dispatcher::push(const Waiting& waiting) {
  GPUPOOL_ENSURE(std::none_of(pins_.begin(), pins_.end(),
                              [&](const Pin& pin) { return pin.waiting.job == waiting.job; }),
                 waiting.job);
  queue_.push(waiting);
}

bool Dispatcher::remove(JobId job, Placement& slots) {
  if (queue_.remove(job)) return true;
  const auto pin = std::find_if(pins_.begin(), pins_.end(),
                                [job](const Pin& one) { return one.waiting.job == job; });
  if (pin == pins_.end()) return false;
  slots.unpin(pin->place);
  pins_.erase(pin);
  return true;
}

// ---- Lanes -------------------------------------------------------------------------------------

Lane Dispatcher::lane() const {
  switch (rules_.policy) {
    case Policy::fifo:
    case Policy::easy:
      return Lane::oldest;
    case Policy::shortest:
      return Lane::shortest;
    case Policy::floor:
      break;
  }
  return debt_ >= 0 ? Lane::oldest : Lane::shortest;
}

bool Dispatcher::can_pin() const {
  if (rules_.policy == Policy::easy) return pins_.empty();
  return rules_.policy == Policy::floor && lane() == Lane::oldest &&
         pins_.size() < capacity_.pins();
}

// Without the clamp an idle pool would bank credit for short jobs without end, and the bound would
// break (replay_test). A tiny pool goes by arrival: nobody may be ahead there.
void Dispatcher::clamp_debt() {
  if (!rules_.clamps_debt) return;
  const std::int64_t least =
      capacity_.is_tiny() ? 0 : -inverse_phi * capacity_.largest * capacity_.longest.ms;
  debt_ = std::max(debt_, least);
}

// What is dispatched costs phi of its work; the old lane has it all back. `debt_` counts in units
// of phi, so that it is a whole number; in a tiny pool phi is 1.
std::int64_t Dispatcher::charge(Lane lane, const Waiting& waiting) {
  const std::int64_t before = debt_;
  debt_ += capacity_.is_tiny() ? inverse_phi * waiting.work() : waiting.work();
  if (lane == Lane::oldest) debt_ -= inverse_phi * waiting.work();
  clamp_debt();
  return debt_ - before;
}

Start Dispatcher::take(Lane lane, const Waiting& waiting, Place place) {
  const bool is_oldest = lane == Lane::oldest || queue_.oldest() == waiting.job;
  Start start{.waiting = queue_.take_first(lane, waiting.shape), .place = std::move(place)};
  charge(is_oldest ? Lane::oldest : lane, start.waiting);
  return start;
}

// ---- What starts next --------------------------------------------------------------------------

std::optional<Start> Dispatcher::next(Instant now, Placement& slots, const AppOf& app_of) {
  if (size() == 0) return std::nullopt;
  drop_broken_pins(slots);
  if (auto start = start_pinned(now, slots, app_of)) return start;
  if (auto start = start_from_lane(now, slots, app_of)) return start;
  return backfill(now, slots);
}

void Dispatcher::drop_broken_pins(Placement& slots) {
  for (std::size_t i = 0; i < pins_.size();) {
    const Pin& pin = pins_[i];
    if (slots.is_pinned(pin.place, pin.waiting.job, partition_)) {
      ++i;
      continue;
    }
    slots.unpin(pin.place);
    debt_ -= pin.charged;
    clamp_debt();
    queue_.push(pin.waiting);
    pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

Need Dispatcher::need_of(Instant now, const Waiting& waiting) const {
  return {
      .partition = partition_, .shape = waiting.shape, .now = now, .ends = now + waiting.occupancy};
}

// In its own place; or in another one, if one happens to be free first.
std::optional<Start> Dispatcher::start_pinned(Instant now, Placement& slots, const AppOf& app_of) {
  for (auto pin = pins_.begin(); pin != pins_.end(); ++pin) {
    std::optional<Place> place;
    if (slots.is_free(pin->place))
      place = pin->place;
    else
      place = slots.pick(need_of(now, pin->waiting), app_of(pin->waiting.job));
    if (!place) continue;
    slots.unpin(pin->place);
    Start start{.waiting = pin->waiting, .place = *std::move(place)};
    pins_.erase(pin);
    return start;
  }
  return std::nullopt;
}

// A shape that no healthy node has is not waited for: its jobs step aside meanwhile.
std::optional<Start> Dispatcher::start_from_lane(Instant now, Placement& slots,
                                                 const AppOf& app_of) {
  const auto is_there = [&](const Shape& shape) {
    return shape.slots == 1 || slots.has(partition_, shape);
  };
  while (const Waiting* first = queue_.first(lane(), is_there)) {
    if (auto place = slots.pick(need_of(now, *first), app_of(first->job)))
      return take(lane(), *first, *std::move(place));
    // Nothing is decided for anybody while no slot is free.
    const Need any{.partition = partition_, .shape = {}, .now = now, .ends = now};
    if (first->shape.slots == 1 || slots.free_slots(any) == 0) return std::nullopt;
    if (can_pin()) {
      auto joint = slots.earliest(need_of(now, *first), capacity_.longest);
      if (joint) {
        const Lane from = lane();
        Pin pin{.waiting = queue_.take_first(from, first->shape),
                .place = std::move(joint->place),
                .ready = joint->is_sure ? joint->ends : now};
        pin.charged = charge(from, pin.waiting);
        slots.pin(pin.place, pin.waiting.job);
        pins_.push_back(std::move(pin));
        continue;
      }
    }
    const Waiting* other = first_beside(now, slots);
    if (other == nullptr) return std::nullopt;
    auto place = slots.pick(need_of(now, *other), app_of(other->job));
    if (!place) return std::nullopt;
    return take(lane(), *other, *std::move(place));
  }
  return std::nullopt;
}

// Who may start beside a job that waits for several slots and gets no pin: the next one of the lane
// that needs but one; with `easy` any that fits.
const Waiting* Dispatcher::first_beside(Instant now, const Placement& slots) const {
  if (rules_.policy == Policy::floor)
    return queue_.first(lane(), [](const Shape& shape) { return shape.slots == 1; });
  if (rules_.policy != Policy::easy) return nullptr;
  return queue_.first(lane(), [&](const Shape& shape) {
    return slots.pick({.partition = partition_, .shape = shape, .now = now, .ends = now}, {})
        .has_value();
  });
}

// What runs on the slots of a pin must be over when its own job can start, so it changes no debt.
std::optional<Start> Dispatcher::backfill(Instant now, Placement& slots) {
  for (const Pin& pin : pins_)
    for (const PlacedSlot& slot : pin.place.slots) {
      Place place{.slots = {slot}};
      if (!slots.is_free(place)) continue;
      const auto fits = [&](const Waiting& one) { return now + one.occupancy <= pin.ready; };
      const Waiting* found = queue_.first_single_that(fits, backfill_looked_at);
      if (found == nullptr) continue;
      Start start{.waiting = *found, .place = std::move(place)};
      queue_.remove(start.waiting.job);
      return start;
    }
  return std::nullopt;
}

// ---- Counting ----------------------------------------------------------------------------------

Ahead Dispatcher::all() const {
  Ahead all = queue_.all();
  for (const Pin& pin : pins_) all.add(pin.waiting);
  return all;
}

Ahead Dispatcher::older_than(JobId job) const {
  Ahead ahead = queue_.older_than(job);
  for (const Pin& pin : pins_)
    if (pin.waiting.job < job) ahead.add(pin.waiting);
  return ahead;
}

void Dispatcher::walk(const std::function<void(const Ahead&, const Waiting&)>& visit) const {
  std::vector<const Waiting*> pinned;
  for (const Pin& pin : pins_) pinned.push_back(&pin.waiting);
  std::sort(pinned.begin(), pinned.end(),
            [](const Waiting* one, const Waiting* other) { return one->job < other->job; });
  auto next = pinned.begin();
  Ahead ahead;
  const auto visit_one = [&](const Waiting& waiting) {
    visit(ahead, waiting);
    ahead.add(waiting);
  };
  queue_.walk([&](const Ahead&, const Waiting& waiting) {
    while (next != pinned.end() && (*next)->job < waiting.job) visit_one(**next++);
    visit_one(waiting);
  });
  while (next != pinned.end()) visit_one(**next++);
}

}  // namespace gpupool
