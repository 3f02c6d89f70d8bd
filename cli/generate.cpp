#include "cli/generate.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/follow_job.h"
#include "cli/jobs_command.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/say.h"
#include "cli/views.h"

namespace gpupool {
namespace {

// The command line after it was read: what is asked for, and where the picture goes.
struct Wish {
  Submission submission;
  std::uint64_t seed = 0;
  std::filesystem::path output;
};

void add_argument(JobRequest& body, const std::string& key, const std::string& value) {
  if (!value.empty()) body.arguments.push_back({key, value});
}

Result<Wish> read_wish(const GenerateOptions& options) {
  Wish wish;
  JobRequest& body = wish.submission.body;
  body.app = options.app;
  body.size = options.size;
  if (const Status read = read_times({options.duration_s, options.max_wait_s}, body); !read)
    return read.error();
  wish.seed = options.seed ? *options.seed : draw_random() >> 32U;  // short enough to type again
  add_argument(body, "prompt", options.prompt);
  add_argument(body, "steps", options.steps);
  add_argument(body, "seed", std::to_string(wish.seed));
  add_argument(body, "guidance", options.guidance);
  add_argument(body, "pixels", options.pixels);
  wish.output = options.output.empty() ? free_name(file_stem_for(options.prompt))
                                       : std::filesystem::path(options.output);
  if (const Status writable = check_writable(wish.output); !writable) return writable.error();
  wish.submission.request = make_request_id(wall_time(), {draw_random(), draw_random()});
  return wish;
}

void say_done(const Connection& connection, const Caller& caller, const Wish& wish,
              const JobDone& done, const Status& saved) {
  const bool succeeded = done.receipt.outcome == Outcome::succeeded;
  if (connection.json) {
    Json json{{"file", succeeded && saved ? Json(wish.output.string()) : Json(nullptr)}};
    json["seed"] = wish.seed;
    json["caller"] = json_of(caller);
    json["receipt"] = json_of(done.receipt);
    json["balance"] = json_of(done.balance);
    if (!saved) json["error"] = json_of(saved.error());
    return print(text_of(json));
  }
  if (succeeded && saved)
    print(wish.output.string() + ": " + std::to_string(done.receipt.result.bytes) +
          " bytes, seed " + std::to_string(wish.seed) + "\n");
  print(receipt_view(style_of(1), done, caller));
  if (!saved) say_error(connection, saved.error());
}

}  // namespace

ExitCode generate(const Connection& connection, const GenerateOptions& options) {
  Result<Wish> wish = read_wish(options);
  if (!wish) return say_usage_error(connection, wish.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  Progress progress(connection.json ? Progress::Show::nothing : Progress::Show::everything,
                    style_of(2));
  if (!options.seed) progress.note("seed " + std::to_string(wish->seed) + " (drawn)");
  FollowedJob job(connection, **client, wish->submission, progress);
  const std::optional<JobDone> done = job.run();
  if (!done) return job.code();
  const bool succeeded = done->receipt.outcome == Outcome::succeeded;
  const Status saved = succeeded ? save_result(**client, done->receipt, wish->output) : ok();
  say_done(connection, (*client)->welcome().caller, *wish, *done, saved);
  if (job.code() != ExitCode::done) return job.code();
  return succeeded && saved ? ExitCode::done : ExitCode::job_failed;
}

}  // namespace gpupool
