#pragma once
// The nodes that joined, their slots, and which slot a job gets. A slot is lent only if its worker
// reported it free and no lease of ours stands on it: both must agree, so no slot is ever lent
// twice. A warm slot is preferred, which decides the slot, never the order. Owned by the broker.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/messages.h"

namespace gpupool {

struct PoolSlot {
  SlotReport report;
  JobId leased_to;  // our lease on it; 0: none
};

struct Node {
  NodeId id;
  std::string name;
  Incarnation incarnation;
  std::uint64_t heartbeat = 0;  // the latest number seen
  Instant seen{};               // when that was
  bool lost = false;
  std::vector<PoolSlot> slots;

  PoolSlot* slot(SlotIndex index);
};

struct Place {
  NodeId node;
  SlotIndex slot;
};

class Placement {
 public:
  // A worker introduced itself: its slots are what it says. Leases of ours on slots that it still
  // has are kept; the caller settles what became of the others.
  Node& join(Instant now, const Join& join);

  Node* find(NodeId id);
  std::map<NodeId, Node>& nodes() { return nodes_; }
  const std::map<NodeId, Node>& all() const { return nodes_; }

  // A free slot for `app` on a healthy node, warm if there is one.
  std::optional<Place> pick(const std::string& app) const;

  std::uint32_t free_slots() const;
  std::uint32_t healthy_slots() const;

  void lend(Place place, JobId job);
  // Ends our lease of `job` there, if it stands. The slot is lent again once its worker says free.
  void take_back(Place place, JobId job);

 private:
  std::map<NodeId, Node> nodes_;
};

}  // namespace gpupool
