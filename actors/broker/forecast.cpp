#include "actors/broker/forecast.h"

#include <algorithm>
#include <queue>

namespace gpupool {
namespace {

// The end of a job on its slots; the earliest is on top.
struct LikelyEnd {
  Instant at{};
  JobId job;
  Place place;
  friend bool operator<(const LikelyEnd& one, const LikelyEnd& other) {
    return std::tie(other.at, other.job) < std::tie(one.at, one.job);
  }
};

void set_free(Placement& slots, const Place& place) {
  for (const PlacedSlot& placed : place.slots) {
    Node& node = *slots.find(placed.node);
    PoolSlot& slot = *node.slot(placed.slot);
    slot.leased_to = {};
    slot.report.state = SlotState::free;
    slots.update(node);
  }
}

}  // namespace

Forecast::Forecast(Instant now, Dispatcher waiting, Placement slots, const Likely& likely,
                   std::size_t starts_max) {
  std::priority_queue<LikelyEnd> ends;
  std::map<JobId, LikelyEnd> running;
  for (auto& [id, node] : slots.nodes()) {
    for (PoolSlot& slot : node.slots) {
      if (slot.report.state == SlotState::down) continue;
      // Being checked, or with a run that is not in our books: free in a moment.
      if (!slot.leased_to) {
        slot.report.state = SlotState::free;
        continue;
      }
      LikelyEnd& end = running[slot.leased_to];
      end.job = slot.leased_to;
      end.place.slots.push_back({id, slot.report.slot});
      // One that takes longer than is likely ends at any moment now.
      end.at = std::max(now, slot.leased_at + likely(slot.leased_to));
    }
    slots.update(node);
  }
  for (auto& [job, end] : running) ends.push(std::move(end));
  const auto no_app = [](JobId) { return std::string(); };
  while (true) {
    while (starts_.size() < starts_max) {
      auto start = waiting.next(now, slots, no_app);
      if (!start) break;
      const JobId job = start->waiting.job;
      starts_[job] = {.at = now, .position = static_cast<std::uint32_t>(starts_.size() + 1)};
      slots.lend(start->place, job, {.from = now, .until = now + start->waiting.occupancy});
      ends.push({now + likely(job), job, std::move(start->place)});
    }
    if (starts_.size() >= starts_max || waiting.size() == 0 || ends.empty()) return;
    now = ends.top().at;
    while (!ends.empty() && ends.top().at <= now) {
      set_free(slots, ends.top().place);
      ends.pop();
    }
  }
}

}  // namespace gpupool
