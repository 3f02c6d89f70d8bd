#include "cli/run_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>

#include "actors/describe.h"
#include "actors/worker/command_arguments.h"
#include "base/clock.h"
#include "cli/file_bundle.h"
#include "cli/follow_job.h"
#include "cli/jobs_command.h"
#include "cli/output_file.h"
#include "cli/say.h"
#include "cli/views.h"
#include "config/limits.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

constexpr int signal_exit = 128;  // and the signal, as shells have it

ExitCode exit_with(RunExit code) { return static_cast<ExitCode>(code); }

Error bad(std::string detail) {
  return {.code = Errc::config_invalid, .detail = std::move(detail)};
}

// ---- Files that go there -----------------------------------------------------------------------

// What a path is called where the command runs: as it was typed, if that stays inside the folder
// from where it is seen; else by its last part.
std::string name_there(const fs::path& typed) {
  const fs::path plain = typed.lexically_normal();
  const bool leads_out =
      plain.is_absolute() || std::find(plain.begin(), plain.end(), "..") != plain.end();
  std::string name = leads_out ? fs::absolute(typed).lexically_normal().string() : plain.string();
  while (name.ends_with('/')) name.pop_back();
  return leads_out ? fs::path(name).filename().string() : name;
}

Result<std::vector<BundledFile>> read_path(const std::string& typed) {
  struct stat seen {};
  if (::lstat(typed.c_str(), &seen) != 0)
    return bad("--file " + typed + ": " + std::strerror(errno));
  const std::string name = name_there(typed);
  const fs::path folder = S_ISDIR(seen.st_mode) ? fs::path(typed) : fs::path(typed).parent_path();
  if (!S_ISDIR(seen.st_mode) && !S_ISREG(seen.st_mode))
    return bad("--file " + typed +
               " is neither a plain file nor a folder; name what a link leads to");
  if (S_ISREG(seen.st_mode)) {
    if (seen.st_size > limits::files_bytes_max)
      return bad("--file " + typed + " has " + std::to_string(seen.st_size) + " bytes; at most " +
                 std::to_string(limits::files_bytes_max) + " can go with a run");
    std::string bytes;
    const auto file = std::unique_ptr<std::FILE, int (*)(std::FILE*)>(
        std::fopen(typed.c_str(), "rbe"), std::fclose);
    char buffer[64 * 1024];
    for (std::size_t got = 0; file &&
                              (got = std::fread(buffer, 1, sizeof buffer, file.get())) > 0 &&
                              std::ssize(bytes) <= limits::files_bytes_max;)
      bytes.append(buffer, got);
    if (!file || std::ferror(file.get()) != 0)
      return bad("--file " + typed + ": " + std::strerror(errno));
    return std::vector<BundledFile>{
        {.name = name, .bytes = std::move(bytes), .is_executable = (seen.st_mode & S_IXUSR) != 0}};
  }
  auto found =
      read_folder(folder, {.files_max = limits::files_max, .bytes_max = limits::files_bytes_max});
  if (!found) return bad("--file " + found.error().detail);
  // Half of a folder would be a surprise where it is used.
  if (found->left_out_count > 0)
    return bad("--file " + typed + ": " + found->left_out.front() + ", so it can't go with a run");
  if (name == ".") return std::move(found->files);
  for (BundledFile& file : found->files) file.name = name + "/" + file.name;
  if (found->files.empty()) found->files.push_back({.name = name, .is_folder = true});
  return std::move(found->files);
}

// Before anything is submitted: what came back could not be written twice.
Status check_out(const std::string& folder) {
  if (folder.empty()) return ok();
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure || !fs::is_directory(folder, failure) || ::access(folder.c_str(), W_OK | X_OK) != 0)
    return bad("--out " + folder + " is no folder that can be written");
  return ok();
}

// Empty: none were named.
Result<std::string> archive_of(const std::vector<std::string>& paths) {
  std::vector<BundledFile> files;
  for (const std::string& path : paths) {
    auto found = read_path(path);
    if (!found) return found.error();
    std::move(found->begin(), found->end(), std::back_inserter(files));
  }
  if (files.empty()) return std::string();
  auto packed = pack_files(std::move(files));
  if (!packed) return bad("--file: " + packed.error().detail);
  if (std::ssize(*packed) > limits::files_bytes_max)
    return bad("the files have " + std::to_string(packed->size()) + " bytes together; at most " +
               std::to_string(limits::files_bytes_max) + " can go with a run");
  return packed;
}

