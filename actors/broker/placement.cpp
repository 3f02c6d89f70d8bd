#include "actors/broker/placement.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/ensure.h"

namespace gpupool {
namespace {

bool is_for(const PoolSlot& slot, const Need& need) {
  return slot.is_lendable() && !slot.pinned_for && slot.serves(need.partition, need.now, need.ends);
}

// A slot and its node.
struct Found {
  NodeId node;
  const PoolSlot* slot = nullptr;
};
using Device = std::pair<NodeId, std::uint32_t>;
Device device_of(const Found& found) { return {found.node, found.slot->report.device}; }

// Slots that a job could get, and what speaks for them.
struct Candidate {
  std::vector<Found> slots;
  std::uint32_t warm = 0;  // of them, on which the app is resident
  bool is_lent = false;    // by a reservation that has yet to begin: few jobs can be there
  std::uint32_t free = 0;  // that it could choose from: of its node, or of its one device

  bool is_better_than(const Candidate& other) const {
    if (warm != other.warm) return warm > other.warm;
    if (is_lent != other.is_lent) return is_lent;
    if (free != other.free) return free < other.free;
    return slots.front().node < other.slots.front().node;
  }
};

std::vector<Found> free_on(const Node& node, const Need& need) {
  std::vector<Found> free;
  for (const auto& slot : node.slots)
    if (is_for(slot, need)) free.push_back({node.id, &slot});
  return free;
}

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
  return Candidate{.slots = {{node.id, chosen}},
                   .warm = chosen->report.warm_app == app ? 1U : 0U,
                   .is_lent = chosen->belongs_to() != need.partition,
                   .free = free};
}

// Takes the slots in the order in which they are given, as many as there may be of each device.
std::optional<Candidate> first_of(const Shape& shape, const std::string& app,
                                  const std::vector<Found>& slots) {
  Candidate candidate;
  std::vector<Device> devices;
  for (const Found& found : slots) {
    if (candidate.slots.size() == shape.slots) break;
    const Device device = device_of(found);
    const bool again = std::find(devices.begin(), devices.end(), device) != devices.end();
    if (shape.spread != Spread::device && again) continue;
    devices.push_back(device);
    candidate.slots.push_back(found);
    candidate.warm += found.slot->report.warm_app == app ? 1 : 0;
  }
  candidate.free = static_cast<std::uint32_t>(slots.size());
  if (candidate.slots.size() < shape.slots) return std::nullopt;
  return candidate;
}

// Warm ones first: the first slot of a place is the one that runs the job.
void put_warm_first(std::vector<Found>& slots, const std::string& app) {
  std::stable_sort(slots.begin(), slots.end(), [&](const Found& one, const Found& other) {
    return one.slot->report.warm_app == app && other.slot->report.warm_app != app;
  });
}

// The best place of several slots on this node.
std::optional<Candidate> gang(const Node& node, const Need& need, const std::string& app) {
  std::vector<Found> free = free_on(node, need);
  put_warm_first(free, app);
  if (need.shape.spread != Spread::device) return first_of(need.shape, app, free);
  std::map<std::uint32_t, std::vector<Found>> by_device;
  for (const Found& found : free) by_device[found.slot->report.device].push_back(found);
  std::optional<Candidate> best;
  for (const auto& [device, slots] : by_device) {
    auto found = first_of(need.shape, app, slots);
    if (found && (!best || found->is_better_than(*best))) best = std::move(found);
  }
  return best;
}

// On as few nodes as can be: those first that have the most for it.
std::optional<Candidate> gang_across(const std::vector<const Node*>& nodes, const Need& need,
                                     const std::string& app) {
  std::vector<std::pair<std::size_t, std::vector<Found>>> by_node;
  for (const Node* node : nodes) {
    std::vector<Found> free = free_on(*node, need);
    put_warm_first(free, app);
    std::set<Device> devices;
    for (const Found& found : free) devices.insert(device_of(found));
    by_node.emplace_back(devices.size(), std::move(free));
  }
  std::stable_sort(by_node.begin(), by_node.end(),
                   [](const auto& one, const auto& other) { return one.first > other.first; });
  std::vector<Found> all;
  for (const auto& [devices, free] : by_node) all.insert(all.end(), free.begin(), free.end());
  auto found = first_of(need.shape, app, all);
  if (found) put_warm_first(found->slots, app);
  return found;
}

// The most slots that one job could get there, of those that `counts` lets pass.
template <class Counts>
std::uint32_t most_together(const Node& node, Spread spread, const Counts& counts) {
  std::map<std::uint32_t, std::uint32_t> of_device;
  for (const auto& slot : node.slots)
    if (counts(slot)) ++of_device[slot.report.device];
  if (spread != Spread::device) return static_cast<std::uint32_t>(of_device.size());
  std::uint32_t most = 0;
  for (const auto& [device, slots] : of_device) most = std::max(most, slots);
  return most;
}

// Likewise on all nodes that `takes` lets pass: on one of them, or on all together. Stops at
// `enough`.
template <class Takes, class Counts>
std::uint32_t most_of(const std::map<NodeId, Node>& nodes, Spread spread, const Takes& takes,
                      const Counts& counts,
                      std::uint32_t enough = std::numeric_limits<std::uint32_t>::max()) {
  std::uint32_t most = 0;
  for (const auto& [id, node] : nodes) {
    if (most >= enough) break;
    if (!takes(node)) continue;
    const std::uint32_t here = most_together(node, spread, counts);
    most = spread == Spread::nodes ? most + here : std::max(most, here);
  }
  return most;
}

bool is_any(const Node&) { return true; }

bool comes_back(const PoolSlot& slot) {
  return slot.reservation && slot.reservation->until != Instant::never();
}

// What the index is told of a node.
NodeOffer offer_of(const Node& node) {
  NodeOffer offer;
  offer.slots.reserve(node.slots.size());
  for (const PoolSlot& slot : node.slots) {
    offer.slots.push_back({.device = slot.report.device,
                           .partition = slot.partition,
                           .belongs_to = slot.belongs_to(),
                           .is_up = node.takes_leases() && slot.is_up(),
                           .comes_back = comes_back(slot)});
    offer.is_reserved = offer.is_reserved || slot.reservation;
    if (!node.takes_leases_now() || !slot.is_lendable() || slot.pinned_for) continue;
    auto free = std::find_if(
        offer.free.begin(), offer.free.end(),
        [&slot](const NodeOffer::Free& one) { return one.partition == slot.partition; });
    if (free == offer.free.end()) free = offer.free.insert(free, {.partition = slot.partition});
    ++free->slots;
    const std::string& app = slot.report.warm_app;
    if (!app.empty() && std::find(free->warm.begin(), free->warm.end(), app) == free->warm.end())
      free->warm.push_back(app);
  }
  return offer;
}

}  // namespace

