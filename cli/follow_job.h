#pragma once
// One request on its way: submitted, shown as it goes, and followed to its end through lost
// connections and restarts of the pool. Ctrl-C cancels the job and waits for its receipt; a second
// one leaves the job to itself. What there is to say when no receipt comes has been said.

#include <functional>
#include <optional>
#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"
#include "cli/progress.h"

namespace gpupool {

struct Submission {
  RequestId request;
  JobRequest body;
};

// The longest wait and the declared duration, as typed; empty: the pool's choice.
struct Times {
  std::string duration_s;
  std::string max_wait_s;
};
Status read_times(const Times& typed, JobRequest& body);

class FollowedJob {
 public:
  FollowedJob(const Connection& connection, Client& client, const Submission& submission,
              Progress& progress);

  // Before run(): called with every event while the job runs, and some times a second in between.
  // Who looks shows what the run does; its progress is then shown only until it runs.
  using Look = std::function<void(const JobEvent&)>;
  void look_while_running(Look look) { look_ = std::move(look); }

  // To the end of the job. Nothing: code() says how this command ends.
  std::optional<JobDone> run();
  // Until the pool has taken the job, or has its receipt already.
  std::optional<JobEvent> run_until_taken();

  // `done`, or how the command ends: also with a receipt it is `interrupted` after Ctrl-C.
  ExitCode code() const { return code_; }

 private:
  enum class Until : std::uint8_t { taken = 1, done };

  void work(Until until);
  void on(const JobEvent& event);
  void on(const JobDone& done);
  void on(const SessionRefused& refused);
  void on(const FollowFailed& failed);
  void on(const LinkLost& lost);
  void on(const LinkRestored& restored);
  void cancel();
  void lose(const Error& error);
  std::string later_text() const;

  const Connection& connection_;
  Client& client_;
  const Submission& submission_;
  Progress& progress_;
  InterruptGuard interrupts_;
  void show(const JobEvent& event);
  void look();

  Look look_;
  std::string told_notice_;        // of the run that is looked at
  std::optional<JobEvent> event_;  // the latest
  std::optional<JobDone> done_;
  bool over_ = false;
  ExitCode code_ = ExitCode::done;
};

}  // namespace gpupool