// ---- Output that comes back --------------------------------------------------------------------

// Follows the log of the run, and writes each part to the output that the command wrote it to.
class Output {
 public:
  Output(const Connection& connection, Client& client) : connection_(connection), client_(client) {}

  // All that there is now of this attempt; false if it could not be asked for.
  bool read(JobId job, std::uint32_t attempt) {
    if (attempt != attempt_) begin(attempt);
    for (;;) {
      const Result<LogChunk> chunk = client_.logs(job, offset_);
      if (!chunk) return false;
      // Between the end of a run and its receipt there is no log of it.
      if (chunk->total < offset_) return true;
      write(*chunk);
      offset_ += std::ssize(chunk->bytes);
      if (offset_ >= chunk->total || chunk->bytes.empty()) return true;
    }
  }

  const std::string& text(LogStream stream) const {
    return stream == LogStream::error ? errors_ : output_;
  }
  // The first errno of what could not be written; 0: all could, or its reader has gone.
  int unwritten() const { return unwritten_; }

 private:
  // The pool runs the job for the first time, or again.
  void begin(std::uint32_t attempt) {
    attempt_ = attempt;
    offset_ = 0;
    output_.clear();
    errors_.clear();
  }

  void write(const LogChunk& chunk) {
    std::string_view rest = chunk.bytes;
    for (const LogPart& part : chunk.parts) {
      const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(part.bytes, 0));
      put(part.stream, rest.substr(0, bytes));
      rest.remove_prefix(std::min(bytes, rest.size()));
    }
    put(LogStream::output, rest);
  }

  void put(LogStream stream, std::string_view bytes) {
    const bool is_error = stream == LogStream::error;
    if (connection_.json) {
      (is_error ? errors_ : output_) += bytes;
      return;
    }
    std::FILE* to = is_error ? stderr : stdout;
    const bool taken = std::fwrite(bytes.data(), 1, bytes.size(), to) == bytes.size();
    const int why = errno;
    if (taken && std::fflush(to) == 0) return;
    const int failure = taken ? errno : why;
    // Whoever reads a pipe may stop when they have enough.
    if (unwritten_ == 0 && failure != EPIPE) unwritten_ = failure;
  }

  const Connection& connection_;
  Client& client_;
  std::uint32_t attempt_ = 0;
  std::int64_t offset_ = 0;
  int unwritten_ = 0;
  std::string output_;  // with --json
  std::string errors_;
};

// What the command left; the names of the files that were written.
Result<std::vector<std::string>> bring_back(Client& client, const Receipt& receipt,
                                            const std::string& folder) {
  std::vector<std::string> names;
  if (receipt.result.hash.empty()) return names;
  const auto archive = client.fetch(receipt);
  if (!archive) return archive.error();
  const auto files = unpack_files(*archive);
  if (!files) return files.error();
  if (const Status written = write_files(folder, *files); !written) return written.error();
  for (const BundledFile& file : *files)
    if (!file.is_folder) names.push_back(file.name);
  return names;
}

// ---- The end -----------------------------------------------------------------------------------

ExitCode exit_of(const Receipt& receipt) {
  switch (receipt.outcome) {
    case Outcome::succeeded:
      return ExitCode::done;
    case Outcome::expired:
      return exit_with(RunExit::out_of_time);
    case Outcome::cancelled:
      return ExitCode::interrupted;
    case Outcome::failed:
      break;
  }
  if (receipt.cause != Errc::program_failed) return exit_with(RunExit::pool_failed);
  if (receipt.signal != 0) return static_cast<ExitCode>(signal_exit + receipt.signal);
  // The command ended itself, or could not be started at all.
  return receipt.exit_code != 0 ? static_cast<ExitCode>(receipt.exit_code)
                                : exit_with(RunExit::pool_failed);
}

// The codes of other commands mean something else here.
ExitCode of_the_pool(ExitCode code) {
  switch (code) {
    case ExitCode::refused:
      return exit_with(RunExit::refused);
    case ExitCode::no_pool:
      return exit_with(RunExit::no_pool);
    case ExitCode::job_failed:
      return exit_with(RunExit::pool_failed);
    default:
      return code;
  }
}

