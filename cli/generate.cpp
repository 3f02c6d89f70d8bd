#include "cli/generate.h"

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/views.h"

namespace gpupool {
namespace {

constexpr Duration look_again = seconds(1);
// After Ctrl-C a job that the pool has not named yet is waited for so long, to be cancelled.
constexpr int looks_for_its_name = 5;

// The command line after it was read: what is asked for, and where the picture goes.
struct Wish {
  JobRequest body;
  RequestId request;
  std::uint64_t seed = 0;
  std::filesystem::path output;
};

void add_argument(JobRequest& body, const std::string& key, const std::string& value) {
  if (!value.empty()) body.arguments.push_back({key, value});
}

Result<Wish> read_wish(const GenerateOptions& options) {
  Wish wish;
  wish.body.app = options.app;
  wish.body.size = options.size;
  if (!options.duration_s.empty()) {
    const auto declared = parse_seconds(options.duration_s);
    if (!declared) return declared.error();
    wish.body.declared = *declared;
  }
  if (!options.max_wait_s.empty()) {
    const auto max_wait = parse_seconds(options.max_wait_s);
    if (!max_wait) return max_wait.error();
    wish.body.max_wait = *max_wait;
  }
  wish.seed = options.seed ? *options.seed : draw_random() >> 32U;  // short enough to type again
  add_argument(wish.body, "prompt", options.prompt);
  add_argument(wish.body, "steps", options.steps);
  add_argument(wish.body, "seed", std::to_string(wish.seed));
  add_argument(wish.body, "guidance", options.guidance);
  add_argument(wish.body, "pixels", options.pixels);
  wish.output = options.output.empty() ? free_name(file_stem_for(options.prompt))
                                       : std::filesystem::path(options.output);
  if (const Status writable = check_writable(wish.output); !writable) return writable.error();
  wish.request = make_request_id(wall_time(), {draw_random(), draw_random()});
  return wish;
}

// One request on its way, from the submit to its end.
class Generation {
 public:
  Generation(const Connection& connection, Client& client, Wish wish, Progress& progress)
      : connection_(connection),
        client_(client),
        wish_(std::move(wish)),
        progress_(progress),
        interrupts_(client) {}

  ExitCode run() {
    if (const Status submitted = client_.submit(wish_.request, wish_.body); !submitted)
      return say_error(connection_, submitted.error());
    int looks_after_interrupt = 0;
    for (;;) {
      if (interrupts_.count() > 0 && (job_ || ++looks_after_interrupt > looks_for_its_name))
        return cancel();
      Result<ClientEvent> event = client_.next_event(look_again);
      if (event) {
        if (const auto code = std::visit([this](const auto& one) { return on(one); }, *event))
          return *code;
        continue;
      }
      const Errc code = event.error().code;
      if (code != Errc::timed_out && code != Errc::interrupted) return lost(event.error());
    }
  }

 private:
  using MaybeOver = std::optional<ExitCode>;

  MaybeOver on(const JobEvent& event) {
    job_ = event.job;
    progress_.show(event);
    return {};
  }
  MaybeOver on(const JobDone& done) { return deliver(done); }
  MaybeOver on(const SessionRefused& refused) {
    progress_.clear();
    return say_refusal(connection_, refused.refusal);
  }
  MaybeOver on(const FollowFailed& failed) { return lost(failed.error); }
  MaybeOver on(const LinkLost& lost) {
    progress_.note("the connection to the pool is lost (" + lost.reason + "); trying again");
    return {};
  }
  MaybeOver on(const LinkRestored&) {
    progress_.note("connected again");
    return {};
  }

  // The pool may have the job: its name is what is needed to ask for it later.
  ExitCode lost(const Error& error) {
    progress_.clear();
    if (!connection_.json) print_error(later_text());
    return say_error(connection_, error);
  }

  std::string later_text() const {
    const std::string id = format_request_id(wish_.request);
    if (job_)
      return "job " + std::to_string(job_.value) +
             " may still be queued or running: gpupool explain " + std::to_string(job_.value) +
             "\n";
    return "the pool may have taken the request " + id + ": gpupool jobs\n";
  }

  ExitCode cancel() {
    if (!job_ || interrupts_.count() > 1) {
      progress_.clear();
      print_error(later_text());
      return ExitCode::interrupted;
    }
    progress_.note("cancelling job " + std::to_string(job_.value) + " (Ctrl-C again to leave it)");
    const Result<JobDone> done = client_.cancel(job_);
    if (!done) {
      lost(done.error());
      return ExitCode::interrupted;
    }
    deliver(*done);
    return ExitCode::interrupted;
  }

  ExitCode deliver(const JobDone& done) {
    progress_.clear();
    const Receipt& receipt = done.receipt;
    if (receipt.outcome != Outcome::succeeded) {
      say_done(done, nullptr);
      return ExitCode::job_failed;
    }
    const Result<std::string> picture = client_.fetch(receipt);
    const Status saved = picture ? write_whole(wish_.output, *picture) : Status{picture.error()};
    say_done(done, saved ? nullptr : &saved.error());
    return saved ? ExitCode::done : ExitCode::job_failed;
  }

  void say_done(const JobDone& done, const Error* not_saved) {
    const bool saved = done.receipt.outcome == Outcome::succeeded && !not_saved;
    if (connection_.json) {
      Json json{{"file", saved ? Json(wish_.output.string()) : Json(nullptr)}};
      json["seed"] = wish_.seed;
      json["caller"] = json_of(client_.welcome().caller);
      json["receipt"] = json_of(done.receipt);
      json["balance"] = json_of(done.balance);
      if (not_saved) json["error"] = json_of(*not_saved);
      return print(text_of(json));
    }
    if (saved)
      print(wish_.output.string() + ": " + std::to_string(done.receipt.result.bytes) +
            " bytes, seed " + std::to_string(wish_.seed) + "\n");
    print(receipt_view(style_of(1), done, client_.welcome().caller));
    if (not_saved) say_error(connection_, *not_saved);
  }

  const Connection& connection_;
  Client& client_;
  const Wish wish_;
  Progress& progress_;
  InterruptGuard interrupts_;
  JobId job_;
};

}  // namespace

ExitCode generate(const Connection& connection, const GenerateOptions& options) {
  Result<Wish> wish = read_wish(options);
  if (!wish) return say_usage_error(connection, wish.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  Progress progress(connection.json ? Progress::Show::nothing : Progress::Show::everything,
                    style_of(2));
  if (!options.seed) progress.note("seed " + std::to_string(wish->seed) + " (drawn)");
  return Generation(connection, **client, std::move(*wish), progress).run();
}

}  // namespace gpupool
