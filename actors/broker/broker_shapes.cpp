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

Capacity Broker::capacity() const {
  Capacity capacity{.slots = placement_.healthy_slots(),
                    .longest = std::max(longest_occupancy(*config_), longest_open_)};
  for (const SizeConfig& size : config_->sizes)
    capacity.largest = std::max(capacity.largest, size.slots);
  // Jobs can be of a size that the configuration had before.
  for (const auto& [shape, jobs] : dispatcher_.queue().by_shape())
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
  return std::any_of(config_->apps.begin(), config_->apps.end(), [&](const AppConfig& app) {
    return !lacks(shape_for(size.slots, app.spread));
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
void Broker::slots_changed(const std::string& reason) {
  const Capacity before = dispatcher_.capacity();
  dispatcher_.use(capacity());
  const Capacity& after = dispatcher_.capacity();
  if (!in_grace() && before.slots == 0 && after.slots > 0)
    restate_promises("no slot of the pool was healthy for a while");
  else if (!in_grace() && after.slots > 0 && is_worse(after, before))
    restate_promises(reason);
  std::uint32_t came_back = 0;
  for (auto shape = away_.begin(); shape != away_.end();) {
    const bool here = placement_.has(*shape);
    if (here) came_back = std::max(came_back, shape->slots);
    shape = here ? away_.erase(shape) : std::next(shape);
  }
  for (const auto& [shape, jobs] : dispatcher_.queue().by_shape())
    if (shape.slots > 1 && !placement_.has(shape)) away_.insert(shape);
  if (came_back > 0 && !in_grace())
    restate_promises("no node had " + std::to_string(came_back) +
                     " slots together for a while, and an older job waits for them");
}

// Jobs of a shape that no known node has, lost or not. They were admitted before the nodes were
// known, or by an earlier broker whose nodes had it.
void Broker::end_the_impossible() {
  if (stopping() || in_grace() || !knows_nodes(shape_patience)) return;
  std::vector<std::pair<JobId, Shape>> impossible;
  for (const auto& [shape, jobs] : dispatcher_.queue().by_shape())
    if (shape.slots > 1 && lacks(shape))
      jobs.walk(
          [&, &shape = shape](const Waiting& one) { impossible.emplace_back(one.job, shape); });
  for (const auto& [id, shape] : impossible)
    settle(jobs_.at(id), {.outcome = Outcome::failed,
                          .cause = Errc::size_unavailable,
                          .detail = "it needs " + std::to_string(shape.slots) +
                                    " slots of one node, and the most that a node has is " +
                                    std::to_string(placement_.largest(shape.spread))});
}

}  // namespace gpupool