struct End {
  const JobDone& done;
  const Output& output;
  ExitCode code;
  const Result<std::vector<std::string>>& files;
};

void say_end(const Connection& connection, const Caller& caller, const RunOptions& options,
             const End& end) {
  const Receipt& receipt = end.done.receipt;
  if (connection.json) {
    Json json{{"exit_code", static_cast<int>(end.code)},
              {"output", end.output.text(LogStream::output)},
              {"errors", end.output.text(LogStream::error)},
              {"files", end.files ? Json(*end.files) : Json(nullptr)}};
    json["caller"] = json_of(caller);
    json["receipt"] = json_of(receipt);
    json["balance"] = json_of(end.done.balance);
    if (!end.files) json["error"] = json_of(end.files.error());
    return print(text_of(json));
  }
  // The command's own end speaks for itself, unless somebody sits there and looks.
  const bool ended_itself =
      receipt.outcome == Outcome::succeeded ||
      (receipt.cause == Errc::program_failed && receipt.signal == 0 && receipt.ran > Duration{});
  const Style style = style_of(STDERR_FILENO);
  if (style.is_terminal || !ended_itself) print_error(receipt_view(style, end.done, caller));
  if (!end.files) say_error(connection, end.files.error());
  if (const int failure = end.output.unwritten(); failure != 0)
    print_error(std::string("gpupool: not all of its output could be written here (") +
                std::strerror(failure) + "): gpupool logs " + std::to_string(receipt.job.value) +
                " has it\n");
  if (style.is_terminal && options.out.empty() && !receipt.result.hash.empty())
    print_error("it left files: gpupool result " + std::to_string(receipt.job.value) +
                " -o out.tar, or next time --out FOLDER\n");
}

Result<JobRequest> read_request(const RunOptions& options) {
  JobRequest body{.app = options.app, .size = options.size};
  if (const Status read = read_times({options.duration_s, options.max_wait_s}, body); !read)
    return read.error();
  body.arguments.push_back({command_argument, packed_words(options.command)});
  return body;
}

}  // namespace

ExitCode run_command(const Connection& connection, const RunOptions& options) {
  Result<JobRequest> body = read_request(options);
  if (!body) return say_usage_error(connection, body.error());
  const Result<std::string> archive = archive_of(options.files);
  const Status out = check_out(options.out);
  if (!archive || !out) {
    say_usage_error(connection, archive ? out.error() : archive.error());
    return exit_with(RunExit::files);
  }
  std::signal(SIGPIPE,
              SIG_IGN);  // whoever reads the output may go; the job has its end all the same
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return of_the_pool(say_error(connection, client.error()));
  if (!archive->empty()) {
    const auto hash = (*client)->upload(*archive);
    if (!hash) return of_the_pool(say_error(connection, hash.error()));
    body->arguments.push_back({files_argument, *hash});
  }
  const Submission submission{
      .request = make_request_id(wall_time(), {draw_random(), draw_random()}),
      .body = *std::move(body)};
  Progress progress(connection.json ? Progress::Show::nothing : Progress::Show::everything,
                    style_of(STDERR_FILENO));
  FollowedJob job(connection, **client, submission, progress);
  Output output(connection, **client);
  job.look_while_running([&](const JobEvent& event) { output.read(event.job, event.attempt); });
  const std::optional<JobDone> done = job.run();
  if (!done) return of_the_pool(job.code());
  const Receipt& receipt = done->receipt;
  if (!receipt.log.hash.empty() && !output.read(receipt.job, receipt.attempts) && !connection.json)
    print_error("gpupool: the end of its output could not be fetched: gpupool logs " +
                std::to_string(receipt.job.value) + "\n");
  const auto files = options.out.empty()
                         ? Result<std::vector<std::string>>{std::vector<std::string>{}}
                         : bring_back(**client, receipt, options.out);
  ExitCode code = job.code() == ExitCode::done ? exit_of(receipt) : of_the_pool(job.code());
  if ((!files || output.unwritten() != 0) && code == ExitCode::done)
    code = exit_with(RunExit::files);
  say_end(connection, (*client)->welcome().caller, options,
          {.done = *done, .output = output, .code = code, .files = files});
  return code;
}

}  // namespace gpupool
