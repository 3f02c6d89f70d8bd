// What workers say of the runs that they were given: that they began, how far they are, how they
// ended.
#include <algorithm>
#include <utility>

#include "actors/broker/broker.h"
#include "config/limits.h"

namespace gpupool {

// The job that runs by a lease of this attempt on this node, or nullptr.
Job* Broker::run_of(NodeId node, JobId id, std::uint32_t attempt) {
  Job* job = find(id);
  const bool current =
      job && job->has_slot() && job->place.node() == node && job->attempt == attempt;
  return current ? job : nullptr;
}

void Broker::on(const LeaseRefused& refused) {
  Job* job = find(refused.job);
  if (!job || !job->has_slot() || job->attempt != refused.attempt) return;
  const bool runs_here = job->place.node() == refused.node;
  if (!runs_here && job->place.on(refused.node).empty()) return;
  if (job->phase == Phase::running) {
    if (runs_here) return;
    leave_slots(*job, refused.node);
    return lose_attempt(*job, Errc::lease_refused, "a node could not hold its slots");
  }
  leave_slots(*job, refused.node);
  job->notice = "its slot was not ready";
  leave_what_is_over(*job);
  enqueue(*job);
  if (job->cancelling) {
    settle(*job, {.outcome = Outcome::cancelled});
    return;
  }
  tell(*job);
  restate(*job, bound_of(*job), job->notice);
  restate_for(*job, "an older job returned to the queue: its slot was not ready");
}

void Broker::on(const RunBegan& began) {
  Job* job = run_of(began.node, began.job, began.attempt);
  if (!job || job->phase != Phase::leased) return;
  job->phase = Phase::running;
  job->began = now_;
  job->notice.clear();
  plan_extension(*job);
  tell(*job);
}

// Said with every heartbeat until the caller's process has come.
void Broker::on(const RunGranted& granted) {
  Job* job = run_of(granted.node, granted.job, granted.attempt);
  if (!job || job->grant->token == granted.grant->token) return;
  job->grant = granted.grant;
  tell(*job);
}

void Broker::on(const RunStep& step) {
  Job* job = run_of(step.node, step.job, step.attempt);
  if (!job || step.step < job->step) return;
  if (job->phase == Phase::leased) on(RunBegan{step.node, step.job, step.attempt});
  job->step = step.step;
  job->of_steps = step.of_steps;
  tell(*job);
}

// Whose files they are, and which, the hold says.
void Broker::on(const FetchFiles& wanted) {
  const Job* job = run_of(wanted.node, wanted.job, wanted.attempt);
  if (!job || job->hold->files.empty()) return;
  FetchFiles asked = wanted;
  asked.account = job->hold->account;
  asked.hash = job->hold->files;
  ask_ledger(std::move(asked));
}

void Broker::on(const FilesPiece& piece) {
  if (run_of(piece.node, piece.job, piece.attempt)) tell_worker(piece.node, piece);
}

void Broker::on(const RunWarned& warned) {
  Job* job = run_of(warned.node, warned.job, warned.attempt);
  if (!job || job->phase != Phase::running) return;
  job->notice = "it ends in " + std::to_string(warned.left.ms / 1000) + " s: it was sent SIGUSR1";
  tell(*job);
}

// Ranks on several nodes find each other through their workers and the broker.
void Broker::on(const RankShared& shared) {
  const Job* job = find(shared.job);
  if (!job || !job->has_slot() || job->attempt != shared.attempt) return;
  if (std::ssize(shared.key) > limits::name_bytes_max ||
      std::ssize(shared.value) > limits::rank_address_bytes_max)
    return;
  const std::vector<NodeId> nodes = job->place.nodes();
  if (std::find(nodes.begin(), nodes.end(), shared.node) == nodes.end()) return;
  for (const NodeId node : nodes)
    if (node != shared.node) tell_worker(node, shared);
}

void Broker::on(const RankLost& lost) {
  Job* job = find(lost.job);
  if (!job || !job->has_slot() || job->attempt != lost.attempt) return;
  if (job->place.node() == lost.node || job->place.on(lost.node).empty()) return;
  std::string detail = "a rank on node " + placement_.find(lost.node)->name + ": " + lost.detail;
  if (std::ssize(detail) > limits::detail_bytes_max) detail.resize(limits::detail_bytes_max);
  lose_attempt(*job, lost.cause, detail);
}

// ", on node-1 and node-2": where its ranks are, which none of them knows. Empty: all are on one.
std::string Broker::ranks_text(const Job& job) const {
  const AppConfig* app = config_->app(job.hold->body->app);
  const std::vector<NodeId> nodes = job.place.nodes();
  if (nodes.size() < 2 || !app || app->executor != ExecutorKind::diffusion) return {};
  constexpr std::size_t named_most = 4;
  std::string text;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (i == named_most) return text + " and " + std::to_string(nodes.size() - i) + " more";
    text += i == 0 ? ", on " : i + 1 == nodes.size() ? " and " : ", ";
    text += placement_.all().at(nodes[i]).name;
  }
  return text;
}

