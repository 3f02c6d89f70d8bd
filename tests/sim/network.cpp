#include "tests/sim/network.h"

#include <algorithm>

namespace gpupool::sim {

void Schedule::insert(Key key, std::function<void()> what) {
  key.at = std::max(key.at, now_);
  key.serial = ++serial_;
  events_.emplace(key, std::move(what));
}

void Schedule::at(Instant when, std::function<void()> what) {
  insert({.at = when, .tie = rng_.next() >> 1U}, std::move(what));
}

std::function<void()> Schedule::pop() {
  auto first = events_.begin();
  now_ = first->first.at;
  std::function<void()> what = std::move(first->second);
  events_.erase(first);
  return what;
}

// Two deliveries at one moment keep their order through the tie.
void Mailbox::deliver(Schedule& schedule, Duration delay, std::function<void()> what) {
  Schedule::Key key{.at = schedule.now() + delay, .tie = schedule.rng_.next() >> 1U};
  if (key.at <= last_.at) key = {.at = last_.at, .tie = last_.tie + 1};
  last_ = key;
  schedule.insert(key, std::move(what));
}

void Link::deliver(Schedule& schedule, const std::function<void()>& what) {
  const auto chance = [&](std::uint64_t per_mille) { return rng_.below(1000) < per_mille; };
  if (chance(faults_.lost)) return;
  const int copies = chance(faults_.doubled) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    Duration delay = milliseconds(rng_.between(0, 3));
    if (chance(faults_.late)) delay = milliseconds(rng_.between(1, faults_.late_most.ms));
    schedule.after(delay, what);
  }
}

}  // namespace gpupool::sim
