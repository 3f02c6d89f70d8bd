// What those who follow a job are told, and when.
#include <algorithm>

#include "actors/broker/broker.h"

namespace gpupool {
namespace {

// Up to this many waiting jobs, a single job's place in the queue is looked up at once; in a longer
// queue the positions follow within a second, in one walk for all.
constexpr std::size_t short_queue = 16;

// A forecast also looks at every slot, so this holds for small pools: elsewhere a look at each
// event would cost milliseconds.
constexpr std::size_t few_nodes = 64;

constexpr std::uint32_t quotes_a_round = 4;  // may look into a long queue

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

bool Broker::is_soon_foreseen(const Partition& queue) const {
  return queue.dispatcher.size() <= short_queue && placement_.all().size() <= few_nodes;
}

JobEvent Broker::event_of(Job& job) {
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
  if (job.has_slot()) event.grant = job.grant;
  if (job.phase == Phase::running && growing_.contains(event.job))
    event.held_until = job.began + held_of(job);
  const Partition& queue = partition_of(job);
  if (job.phase != Phase::queued || !is_soon_foreseen(queue)) return event;
  const Forecast likely = forecast(queue, Runs::likely);
  event.position = position_of(event.job, likely);
  foresee(job, event, likely.start_of(event.job),
          forecast(queue, Runs::long_ones).start_of(event.job));
  return event;
}

// The later end is what those before it teach (foresight.h), and never after the promise.
void Broker::foresee(Job& job, JobEvent& event, Instant likely, Instant latest) {
  event.likely_start = likely;
  event.likely_latest = latest;
  if (latest == Instant::never()) return;
  const Duration foreseen = latest - now_;
  if (!job.foreseen_at) {
    job.foreseen_at = now_;
    job.foreseen = foreseen;
  }
  const Instant taught = now_ + partition_of(job).foresight.later_end(foreseen);
  event.likely_latest = std::max(likely, std::min(taught, std::max(job.promise, latest)));
}

// By what such jobs really took, where that is known. Long runs: what nine of ten don't exceed, so
// that a range can be told.
Forecast Broker::forecast(const Dispatcher& waiting, Runs runs) const {
  const auto likely = [this, runs](JobId id) {
    const auto job = jobs_.find(id);
    if (job == jobs_.end()) return Duration{};  // of a quote: nobody is behind it
    const Job& known = job->second;
    const Hold& hold = known.hold;
    const LearnedDurations::Run run{
        .declared = hold.declared,
        .unknown = hold.learned > Duration{} ? hold.learned : hold.declared,
        .elapsed = known.began ? now_ - known.began : Duration{}};
    const Duration starting = known.began ? known.began - known.leased_at : Duration{};
    return starting + learned_.foreseen(hold.account, hold.body->app, run, runs);
  };
  return {now_, waiting, placement_, likely, foreseen_starts};
}

// For somebody who only asks. To foresee a long queue takes milliseconds, and nobody may keep the
// broker at that.
bool Broker::may_foresee(const Partition& queue) {
  if (is_soon_foreseen(queue)) return true;
  if (quotes_left_ == 0) return false;
  --quotes_left_;
  return true;
}

// In the order in which they are likely to start; so far behind that this is not foreseen, by
// arrival.
std::uint32_t Broker::position_of(JobId job, const Forecast& likely) const {
  const std::uint32_t position = likely.position_of(job);
  if (position > 0) return position;
  return static_cast<std::uint32_t>(partition_of(jobs_.at(job)).dispatcher.older_than(job).jobs +
                                    1);
}

void Broker::tell(Job& job) {
  if (job.watchers.empty()) return;
  const JobEvent event = event_of(job);
  for (const SessionId session : job.watchers)
    tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
}

void Broker::tell_positions() {
  quotes_left_ = quotes_a_round;
  if (followed_.empty()) return;
  for (Partition& one : partitions_)
    if (one.dispatcher.size() > 0) tell_positions(one);
}

void Broker::tell_positions(Partition& queue) {
  const Forecast likely = forecast(queue, Runs::likely);
  const Forecast latest = forecast(queue, Runs::long_ones);
  queue.dispatcher.walk([&](const Ahead& older, const Waiting& waiting) {
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
                   .promise = job.promise,
                   .notice = job.notice,
                   .at = now_};
    foresee(job, event, likely.start_of(waiting.job), latest.start_of(waiting.job));
    for (const SessionId session : job.watchers)
      tell_session(session, JobMoved{.session = session, .query = 0, .event = event});
  });
}

}  // namespace gpupool
