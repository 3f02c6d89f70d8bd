#pragma once
// PlacementIndex: what a placement would otherwise look through all nodes for: which of them have
// free slots of a partition, how many, and with which app warm; and the answers about slots that
// are up, which change only when a node or a device does. It repeats what the nodes say and knows
// nothing of its own: `set` has to follow every change of a node. A node with reserved slots is
// listed apart, since what those serve depends on the time. Plain value, owned by the placement.

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actors/messages.h"
#include "base/ids.h"

namespace gpupool {

// A queue of its own and the slots that serve it: a partition of the configuration, or a
// reservation, which takes slots of one.
struct PartitionId {
  std::uint32_t value = 0;
  friend auto operator<=>(const PartitionId&, const PartitionId&) = default;
};

// What a job of some size needs: so many slots, and how they may lie.
struct Shape {
  std::uint32_t slots = 1;
  Spread spread = Spread::devices;
  friend auto operator<=>(const Shape&, const Shape&) = default;
};

// What one node has to give.
struct NodeOffer {
  struct Free {
    PartitionId partition;
    std::uint32_t slots = 0;          // that can be lent now, to anybody
    std::vector<std::string> warm{};  // apps that are resident on some of them
    friend bool operator==(const Free&, const Free&) = default;
  };
  // What the answers about slots that are up, or there at all, depend on.
  struct Standing {
    std::uint32_t device = 0;
    PartitionId partition;
    PartitionId belongs_to;
    bool is_up = false;
    bool comes_back = false;  // its reservation ends
    friend bool operator==(const Standing&, const Standing&) = default;
  };
  std::vector<Free> free;
  std::vector<Standing> slots;
  bool is_reserved = false;  // some slot is part of a reservation
  friend bool operator==(const NodeOffer&, const NodeOffer&) = default;
};

class PlacementIndex {
 public:
  // Fewer free slots first, and then the lower node.
  using ByFree = std::set<std::pair<std::uint32_t, NodeId>>;

  void set(NodeId node, NodeOffer offer);
  void remove(NodeId node);
  // What was set for this node last; nullptr: nothing.
  const NodeOffer* of(NodeId node) const;

  // Of the nodes without reserved slots: those that have free ones in this partition; and those
  // with a free one on which the app is warm.
  const ByFree& free(PartitionId partition) const;
  const ByFree& warm(PartitionId partition, const std::string& app) const;
  std::uint32_t free_slots(PartitionId partition) const;
  const std::set<NodeId>& reserved() const { return reserved_; }

  // Remembers an answer that depends on nothing but the standing of all slots.
  template <class Answer>
  std::uint32_t healthy(PartitionId partition, const Answer& answer) const {
    return remembered(healthy_, partition, answer);
  }
  template <class Answer>
  std::uint32_t has(PartitionId partition, const Shape& shape, const Answer& answer) const {
    return remembered(has_, std::pair(partition, shape), answer);
  }
  enum class Largest : std::uint8_t { now = 1, ever };
  template <class Answer>
  std::uint32_t largest(PartitionId partition, Spread spread, Largest which,
                        const Answer& answer) const {
    return remembered(largest_, std::tuple(partition, spread, which), answer);
  }

 private:
  struct Offers {
    ByFree free;
    std::map<std::string, ByFree> warm;
    std::uint32_t slots = 0;
  };

  template <class Known, class Key, class Answer>
  static std::uint32_t remembered(Known& known, const Key& key, const Answer& answer) {
    const auto it = known.find(key);
    return it != known.end() ? it->second : known.emplace(key, answer()).first->second;
  }
  void list(NodeId node, const NodeOffer& offer);
  void unlist(NodeId node, const NodeOffer& offer);
  void forget_answers();

  std::unordered_map<NodeId, NodeOffer, IdHash> offers_;
  std::map<PartitionId, Offers> by_partition_;
  std::set<NodeId> reserved_;
  mutable std::map<PartitionId, std::uint32_t> healthy_;
  mutable std::map<std::pair<PartitionId, Shape>, std::uint32_t> has_;
  mutable std::map<std::tuple<PartitionId, Spread, Largest>, std::uint32_t> largest_;
};

}  // namespace gpupool