bool PoolSlot::serves(PartitionId asking, Instant now, Instant ends) const {
  if (!reservation) return asking == partition;
  if (asking == reservation->id) return now >= reservation->from && ends <= reservation->until;
  return asking == partition && ends <= reservation->from;
}

std::vector<NodeId> Place::nodes() const {
  std::vector<NodeId> nodes;
  for (const PlacedSlot& placed : slots)
    if (std::find(nodes.begin(), nodes.end(), placed.node) == nodes.end())
      nodes.push_back(placed.node);
  return nodes;
}

std::vector<SlotIndex> Place::on(NodeId node) const {
  std::vector<SlotIndex> here;
  for (const PlacedSlot& placed : slots)
    if (placed.node == node) here.push_back(placed.slot);
  return here;
}

std::uint32_t healthy_slots(const Node& node) {
  if (!node.takes_leases()) return 0;
  return static_cast<std::uint32_t>(std::count_if(
      node.slots.begin(), node.slots.end(), [](const PoolSlot& slot) { return slot.is_up(); }));
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
              .ending = join.draining,
              .devices = join.devices};
  update(node);
  return node;
}

void Placement::remove(NodeId node) {
  nodes_.erase(node);
  index_.remove(node);
}

void Placement::update(const Node& node) { index_.set(node.id, offer_of(node)); }

