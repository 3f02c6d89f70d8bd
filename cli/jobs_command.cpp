#include "cli/jobs_command.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/follow_job.h"
#include "cli/output_file.h"
#include "cli/say.h"
#include "cli/views.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr Duration look_again = seconds(1);
constexpr Duration log_pause = milliseconds(500);  // between two looks at a log that grows

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

std::string name_of(JobId job) { return std::to_string(job.value); }

Progress::Show shown(const Connection& connection) {
  return connection.json ? Progress::Show::nothing : Progress::Show::everything;
}

// ---- submit ----------------------------------------------------------------------------------

Result<Submission> read_submission(const SubmitOptions& options) {
  Submission wish{.body = {.app = options.app, .size = options.size, .detached = options.detach}};
  if (const Status read = read_times({options.duration_s, options.max_wait_s}, wish.body); !read)
    return read.error();
  if (std::cmp_greater(options.arguments.size(), limits::argument_count_max))
    return bad("a request has at most " + std::to_string(limits::argument_count_max) +
               " key=value pairs, not " + std::to_string(options.arguments.size()));
  for (const std::string& text : options.arguments) {
    Result<Argument> argument = parse_argument(text);
    if (!argument) return argument.error();
    wish.body.arguments.push_back(std::move(*argument));
  }
  if (options.detach && !options.output.empty())
    return bad("--output waits for the result, and --detach does not: leave one of them out");
  if (!options.output.empty())
    if (const Status writable = check_writable(options.output); !writable) return writable.error();
  if (options.request.empty()) {
    wish.request = make_request_id(wall_time(), {draw_random(), draw_random()});
    return wish;
  }
  const Result<RequestId> again = parse_request_id(options.request);
  if (!again) return bad("--request is the id of an earlier request, a UUID of version 7");
  wish.request = *again;
  return wish;
}

// The job's number alone on standard output, so that a script can keep it.
void say_taken(const Connection& connection, const JobEvent& event) {
  if (connection.json) return print(text_of({{"job", event.job.value}, {"event", json_of(event)}}));
  // A log has the line already; a terminal's was written over.
  if (const Style style = style_of(2); style.is_terminal)
    print_error(progress_text(style, event) + "\n");
  print(name_of(event.job) + "\n");
}

// `saved` says whether the file was written; where none was wanted, it is good.
void say_end(const Connection& connection, const Caller& caller, const JobDone& done,
             const std::string& file, const Status& saved) {
  const bool has_result = !done.receipt.result.hash.empty();
  if (connection.json) {
    Json json{{"file", file.empty() ? Json(nullptr) : Json(file)}};
    json["caller"] = json_of(caller);
    json["receipt"] = json_of(done.receipt);
    json["balance"] = json_of(done.balance);
    if (!saved) json["error"] = json_of(saved.error());
    return print(text_of(json));
  }
  print(receipt_view(style_of(1), done, caller));
  if (!saved) say_error(connection, saved.error());
  if (!file.empty())
    print(file + ": " + std::to_string(done.receipt.result.bytes) + " bytes\n");
  else if (has_result && done.receipt.outcome == Outcome::succeeded)
    print("the result has " + std::to_string(done.receipt.result.bytes) +
          " bytes: gpupool result " + name_of(done.receipt.job) + "\n");
}

// ---- wait ------------------------------------------------------------------------------------

// Follows jobs of one's own account on one connection until each is over. Leaving does not harm
// them: Ctrl-C only ends the waiting.
class Waiting {
 public:
  Waiting(const Connection& connection, Client& client, Progress& progress)
      : connection_(connection), client_(client), progress_(progress), interrupts_(client) {}

  ExitCode run(const std::vector<JobId>& jobs) {
    for (const JobId job : jobs) {
      if (!open_.insert(job).second) continue;
      if (const Status watched = client_.watch(job); !watched) return end(watched.error());
    }
    while (!open_.empty()) {
      if (interrupts_.count() > 0) return leave();
      const Result<ClientEvent> event = client_.next_event(look_again);
      if (event)
        std::visit([this](const auto& one) { on(one); }, *event);
      else if (event.error().code != Errc::timed_out && event.error().code != Errc::interrupted)
        return end(event.error());
    }
    progress_.clear();
    if (connection_.json) print(text_of({{"jobs", std::move(ended_)}, {"errors", errors_}}));
    if (failed_) return ExitCode::job_failed;
    return unknown_.value_or(ExitCode::done);
  }

 private:
  void on(const JobEvent& event) { progress_.show(event); }
  void on(const JobDone& done) {
    progress_.clear();
    open_.erase(done.receipt.job);
    failed_ = failed_ || done.receipt.outcome != Outcome::succeeded;
    if (connection_.json)
      ended_.push_back(json_of(done));
    else
      print(receipt_view(style_of(1), done, client_.welcome().caller));
  }
  void on(const SessionRefused&) {}  // of a submit; here are none
  void on(const FollowFailed& failed) {
    progress_.clear();
    open_.erase(failed.job);
    unknown_ = exit_code_of(failed.error.code);
    if (connection_.json) return errors_.push_back(json_of_failed(failed.job, failed.error));
    Error error = failed.error;
    error.detail = "job " + name_of(failed.job) + (error.detail.empty() ? "" : ": " + error.detail);
    say_error(connection_, error);
  }
  void on(const LinkLost& lost) { progress_.note(lost_text(lost)); }
  void on(const LinkRestored& restored) { progress_.note(restored_text(restored)); }