// A run of an earlier epoch ended while there was no broker: the job waits here as if it had none.
bool Broker::ended_unseen(const Job& job, std::uint32_t attempt) {
  if (job.phase != Phase::queued) return false;
  return attempt > job.leases || (job.presumed_leased && attempt == job.attempt);
}

// The run that is delivered is the one charged, whichever attempt it was; the others are cancelled.
void Broker::on(const RunEnded& ended) {
  // Whether its job is open, or which node this is, is not known yet: the worker sends it again.
  if (!leading() || !placement_.find(ended.node)) return;
  Job* job = find(ended.job);
  if (job && !may_have_run(*job, ended.node, ended.attempt)) {
    tell_worker(ended.node, EndSeen{ended.job, ended.attempt});
    return;
  }
  const bool called_off = job && ended.attempt <= job->over_attempt;
  if (job) job->over_attempt = std::max(job->over_attempt, ended.attempt);
  const bool awaited =
      job && job->ended && job->ended->node == ended.node && job->ended->attempt == ended.attempt;
  if (awaited) return;  // acknowledged with its record
  const bool current = run_of(ended.node, ended.job, ended.attempt) ||
                       (job && !called_off && ended_unseen(*job, ended.attempt));
  const bool delivers = ended.outcome == Outcome::succeeded && !ended.pool_fault;
  if (!job || job->phase == Phase::settling || job->phase == Phase::requeueing ||
      !(current || delivers)) {
    // What the ledger is writing decides about a result first: the worker sends this end again.
    if (!job || job->has_slot() || job->phase == Phase::queued || !delivers)
      tell_worker(ended.node, EndSeen{ended.job, ended.attempt});
    return;
  }
  if (!current && job->has_slot())
    tell_worker(job->place.node(), CancelRun{epoch_, job->hold->job, job->attempt});
  std::string detail = ended.detail;
  if (job->has_slot()) {
    if (current && delivers) detail += ranks_text(*job);
    const SlotIndex first = job->place.slots.front().slot;
    leave_slots(*job, current ? ended.node : NodeId{});
    // The next heartbeat would say the same, half a second later. Of several slots the first is
    // the one that ran; the others are cleared after it.
    Node* node = current && ended.slots_free ? placement_.find(ended.node) : nullptr;
    if (PoolSlot* slot = node ? node->slot(first) : nullptr) {
      slot->report.state = SlotState::free;
      slot->report.job = {};
      placement_.update(*node);
    }
  }
  job->ended = std::make_unique<RunEnded>(ended);
  job->attempt = ended.attempt;
  job->leases = std::max(job->leases, ended.attempt);
  job->node_name = placement_.find(ended.node)->name;
  if (ended.pool_fault) {
    if (!ended.began || !job->began) job->began = ended.began ? now_ : Instant{};
    lose_attempt(*job, ended.cause, ended.detail);
    return;
  }
  // Called off by a broker before this one, which had given its name to another lease. What its
  // caller gave back before it was used is a cancelled one too, and says so.
  const bool given_back = !ended.began && !ended.detail.empty();
  if (ended.outcome == Outcome::cancelled && !job->cancelling && !given_back) {
    lose_attempt(*job, Errc::node_lost, "its lease was called off");
    return;
  }
  if (pool_missed_extension(ended)) {
    lose_attempt(*job, Errc::ledger_unavailable, ended.detail);
    return;
  }
  settle(*job, {.outcome = ended.outcome,
                .cause = ended.cause,
                .detail = std::move(detail),
                .ran = ended.ran,
                .result = ended.result,
                .log = ended.log,
                .exit_code = ended.exit_code,
                .signal = ended.signal});
}

}  // namespace gpupool
