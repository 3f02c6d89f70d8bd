#include "cli/follow_job.h"

#include "cli/arguments.h"
#include "cli/say.h"
#include "cli/views.h"

namespace gpupool {
namespace {

constexpr Duration look_again = seconds(1);
constexpr Duration look_pause = milliseconds(100);  // while somebody looks at a run
// After Ctrl-C a job that the pool has not named yet is waited for so long, to be cancelled.
constexpr int looks_for_its_name = 5;

}  // namespace

Status read_times(const Times& typed, JobRequest& body) {
  const auto read = [](const std::string& text, Duration& target) -> Status {
    if (text.empty()) return ok();
    const auto time = parse_seconds(text);
    if (!time) return time.error();
    target = *time;
    return ok();
  };
  if (Status status = read(typed.duration_s, body.declared); !status) return status;
  return read(typed.max_wait_s, body.max_wait);
}

FollowedJob::FollowedJob(const Connection& connection, Client& client, const Submission& submission,
                         Progress& progress)
    : connection_(connection),
      client_(client),
      submission_(submission),
      progress_(progress),
      interrupts_(client) {}

std::optional<JobDone> FollowedJob::run() {
  work(Until::done);
  return done_;
}

std::optional<JobEvent> FollowedJob::run_until_taken() {
  work(Until::taken);
  // A job that is over already, submitted again under its id, is known by its receipt alone.
  if (done_) {
    const Receipt& receipt = done_->receipt;
    event_ = JobEvent{.job = receipt.job, .request = receipt.request, .state = JobState::ended};
  }
  return over_ && !done_ ? std::nullopt : event_;
}

void FollowedJob::work(Until until) {
  const Status submitted = client_.submit(submission_.request, submission_.body);
  if (!submitted) {
    code_ = say_error(connection_, submitted.error());
    return;
  }
  int looks_after_interrupt = 0;
  while (!over_ && (until == Until::done || !event_)) {
    if (interrupts_.count() > 0 && (event_ || ++looks_after_interrupt > looks_for_its_name))
      return cancel();
    const bool looks = look_ && event_ && event_->state == JobState::running;
    const Result<ClientEvent> event = client_.next_event(looks ? look_pause : look_again);
    if (event)
      std::visit([this](const auto& one) { on(one); }, *event);
    else if (event.error().code != Errc::timed_out && event.error().code != Errc::interrupted)
      lose(event.error());
    look();
  }
  progress_.clear();
}

void FollowedJob::look() {
  if (look_ && !over_ && event_ && event_->state == JobState::running) look_(*event_);
}

// What a run writes must not meet a line that is written over.
void FollowedJob::show(const JobEvent& event) {
  if (!look_ || event.state != JobState::running) return progress_.show(event);
  progress_.clear();
  if (!event.notice.empty() && event.notice != told_notice_)
    progress_.note("job " + std::to_string(event.job.value) + ": " + event.notice);
  told_notice_ = event.notice;
}

void FollowedJob::on(const JobEvent& event) {
  event_ = event;
  show(event);
}

void FollowedJob::on(const JobDone& done) {
  done_ = done;
  over_ = true;
}

void FollowedJob::on(const SessionRefused& refused) {
  progress_.clear();
  over_ = true;
  code_ = say_refusal(connection_, refused.refusal);
}

void FollowedJob::on(const FollowFailed& failed) { lose(failed.error); }

void FollowedJob::on(const LinkLost& lost) { progress_.note(lost_text(lost)); }

void FollowedJob::on(const LinkRestored& restored) { progress_.note(restored_text(restored)); }

// The pool may have the job: its name is what is needed to ask for it later.
void FollowedJob::lose(const Error& error) {
  progress_.clear();
  over_ = true;
  if (!connection_.json) print_error(later_text());
  code_ = say_error(connection_, error);
}

std::string FollowedJob::later_text() const {
  if (!event_)
    return "the pool may have taken the request " + format_request_id(submission_.request) +
           ": gpupool jobs\n";
  const std::string job = std::to_string(event_->job.value);
  return "job " + job + " may still be queued or running: gpupool wait " + job +
         ", gpupool explain " + job + "\n";
}

void FollowedJob::cancel() {
  over_ = true;
  code_ = ExitCode::interrupted;
  progress_.clear();
  if (!event_ || interrupts_.count() > 1) return print_error(later_text());
  progress_.note("cancelling job " + std::to_string(event_->job.value) +
                 " (Ctrl-C again to leave it)");
  const Result<JobDone> done = client_.cancel(event_->job);
  if (done) {
    done_ = *done;
  } else {
    lose(done.error());
    code_ = ExitCode::interrupted;
  }
}

}  // namespace gpupool
