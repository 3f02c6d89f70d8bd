// The operator's view, whole: nodes and queue are asked of the broker when somebody looks, at most
// once a second for all who do; the rest is remembered (actors/console/pool_history.h).
#include <algorithm>

#include "actors/console/console.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration overview_age_max = seconds(1);
constexpr std::uint32_t overview_jobs_max = 100;
// With the spans' and the queue's below limits::frame_bytes_max.
constexpr std::size_t overview_node_bytes_max = 90 * 1024;

// What a node takes of an answer's bytes, about.
std::size_t bytes_of(const NodeView& node) {
  std::size_t bytes = 64 + node.name.size() + node.build.size();
  for (const std::string& device : node.devices) bytes += device.size() + 3;
  for (const SlotView& slot : node.slots)
    bytes += 64 + slot.warm_app.size() + slot.account.text.size() + slot.app.size() +
             slot.partition.size() + slot.reservation.size() + slot.why.size();
  return bytes;
}

// The list ends with the last node that fits whole.
std::uint64_t leave_out(std::vector<NodeView>& nodes) {
  std::size_t shown = 0;
  std::size_t slots = 0;
  std::size_t bytes = 0;
  for (; shown < nodes.size(); ++shown) {
    slots += nodes[shown].slots.size();
    bytes += bytes_of(nodes[shown]);
    if (std::cmp_greater(slots, limits::overview_slots_max) || bytes > overview_node_bytes_max)
      break;
  }
  std::uint64_t left_out = 0;
  for (std::size_t i = shown; i < nodes.size(); ++i) left_out += nodes[i].slots.size();
  nodes.resize(shown);
  return left_out;
}

// A pulse may be a second older than the nodes beside it.
PoolPulse present_of(const std::vector<NodeView>& nodes) {
  PoolPulse present;
  for (const NodeView& node : nodes) {
    switch (node.state) {
      case NodeState::healthy:
        ++present.healthy;
        break;
      case NodeState::draining:
        ++present.draining;
        break;
      case NodeState::lost:
        ++present.lost;
        break;
      case NodeState::suspected:
        ++present.suspected;
        break;
    }
    for (const SlotView& slot : node.slots) {
      const bool is_down = node.state == NodeState::lost || slot.state == SlotState::down;
      ++(is_down ? present.slots_down : slot.job ? present.slots_busy : present.slots_free);
    }
  }
  return present;
}

void adopt(const PoolPulse& present, PoolPulse& pulse) {
  pulse.healthy = present.healthy;
  pulse.draining = present.draining;
  pulse.lost = present.lost;
  pulse.suspected = present.suspected;
  pulse.slots_free = present.slots_free;
  pulse.slots_busy = present.slots_busy;
  pulse.slots_down = present.slots_down;
}

}  // namespace

void Console::on(const PoolPulse& pulse) { history_.hear(pulse); }
void Console::on(const LedgerPulse& pulse) { history_.hear(now_, pulse); }
void Console::on(const RefusalNoted& noted) { history_.refused(now_, noted.code); }

void Console::on(const OverviewQuery& query) {
  const Looker looker{query.session, query.query};
  if (!query.caller.is_operator) {
    const Error why = operators_only(query.caller);
    return answer(looker, why);
  }
  if (seen_->at && now_ - seen_->at < overview_age_max) return show(looker);
  if (lookers_.size() >= console_questions_max)
    return answer(looker, Error{.code = Errc::overloaded, .detail = "too many operators look"});
  lookers_.push_back(looker);
  if (looking_) return;
  looking_ =
      Looking{.nodes = ++last_ticket_, .queue = ++last_ticket_, .due = now_ + console_answer_limit};
  out_.to(to_broker(), ToBroker{NodesQuery{looking_->nodes}});
  out_.to(to_broker(), ToBroker{QueueQuery{.ticket = looking_->queue, .limit = overview_jobs_max}});
}

bool Console::looks_at(const NodesFound& found) {
  if (!looking_ || looking_->nodes != found.ticket) return false;
  looking_->view.nodes = found.nodes;
  looking_->present = present_of(found.nodes);
  looking_->view.slots_left_out = leave_out(looking_->view.nodes);
  looking_->nodes = 0;
  see_if_whole();
  return true;
}

bool Console::looks_at(const QueueFound& found) {
  if (!looking_ || looking_->queue != found.ticket) return false;
  looking_->view.queue = found.jobs;
  looking_->view.waiting = found.waiting;
  looking_->view.more_jobs = found.more;
  looking_->queue = 0;
  see_if_whole();
  return true;
}

void Console::see_if_whole() {
  if (looking_->nodes != 0 || looking_->queue != 0) return;
  Overview view = std::move(looking_->view);
  const PoolPulse present = std::move(looking_->present);
  looking_.reset();
  view.at = now_;
  view.started_at = started_;
  view.audit = audit_;
  view.announcement = standing_.announcement;
  history_.fill(now_, view);
  adopt(present, view.pulse);
  seen_ = Shared<Overview>(std::move(view));
  for (const Looker& looker : std::exchange(lookers_, {})) show(looker);
}

void Console::give_up_looking() {
  if (!looking_ || looking_->due > now_) return;
  looking_.reset();
  for (const Looker& looker : std::exchange(lookers_, {}))
    answer(looker,
           Error{.code = Errc::timed_out, .detail = "the broker did not answer; ask again"});
}

void Console::show(const Looker& looker) {
  out_.to(to_session(looker.session),
          ToSession{
              OverviewFound{.session = looker.session, .query = looker.query, .overview = seen_}});
}

void Console::answer(const Looker& looker, const Error& error) {
  out_.to(to_session(looker.session), ToSession{OverviewFound{.session = looker.session,
                                                              .query = looker.query,
                                                              .error = error.code,
                                                              .detail = error.detail}});
}

}  // namespace gpupool
