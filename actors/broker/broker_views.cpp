// What operators see of the pool and do to it, through the console: nodes, queue, cancel, drain.
#include <algorithm>

#include "actors/broker/broker.h"
#include "config/limits.h"

namespace gpupool {
namespace {

NodeState state_of(const Node& node) {
  if (node.lost) return NodeState::lost;
  if (node.suspected) return NodeState::suspected;
  return node.takes_leases() ? NodeState::healthy : NodeState::draining;
}

}  // namespace

void Broker::on(const NodesQuery& query) {
  NodesFound found{.ticket = query.ticket, .nodes = {}};
  for (const auto& [id, node] : placement_.all()) found.nodes.push_back(view_of(node));
  std::sort(found.nodes.begin(), found.nodes.end(),
            [](const NodeView& one, const NodeView& other) { return one.name < other.name; });
  tell_console(std::move(found));
}

NodeView Broker::view_of(const Node& node) const {
  // A worker of another build is refused, so every node runs the pool's.
  NodeView view{.name = node.name,
                .state = state_of(node),
                .build = build_,
                .seen = node.seen,
                .devices = node.devices};
  for (const PoolSlot& slot : node.slots) {
    SlotView seen{.slot = slot.report.slot,
                  .device = slot.report.device,
                  .state = slot.report.state,
                  .warm_app = slot.report.warm_app,
                  .partition = placement_.name_of(slot.partition),
                  .why = slot.report.why};
    if (slot.reservation) seen.reservation = placement_.name_of(slot.reservation->id);
    if (const auto it = jobs_.find(slot.leased_to); it != jobs_.end()) {
      const Job& job = it->second;
      seen.job = job.hold->job;
      seen.account = job.hold->account;
      seen.app = job.hold->body->app;
      seen.ends_by = latest_end(job);
      seen.since = job.began ? job.began : job.leased_at;
    }
    view.slots.push_back(std::move(seen));
  }
  return view;
}

// What is there at this moment, beside what was counted.
void Broker::tell_pulse() {
  PoolPulse pulse = pulse_.take(now_);
  pulse.queued = waiting_jobs();
  for (const auto& [id, node] : placement_.all()) {
    switch (state_of(node)) {
      case NodeState::healthy:
        ++pulse.healthy;
        break;
      case NodeState::draining:
        ++pulse.draining;
        break;
      case NodeState::lost:
        ++pulse.lost;
        break;
      case NodeState::suspected:
        ++pulse.suspected;
        break;
    }
    for (const PoolSlot& slot : node.slots) {
      const bool is_down = node.lost || slot.report.state == SlotState::down;
      ++(is_down ? pulse.slots_down : slot.leased_to ? pulse.slots_busy : pulse.slots_free);
      const Job* job = find(slot.leased_to);
      if (!job || job->place.slots.front() != PlacedSlot{id, slot.report.slot}) continue;
      ++(job->phase == Phase::running ? pulse.running : pulse.starting);
    }
  }
  tell_console(std::move(pulse));
}

// By when the worker has ended the job whatever it does: a run at its declared end and the grace
// for its exit, and before the run began, the whole time that its lease may take.
Instant Broker::latest_end(const Job& job) const {
  const Instant lease_end = job.leased_at + job.hold->occupancy;
  if (!job.began) return lease_end;
  return std::min(lease_end, job.began + job.hold->declared + config_->worker.kill_grace);
}

void Broker::on(const QueueQuery& query) {
  QueueFound found{.ticket = query.ticket, .jobs = {}, .waiting = waiting_jobs()};
  std::vector<JobId> open;  // job numbers are the order of arrival
  for (const auto& [id, job] : jobs_)
    if (id > query.after) open.push_back(id);
  const auto page_max = static_cast<std::uint32_t>(limits::table_rows_max);
  const std::size_t page =
      std::min<std::size_t>(open.size(), std::clamp(query.limit, 1U, page_max));
  std::partial_sort(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(page), open.end());
  found.more = open.size() > page;
  open.resize(page);
  for (const JobId id : open) found.jobs.push_back(entry_of(jobs_.at(id)));
  add_positions(found.jobs);
  tell_console(std::move(found));
}

QueueEntry Broker::entry_of(const Job& job) const {
  return {.job = job.hold->job,
          .account = job.hold->account,
          .tier = job.hold->tier,
          .app = job.hold->body->app,
          .size = job.hold->body->size,
          .state = state_of(job.phase),
          .declared = job.hold->declared,
          .admitted_at = job.hold->admitted_at,
          .promise = job.promise,
          .node = job.has_slot() ? job.node_name : std::string{},
          .partition = placement_.name_of(job.partition)};
}

// One forecast of a queue for all that stand in it.
void Broker::add_positions(std::vector<QueueEntry>& entries) const {
  std::map<PartitionId, Forecast> forecasts;
  for (QueueEntry& entry : entries) {
    if (entry.state != JobState::queued) continue;
    const Partition& queue = partition_of(jobs_.at(entry.job));
    auto likely = forecasts.find(queue.id);
    if (likely == forecasts.end())
      likely = forecasts.emplace(queue.id, forecast(queue, Runs::likely)).first;
    entry.position = position_of(entry.job, likely->second);
    const Instant start = likely->second.start_of(entry.job);
    if (start != Instant::never()) entry.likely_start = start;
  }
}

// Answered at once: that the job's end is on the way. Its receipt says who ended it.
void Broker::on(const OperatorCancel& cancel) {
  Job* job = find(cancel.job);
  if (!job) {
    tell_console(CancelTaken{.ticket = cancel.ticket, .error = Errc::job_unknown});
    return;
  }
  tell_console(CancelTaken{.ticket = cancel.ticket,
                           .error = {},
                           .state = state_of(job->phase),
                           .account = job->hold->account});
  if (!job->cancelling) job->cancelled_by = cancel.who;
  cancel_job(*job);
}

// What runs on a draining node goes on to its end. Leases resume with the dispatch of this step.
void Broker::on(const DrainNodes& drain) {
  placement_.drain({drain.nodes.begin(), drain.nodes.end()});
  slots_changed("an operator is draining nodes");
}

// Only one that is lost: a worker that is heard of would be back with its next heartbeat.
void Broker::on(const RemoveNode& remove) {
  const auto& nodes = placement_.nodes();
  const auto it = std::find_if(nodes.begin(), nodes.end(),
                               [&](const auto& entry) { return entry.second.name == remove.node; });
  const bool is_known = it != nodes.end();
  const bool goes = is_known && it->second.lost;
  tell_console(NodeRemoved{.ticket = remove.ticket,
                           .error = goes       ? Errc{}
                                    : is_known ? Errc::forbidden
                                               : Errc::bad_request});
  if (!goes) return;
  placement_.remove(it->first);
  slots_changed("node " + remove.node + " was removed");
}

// What is wrong with its slots is the node's to know: it tries them again.
void Broker::on(const ResumeNode& resume) {
  for (const auto& [id, node] : placement_.all())
    if (node.name == resume.node) tell_worker(id, ResumeSlots{epoch_});
}

}  // namespace gpupool
