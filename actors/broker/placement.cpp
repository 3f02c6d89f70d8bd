#include "actors/broker/placement.h"

#include <algorithm>

#include "base/ensure.h"

namespace gpupool {
namespace {

bool lendable(const PoolSlot& slot) {
  return slot.report.state == SlotState::free && !slot.leased_to;
}

bool is_for(const PoolSlot& slot, const Need& need) {
  return lendable(slot) && !slot.pinned_for && slot.serves(need.partition, need.now, need.ends);
}

bool is_up(const PoolSlot& slot) { return slot.report.state != SlotState::down; }

// A place that a job could get, and what speaks for it.
struct Candidate {
  Place place;
  std::uint32_t warm = 0;  // slots of it on which the app is resident
  bool is_lent = false;    // by a reservation that has yet to begin: few jobs can be there
  std::uint32_t free = 0;  // slots that it could choose from: of its node, or of its one device

  bool is_better_than(const Candidate& other) const {
    if (warm != other.warm) return warm > other.warm;
    return is_lent != other.is_lent ? is_lent : free < other.free;
  }
};

std::optional<Candidate> single_slot(const Node& node, const Need& need, const std::string& app) {
  const PoolSlot* chosen = nullptr;
  std::uint32_t free = 0;
  const auto worth = [&](const PoolSlot& slot) {
    return (slot.report.warm_app == app ? 2 : 0) + (slot.belongs_to() != need.partition ? 1 : 0);
  };
  for (const auto& slot : node.slots) {
    if (!is_for(slot, need)) continue;
    ++free;
    if (!chosen || worth(slot) > worth(*chosen)) chosen = &slot;
  }
  if (!chosen) return std::nullopt;
  return Candidate{.place = {node.id, {chosen->report.slot}},
                   .warm = chosen->report.warm_app == app ? 1U : 0U,
                   .is_lent = chosen->belongs_to() != need.partition,
                   .free = free};
}

// Takes the slots in the order in which they are given, as many as there may be of each device.
std::optional<Candidate> first_of(const Node& node, const Shape& shape, const std::string& app,
                                  const std::vector<const PoolSlot*>& slots) {
  Candidate candidate{.place = {.node = node.id, .slots = {}}};
  std::vector<std::uint32_t> devices;
  for (const PoolSlot* slot : slots) {
    if (candidate.place.slots.size() == shape.slots) break;
    const std::uint32_t device = slot->report.device;
    const bool again = std::find(devices.begin(), devices.end(), device) != devices.end();
    if (shape.spread == Spread::devices && again) continue;
    devices.push_back(device);
    candidate.place.slots.push_back(slot->report.slot);
    candidate.warm += slot->report.warm_app == app ? 1 : 0;
  }
  candidate.free = static_cast<std::uint32_t>(slots.size());
  if (candidate.place.slots.size() < shape.slots) return std::nullopt;
  return candidate;
}

// The best place of several slots on this node.
std::optional<Candidate> gang(const Node& node, const Need& need, const std::string& app) {
  const Shape& shape = need.shape;
  std::vector<const PoolSlot*> free;
  for (const auto& slot : node.slots)
    if (is_for(slot, need)) free.push_back(&slot);
  // Warm ones first: the first slot of the place is the one that runs the job.
  std::stable_sort(free.begin(), free.end(), [&](const PoolSlot* one, const PoolSlot* other) {
    return one->report.warm_app == app && other->report.warm_app != app;
  });
  if (shape.spread == Spread::devices) return first_of(node, shape, app, free);
  std::map<std::uint32_t, std::vector<const PoolSlot*>> by_device;
  for (const PoolSlot* slot : free) by_device[slot->report.device].push_back(slot);
  std::optional<Candidate> best;
  for (const auto& [device, slots] : by_device) {
    auto found = first_of(node, shape, app, slots);
    if (found && (!best || found->is_better_than(*best))) best = std::move(found);
  }
  return best;
}

// When a slot is free again.
struct SlotEnd {
  Instant ends{};
  bool is_sure = true;  // at the latest
  const PoolSlot* slot = nullptr;
};

SlotEnd end_of(const PoolSlot& slot, Instant now, Duration unknown) {
  if (lendable(slot)) return {now, true, &slot};
  // Also after the lease was given back: until its slot was checked.
  if (slot.leased_until > now) return {slot.leased_until, true, &slot};
  return {now + unknown, false, &slot};
}

// Of these, as many as the shape has, those that end first.
std::optional<Placement::Joint> joint_of(NodeId node, const Shape& shape,
                                         std::vector<SlotEnd> slots) {
  if (slots.size() < shape.slots) return std::nullopt;
  std::stable_sort(slots.begin(), slots.end(),
                   [](const SlotEnd& one, const SlotEnd& other) { return one.ends < other.ends; });
  Placement::Joint joint{.place = {.node = node, .slots = {}}};
  for (std::uint32_t i = 0; i < shape.slots; ++i) {
    joint.place.slots.push_back(slots[i].slot->report.slot);
    joint.ends = slots[i].ends;
    joint.is_sure = joint.is_sure && slots[i].is_sure;
  }
  return joint;
}

// On one node: all on one device, or each on another.
std::optional<Placement::Joint> joint_on(const Node& node, const Need& need, Duration unknown) {
  const Shape& shape = need.shape;
  std::map<std::uint32_t, std::vector<SlotEnd>> by_device;
  for (const PoolSlot& slot : node.slots)
    if (is_up(slot) && !slot.pinned_for && slot.belongs_to() == need.partition)
      by_device[slot.report.device].push_back(end_of(slot, need.now, unknown));
  std::optional<Placement::Joint> best;
  const auto consider = [&](std::optional<Placement::Joint> joint) {
    if (joint && (!best || joint->ends < best->ends)) best = std::move(joint);
  };
  if (shape.spread == Spread::devices && shape.slots > 1) {
    std::vector<SlotEnd> firsts;
    for (const auto& [device, slots] : by_device)
      firsts.push_back(*std::min_element(
          slots.begin(), slots.end(),
          [](const SlotEnd& one, const SlotEnd& other) { return one.ends < other.ends; }));
    consider(joint_of(node.id, shape, std::move(firsts)));
  } else {
    for (auto& [device, slots] : by_device) consider(joint_of(node.id, shape, std::move(slots)));
  }
  return best;
}

// The most slots that one job could get there, of those that `counts` lets pass.
template <class Counts>
std::uint32_t most_together(const Node& node, Spread spread, const Counts& counts) {
  std::map<std::uint32_t, std::uint32_t> of_device;
  for (const auto& slot : node.slots)
    if (counts(slot)) ++of_device[slot.report.device];
  if (spread == Spread::devices) return static_cast<std::uint32_t>(of_device.size());
  std::uint32_t most = 0;
  for (const auto& [device, slots] : of_device) most = std::max(most, slots);
  return most;
}

}  // namespace

bool PoolSlot::serves(PartitionId asking, Instant now, Instant ends) const {
  if (!reservation) return asking == partition;
  if (asking == reservation->id) return now >= reservation->from && ends <= reservation->until;
  return asking == partition && ends <= reservation->from;
}

std::uint32_t healthy_slots(const Node& node) {
  if (!node.takes_leases()) return 0;
  return static_cast<std::uint32_t>(std::count_if(node.slots.begin(), node.slots.end(), is_up));
}

// Workers report their slots in order, so a slot is nearly always where its number says.
const PoolSlot* Node::slot(SlotIndex index) const {
  if (index.value < slots.size() && slots[index.value].report.slot == index)
    return &slots[index.value];
  const auto it = std::find_if(slots.begin(), slots.end(),
                               [&](const PoolSlot& slot) { return slot.report.slot == index; });
  return it == slots.end() ? nullptr : &*it;
}

PoolSlot* Node::slot(SlotIndex index) {
  return const_cast<PoolSlot*>(std::as_const(*this).slot(index));
}

Node& Placement::join(Instant now, const Join& join) {
  Node& node = nodes_[join.node];
  const bool same_process = node.incarnation == join.incarnation;
  std::vector<PoolSlot> slots;
  for (const auto& report : join.slots) {
    const PoolSlot* before = same_process ? node.slot(report.slot) : nullptr;
    PoolSlot slot = before ? *before : PoolSlot{};
    slot.report = report;
    slot.partition = partition(report.partition);
    slots.push_back(std::move(slot));
  }
  node = Node{.id = join.node,
              .name = join.name,
              .incarnation = join.incarnation,
              .heartbeat = join.heartbeat,
              .seen = now,
              .lost = false,
              .draining = draining_.contains(join.name),
              .slots = std::move(slots),
              .ending = join.draining};
  return node;
}

void Placement::drain(std::set<std::string> names) {
  draining_ = std::move(names);
  for (auto& [id, node] : nodes_) node.draining = draining_.contains(node.name);
}

Node* Placement::find(NodeId id) {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

std::optional<Place> Placement::pick(const Need& need, const std::string& app) const {
  std::optional<Candidate> best;
  for (const auto& [id, node] : nodes_) {
    if (!node.takes_leases()) continue;
    auto found = need.shape.slots == 1 ? single_slot(node, need, app) : gang(node, need, app);
    if (found && (!best || found->is_better_than(*best))) best = std::move(found);
  }
  if (!best) return std::nullopt;
  return std::move(best->place);
}

std::optional<Placement::Joint> Placement::earliest(const Need& need, Duration unknown) const {
  std::optional<Joint> best;
  for (const auto& [id, node] : nodes_) {
    if (!node.takes_leases()) continue;
    auto joint = joint_on(node, need, unknown);
    if (joint && (!best || joint->ends < best->ends)) best = std::move(joint);
  }
  return best;
}

void Placement::pin(const Place& place, JobId job) {
  Node* node = find(place.node);
  for (const SlotIndex index : place.slots) {
    PoolSlot* slot = node ? node->slot(index) : nullptr;
    GPUPOOL_ENSURE(slot != nullptr && !slot->pinned_for, place.node, index);
    slot->pinned_for = job;
  }
}

// Its node can have come back without them.
void Placement::unpin(const Place& place) {
  Node* node = find(place.node);
  for (const SlotIndex index : place.slots)
    if (PoolSlot* slot = node ? node->slot(index) : nullptr) slot->pinned_for = {};
}

template <class Is>
bool Placement::all_of(const Place& place, const Is& is) const {
  const auto it = nodes_.find(place.node);
  if (it == nodes_.end() || !it->second.takes_leases()) return false;
  return std::all_of(place.slots.begin(), place.slots.end(), [&](SlotIndex index) {
    const PoolSlot* slot = it->second.slot(index);
    return slot != nullptr && is(*slot);
  });
}

bool Placement::is_free(const Place& place) const { return all_of(place, lendable); }
bool Placement::is_pinned(const Place& place, JobId job, PartitionId partition) const {
  return all_of(place, [&](const PoolSlot& slot) {
    return is_up(slot) && slot.pinned_for == job && slot.belongs_to() == partition;
  });
}

bool Placement::has(PartitionId partition, const Shape& shape) const {
  const auto counts = [partition](const PoolSlot& slot) {
    return is_up(slot) && slot.belongs_to() == partition;
  };
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
    const Node& node = entry.second;
    if (!node.takes_leases()) return false;
    if (shape.slots == 1) return std::any_of(node.slots.begin(), node.slots.end(), counts);
    return most_together(node, shape.spread, counts) >= shape.slots;
  });
}

