// The broker's frame: dispatch of messages, its clockwork, and its invariants.
#include "actors/broker/broker.h"

#include <algorithm>
#include <utility>

#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr Duration round_interval = milliseconds(250);
constexpr Duration positions_interval = seconds(1);
constexpr std::size_t before_lead_max = 10'000;

// What a client asked through its session, or an operator of jobs, as opposed to what the pool's
// own parts say.
bool is_asked(const ToBroker& message) {
  return std::holds_alternative<Submit>(message) || std::holds_alternative<Cancel>(message) ||
         std::holds_alternative<Watch>(message) || std::holds_alternative<JobsQuery>(message) ||
         std::holds_alternative<ClientGone>(message) || std::holds_alternative<Quote>(message) ||
         std::holds_alternative<QueueQuery>(message) ||
         std::holds_alternative<OperatorCancel>(message);
}

}  // namespace

Broker::Broker(const Config& config, std::string build)
    : config_(&config), build_(std::move(build)) {}

void Broker::use(const Config& config) {
  config_ = &config;
  if (!leading()) return;
  read_reservations();
  slots_changed("the configuration changed");
}

Effects Broker::start(Instant now) {
  now_ = now;
  out_ = {};
  started_ = now;
  lead_again_ = now + lead_retry_;
  ask_ledger(Lead{.ticket = ++last_ticket_});
  return take_effects();
}

Effects Broker::step(Instant now, const ToBroker& message) {
  now_ = std::max(now_, now);
  out_ = {};
  if (deposed_) return take_effects();
  if (!leading() && is_asked(message)) {
    // A client that resubmits must hear what the ledger knows of its id, so nothing is refused now.
    if (before_lead_.size() < before_lead_max) before_lead_.push_back(message);
  } else {
    std::visit([this](const auto& one) { on(one); }, message);
    dispatch();
  }
  return take_effects();
}

void Broker::on(const Stop& stop) { stop_by_ = stop.by; }

bool Broker::stopped() const {
  if (!stopping()) return false;
  const bool at_rest = pending_.empty() && writing_.empty() && !placement_.lends_any();
  return at_rest || now_ >= *stop_by_;
}

void Broker::on(const Tick&) {
  if (now_ >= silence_due_) find_the_silent();
  if (now_ < next_round_) return;
  next_round_ = now_ + round_interval;
  if (in_grace() && grace_is_over()) end_grace();
  write_again();
  cancel_the_abandoned();
  ask_for_extensions();
  if (leading()) mind_reservations();
  if (leading()) tell_sizes();
  if (leading() && pulse_.is_due(now_)) tell_pulse();
  if (now_ >= positions_due_) {
    positions_due_ = now_ + positions_interval;
    end_the_impossible();
    tell_positions();
  }
}

Effects Broker::take_effects() {
  out_.wake_at = deposed_ ? Instant::never() : std::max(now_, std::min(next_round_, silence_due_));
  return std::move(out_);
}

// A look at all nodes, only when the first of them may have been silent for too long.
// Invariant: silence_due_ is no later than the moment when any node is to be suspected or lost.
void Broker::find_the_silent() {
  silence_due_ = Instant::never();
  const BrokerConfig& limits = config_->broker;
  std::string lost;
  std::size_t others = 0;
  for (auto& [id, node] : placement_.nodes()) {
    if (node.lost) continue;
    const Duration silent = now_ - node.seen;
    if (silent >= limits.heartbeat_loss) {
      lose_node(node);
      if (!lost.empty()) ++others;
      if (lost.empty()) lost = node.name;
      continue;
    }
    const bool was_suspected = std::exchange(node.suspected, silent >= limits.heartbeat_suspect);
    if (node.suspected != was_suspected) placement_.update(node);
    expect_silence(node.seen + (node.suspected ? limits.heartbeat_loss : limits.heartbeat_suspect));
  }
  if (lost.empty()) return;
  // A switch takes many with it: what that means for the promises is worked out once for all.
  if (others > 0) lost += " and " + std::to_string(others) + " more";
  slots_changed("node " + lost + (others > 0 ? " were lost" : " was lost"));
}

Job* Broker::find(JobId id) {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

void Broker::check_invariants() const {
  std::size_t queued = 0;
  for (const auto& [id, job] : jobs_) {
    queued += job.phase == Phase::queued ? 1U : 0U;
    GPUPOOL_ENSURE((job.settle != nullptr) == (job.phase == Phase::settling), id);
    GPUPOOL_ENSURE((job.requeue != nullptr) == (job.phase == Phase::requeueing), id);
    if (!job.has_slot()) continue;
    GPUPOOL_ENSURE(job.place.slots.size() == job.hold->slots, id, job.place.slots.size());
    std::ptrdiff_t lent = 0;
    for (const auto& [node_id, node] : placement_.all())
      lent += std::count_if(node.slots.begin(), node.slots.end(),
                            [&](const PoolSlot& one) { return one.leased_to == id; });
    GPUPOOL_ENSURE(lent == std::ssize(job.place.slots), id, lent);
  }
  GPUPOOL_ENSURE(queued == waiting_jobs(), queued, waiting_jobs());
  placement_.check_index();
  for (const auto& [node_id, node] : placement_.all())
    for (const auto& slot : node.slots) {
      if (!slot.leased_to) continue;
      const auto it = jobs_.find(slot.leased_to);
      GPUPOOL_ENSURE(it != jobs_.end(), node_id, slot.leased_to);
      const Place& place = it->second.place;
      const PlacedSlot placed{node_id, slot.report.slot};
      GPUPOOL_ENSURE(it->second.has_slot(), node_id, slot.leased_to);
      GPUPOOL_ENSURE(std::count(place.slots.begin(), place.slots.end(), placed) == 1, node_id,
                     slot.report.slot);
    }
}

}  // namespace gpupool
