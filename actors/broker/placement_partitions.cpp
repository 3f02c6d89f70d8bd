// Partitions by name, and the slots that reservations take from them.
#include <algorithm>
#include <utility>

#include "actors/broker/placement.h"

namespace gpupool {
namespace {

bool is_up(const Node& node, const PoolSlot& slot) { return node.takes_leases() && slot.is_up(); }

// Idle ones first, then those that are free soonest; of equal ones the last, so that what is left
// stays together at the front.
bool is_better(const PoolSlot& one, const PoolSlot& other) {
  const auto busy_until = [](const PoolSlot& slot) {
    const bool idle = !slot.leased_to && !slot.pinned_for;
    return idle ? Instant{} : std::max(slot.leased_until, Instant{1});
  };
  return busy_until(one) <= busy_until(other);
}

}  // namespace

PartitionId Placement::partition(const std::string& name) {
  const auto it = std::find(names_.begin(), names_.end(), name);
  const auto number = static_cast<std::uint32_t>(it - names_.begin());
  if (it == names_.end()) names_.push_back(name);
  return {number};
}

void Placement::reserve(const std::vector<Reservation>& reservations) {
  if (reservations.empty() && index_.reserved().empty()) return;
  std::map<PartitionId, std::uint32_t> have;
  std::map<PartitionId, std::uint32_t> left;  // of each partition, that can still be reserved
  for (const Reservation& one : reservations) left[one.of] = 0;
  for (auto& [id, node] : nodes_)
    for (PoolSlot& slot : node.slots)
      if (const auto of = left.find(slot.partition); of != left.end() && is_up(node, slot))
        ++of->second;
  for (auto& [of, slots] : left) slots -= slots > 0 ? 1 : 0;
  const auto take = [&](PoolSlot& slot, const Reservation& one) {
    slot.reservation = one;
    ++have[one.id];
    --left[one.of];
  };
  for (auto& [id, node] : nodes_)
    for (PoolSlot& slot : node.slots) {
      const auto before = std::exchange(slot.reservation, std::nullopt);
      if (!before || !is_up(node, slot)) continue;
      for (const Reservation& one : reservations)
        if (one.id == before->id && one.of == slot.partition && have[one.id] < one.slots &&
            left[one.of] > 0)
          take(slot, one);
    }
  for (const Reservation& one : reservations)
    while (have[one.id] < one.slots && left[one.of] > 0) {
      PoolSlot* best = nullptr;
      for (auto& [id, node] : nodes_)
        for (PoolSlot& slot : node.slots)
          if (!slot.reservation && slot.partition == one.of && is_up(node, slot) &&
              (best == nullptr || is_better(slot, *best)))
            best = &slot;
      if (best == nullptr) break;
      take(*best, one);
    }
  for (const auto& [id, node] : nodes_) update(node);
}

}  // namespace gpupool
