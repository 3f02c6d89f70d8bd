// gpupool-command: the executor of command apps. It waits, warm, for one run; makes its sandbox,
// starts the command in it, carries its output and its end to the worker, and then waits to be
// killed with everything that the command has left. Under its supervisor it is the trusted end: the
// command is at the other one (cli/command_inside.h).
//
//     gpupool-command --run-as USER --scratch BYTES --memory-max BYTES --processes-max N
//                     --folder FOLDER       (empty: in a sandbox)
//     gpupool-command --check --run-as USER
//     gpupool-command --inside

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>

#include "actors/worker/executor_protocol.h"
#include "actors/worker/fault.h"
#include "actors/worker/process.h"
#include "actors/worker/process_cgroup.h"
#include "base/clock.h"
#include "base/pack.h"
#include "cli/command_inside.h"
#include "cli/command_launch.h"
#include "cli/command_options.h"
#include "cli/command_output.h"
#include "cli/command_sandbox.h"
#include "cli/file_bundle.h"
#include "config/limits.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t read_bytes = 64 * 1024;
constexpr Duration patience_with_output = seconds(1);  // of who is dead already
constexpr std::int64_t own_memory_bytes = 4 * limits::result_bytes_max;
constexpr std::int64_t own_processes = 8;        // this one, bubblewrap and the inner end
constexpr Duration piece_patience = seconds(2);  // with a piece of files

class Runner {
 public:
  Runner(CommandOptions options, FileDescriptor program)
      : options_(std::move(options)), program_(std::move(program)) {}

  Status prepare(pid_t supervisor);
  // The check: a sandbox with a command that only ends.
  Status try_sandbox();
  [[noreturn]] void serve();

 private:
  enum class Stage { idle, fetching, making, running, over };

  void join_group() const;
  bool has_sandbox() const { return options_.folder.empty(); }
  const std::string base() const { return has_sandbox() ? sandbox_base : options_.folder; }
  void poll_once(int timeout_ms);
  void read_socket();
  void take(ChildRun run);
  void take(const ChildFound&) {}
  void take(ChildPiece piece);
  void want_more();
  void lay_out_files();
  void begin();
  void handle_signals();
  void read_inside();
  Status start_inside();
  void ask(InsideOrderKind order);
  void stop();
  void finish();
  void fail(Errc cause, const std::string& detail);
  std::string collect();
  void remark(const std::string& line);
  std::vector<std::string> environment() const;

  const CommandOptions options_;
  const FileDescriptor program_;
  FileDescriptor signals_;
  FrameReader<ToChild> inbox_;
  Stage stage_ = Stage::idle;
  ChildRun run_;
  std::string files_;    // as far as they have come
  Instant ask_again_{};  // for what follows
  pid_t inside_ = 0;     // bubblewrap's, or the inner end itself
  bool inside_gone_ = false;
  bool inside_here_ = false;  // it has spoken: there is a sandbox
  FileDescriptor inside_socket_;
  std::int64_t kept_ = 0;
  std::int64_t left_out_ = 0;
  OutputStream output_{LogStream::output, kept_, left_out_};
  OutputStream errors_{LogStream::error, kept_, left_out_};
  std::string complaint_;  // of bubblewrap
  Instant began_{};
  Instant kill_at_ = Instant::never();
  bool stopped_ = false;
  std::optional<int> not_started_;  // errno
  std::optional<int> status_;       // of the command, reaped
  Instant reaped_{};
};

