#pragma once
// The nodes that joined, their slots, and which slots a job gets: all at once, and all of one node
// unless its app may spread over several and no node has them. A
// slot is lent only if its worker reported it free and no lease of ours stands on it: both must
// agree, so no slot is ever lent twice. Warm slots are preferred, then the node where the job fits
// tightest; that decides the place, never the order. A pin keeps the slots of a place for one job
// until all of them are free together (dispatcher.h). Which nodes have free slots is kept in an
// index (placement_index.h), so a pool of a thousand nodes is not looked through for each job:
// whoever changes a node itself says so with update(). Plain value, owned by the broker.

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/broker/placement_index.h"
#include "actors/messages.h"

namespace gpupool {

// Slots that leave partition `of` for the partition `id`, from a time on and until another.
struct Reservation {
  PartitionId id;
  PartitionId of;
  std::uint32_t slots = 0;
  Instant from{};
  Instant until = Instant::never();
};

struct PoolSlot {
  SlotReport report;
  JobId leased_to;              // our lease on it; 0: none
  Instant leased_at;            // when that was made
  Instant leased_until;         // by then it is over and the slot checked, whatever happens
  std::uint64_t heartbeat = 0;  // echoed by the latest copy of the lease
  JobId pinned_for;             // the job that it is kept for; 0: anybody
  PartitionId partition;
  std::optional<Reservation> reservation;  // that it is, or will be, part of

  // Whose capacity it is: a reservation's from the moment at which that is known, so that no
  // promise counts on it any more.
  PartitionId belongs_to() const { return reservation ? reservation->id : partition; }
  // Whether a job of this partition may be on it until `ends`. Before a reservation begins, its
  // slots run what will be over by then.
  bool serves(PartitionId asking, Instant now, Instant ends) const;
  bool is_up() const { return report.state != SlotState::down; }
  bool is_lendable() const { return report.state == SlotState::free && !leased_to; }
};

struct Node {
  NodeId id;
  std::string name;
  Incarnation incarnation;
  std::uint64_t heartbeat = 0;  // the latest number seen
  Instant seen{};               // when that was
  bool lost = false;
  bool draining = false;  // by an operator: what runs goes on to its end, and nothing new starts
  std::vector<PoolSlot> slots;
  bool ending = false;     // its worker said so: it stops soon
  bool suspected = false;  // silent for a while: still counted on, but for now it gets no leases
  std::vector<std::string> devices;  // what each is, by their numbers

  PoolSlot* slot(SlotIndex index);
  const PoolSlot* slot(SlotIndex index) const;
  bool takes_leases() const { return !lost && !draining && !ending; }
  bool takes_leases_now() const { return takes_leases() && !suspected; }
};

// Those that can be lent now or later: none, if the node takes no leases.
std::uint32_t healthy_slots(const Node& node);

inline Shape shape_for(std::uint32_t slots, Spread spread) {
  return slots <= 1 ? Shape{} : Shape{.slots = slots, .spread = spread};
}

// One slot of the pool.
struct PlacedSlot {
  NodeId node;
  SlotIndex slot;
  friend bool operator==(const PlacedSlot&, const PlacedSlot&) = default;
};

// Where a job is. Its first slot runs it, the others are held with it.
struct Place {
  std::vector<PlacedSlot> slots;

  // The one that runs it. Precondition: there are slots.
  NodeId node() const { return slots.front().node; }
  // All of them, that one first.
  std::vector<NodeId> nodes() const;
  std::vector<SlotIndex> on(NodeId node) const;
};

// Where a job of this shape may go: on slots that serve its partition until it is over.
struct Need {
  PartitionId partition;
  Shape shape;
  Instant now{};
  Instant ends{};  // at the latest
};

class Placement {
 public:
  // The number of a partition by its name: the same for the same one.
  PartitionId partition(const std::string& name);
  const std::string& name_of(PartitionId partition) const { return names_[partition.value]; }

  // The reservations that are on or to come, all of them. Each has its slots of those that are
  // healthy, the idle ones first, and another one for each that breaks; as far as there are any,
  // and one always stays with the partition.
  void reserve(const std::vector<Reservation>& reservations);

  // A worker introduced itself: its slots are what it says. Leases of ours on slots that it still
  // has are kept; the caller settles what became of the others.
  Node& join(Instant now, const Join& join);

  // Its slots are the pool's no more. Precondition: the node is lost.
  void remove(NodeId node);

  // Precedes every other call after a change to a node, or to its slots, by somebody else.
  void update(const Node& node);
  // Aborts if the index says anything else than the nodes themselves.
  void check_index() const;

  // The names of all nodes that get no leases, those included that have yet to join.
  void drain(std::set<std::string> names);

  Node* find(NodeId id);
  std::map<NodeId, Node>& nodes() { return nodes_; }
  const std::map<NodeId, Node>& all() const { return nodes_; }

  // Free slots of this shape, kept for nobody, on a node that takes leases; the first is warm for
  // `app` if one is.
  std::optional<Place> pick(const Need& need, const std::string& app) const;

  // The slots of this shape, kept for nobody, that are free together first, and when: as long as
  // the leases on them last at most, or `unknown` from now where something else keeps them.
  struct Joint {
    Place place;
    Instant ends{};
    bool is_sure = true;  // nothing else keeps any of them
  };
  std::optional<Joint> earliest(const Need& need, Duration unknown) const;
  void pin(const Place& place, JobId job);
  void unpin(const Place& place);
  // Whether all its slots are free; and whether they are still kept for this job and can be free at
  // all: none is down, lost or draining.
  bool is_free(const Place& place) const;
  bool is_pinned(const Place& place, JobId job, PartitionId partition) const;

  // The nodes that take leases have the shape, if all slots that are not down were free. Only then
  // does a job wait for it at the head of the queue.
  bool has(PartitionId partition, const Shape& shape) const;
  // The most slots of one job that the known nodes have, lost, down or not.
  std::uint32_t largest(PartitionId partition, Spread spread) const;
  // And with what a reservation has only for a time.
  std::uint32_t largest_ever(PartitionId partition, Spread spread) const;

  // Of the nodes that get leases; free ones that are kept for nobody and serve this need.
  std::uint32_t free_slots(const Need& need = {}) const;
  std::uint32_t healthy_slots(PartitionId partition) const;
  bool has_healthy_slot(PartitionId partition) const { return healthy_slots(partition) > 0; }
  bool has_healthy_slot() const;  // of any partition: one that is not down
  bool lends_any() const;

  struct Span {
    Instant from{};
    Instant until{};  // at the latest
  };
  void lend(const Place& place, JobId job, const Span& span);
  // Ends our lease of `job` there, if it stands. A slot is lent again once its worker says free.
  void take_back(const Place& place, JobId job);

 private:
  const PoolSlot* slot(const PlacedSlot& placed) const;
  PoolSlot* slot(const PlacedSlot& placed);
  template <class Is>
  bool all_of(const Place& place, const Is& is) const;
  std::vector<const Node*> nodes_with_free(PartitionId partition) const;

  std::map<NodeId, Node> nodes_;
  PlacementIndex index_;
  std::set<std::string> draining_;
  std::vector<std::string> names_{"default"};  // of partitions, by their numbers
};

}  // namespace gpupool
