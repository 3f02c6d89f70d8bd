#include "actors/broker/placement.h"

#include <algorithm>

#include "base/ensure.h"

namespace gpupool {
namespace {

bool lendable(const PoolSlot& slot) {
  return slot.report.state == SlotState::free && !slot.leased_to;
}

}  // namespace

PoolSlot* Node::slot(SlotIndex index) {
  const auto it = std::find_if(slots.begin(), slots.end(),
                               [&](const PoolSlot& slot) { return slot.report.slot == index; });
  return it == slots.end() ? nullptr : &*it;
}

Node& Placement::join(Instant now, const Join& join) {
  Node& node = nodes_[join.node];
  const bool same_process = node.incarnation == join.incarnation;
  std::vector<PoolSlot> slots;
  for (const auto& report : join.slots) {
    const PoolSlot* before = same_process ? node.slot(report.slot) : nullptr;
    slots.push_back({report, before ? before->leased_to : JobId{}});
  }
  node = Node{.id = join.node,
              .name = join.name,
              .incarnation = join.incarnation,
              .heartbeat = join.heartbeat,
              .seen = now,
              .lost = false,
              .slots = std::move(slots)};
  return node;
}

Node* Placement::find(NodeId id) {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

std::optional<Place> Placement::pick(const std::string& app) const {
  std::optional<Place> cold;
  for (const auto& [id, node] : nodes_) {
    if (node.lost) continue;
    for (const auto& slot : node.slots) {
      if (!lendable(slot)) continue;
      if (slot.report.warm_app == app) return Place{id, slot.report.slot};
      if (!cold) cold = Place{id, slot.report.slot};
    }
  }
  return cold;
}

std::uint32_t Placement::free_slots() const {
  std::uint32_t count = 0;
  for (const auto& [id, node] : nodes_)
    if (!node.lost)
      count +=
          static_cast<std::uint32_t>(std::count_if(node.slots.begin(), node.slots.end(), lendable));
  return count;
}

std::uint32_t Placement::healthy_slots() const {
  std::uint32_t count = 0;
  for (const auto& [id, node] : nodes_)
    for (const auto& slot : node.slots)
      count += !node.lost && slot.report.state != SlotState::down ? 1 : 0;
  return count;
}

void Placement::lend(Place place, JobId job) {
  Node* node = find(place.node);
  PoolSlot* slot = node ? node->slot(place.slot) : nullptr;
  GPUPOOL_ENSURE(slot != nullptr, place.node, place.slot);
  GPUPOOL_ENSURE(!slot->leased_to, slot->leased_to, job);
  slot->leased_to = job;
}

void Placement::take_back(Place place, JobId job) {
  Node* node = find(place.node);
  PoolSlot* slot = node ? node->slot(place.slot) : nullptr;
  if (!slot || slot->leased_to != job) return;
  slot->leased_to = {};
  // Until the worker's next report: what it said before the end of this run no longer holds.
  slot->report.state = SlotState::checking;
}

}  // namespace gpupool