Status Runner::prepare(pid_t supervisor) {
  sigset_t handled;
  ::sigemptyset(&handled);
  for (const int each : {SIGTERM, SIGUSR1, SIGCHLD}) ::sigaddset(&handled, each);
  ::sigprocmask(SIG_SETMASK, &handled, nullptr);
  signals_ = moved(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  join_group();
  std::error_code ignored;
  if (!has_sandbox()) {
    fs::remove_all(options_.folder, ignored);
    fs::create_directories(options_.folder, ignored);
  }
  if (Status done = become(options_.run_as, options_.folder); !done) return done;
  if (Status done = stay_tied(supervisor); !done) return done;
  if (has_sandbox()) {
    if (Status done = take_namespaces(options_.scratch); !done) return done;
    if (Status done = stay_tied(supervisor); !done) return done;
  }
  // Nor may a command of the same user, without a sandbox, look into this process.
  ::prctl(PR_SET_DUMPABLE, 0);
  return make_folders(base());
}

// As long as this process may make one. What it writes lies in memory too, and this process packs
// it.
void Runner::join_group() const {
  const char* marker = std::getenv(marker_variable);
  if (options_.check || marker == nullptr) return;
  const std::int64_t memory = options_.memory_max + options_.scratch + own_memory_bytes;
  const std::int64_t processes = options_.processes_max + own_processes;
  join_cgroup(
      cgroup_of(marker),
      {.memory_bytes = options_.memory_max > 0 ? memory : 0,
       .processes = options_.processes_max > 0 ? static_cast<std::uint32_t>(processes) : 0});
}

std::vector<std::string> Runner::environment() const {
  std::vector<std::string> all = run_.plan.environment;
  const std::string home = has_sandbox() ? sandbox_home : base() + "/work";
  const std::string out = has_sandbox() ? sandbox_out : base() + "/out";
  const std::string temporary = has_sandbox() ? "/tmp" : base() + "/tmp";
  all.insert(all.end(),
             {"HOME=" + home, "PWD=" + home, "TMPDIR=" + temporary, "GPUPOOL_OUT=" + out});
  // By which the worker finds what is left if all else was killed.
  if (const char* marker = std::getenv(marker_variable))
    all.push_back(std::string(marker_variable) + "=" + marker);
  return all;
}

Status Runner::start_inside() {
  std::vector<std::string> words;
  if (has_sandbox()) words = sandbox_words(run_.plan);
  words.push_back("/proc/self/fd/" + std::to_string(inside_program_descriptor));
  words.emplace_back("--inside");
  const InsideOrder order{.plan = run_.plan,
                          .environment = environment(),
                          .folder = has_sandbox() ? sandbox_home : base() + "/work",
                          .is_process_1 = has_sandbox()};
  auto launched = launch(std::move(words), pack(order), program_);
  if (!launched) return launched.error();
  inside_ = launched->pid;
  inside_socket_ = std::move(launched->socket);
  output_.open(std::move(launched->output));
  errors_.open(std::move(launched->errors));
  stage_ = Stage::making;
  return ok();
}

void Runner::take(ChildRun run) {
  if (stage_ != Stage::idle) return;
  run_ = std::move(run);
  if (run_.plan.files.empty()) return begin();
  stage_ = Stage::fetching;
  want_more();
}

void Runner::begin() {
  if (const Status started = start_inside(); !started)
    fail(Errc::executor_crashed, started.error().detail);
}

// What gets lost on the way is asked for again.
void Runner::want_more() {
  ask_again_ = boot_time() + piece_patience;
  say(ChildWants{.job = run_.job, .attempt = run_.attempt, .offset = std::ssize(files_)});
}

void Runner::take(ChildPiece piece) {
  if (stage_ != Stage::fetching || piece.offset != std::ssize(files_)) return;
  if (piece.error == Errc::result_gone)
    return fail(Errc::executor_crashed, "the files that it works on are not in the pool any more");
  if (piece.error != Errc{}) return;  // in a moment, perhaps
  files_ += piece.bytes;
  if (piece.total > limits::files_bytes_max || std::ssize(files_) > piece.total)
    return fail(Errc::program_failed, "the files that it works on are too large");
  if (std::ssize(files_) < piece.total) return want_more();
  lay_out_files();
}

// Whoever sent them said what they are by a hash alone: nobody has looked into them before.
void Runner::lay_out_files() {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(files_.data()), files_.size());
  std::string hash(2 * sizeof digest + 1, '\0');
  sodium_bin2hex(hash.data(), hash.size(), digest, sizeof digest);
  hash.pop_back();
  if (hash != run_.plan.files)
    return fail(Errc::program_failed, "the files that it works on are not those of their hash");
  const auto files = unpack_files(files_);
  if (!files) return fail(Errc::program_failed, files.error().detail);
  files_ = {};
  if (const Status written = write_files(base() + "/work", *files); !written)
    return fail(Errc::program_failed,
                "its files do not fit into its scratch_bytes: " + written.error().detail);
  begin();
}

void Runner::read_socket() {
  char buffer[read_bytes];
  const ssize_t got = ::recv(executor_socket_descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) ::_exit(static_cast<int>(ExecutorExit::worker_gone));
  inbox_.add(std::string_view(buffer, static_cast<std::size_t>(got)));
  for (;;) {
    auto message = inbox_.next();
    if (!message) ::_exit(static_cast<int>(ExecutorExit::worker_gone));
    if (!*message) return;
    std::visit([this](auto& each) { take(std::move(each)); }, **message);
  }
}