  std::string command_for_later() const {
    std::string command = "gpupool wait";
    for (const JobId job : open_) command += " " + name_of(job);
    return command;
  }

  ExitCode leave() {
    progress_.clear();
    if (connection_.json)
      print(text_of({{"jobs", std::move(ended_)}, {"errors", errors_}}));
    else
      print_error("what is left goes on without you: " + command_for_later() + "\n");
    return ExitCode::interrupted;
  }

  ExitCode end(const Error& error) {
    progress_.clear();
    if (!connection_.json) print_error("to wait again: " + command_for_later() + "\n");
    return say_error(connection_, error);
  }

  const Connection& connection_;
  Client& client_;
  Progress& progress_;
  InterruptGuard interrupts_;
  std::set<JobId> open_;
  bool failed_ = false;
  std::optional<ExitCode> unknown_;
  Json ended_ = Json::array();
  Json errors_ = Json::array();
};

// ---- logs ------------------------------------------------------------------------------------

// On a terminal the job's output can steer nothing; in a pipe it is the bytes as they are.
void print_log(const std::string& bytes) {
  if (isatty(STDOUT_FILENO) != 1) return print(bytes);
  std::string line;
  for (const char c : bytes) {
    if (c != '\n' && c != '\t' && c != '\r') {
      line += c;
      continue;
    }
    print(printable(line) + c);
    line.clear();
  }
  print(printable(line));
}

// Reads a log from its beginning to its present end, or with `follow` to its last.
class LogReading {
 public:
  LogReading(const Connection& connection, Client& client, const LogsOptions& options)
      : connection_(connection), client_(client), options_(options), interrupts_(client) {}

  ExitCode run(JobId job) {
    for (;;) {
      const Result<LogChunk> chunk = client_.logs(job, offset_);
      if (!chunk) return say_error(connection_, chunk.error());
      take(*chunk);
      const bool all = offset_ >= chunk->total;
      if (all && (chunk->finished || !options_.follow)) return finish(*chunk);
      if (!all) continue;
      const Error pause = client_.next_event(log_pause).error();
      if (pause.code != Errc::timed_out) return say_error(connection_, pause);
    }
  }

 private:
  void take(const LogChunk& chunk) {
    // A run that the pool repeats writes its log anew.
    if (chunk.total < offset_) {
      offset_ = 0;
      text_.clear();
      if (!connection_.json) print_error("the job runs again; its log starts anew\n");
      return;
    }
    offset_ += static_cast<std::int64_t>(chunk.bytes.size());
    if (connection_.json)
      text_ += chunk.bytes;
    else
      print_log(chunk.bytes);
  }

  ExitCode finish(const LogChunk& chunk) {
    if (connection_.json)
      print(text_of({{"job", chunk.job.value},
                     {"bytes", chunk.total},
                     {"finished", chunk.finished},
                     {"text", text_}}));
    else if (chunk.total == 0)
      print_error(chunk.finished ? "the run wrote nothing\n" : "nothing has been written yet\n");
    return ExitCode::done;
  }

  const Connection& connection_;
  Client& client_;
  const LogsOptions& options_;
  InterruptGuard interrupts_;
  std::int64_t offset_ = 0;
  std::string text_;
};

// ---- result ----------------------------------------------------------------------------------

// What to do about a result that is not there, said as the job is and not as a wrong request.
ExitCode say_no_result(const Connection& connection, const Error& error) {
  if (connection.json || error.code != Errc::bad_request) return say_error(connection, error);
  print_error("gpupool: " + error.detail + "\n");
  return ExitCode::refused;
}

// The receipt of a job that is over; otherwise why there is none yet.
Result<JobDone> receipt_of(Client& client, JobId job) {
  if (const Status watched = client.watch(job); !watched) return watched.error();
  for (;;) {
    Result<ClientEvent> event = client.next_event(seconds(30));
    if (!event) return event.error();
    if (auto* done = std::get_if<JobDone>(&*event)) return std::move(*done);
    if (const auto* failed = std::get_if<FollowFailed>(&*event)) return failed->error;
    if (const auto* moved = std::get_if<JobEvent>(&*event))
      return bad("job " + name_of(job) + " is " + std::string(word_of(moved->state)) +
                 "; its result comes with its end: gpupool wait " + name_of(job));
  }
}

Status print_result(Client& client, const Receipt& receipt) {
  return client.fetch(receipt, [](std::string_view piece) -> Status {
    if (std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
        std::fflush(stdout) == 0)
      return ok();
    return Error{.code = Errc::file_unwritable, .detail = "standard output"};
  });
}

}  // namespace

