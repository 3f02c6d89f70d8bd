// What those who follow a job are told, and when.
#include <algorithm>

#include "actors/broker/broker.h"

namespace gpupool {
namespace {

// Up to this many waiting jobs, a single job's place in the queue is looked up at once; in a longer
// queue the positions follow within a second, in one walk for all.
constexpr std::size_t short_queue = 16;

// Further than so many starts ahead nobody is told when it is likely to be his turn.
constexpr std::size_t foreseen_starts = 1'000;

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
  if (job.phase != Phase::queued || dispatcher_.size() > short_queue) return event;
  const Forecast likely = forecast();
  event.position = position_of(event.job, likely);
  event.likely_start = likely.start_of(event.job);
  return event;
}

// By what such jobs really took, where that is known; at most what was declared.
Forecast Broker::forecast() const {
  const auto likely = [this](JobId id) {
    const Job& job = jobs_.at(id);
    const Duration declared = job.hold->declared;
    const auto ran = observed_.likely(job.hold->account, job.hold->body->app);
    const Duration starting = job.began ? job.began - job.leased_at : Duration{};
    return starting + std::min(ran.value_or(declared), declared);
  };
  return {now_, dispatcher_, placement_, likely, foreseen_starts};
}

// In the order in which they are likely to start; so far behind that this is not foreseen, by
// arrival.
std::uint32_t Broker::position_of(JobId job, const Forecast& likely) const {
  const std::uint32_t position = likely.position_of(job);
  if (position > 0) return position;
  return static_cast<std::uint32_t>(dispatcher_.older_than(job).jobs + 1);
}

void Broker::tell(const Job& job) {
  if (job.watchers.empty()) return;
  const JobEvent event = event_of(job);
  for (const SessionId session : job.watchers)
    tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
}

void Broker::tell_positions() {
  if (followed_.empty() || dispatcher_.size() == 0) return;
  const Forecast likely = forecast();
  dispatcher_.walk([&](const Ahead& older, const Waiting& waiting) {
    Job& job = jobs_.at(waiting.job);
    if (job.watchers.empty()) return;
    const std::uint32_t foreseen = likely.position_of(waiting.job);
    const auto by_arrival = static_cast<std::uint32_t>(older.jobs + 1);
    const std::uint32_t position = foreseen > 0 ? foreseen : by_arrival;
    if (!is_news(job.told_position, position)) return;
    job.told_position = position;
    JobEvent event{.job = waiting.job,
                   .request = job.hold->request,
                   .state = JobState::queued,
                   .attempt = job.attempt,
                   .position = position,
                   .likely_start = likely.start_of(waiting.job),
                   .promise = job.promise,
                   .notice = job.notice,
                   .at = now_};
    for (const SessionId session : job.watchers)
      tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
  });
}

}  // namespace gpupool