void Runner::ask(InsideOrderKind order) {
  ::send(inside_socket_.get(), &order, sizeof order, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Runner::stop() {
  if (stage_ == Stage::idle) ::_exit(0);
  stopped_ = true;
  if (stage_ == Stage::fetching) {
    stage_ = Stage::over;
    return say(ChildStopped{.job = run_.job, .attempt = run_.attempt});
  }
  if (stage_ == Stage::running) ask(InsideOrderKind::terminate);
  // What isn't running yet has nothing to save; what is has so long.
  const Duration grace = stage_ == Stage::running ? run_.plan.kill_after : Duration{};
  kill_at_ = std::min(kill_at_, boot_time() + grace);
}

void Runner::handle_signals() {
  signalfd_siginfo signal;
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGTERM) stop();
    if (signal.ssi_signo == SIGUSR1 && stage_ == Stage::running) ask(InsideOrderKind::warn);
  }
  while (true) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid <= 0) return;
    if (pid == inside_) inside_gone_ = true;
  }
}

void Runner::read_inside() {
  InsideReport report;
  while (inside_socket_) {
    const ssize_t got = ::recv(inside_socket_.get(), &report, sizeof report, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got != sizeof report) return inside_socket_.close();
    switch (report.kind) {
      case InsideReport::Kind::here:
        inside_here_ = true;
        break;
      case InsideReport::Kind::began:
        began_ = boot_time();
        stage_ = Stage::running;
        say(ChildBegan{.job = run_.job, .attempt = run_.attempt});
        break;
      case InsideReport::Kind::not_started:
        not_started_ = report.number;
        break;
      case InsideReport::Kind::ended:
        status_ = report.number;
        reaped_ = boot_time();
        break;
    }
  }
}

void Runner::poll_once(int timeout_ms) {
  pollfd sources[] = {{executor_socket_descriptor, POLLIN, 0},
                      {signals_.get(), POLLIN, 0},
                      {inside_socket_.get(), POLLIN, 0},
                      {output_.descriptor(), POLLIN, 0},
                      {errors_.descriptor(), POLLIN, 0}};
  ::poll(sources, std::size(sources), timeout_ms);
  if (sources[0].revents != 0) read_socket();
  // First of all: whether what comes as an error is bubblewrap's or already the command's.
  read_inside();
  if (sources[3].revents != 0) output_.read(run_, nullptr);
  if (sources[4].revents != 0) errors_.read(run_, inside_here_ ? nullptr : &complaint_);
  if (sources[1].revents != 0) handle_signals();
}

void Runner::serve() {
  say(ChildReady{});
  for (;;) {
    int timeout_ms = -1;
    if (kill_at_ != Instant::never() && (stage_ == Stage::making || stage_ == Stage::running))
      timeout_ms = static_cast<int>(std::max<std::int64_t>((kill_at_ - boot_time()).ms, 0));
    if (stage_ == Stage::fetching) timeout_ms = static_cast<int>(piece_patience.ms);
    poll_once(timeout_ms);
    if (stage_ == Stage::fetching && boot_time() >= ask_again_) want_more();
    if (stage_ != Stage::making && stage_ != Stage::running) continue;
    if (boot_time() >= kill_at_ && inside_ > 0) {
      kill_at_ = Instant::never();
      ::kill(inside_, SIGKILL);  // and with it everything in the sandbox
      ask(InsideOrderKind::kill);
    }
    if (status_ || not_started_ || inside_gone_) finish();
  }
}

// The command is over. What it started goes too, before anybody looks at what it left.
void Runner::finish() {
  if (has_sandbox() && !inside_gone_ && !status_ && !not_started_) ::kill(inside_, SIGKILL);
  const Instant give_up = boot_time() + patience_with_output;
  while (!inside_gone_ && boot_time() < give_up) poll_once(10);
  if (!inside_gone_) ::kill(inside_, SIGKILL);
  while (!inside_gone_) poll_once(10);
  read_inside();
  while ((output_.descriptor() >= 0 || errors_.descriptor() >= 0) && boot_time() < give_up)
    poll_once(10);
  stage_ = Stage::over;
  const bool was_killed = stopped_ && began_ && !status_;
  if (!status_ && !not_started_ && !was_killed) {
    if (stopped_) return say(ChildStopped{.job = run_.job, .attempt = run_.attempt});
    if (!began_)
      return fail(Errc::executor_crashed,
                  "its sandbox could not be made" + (complaint_.empty() ? "" : ": " + complaint_));
  }
  // Somebody killed the inner end, usually the kernel, which had no memory left: so it was
  // the command.
  const int status = status_.value_or(SIGKILL);
  ChildEnded ended{.job = run_.job, .attempt = run_.attempt, .stopped = stopped_};
  if (began_) ended.ran = std::max((reaped_ ? reaped_ : boot_time()) - began_, Duration{1});
  if (not_started_) {
    constexpr int not_found = 127;
    constexpr int not_executable = 126;
    ended.exit_code = *not_started_ == ENOENT ? not_found : not_executable;
    ended.detail = "the command could not be started: " + std::string(std::strerror(*not_started_));
  } else if (WIFSIGNALED(status)) {
    ended.signal = WTERMSIG(status);
  } else {
    ended.exit_code = WEXITSTATUS(status);
  }
  ended.files = collect();
  if (left_out_ > 0)
    say(ChildWrote{.job = run_.job, .attempt = run_.attempt, .bytes = {}, .left_out = left_out_});
  say(ended);
}