void Placement::check_index() const {
  std::map<PartitionId, std::uint32_t> free;
  for (const auto& [id, node] : nodes_) {
    const NodeOffer offer = offer_of(node);
    const NodeOffer* listed = index_.of(id);
    GPUPOOL_ENSURE(listed != nullptr && *listed == offer, id, node.name);
    GPUPOOL_ENSURE(index_.reserved().contains(id) == offer.is_reserved, id, node.name);
    if (offer.is_reserved) continue;
    for (const NodeOffer::Free& one : offer.free) {
      free[one.partition] += one.slots;
      GPUPOOL_ENSURE(index_.free(one.partition).contains({one.slots, id}), id, one.slots);
      for (const std::string& app : one.warm)
        GPUPOOL_ENSURE(index_.warm(one.partition, app).contains({one.slots, id}), id, app);
    }
  }
  for (std::uint32_t i = 0; i < names_.size(); ++i)
    GPUPOOL_ENSURE(index_.free_slots({i}) == free[{i}], i, free[{i}]);
}

void Placement::drain(std::set<std::string> names) {
  draining_ = std::move(names);
  for (auto& [id, node] : nodes_) {
    node.draining = draining_.contains(node.name);
    update(node);
  }
}

Node* Placement::find(NodeId id) {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

// The index lists nodes with the least free ones first. Only those on which the app is warm can
// have a place with warm slots; if none of them has, the first other one that has a place is the
// best.
std::optional<Place> Placement::pick(const Need& need, const std::string& app) const {
  if (free_slots(need) < need.shape.slots) return std::nullopt;
  std::optional<Candidate> best;
  const auto consider = [&](const Node& node) {
    auto found = need.shape.slots == 1 ? single_slot(node, need, app) : gang(node, need, app);
    const std::optional<std::uint32_t> warm = found ? std::optional(found->warm) : std::nullopt;
    if (found && (!best || found->is_better_than(*best))) best = std::move(found);
    return warm;
  };
  // What is free on a node says nothing of what is free on its devices.
  const bool is_ordered = need.shape.slots == 1 || need.shape.spread != Spread::device;
  const auto look_through = [&](const PlacementIndex::ByFree& nodes, std::uint32_t warm_enough) {
    for (auto it = nodes.lower_bound({need.shape.slots, NodeId{}}); it != nodes.end(); ++it) {
      const auto warm = consider(nodes_.at(it->second));
      if (is_ordered && warm && *warm >= warm_enough) return;
    }
  };
  for (const NodeId id : index_.reserved())
    if (const Node& node = nodes_.at(id); node.takes_leases_now()) consider(node);
  look_through(index_.warm(need.partition, app), need.shape.slots);
  if (!best || best->warm == 0) look_through(index_.free(need.partition), 0);
  if (!best && need.shape.slots > 1 && need.shape.spread == Spread::nodes)
    best = gang_across(nodes_with_free(need.partition), need, app);
  if (!best) return std::nullopt;
  Place place;
  for (const Found& found : best->slots)
    place.slots.push_back({found.node, found.slot->report.slot});
  return place;
}

std::vector<const Node*> Placement::nodes_with_free(PartitionId partition) const {
  std::set<NodeId> ids;
  for (const auto& [free, id] : index_.free(partition)) ids.insert(id);
  for (const NodeId id : index_.reserved())
    if (nodes_.at(id).takes_leases_now()) ids.insert(id);
  std::vector<const Node*> nodes;
  for (const NodeId id : ids) nodes.push_back(&nodes_.at(id));
  return nodes;
}

const PoolSlot* Placement::slot(const PlacedSlot& placed) const {
  const auto node = nodes_.find(placed.node);
  return node == nodes_.end() ? nullptr : node->second.slot(placed.slot);
}

PoolSlot* Placement::slot(const PlacedSlot& placed) {
  return const_cast<PoolSlot*>(std::as_const(*this).slot(placed));
}

void Placement::pin(const Place& place, JobId job) {
  for (const PlacedSlot& placed : place.slots) {
    PoolSlot* one = slot(placed);
    GPUPOOL_ENSURE(one != nullptr && !one->pinned_for, placed.node, placed.slot);
    one->pinned_for = job;
    update(nodes_.at(placed.node));
  }
}

// Its node can have come back without them.
void Placement::unpin(const Place& place) {
  for (const PlacedSlot& placed : place.slots)
    if (PoolSlot* one = slot(placed)) {
      one->pinned_for = {};
      update(nodes_.at(placed.node));
    }
}

template <class Is>
bool Placement::all_of(const Place& place, const Is& is) const {
  return std::all_of(place.slots.begin(), place.slots.end(), [&](const PlacedSlot& placed) {
    const auto node = nodes_.find(placed.node);
    if (node == nodes_.end() || !node->second.takes_leases()) return false;
    const PoolSlot* one = node->second.slot(placed.slot);
    return one != nullptr && is(*one);
  });
}

bool Placement::is_free(const Place& place) const {
  return all_of(place, [](const PoolSlot& slot) { return slot.is_lendable(); }) &&
         std::none_of(place.slots.begin(), place.slots.end(), [this](const PlacedSlot& placed) {
           return nodes_.at(placed.node).suspected;
         });
}
bool Placement::is_pinned(const Place& place, JobId job, PartitionId partition) const {
  return all_of(place, [&](const PoolSlot& slot) {
    return slot.is_up() && slot.pinned_for == job && slot.belongs_to() == partition;
  });
}

bool Placement::has(PartitionId partition, const Shape& shape) const {
  const auto takes = [](const Node& node) { return node.takes_leases(); };
  const auto counts = [partition](const PoolSlot& slot) {
    return slot.is_up() && slot.belongs_to() == partition;
  };
  return index_.has(partition, shape, [&] {
    return most_of(nodes_, shape.spread, takes, counts, shape.slots) >= shape.slots ? 1U : 0U;
  }) != 0;
}

std::uint32_t Placement::largest(PartitionId partition, Spread spread) const {
  const auto counts = [partition](const PoolSlot& slot) { return slot.belongs_to() == partition; };
  return index_.largest(partition, spread, PlacementIndex::Largest::now,
                        [&] { return most_of(nodes_, spread, is_any, counts); });
}

std::uint32_t Placement::largest_ever(PartitionId partition, Spread spread) const {
  const auto counts = [partition](const PoolSlot& slot) {
    return slot.belongs_to() == partition || (slot.partition == partition && comes_back(slot));
  };
  return index_.largest(partition, spread, PlacementIndex::Largest::ever,
                        [&] { return most_of(nodes_, spread, is_any, counts); });
}

std::uint32_t Placement::free_slots(const Need& need) const {
  std::uint32_t count = index_.free_slots(need.partition);
  for (const NodeId id : index_.reserved())
    if (const Node& node = nodes_.at(id); node.takes_leases_now())
      count += static_cast<std::uint32_t>(
          std::count_if(node.slots.begin(), node.slots.end(),
                        [&need](const PoolSlot& slot) { return is_for(slot, need); }));
  return count;
}

std::uint32_t Placement::healthy_slots(PartitionId partition) const {
  return index_.healthy(partition, [&] {
    std::uint32_t count = 0;
    for (const auto& [id, node] : nodes_)
      if (node.takes_leases())
        count += static_cast<std::uint32_t>(
            std::count_if(node.slots.begin(), node.slots.end(), [partition](const PoolSlot& slot) {
              return slot.is_up() && slot.belongs_to() == partition;
            }));
    return count;
  });
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
  for (const PlacedSlot& placed : place.slots) {
    PoolSlot* one = slot(placed);
    GPUPOOL_ENSURE(one != nullptr, placed.node, placed.slot);
    GPUPOOL_ENSURE(!one->leased_to, one->leased_to, job);
    one->leased_to = job;
    one->leased_at = span.from;
    one->leased_until = span.until;
    update(nodes_.at(placed.node));
  }
}

void Placement::take_back(const Place& place, JobId job) {
  for (const PlacedSlot& placed : place.slots) {
    PoolSlot* one = slot(placed);
    if (!one || one->leased_to != job) continue;
    one->leased_to = {};
    // Until the worker's next report: what it said before the end of this run no longer holds.
    one->report.state = SlotState::checking;
    update(nodes_.at(placed.node));
  }
}

}  // namespace gpupool
