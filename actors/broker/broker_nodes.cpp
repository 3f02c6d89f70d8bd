// Workers: joining, heartbeats, what they run, and what becomes of it when they are lost.
#include <algorithm>
#include <utility>

#include "actors/broker/broker.h"
#include "actors/broker/slot_claims.h"
#include "actors/describe.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// A lease that three later heartbeats don't show never arrived: it is sent again. The worker takes
// the same attempt only once.
constexpr std::uint64_t heartbeats_to_show = 3;
// A node that has joined tells at once what ended on it while there was no broker.
constexpr Duration ends_limit = milliseconds(500);

// Which of its slots can be lent now or later, not only how many: each has its partition.
std::vector<bool> slots_up(const Node& node) {
  std::vector<bool> up;
  for (const PoolSlot& slot : node.slots)
    up.push_back(node.takes_leases() && slot.report.state != SlotState::down);
  return up;
}

}  // namespace

void Broker::on(const Join& join) {
  if (!leading()) return;  // the worker asks again with its heartbeats
  const auto refuse = [&](Errc code, std::string detail) {
    tell_worker(
        join.node,
        Joined{.epoch = epoch_, .refused = code, .detail = std::move(detail), .name = join.name});
  };
  if (join.build != build_)
    return refuse(Errc::version_mismatch,
                  "this pool runs build " + build_ + ", the worker " + join.build);
  if (join.slots.size() > static_cast<std::size_t>(limits::slots_per_node_max))
    return refuse(Errc::overloaded, "too many slots for one node");
  if (join.devices.size() > join.slots.size() || !is_told_well(join.name, join.devices))
    return refuse(Errc::forbidden, "its name or devices are not as a worker tells them");
  if (const Status claims = check_claims(join.slots); !claims)
    return refuse(Errc::forbidden, claims.error().detail);
  for (const SlotReport& slot : join.slots)
    for (const ReservationConfig& one : config_->reservations)
      if (slot.partition == one.name)
        return refuse(Errc::forbidden, "its partition " + one.name + " is a reservation here");
  if (const std::string elsewhere = external_elsewhere(join); !elsewhere.empty())
    return refuse(Errc::forbidden, elsewhere);
  Node* known = placement_.find(join.node);
  if (!known && placement_.nodes().size() >= static_cast<std::size_t>(limits::nodes_max))
    return refuse(Errc::overloaded, "the pool has its most nodes");
  if (known && known->incarnation > join.incarnation)
    return refuse(Errc::forbidden, "a newer worker has this node's name");
  if (known && known->incarnation == join.incarnation && join.heartbeat <= known->heartbeat)
    return;  // late or doubled
  if (known && known->incarnation != join.incarnation && !known->lost) lose_node(*known);
  if (known) lose_missing_slots(*known, join);

  Node& node = placement_.join(now_, join);
  awaited_.erase(node.id);
  if (in_grace()) grace_least_ = std::max(grace_least_, now_ + ends_limit);
  expect_silence(now_ + config_->broker.heartbeat_suspect);
  tell_worker(join.node, Joined{.epoch = epoch_, .refused = {}, .detail = {}, .name = join.name});
  reconcile(node);
  slots_changed("node " + node.name + " joined anew");
}

void Broker::on(const Heartbeat& heartbeat) {
  Node* node = placement_.find(heartbeat.node);
  if (!leading() || !node || node->lost || node->incarnation != heartbeat.incarnation) {
    tell_worker(heartbeat.node, HeartbeatSeen{.epoch = {}, .number = heartbeat.number});
    return;
  }
  // What cannot be true is not heard; should it go on, the node is lost.
  if (const Status claims = check_claims(heartbeat.slots, *node); !claims) {
    tell_worker(node->id, Joined{.epoch = epoch_,
                                 .refused = Errc::forbidden,
                                 .detail = claims.error().detail,
                                 .name = node->name});
    return;
  }
  tell_worker(node->id, HeartbeatSeen{.epoch = epoch_, .number = heartbeat.number});
  if (heartbeat.number <= node->heartbeat) return;  // late or doubled
  const auto were_up = slots_up(*node);
  node->heartbeat = heartbeat.number;
  node->seen = now_;
  node->suspected = false;
  expect_silence(now_ + config_->broker.heartbeat_suspect);
  node->ending = heartbeat.draining;
  for (const auto& report : heartbeat.slots)
    if (PoolSlot* slot = node->slot(report.slot)) slot->report = report;
  placement_.update(*node);
  reconcile(*node);
  if (slots_up(*node) != were_up) slots_changed("a slot of node " + node->name + " changed");
}

