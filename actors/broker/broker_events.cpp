// What those who follow a job are told, and when.
#include "actors/broker/broker.h"

namespace gpupool {
namespace {

// Up to this many waiting jobs, a single job's place in the queue is looked up at once; in a longer
// queue the positions follow within a second, in one walk for all.
constexpr std::size_t short_queue = 1'024;

JobState state_of(Phase phase) {
  switch (phase) {
    case Phase::queued:
    case Phase::requeueing:
      return JobState::queued;
    case Phase::leased:
      return JobState::starting;
    case Phase::running:
      return JobState::running;
    case Phase::settling:
      return JobState::ended;
  }
  return JobState::ended;
}

}  // namespace

JobEvent Broker::event_of(const Job& job) const {
  JobEvent event{.job = job.hold.job,
                 .request = job.hold.request,
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
    const Instant start = likely.next(waiting.declared);
    if (waiting.job != job.hold.job) return;
    event.position = position;
    event.likely_start = start;
  });
  return event;
}

LikelyStarts Broker::likely_starts() const {
  std::vector<Instant> ends;
  for (const auto& [id, node] : placement_.all()) {
    if (node.lost) continue;
    for (const auto& slot : node.slots) {
      if (slot.report.state == SlotState::down) continue;
      const auto it = jobs_.find(slot.leased_to);
      if (it == jobs_.end()) {
        ends.push_back(now_);
        continue;
      }
      const Job& job = it->second;
      ends.push_back((job.began ? job.began : job.leased_at) + job.hold.declared);
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
    const Instant start = likely.next(waiting.declared);
    Job& job = jobs_.at(waiting.job);
    if (job.watchers.empty() || job.told_position == position) return;
    job.told_position = position;
    JobEvent event{.job = waiting.job,
                   .request = job.hold.request,
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