std::uint32_t Placement::largest(PartitionId partition, Spread spread) const {
  const auto counts = [partition](const PoolSlot& slot) { return slot.belongs_to() == partition; };
  std::uint32_t largest = 0;
  for (const auto& [id, node] : nodes_)
    largest = std::max(largest, most_together(node, spread, counts));
  return largest;
}

std::uint32_t Placement::largest_ever(PartitionId partition, Spread spread) const {
  const auto counts = [partition](const PoolSlot& slot) {
    const bool comes_back = slot.reservation && slot.reservation->until != Instant::never();
    return slot.belongs_to() == partition || (slot.partition == partition && comes_back);
  };
  std::uint32_t largest = 0;
  for (const auto& [id, node] : nodes_)
    largest = std::max(largest, most_together(node, spread, counts));
  return largest;
}

std::uint32_t Placement::free_slots(const Need& need) const {
  std::uint32_t count = 0;
  for (const auto& [id, node] : nodes_)
    if (node.takes_leases())
      count += static_cast<std::uint32_t>(
          std::count_if(node.slots.begin(), node.slots.end(),
                        [&need](const PoolSlot& slot) { return is_for(slot, need); }));
  return count;
}

std::uint32_t Placement::healthy_slots(PartitionId partition) const {
  std::uint32_t count = 0;
  for (const auto& [id, node] : nodes_)
    if (node.takes_leases())
      count += static_cast<std::uint32_t>(
          std::count_if(node.slots.begin(), node.slots.end(), [partition](const PoolSlot& slot) {
            return is_up(slot) && slot.belongs_to() == partition;
          }));
  return count;
}