// The callers of an external app are on the node of its slots, so these lie on one.
std::string Broker::external_elsewhere(const Join& join) const {
  const auto is_shared = [&](const std::string& partition) {
    return std::any_of(placement_.all().begin(), placement_.all().end(), [&](const auto& entry) {
      const Node& node = entry.second;
      return node.id != join.node && !node.lost &&
             std::any_of(node.slots.begin(), node.slots.end(),
                         [&](const PoolSlot& slot) { return slot.report.partition == partition; });
    });
  };
  for (const AppConfig& app : config_->apps) {
    const bool is_here =
        std::any_of(join.slots.begin(), join.slots.end(),
                    [&](const SlotReport& slot) { return slot.partition == app.partition; });
    if (app.executor == ExecutorKind::external && is_here && is_shared(app.partition))
      return "its partition " + app.partition + " is of app " + app.name +
             ", whose callers are on another node";
  }
  return {};
}

// Said as soon as the node knows, so that no lease goes there before the next heartbeat says it
// too. What a slot carries, and when it is well again, is for heartbeats to say.
void Broker::on(const SlotChanged& changed) {
  Node* node = placement_.find(changed.node);
  PoolSlot* slot = leading() && node && !node->lost ? node->slot(changed.slot) : nullptr;
  if (!slot) return;
  slot->report.why = changed.why;
  if (changed.why.empty() || slot->leased_to || slot->report.job) return;
  if (std::exchange(slot->report.state, SlotState::down) == SlotState::down) return;
  placement_.update(*node);
  slots_changed("a slot of node " + node->name + " is down");
}

// A worker that has fewer slots than before can't run what was leased on the others.
void Broker::lose_missing_slots(Node& node, const Join& join) {
  for (const auto& slot : node.slots) {
    const bool reported =
        std::any_of(join.slots.begin(), join.slots.end(),
                    [&](const SlotReport& report) { return report.slot == slot.report.slot; });
    if (Job* job = reported ? nullptr : find(slot.leased_to))
      lose_attempt(*job, Errc::node_lost, "node " + node.name + " has this slot no more");
  }
}

void Broker::reconcile(Node& node) {
  for (const auto& slot : node.slots) reconcile_slot(node, slot);
}

// Compares what the worker says of a slot with what we lent it for.
void Broker::reconcile_slot(Node& node, const PoolSlot& slot) {
  const SlotReport& report = slot.report;
  Job* ours = find(slot.leased_to);
  const bool runs_here = ours && ours->place.node() == node.id;
  if (ours && report.job == slot.leased_to && report.attempt == ours->attempt) {
    if (!runs_here) return;
    if (report.state == SlotState::running) {
      on(RunBegan{node.id, report.job, report.attempt});
      catch_up(*ours, report);
    }
    if (ours->cancelling) tell_worker(node.id, CancelRun{epoch_, report.job, report.attempt});
    return;
  }
  if (ours && !report.job && (ours->phase == Phase::leased || !runs_here) &&
      report.state == SlotState::free && node.heartbeat >= slot.heartbeat + heartbeats_to_show) {
    if (!ours->cancelling) return resend_lease(*ours, node);
    if (!runs_here) return;  // its end gives these back
    // Should the lease arrive after all, its run is called off as one that is not in our books.
    leave_slots(*ours, node.id);
    return settle(*ours, {.outcome = Outcome::cancelled});
  }
  if (!report.job || slot.leased_to) return;
  meet_unknown_run(node, report);
}

// A run that is not in our books: after a restart of ours, or after its node had been lost. It is
// taken up whole or not at all. A report names all slots of its node at one moment, so all that the
// job holds there are in it; if one of them is lent to another job, the worker will refuse that
// lease, since the slot is taken, and a later report finds this run whole: it waits. While other
// nodes may still come back it waits for what they hold, too. A run on more or fewer slots than its
// job holds is called off, for it would not be the run that was admitted.
void Broker::meet_unknown_run(Node& node, const SlotReport& report) {
  Job* job = find(report.job);
  const bool over = job && report.attempt <= job->over_attempt;
  if (job && !over && job->phase == Phase::requeueing) return;  // the ledger decides first
  const bool is_its =
      !job || report.state == SlotState::held || may_have_run(*job, node.id, report.attempt);
  if (job && !over && is_its && job->phase == Phase::queued) {
    const bool across = shape_of(job->hold).spread == Spread::nodes;
    const auto place = place_of_run(node, report, across);
    if (!place) return;
    if (place->slots.size() == job->hold->slots) return adopt(*job, *place);
    if (across && in_grace() && place->slots.size() < job->hold->slots) return;
  }
  if (job && is_its) job->over_attempt = std::max(job->over_attempt, report.attempt);
  tell_worker(node.id, CancelRun{epoch_, report.job, report.attempt});
}

// No lease of this attempt is known to have gone to another node.
bool Broker::may_have_run(const Job& job, NodeId node, std::uint32_t attempt) {
  return attempt != job.leases || !job.lease_node || job.lease_node == node;
}