void Runner::fail(Errc cause, const std::string& detail) {
  stage_ = Stage::over;
  say(ChildFailed{.job = run_.job, .attempt = run_.attempt, .cause = cause, .detail = detail});
}

void Runner::remark(const std::string& line) {
  say(ChildWrote{.job = run_.job,
                 .attempt = run_.attempt,
                 .stream = LogStream::error,
                 .bytes = "[gpupool: " + line + "]\n"});
}

// What it left in $GPUPOOL_OUT, as an archive; empty: nothing.
std::string Runner::collect() {
  const auto found = read_folder(
      base() + "/out", {.files_max = limits::files_max, .bytes_max = limits::result_bytes_max});
  if (!found) {
    remark("$GPUPOOL_OUT could not be read: " + found.error().detail);
    return {};
  }
  for (const std::string& one : found->left_out) remark(one + ", so it stays behind");
  if (std::cmp_greater(found->left_out_count, found->left_out.size()))
    remark(
        "and " +
        std::to_string(found->left_out_count - static_cast<std::int64_t>(found->left_out.size())) +
        " more");
  if (found->files.empty()) return {};
  auto packed = pack_files(found->files);
  if (packed) return *std::move(packed);
  remark("$GPUPOOL_OUT could not be packed: " + packed.error().detail);
  return {};
}

Status Runner::try_sandbox() {
  run_.plan.words = {"/"};  // is found, and is no program
  run_.plan.processes_max = 8;
  run_.plan.scratch_bytes = check_bytes;
  if (Status started = start_inside(); !started) return started;
  while (!inside_gone_ && !not_started_) {
    pollfd sources[] = {{signals_.get(), POLLIN, 0},
                        {inside_socket_.get(), POLLIN, 0},
                        {errors_.descriptor(), POLLIN, 0}};
    ::poll(sources, std::size(sources), -1);
    if (sources[1].revents != 0) read_inside();
    if (sources[2].revents != 0) errors_.read(run_, &complaint_);
    if (sources[0].revents != 0) handle_signals();
  }
  errors_.read(run_, &complaint_);
  if (inside_here_) return ok();
  while (complaint_.ends_with('\n')) complaint_.pop_back();
  return Error{.code = Errc::unsupported, .detail = complaint_};
}

int complain(const Error& error) {
  std::cerr << error.detail << '\n';
  return static_cast<int>(ExecutorExit::model);
}

// What the daemon has in its environment is nobody's business from here on: bubblewrap's neither.
void forget_environment() {
  const char* marker = std::getenv(marker_variable);
  const std::string kept = marker != nullptr ? marker : "";
  ::clearenv();
  ::setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
  if (!kept.empty()) ::setenv(marker_variable, kept.c_str(), 1);
}

int run(int count, char** words) {
  const pid_t supervisor = ::getppid();
  forget_environment();
  if (count == 2 && std::string_view(words[1]) == "--inside") return run_inside();
  const auto options = read_command_options(count, words);
  if (!options) {
    std::cerr << "gpupool-command is started by gpupoold\n";
    return static_cast<int>(ExecutorExit::usage);
  }
  FileDescriptor program = moved(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Runner runner(*options, std::move(program));
  if (const Status prepared = runner.prepare(supervisor); !prepared)
    return complain(prepared.error());
  if (options->check) {
    const Status there = runner.try_sandbox();
    return there ? 0 : complain(there.error());
  }
  runner.serve();
}

}  // namespace
}  // namespace gpupool

int main(int count, char** words) { return gpupool::run(count, words); }