bool Placement::has_healthy_slot() const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [](const auto& entry) { return gpupool::healthy_slots(entry.second) > 0; });
}

bool Placement::lends_any() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const auto& entry) {
    const auto& slots = entry.second.slots;
    return std::any_of(slots.begin(), slots.end(),
                       [](const PoolSlot& slot) { return bool{slot.leased_to}; });
  });
}

void Placement::lend(const Place& place, JobId job, const Span& span) {
  Node* node = find(place.node);
  for (const SlotIndex index : place.slots) {
    PoolSlot* slot = node ? node->slot(index) : nullptr;
    GPUPOOL_ENSURE(slot != nullptr, place.node, index);
    GPUPOOL_ENSURE(!slot->leased_to, slot->leased_to, job);
    slot->leased_to = job;
    slot->leased_at = span.from;
    slot->leased_until = span.until;
  }
}

void Placement::take_back(const Place& place, JobId job) {
  Node* node = find(place.node);
  for (const SlotIndex index : place.slots) {
    PoolSlot* slot = node ? node->slot(index) : nullptr;
    if (!slot || slot->leased_to != job) continue;
    slot->leased_to = {};
    // Until the worker's next report: what it said before the end of this run no longer holds.
    slot->report.state = SlotState::checking;
  }
}

}  // namespace gpupool