// The slots that this node, or all nodes, report to be this run's, the one that runs it first;
// empty: none of them does. Nothing: one is lent to another job.
std::optional<Place> Broker::place_of_run(const Node& node, const SlotReport& report,
                                          bool across) const {
  Place place;
  bool runs = false;
  bool is_lent = false;
  const auto look_at = [&](const Node& one) {
    for (const auto& slot : one.slots) {
      if (slot.report.job != report.job || slot.report.attempt != report.attempt) continue;
      is_lent = is_lent || slot.leased_to;
      const bool may_run = slot.report.state != SlotState::held &&
                           may_have_run(jobs_.at(report.job), one.id, report.attempt);
      const bool first = may_run && !std::exchange(runs, true);
      place.slots.insert(first ? place.slots.begin() : place.slots.end(),
                         {one.id, slot.report.slot});
    }
  };
  if (!across) look_at(node);
  for (const auto& [id, one] : placement_.all())
    if (across && !one.lost) look_at(one);
  if (is_lent) return std::nullopt;
  return runs ? place : Place{};
}

// As the node says that runs it.
void Broker::adopt(Job& job, const Place& place) {
  Node& node = *placement_.find(place.node());
  const SlotReport& report = node.slot(place.slots.front().slot)->report;
  partition_of(job).dispatcher.remove(job.hold->job, placement_);
  placement_.lend(place, job.hold->job, {.from = now_, .until = now_ + job.hold->occupancy});
  for (const PlacedSlot& placed : place.slots) {
    Node& its = *placement_.find(placed.node);
    its.slot(placed.slot)->heartbeat = its.heartbeat;
  }
  // An attempt that was given up for lost and came back counts as a lease more: should it be lost
  // again, that is a loss of its own.
  const bool came_back = !job.presumed_leased && report.attempt <= job.leases;
  job.leases = came_back ? job.leases + 1 : std::max(job.leases, report.attempt);
  job.lease_node = came_back ? NodeId{} : node.id;
  job.presumed_leased = false;
  job.phase = report.state == SlotState::running ? Phase::running : Phase::leased;
  job.place = place;
  job.attempt = report.attempt;
  job.node_name = node.name;
  job.leased_at = now_;
  job.began = job.phase == Phase::running ? now_ - report.ran : Instant{};
  restating_.erase(job.hold->job);
  plan_extension(job);
  tell(job);
}

// To one of the nodes that it is on: to run it, or to hold what it has there.
void Broker::resend_lease(const Job& job, Node& node) {
  const std::vector<SlotIndex> here = job.place.on(node.id);
  for (const SlotIndex index : here) node.slot(index)->heartbeat = node.heartbeat;
  const Duration held = held_of(job);
  const NodeId runs_on = job.place.node();
  // Ranks are counted node by node, in the order of their slots.
  std::uint32_t first_rank = 0;
  for (const NodeId earlier : job.place.nodes()) {
    if (earlier == node.id) break;
    first_rank += static_cast<std::uint32_t>(job.place.on(earlier).size());
  }
  tell_worker(node.id,
              Lease{.job = job.hold->job,
                    .attempt = job.attempt,
                    .epoch = epoch_,
                    .node = node.id,
                    .incarnation = node.incarnation,
                    .slot = here.front(),
                    .heartbeat = node.heartbeat,
                    .app = job.hold->body->app,
                    .body = job.hold->body,
                    .declared = job.hold->declared,
                    .more_slots = {here.begin() + 1, here.end()},
                    .runs_on = runs_on == node.id ? NodeId{} : runs_on,
                    .elsewhere = static_cast<std::uint32_t>(job.place.slots.size() - here.size()),
                    .held = held < job.hold->declared ? held : Duration{},
                    .first_rank = first_rank});
}

// The job is on its slots no more. On one node they are free when its run has ended; on several
// none of the others knows of that end, and the run can't go on without one of them: each is told.
void Broker::leave_slots(Job& job, NodeId ended_on) {
  const Place left = std::exchange(job.place, {});
  for (const PlacedSlot& placed : left.slots)
    if (const Node* node = placement_.find(placed.node))
      pulse_.left(now_, job, node->name, placed.slot);
  placement_.take_back(left, job.hold->job);
  const std::vector<NodeId> nodes = left.nodes();
  if (nodes.size() <= 1) return;
  job.over_attempt = std::max(job.over_attempt, job.attempt);
  for (const NodeId node : nodes)
    if (node != ended_on) tell_worker(node, CancelRun{epoch_, job.hold->job, job.attempt});
}

// slots_changed() has to follow.
void Broker::lose_node(Node& node) {
  node.lost = true;
  placement_.update(node);
  tell_worker(node.id, Joined{.epoch = epoch_,
                              .refused = Errc::node_lost,
                              .detail = "last heard of " + seconds_text(now_ - node.seen) + " ago",
                              .name = node.name});
  for (auto& slot : node.slots) {
    Job* job = find(slot.leased_to);
    if (job) lose_attempt(*job, Errc::node_lost, "node " + node.name + " was lost");
    slot.leased_to = {};
  }
  placement_.update(node);
}

}  // namespace gpupool
