#include "actors/broker/placement_index.h"

namespace gpupool {
namespace {

const PlacementIndex::ByFree nobody;

}  // namespace

void PlacementIndex::set(NodeId node, NodeOffer offer) {
  const auto [it, is_new] = offers_.try_emplace(node);
  NodeOffer& known = it->second;
  if (!is_new && known == offer) return;
  if (is_new || known.slots != offer.slots) forget_answers();
  if (!is_new) unlist(node, known);
  known = std::move(offer);
  list(node, known);
}

void PlacementIndex::remove(NodeId node) {
  const auto it = offers_.find(node);
  if (it == offers_.end()) return;
  unlist(node, it->second);
  offers_.erase(it);
  forget_answers();
}

const NodeOffer* PlacementIndex::of(NodeId node) const {
  const auto it = offers_.find(node);
  return it == offers_.end() ? nullptr : &it->second;
}

void PlacementIndex::list(NodeId node, const NodeOffer& offer) {
  if (offer.is_reserved) {
    reserved_.insert(node);
    return;
  }
  for (const NodeOffer::Free& free : offer.free) {
    Offers& offers = by_partition_[free.partition];
    offers.slots += free.slots;
    offers.free.insert({free.slots, node});
    for (const std::string& app : free.warm) offers.warm[app].insert({free.slots, node});
  }
}

void PlacementIndex::unlist(NodeId node, const NodeOffer& offer) {
  reserved_.erase(node);
  if (offer.is_reserved) return;
  for (const NodeOffer::Free& free : offer.free) {
    Offers& offers = by_partition_[free.partition];
    offers.slots -= free.slots;
    offers.free.erase({free.slots, node});
    for (const std::string& app : free.warm) {
      const auto warm = offers.warm.find(app);
      warm->second.erase({free.slots, node});
      if (warm->second.empty()) offers.warm.erase(warm);
    }
  }
}

void PlacementIndex::forget_answers() {
  healthy_.clear();
  has_.clear();
  largest_.clear();
}

const PlacementIndex::ByFree& PlacementIndex::free(PartitionId partition) const {
  const auto it = by_partition_.find(partition);
  return it == by_partition_.end() ? nobody : it->second.free;
}

const PlacementIndex::ByFree& PlacementIndex::warm(PartitionId partition,
                                                   const std::string& app) const {
  const auto it = by_partition_.find(partition);
  if (it == by_partition_.end()) return nobody;
  const auto warm = it->second.warm.find(app);
  return warm == it->second.warm.end() ? nobody : warm->second;
}

std::uint32_t PlacementIndex::free_slots(PartitionId partition) const {
  const auto it = by_partition_.find(partition);
  return it == by_partition_.end() ? 0 : it->second.slots;
}

}  // namespace gpupool
