// What those who follow a job are told, and when.
#include "actors/broker/broker.h"

namespace gpupool {
namespace {

// Up to this many waiting jobs, a single job's place in the queue is looked up at once; in a longer
// queue the positions follow within a second, in one walk for all.
constexpr std::size_t short_queue = 64;

// Near the front every step counts. Far behind, a step of an eighth is soon enough: otherwise each
// end of a job would be told to everybody who waits.
bool is_news(std::uint32_t told, std::uint32_t position) {
  constexpr std::uint32_t near = 16;
  if (told == 0 || position > told || position <= near) return told != position;
  return told - position >= told / 8;
}

}  // namespace

JobEvent Broker::event_of(const Job& job) const {
  JobEvent event{.job = job.hold->job,
                 .request = job.hold->request,
                 .state = state_of(job.phase),
                 .attempt = job.attempt,
                 .promise = job.promise,
                 .step = job.step,
                 .of_steps = job.of_steps,
                 .node = job.has_slot() ? job.node_name : std::string{},
                 .notice = job.notice,
                 .at = now_};
  if (job.phase != Phase::queued || queue_.size() > short_queue) return event;
  LikelyStarts likely = likely_starts();
  queue_.walk([&](std::uint32_t position, const Waiting& waiting) {
    const Instant start = likely.next(waiting.declared, waiting.shape.slots);
    if (waiting.job != job.hold->job) return;
    event.position = position;
    event.likely_start = start;
  });
  return event;
}

LikelyStarts Broker::likely_starts() const {
  std::vector<Instant> ends;
  for (const auto& [id, node] : placement_.all()) {
    if (!node.takes_leases()) continue;
    for (const auto& slot : node.slots) {
      if (slot.report.state == SlotState::down) continue;
      const auto it = jobs_.find(slot.leased_to);
      if (it == jobs_.end()) {
        ends.push_back(now_);
        continue;
      }
      const Job& job = it->second;
      ends.push_back((job.began ? job.began : job.leased_at) + job.hold->declared);
    }
  }
  return {now_, std::move(ends)};
}

void Broker::tell(const Job& job) {
  if (job.watchers.empty()) return;
  const JobEvent event = event_of(job);
  for (const SessionId session : job.watchers)
    tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
}

void Broker::tell_positions() {
  LikelyStarts likely = likely_starts();
  queue_.walk([&](std::uint32_t position, const Waiting& waiting) {
    const Instant start = likely.next(waiting.declared, waiting.shape.slots);
    Job& job = jobs_.at(waiting.job);
    if (job.watchers.empty() || !is_news(job.told_position, position)) return;
    job.told_position = position;
    JobEvent event{.job = waiting.job,
                   .request = job.hold->request,
                   .state = JobState::queued,
                   .attempt = job.attempt,
                   .position = position,
                   .likely_start = start,
                   .promise = job.promise,
                   .notice = job.notice,
                   .at = now_};
    for (const SessionId session : job.watchers)
      tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
  });
}

}  // namespace gpupool
