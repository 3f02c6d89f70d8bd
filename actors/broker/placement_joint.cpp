// Where and when the slots of a shape are free together first.
#include <algorithm>
#include <utility>

#include "actors/broker/placement.h"

namespace gpupool {
namespace {

// When a slot is free again.
struct SlotEnd {
  Instant ends{};
  bool is_sure = true;  // at the latest
  PlacedSlot slot;
};

SlotEnd end_of(NodeId node, const PoolSlot& slot, Instant now, Duration unknown) {
  const PlacedSlot placed{node, slot.report.slot};
  if (slot.is_lendable()) return {now, true, placed};
  // Also after the lease was given back: until its slot was checked.
  if (slot.leased_until > now) return {slot.leased_until, true, placed};
  return {now + unknown, false, placed};
}

bool is_earlier(const SlotEnd& one, const SlotEnd& other) { return one.ends < other.ends; }

// Of these, as many as the shape has, those that end first.
std::optional<Placement::Joint> joint_of(const Shape& shape, std::vector<SlotEnd> slots) {
  if (slots.size() < shape.slots) return std::nullopt;
  std::stable_sort(slots.begin(), slots.end(), is_earlier);
  Placement::Joint joint;
  for (std::uint32_t i = 0; i < shape.slots; ++i) {
    joint.place.slots.push_back(slots[i].slot);
    joint.ends = slots[i].ends;
    joint.is_sure = joint.is_sure && slots[i].is_sure;
  }
  return joint;
}

using EndsByDevice = std::map<std::uint32_t, std::vector<SlotEnd>>;

EndsByDevice ends_on(const Node& node, const Need& need, Duration unknown) {
  EndsByDevice by_device;
  for (const auto& slot : node.slots)
    if (slot.is_up() && !slot.pinned_for && slot.belongs_to() == need.partition)
      by_device[slot.report.device].push_back(end_of(node.id, slot, need.now, unknown));
  return by_device;
}

// The one of each device that ends first.
std::vector<SlotEnd> firsts_of(const EndsByDevice& by_device) {
  std::vector<SlotEnd> firsts;
  for (const auto& [device, slots] : by_device)
    firsts.push_back(*std::min_element(slots.begin(), slots.end(), is_earlier));
  return firsts;
}

// On one node: all on one device, or each on another.
std::optional<Placement::Joint> joint_on(const Node& node, const Need& need, Duration unknown) {
  const Shape& shape = need.shape;
  EndsByDevice by_device = ends_on(node, need, unknown);
  if (shape.spread != Spread::device && shape.slots > 1)
    return joint_of(shape, firsts_of(by_device));
  std::optional<Placement::Joint> best;
  for (auto& [device, slots] : by_device) {
    auto joint = joint_of(shape, std::move(slots));
    if (joint && (!best || joint->ends < best->ends)) best = std::move(joint);
  }
  return best;
}

}  // namespace

std::optional<Placement::Joint> Placement::earliest(const Need& need, Duration unknown) const {
  std::optional<Joint> best;
  std::vector<SlotEnd> everywhere;
  const auto consider = [&best](std::optional<Joint> joint) {
    if (joint && (!best || joint->ends < best->ends)) best = std::move(joint);
  };
  for (const auto& [id, node] : nodes_) {
    if (!node.takes_leases()) continue;
    consider(joint_on(node, need, unknown));
    if (need.shape.spread != Spread::nodes || need.shape.slots <= 1) continue;
    const std::vector<SlotEnd> here = firsts_of(ends_on(node, need, unknown));
    everywhere.insert(everywhere.end(), here.begin(), here.end());
  }
  if (!everywhere.empty()) consider(joint_of(need.shape, std::move(everywhere)));
  return best;
}

}  // namespace gpupool
