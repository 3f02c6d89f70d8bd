// A slot whose run has ranks on other slots, here or on other nodes.
#include <algorithm>
#include <utility>

#include "actors/worker/slot.h"
#include "config/limits.h"

namespace gpupool {
namespace {

// Whether it is new and there is room for it.
bool note(const RankLeft& left, std::vector<RankLeft>& into) {
  const bool is_known = std::any_of(into.begin(), into.end(),
                                    [&](const RankLeft& one) { return one.key == left.key; });
  if (is_known || std::ssize(into) >= limits::rank_addresses_max) return false;
  into.push_back(left);
  return true;
}

}  // namespace

void Slot::help(Instant now, const Lease& lease, Rank rank, Instant until, SlotActions& out) {
  accompany(lease, until);
  begin_run(now, lease, std::move(rank), out);
}

void Slot::call_off(Instant now, SlotActions& out) {
  companion_->is_over = true;
  companion_->until = Instant::never();
  companion_->lost.reset();
  cancel(now, out);
}

void Slot::finish_soon(Instant now, SlotActions& out) {
  if (!run_ || run_->cancelled || run_->doom) return;
  run_->kill_at = now + config_.worker.kill_grace;
  out.executors.emplace_back(
      EndBy{.slot = place_.slot, .at = run_->kill_at, .kill_at = run_->kill_at});
}

void Slot::find(const RankLeft& left, SlotActions& out) {
  if (run_ && note(left, run_->found) && run_->handed_over) tell_found(left, out);
}

void Slot::tell_found(const RankLeft& left, SlotActions& out) const {
  out.executors.emplace_back(RankFound{.slot = place_.slot,
                                       .job = left.job,
                                       .attempt = left.attempt,
                                       .key = left.key,
                                       .value = left.value});
}

void Slot::share(const RankLeft& left, SlotActions& out) {
  if (run_ && run_->lease.elsewhere > 0 && note(left, run_->left))
    out.broker.emplace_back(shared(left));
}

RankShared Slot::shared(const RankLeft& left) const {
  return {.node = place_.node,
          .job = left.job,
          .attempt = left.attempt,
          .key = left.key,
          .value = left.value};
}

// A message can be lost with a broken connection, and before a broker that was restarted has taken
// the run up again. The ranks would wait for it until their start limit.
void Slot::tell_again(SlotActions& out) const {
  if (run_ && run_->guest && run_->guest->granted && !run_->guest->allowed)
    out.broker.emplace_back(granted());
  if (run_)
    for (const RankLeft& left : run_->left) out.broker.emplace_back(shared(left));
  if (helps_elsewhere() && companion_->lost)
    out.broker.emplace_back(RankLost{.node = place_.node,
                                     .job = companion_->job,
                                     .attempt = companion_->attempt,
                                     .cause = companion_->lost->code,
                                     .detail = companion_->lost->detail});
}

}  // namespace gpupool
