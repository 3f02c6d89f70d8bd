// Which sizes the pool has a shape for, and what becomes of jobs whose shape is away.
#include <algorithm>

#include "actors/broker/broker.h"

namespace gpupool {
namespace {

// A job that was admitted while nodes were still on their way waits this long, from the start of
// the broker, for one that has its shape.
constexpr Duration shape_patience = seconds(60);

// Whether what was promised before may not hold on these slots.
bool is_worse(const Capacity& now, const Capacity& before) {
  return now.slots < before.slots || now.unpinned() < before.unpinned() ||
         now.is_tiny() != before.is_tiny() || now.largest > before.largest ||
         now.longest > before.longest;
}

}  // namespace

// Of a reservation the apps are those of its partition.
Capacity Broker::capacity(const Partition& queue) const {
  std::string name = placement_.name_of(queue.id);
  for (const ReservedFor& one : reserved_)
    if (one.reservation.id == queue.id) name = placement_.name_of(one.reservation.of);
  Capacity capacity{.slots = placement_.healthy_slots(queue.id),
                    .longest = std::max(longest_occupancy(*config_, name), queue.longest_open)};
  for (const SizeConfig& size : config_->sizes)
    capacity.largest = std::max(capacity.largest, size.slots);
  // Jobs can be of a size that the configuration had before.
  for (const auto& [shape, jobs] : queue.dispatcher.queue().by_shape())
    capacity.largest = std::max(capacity.largest, shape.slots);
  return capacity;
}

Shape Broker::shape_of(const Hold& hold) const {
  const AppConfig* app = config_->app(hold.body->app);
  return shape_for(hold.slots, app ? app->spread : Spread::devices);
}

// Whether the nodes had time to introduce themselves: a shape that is not known then is not there.
bool Broker::knows_nodes(Duration patience) const {
  if (placement_.all().empty()) return false;
  const bool no_more_come = config_->broker.worker_address.empty();
  return no_more_come || now_ - started_ >= patience;
}

bool Broker::offers(const SizeConfig& size) const {
  if (size.slots <= 1 || !knows_nodes(config_->broker.rejoin_grace)) return true;
  const auto has = [&](const std::string& name, const Shape& shape) {
    const auto is_its = [&](const ReservedFor& one) {
      return placement_.name_of(one.reservation.of) == name && !lacks(one.reservation.id, shape);
    };
    return std::any_of(reserved_.begin(), reserved_.end(), is_its) ||
           std::any_of(partitions_.begin(), partitions_.end(), [&](const Partition& one) {
             return placement_.name_of(one.id) == name && !lacks(one.id, shape);
           });
  };
  return std::any_of(config_->apps.begin(), config_->apps.end(), [&](const AppConfig& app) {
    return has(app.partition, shape_for(size.slots, app.spread));
  });
}

void Broker::tell_sizes() {
  std::vector<std::string> sizes;
  for (const SizeConfig& size : config_->sizes)
    if (offers(size)) sizes.push_back(size.name);
  if (told_sizes_ == sizes) return;
  told_sizes_ = sizes;
  ask_ledger(Shapes{.epoch = epoch_, .sizes = std::move(sizes)});
}

// A job waits for slots that are busy, never for ones that are away: a lost or broken node must not
// stop the whole pool. While no node that takes leases has its shape, it steps aside. So its
// promise, and those of the younger ones behind it, count on the shape being there: after a time
// without it they are made anew.
void Broker::see_capacity(Partition& queue, const Capacity& before, const std::string& reason) {
  const Capacity& after = queue.dispatcher.capacity();
  if (!in_grace() && before.slots == 0 && after.slots > 0)
    restate_promises(queue, "no slot of the pool was healthy for a while");
  else if (!in_grace() && after.slots > 0 && is_worse(after, before))
    restate_promises(queue, reason);
  std::uint32_t came_back = 0;
  for (auto shape = queue.away.begin(); shape != queue.away.end();) {
    const bool here = placement_.has(queue.id, *shape);
    if (here) came_back = std::max(came_back, shape->slots);
    shape = here ? queue.away.erase(shape) : std::next(shape);
  }
  for (const auto& [shape, jobs] : queue.dispatcher.queue().by_shape())
    if (shape.slots > 1 && !placement_.has(queue.id, shape)) queue.away.insert(shape);
  if (came_back > 0 && !in_grace())
    restate_promises(queue, "no node had " + std::to_string(came_back) +
                                " slots together for a while, and an older job waits for them");
}

void Broker::slots_changed(const std::string& reason) {
  std::vector<Reservation> reservations;
  for (const ReservedFor& one : reserved_) reservations.push_back(one.reservation);
  placement_.reserve(reservations);
  for (const auto& [id, node] : placement_.all())
    for (const PoolSlot& slot : node.slots) partition(slot.partition);
  std::vector<Capacity> before;
  for (Partition& one : partitions_) {
    before.push_back(one.dispatcher.capacity());
    one.dispatcher.use(capacity(one));
  }
  leave_what_is_over();
  for (Partition& one : partitions_) see_capacity(one, before[one.id.value], reason);
}

// Jobs of a shape that no known node has, lost or not. They were admitted before the nodes were
// known, or by an earlier broker whose nodes had it.
void Broker::end_the_impossible() {
  if (stopping() || in_grace() || !knows_nodes(shape_patience)) return;
  std::vector<std::pair<JobId, Shape>> impossible;
  for (const Partition& queue : partitions_) {
    if (queue.is_reservation) continue;  // these leave it in time
    for (const auto& [shape, jobs] : queue.dispatcher.queue().by_shape())
      if (placement_.largest_ever(queue.id, shape.spread) < shape.slots)
        jobs.walk(
            [&, &shape = shape](const Waiting& one) { impossible.emplace_back(one.job, shape); });
  }
  for (const auto& [id, shape] : impossible) {
    Job& job = jobs_.at(id);
    const std::string& partition = placement_.name_of(job.partition);
    std::string why = "no node has a slot of partition " + partition;
    if (shape.slots > 1) {
      const bool across = shape.spread == Spread::nodes;
      why = "it needs " + std::to_string(shape.slots) +
            (across ? " slots, each of another device, and the most that there are is "
                    : " slots of one node, and the most that a node has is ") +
            std::to_string(placement_.largest_ever(job.partition, shape.spread));
    }
    settle(job, {.outcome = Outcome::failed, .cause = Errc::size_unavailable, .detail = why});
  }
}

}  // namespace gpupool