ExitCode submit(const Connection& connection, const SubmitOptions& options) {
  const Result<Submission> wish = read_submission(options);
  if (!wish) return say_usage_error(connection, wish.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  Progress progress(shown(connection), style_of(2));
  progress.note("request " + format_request_id(wish->request));
  FollowedJob job(connection, **client, *wish, progress);
  if (options.detach) {
    const std::optional<JobEvent> taken = job.run_until_taken();
    if (taken && job.code() == ExitCode::done) say_taken(connection, *taken);
    return job.code();
  }
  const std::optional<JobDone> done = job.run();
  if (!done) return job.code();
  const bool succeeded = done->receipt.outcome == Outcome::succeeded;
  const bool wanted = succeeded && !options.output.empty();
  const Status saved = wanted ? save_result(**client, done->receipt, options.output) : ok();
  say_end(connection, (*client)->welcome().caller, *done, wanted && saved ? options.output : "",
          saved);
  if (job.code() != ExitCode::done) return job.code();
  if (!saved) return exit_code_of(saved.error().code);
  return succeeded ? ExitCode::done : ExitCode::job_failed;
}

ExitCode wait(const Connection& connection, const std::vector<std::string>& jobs) {
  std::vector<JobId> wanted;
  for (const std::string& text : jobs) {
    const Result<JobId> job = parse_job(text);
    if (!job) return say_usage_error(connection, job.error());
    wanted.push_back(*job);
  }
  if (std::cmp_greater(wanted.size(), limits::session_jobs_max))
    return say_usage_error(connection, bad("one command waits for at most " +
                                           std::to_string(limits::session_jobs_max) + " jobs"));
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  Progress progress(shown(connection), style_of(2));
  return Waiting(connection, **client, progress).run(wanted);
}

ExitCode logs(const Connection& connection, const LogsOptions& options) {
  const Result<JobId> job = parse_job(options.job);
  if (!job) return say_usage_error(connection, job.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  return LogReading(connection, **client, options).run(*job);
}

ExitCode result(const Connection& connection, const ResultOptions& options) {
  const Result<JobId> job = parse_job(options.job);
  if (!job) return say_usage_error(connection, job.error());
  const bool to_stdout = options.output == "-";
  if (to_stdout && connection.json)
    return say_usage_error(connection, bad("--json and the result cannot both go to standard "
                                           "output; name a file with --output"));
  if (!to_stdout && !options.output.empty())
    if (const Status writable = check_writable(options.output); !writable)
      return say_usage_error(connection, writable.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  const InterruptGuard interrupts(**client);
  const Result<JobDone> done = receipt_of(**client, *job);
  if (!done) return say_no_result(connection, done.error());
  const Receipt& receipt = done->receipt;
  if (receipt.result.hash.empty()) return say_error(connection, no_result_of(receipt));
  const std::filesystem::path path =
      options.output.empty()
          ? free_name("job-" + name_of(*job), extension_of(receipt.result.media_type))
          : std::filesystem::path(options.output);
  const Status saved =
      to_stdout ? print_result(**client, receipt) : save_result(**client, receipt, path);
  if (!saved) return say_error(connection, saved.error());
  if (to_stdout) return ExitCode::done;
  if (connection.json)
    print(text_of({{"file", path.string()}, {"receipt", json_of(receipt)}}));
  else
    print(path.string() + ": " + std::to_string(receipt.result.bytes) + " bytes, " +
          printable(receipt.result.media_type) + "\n");
  return ExitCode::done;
}

Error no_result_of(const Receipt& receipt) {
  const std::string job = "job " + name_of(receipt.job);
  return {.code = Errc::result_gone,
          .detail = job + (receipt.outcome == Outcome::cancelled ? " was " : " ") +
                    std::string(word_of(receipt.outcome)) + "; `gpupool explain " +
                    name_of(receipt.job) + "` tells its story"};
}

Json json_of_failed(JobId job, const Error& error) {
  Json json = json_of(error);
  json["job"] = job.value;
  return json;
}

Result<Argument> parse_argument(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return bad("an app's argument is key=value, such as prompt=\"a red heart\", not \"" +
               text.substr(0, 40) + "\"");
  return Argument{.key = text.substr(0, equals), .value = text.substr(equals + 1)};
}

std::string extension_of(const std::string& media_type) {
  static const std::map<std::string, std::string> known{
      {"image/png", ".png"},         {"image/jpeg", ".jpg"},      {"text/plain", ".txt"},
      {"application/json", ".json"}, {"application/zip", ".zip"}, {"application/x-tar", ".tar"}};
  const auto found = known.find(media_type.substr(0, media_type.find(';')));
  return found == known.end() ? ".bin" : found->second;
}

Status save_result(Client& client, const Receipt& receipt, const std::filesystem::path& path) {
  const auto file = OutputFile::open(path);
  if (!file) return file.error();
  const Status fetched =
      client.fetch(receipt, [&](std::string_view piece) { return (*file)->write(piece); });
  if (!fetched) return fetched;
  return (*file)->finish();
}

}  // namespace gpupool
