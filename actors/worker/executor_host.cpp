#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "actors/worker/executor.h"
#include "actors/worker/executor_child.h"
#include "base/clock.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr int sweep_poll_ms = 10;
constexpr Duration patience_at_the_end = seconds(2);  // with supervisors, before they are killed

std::string cut(std::string text, std::int64_t bytes_max) {
  if (std::ssize(text) > bytes_max) text.resize(static_cast<std::size_t>(bytes_max));
  return text;
}

// "a result of 67108900 bytes; a node keeps at most 67108864"; empty if it is not a matter of size.
std::string too_large_text(const Error& error) {
  if (error.have == 0) return {};
  return "a result of " + std::to_string(error.want) + " bytes; a node keeps at most " +
         std::to_string(error.have);
}

std::string last_line_of(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const auto line = text.rfind('\n');
  return std::string(line == std::string_view::npos ? text : text.substr(line + 1));
}

// A device's slots share its threads; each has at least one.
std::vector<std::uint32_t> threads_of_slots(const Config& config) {
  std::vector<std::uint32_t> threads;
  for (const DeviceConfig& device : config.worker.devices)
    threads.insert(threads.end(), device.slots,
                   std::max(device.threads / std::max(device.slots, 1U), 1U));
  return threads;
}

}  // namespace

// The thread and everything that only it touches.
class ExecutorHost::Loop {
 public:
  struct Settings {
    const Config& config;
    NodeId node;
    ExecutorPrograms programs;
    ResultStore& results;
    Report report;
    FileDescriptor lock;  // of worker.folder
    FileDescriptor wake;
  };

  explicit Loop(Settings settings)
      : settings_(std::move(settings)),
        threads_(threads_of_slots(settings_.config)),
        slots_(threads_.size()),
        thread_([this] { run(); }) {}
  ~Loop();

  void push(const ToExecutors& command);
  const RunLogs& logs() const { return logs_; }

 private:
  struct RunName {
    JobId job;
    std::uint32_t attempt = 0;
    friend bool operator==(const RunName&, const RunName&) = default;
  };
  // What is on a slot.
  struct Resident {
    std::unique_ptr<ExecutorChild> child;
    std::string app;
    bool ready = false;
    std::optional<RunName> run{};
    bool killing = false;
    std::string idle_words{};          // the last that it wrote while no run was on
    std::optional<Error> too_large{};  // its result, which is not read any further
  };

  void run();
  void wake();
  void take_commands();
  void poll_children();
  void watch(SlotIndex slot);
  void end_all(Instant since);
  void forget(SlotIndex slot);
  std::optional<Resident>* place(SlotIndex slot);
  Result<std::unique_ptr<ExecutorChild>> start_child(SlotIndex slot, const AppConfig& app);
  void report(ToWorker message);
  void listen(SlotIndex slot, Resident& resident);
  void collect_output(SlotIndex slot, Resident& resident);
  ResultRef end_log(SlotIndex slot, Resident& resident);

  void perform(const StartExecutor& command);
  void perform(const StartRun& command);
  void perform(const EndBy& command);
  void perform(const Disarm& command);
  void perform(const KillExecutor& command);
  void perform(const RankFound& command);

  void heard(SlotIndex slot, Resident& resident, const ChildReady& message);
  void heard(SlotIndex slot, Resident& resident, const ChildBegan& message);
  void heard(SlotIndex slot, Resident& resident, const ChildStep& message);
  void heard(SlotIndex slot, Resident& resident, const ChildResult& message);
  void heard(SlotIndex slot, Resident& resident, const ChildFailed& message);
  void heard(SlotIndex slot, Resident& resident, const ChildStopped& message);
  void heard(SlotIndex slot, Resident& resident, const ChildLeft& message);
  void heard(SlotIndex slot, Resident& resident, const ChildHelped& message);

  Settings settings_;
  std::vector<std::uint32_t> threads_;  // of each slot

  std::mutex mutex_;
  std::vector<ToExecutors> commands_;  // guarded by mutex_
  std::atomic<bool> stopping_{false};

  RunLogs logs_;
  std::vector<std::optional<Resident>> slots_;
  std::thread thread_;  // last: it uses everything above
};

// ---- The thread ------------------------------------------------------------------------------

ExecutorHost::Loop::~Loop() {
  stopping_ = true;
  wake();
  thread_.join();
}

void ExecutorHost::Loop::push(const ToExecutors& command) {
  bool was_idle = false;
  {
    const std::scoped_lock lock{mutex_};
    was_idle = commands_.empty();
    commands_.push_back(command);
  }
  // The thread takes all that is there, so only the first of them has to wake it.
  if (was_idle) wake();
}

void ExecutorHost::Loop::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(settings_.wake.get(), &one, sizeof one);
}

void ExecutorHost::Loop::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals are for the daemon's own threads
  while (!stopping_) {
    poll_children();
    take_commands();
  }
  const Instant since = boot_time();
  for (auto& slot : slots_)
    if (slot && slot->child) slot->child->kill();
  while (std::any_of(slots_.begin(), slots_.end(),
                     [](const auto& slot) { return slot && slot->child; }))
    end_all(since);
}

void ExecutorHost::Loop::end_all(Instant since) {
  poll_children();
  if (boot_time() - since < patience_at_the_end) return;
  for (auto& slot : slots_)
    if (slot && slot->child) slot->child->kill_supervisor();
  ::poll(nullptr, 0, sweep_poll_ms);
}

void ExecutorHost::Loop::take_commands() {
  std::vector<ToExecutors> commands;
  {
    const std::scoped_lock lock{mutex_};
    commands.swap(commands_);
  }
  for (const ToExecutors& command : commands)
    std::visit([this](const auto& each) { perform(each); }, command);
}

// Waits until something happens, and looks at every child.
void ExecutorHost::Loop::poll_children() {
  std::vector<pollfd> sources{{settings_.wake.get(), POLLIN, 0}};
  bool sweeping = stopping_;
  for (const auto& slot : slots_) {
    if (!slot || !slot->child) continue;
    sources.push_back({slot->child->control(), POLLIN, 0});
    sources.push_back({slot->child->socket(), POLLIN, 0});
    sources.push_back({slot->child->output(), POLLIN, 0});
    sweeping = sweeping || slot->child->has_lost_supervisor();
  }
  ::poll(sources.data(), sources.size(), sweeping ? sweep_poll_ms : -1);
  std::uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t got = ::read(settings_.wake.get(), &wakes, sizeof wakes);
  for (std::uint32_t i = 0; i < slots_.size(); ++i) watch(SlotIndex{i});
}

void ExecutorHost::Loop::watch(SlotIndex slot) {
  auto& resident = *place(slot);
  if (!resident || !resident->child) return;
  ExecutorChild& child = *resident->child;
  child.read_reports();
  collect_output(slot, *resident);
  const bool had_socket = child.socket() >= 0;
  listen(slot, *resident);
  if (child.has_lost_supervisor()) {
    if (child.sweep()) forget(slot);
  } else if (had_socket && child.socket() < 0) {
    child.kill();  // it can't be spoken to any more; usually it is exiting just now
  }
}

void ExecutorHost::Loop::listen(SlotIndex slot, Resident& resident) {
  const auto messages = resident.child->receive();
  if (!messages) {  // it speaks nonsense, and its socket is closed now
    if (messages.error().code == Errc::frame_too_large) resident.too_large = messages.error();
    return;
  }
  for (const FromChild& message : *messages)
    std::visit([&](const auto& each) { heard(slot, resident, each); }, message);
}

// What it writes while no run is on is for the operator: it goes where the worker's own words go,
// unless nobody takes them there.
void ExecutorHost::Loop::collect_output(SlotIndex slot, Resident& resident) {
  const std::string output = resident.child->read_output();
  if (output.empty() || logs_.add(slot, output)) return;
  resident.idle_words += output;
  if (std::ssize(resident.idle_words) > limits::detail_bytes_max)
    resident.idle_words.erase(0, resident.idle_words.size() - limits::detail_bytes_max);
  pollfd words{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&words, 1, 0) == 1 && words.revents == POLLOUT) [[maybe_unused]]
    const ssize_t written =
        ::write(STDERR_FILENO, output.data(), std::min(output.size(), std::size_t{PIPE_BUF}));
}

// What the run wrote before it told its end is in the pipe by now.
ResultRef ExecutorHost::Loop::end_log(SlotIndex slot, Resident& resident) {
  collect_output(slot, resident);
  return logs_.end(slot, settings_.node, settings_.results);
}

// Nothing of the executor is left. What it said before is heard first: it may be a result.
void ExecutorHost::Loop::forget(SlotIndex slot) {
  auto& resident = *place(slot);
  for (std::int64_t heard = 0; resident->child->socket() >= 0 && heard < limits::result_bytes_max;
       heard += 1024 * 1024)
    listen(slot, *resident);
  const SupervisorReport ending = resident->child->ending();
  std::string detail = resident->child->ending_detail();
  ResultRef log = end_log(slot, *resident);
  if (resident->run && resident->too_large)
    report(ExecutorDone{.slot = slot,
                        .job = resident->run->job,
                        .attempt = resident->run->attempt,
                        .cause = Errc::result_not_stored,
                        .detail = too_large_text(
                            {.want = resident->too_large->want, .have = limits::result_bytes_max}),
                        .log = log});
  if (detail.empty() && !resident->run) detail = last_line_of(resident->idle_words);
  resident.reset();
  report(ExecutorExited{.slot = slot,
                        .signal = ending.signal,
                        .exit_code = ending.exit_code,
                        .detail = cut(std::move(detail), limits::detail_bytes_max),
                        .log = std::move(log)});
}

void ExecutorHost::Loop::report(ToWorker message) {
  if (!stopping_) settings_.report(std::move(message));
}

std::optional<ExecutorHost::Loop::Resident>* ExecutorHost::Loop::place(SlotIndex slot) {
  return slot.value < slots_.size() ? &slots_[slot.value] : nullptr;
}

// ---- Orders ----------------------------------------------------------------------------------

void ExecutorHost::Loop::perform(const StartExecutor& command) {
  auto* resident = place(command.slot);
  const AppConfig* app = settings_.config.app(command.app);
  if (!resident || *resident) return;
  auto child = app ? start_child(command.slot, *app)
                   : Error{.code = Errc::unknown_app, .detail = "no app " + command.app + " here"};
  if (!child)
    return report(ExecutorExited{.slot = command.slot,
                                 .exit_code = static_cast<std::int32_t>(child.error().want),
                                 .detail = cut(child.error().detail, limits::detail_bytes_max)});
  *resident = Resident{.child = *std::move(child), .app = app->name};
}

Result<std::unique_ptr<ExecutorChild>> ExecutorHost::Loop::start_child(SlotIndex slot,
                                                                       const AppConfig& app) {
  const std::filesystem::path folder{settings_.config.worker.folder};
  return ExecutorChild::start(
      {.supervisor = settings_.programs.supervisor,
       .command = {settings_.programs.diffusion.string(), "--model", app.model, "--threads",
                   std::to_string(threads_[slot.value])},
       .record = folder / "executors" / ("slot-" + std::to_string(slot.value))});
}

void ExecutorHost::Loop::perform(const StartRun& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident || !(*resident)->ready || (*resident)->run) return;
  const RunName run{command.job, command.attempt};
  collect_output(command.slot, **resident);  // what it wrote before this run
  logs_.begin(command.slot, run.job, run.attempt);
  (*resident)->run = run;
  const Status sent = (*resident)->child->send(ChildRun{.job = run.job,
                                                        .attempt = run.attempt,
                                                        .arguments = command.body->arguments,
                                                        .rank = command.rank,
                                                        .ranks = command.ranks});
  if (!sent) (*resident)->child->kill();
}

void ExecutorHost::Loop::perform(const RankFound& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident || (*resident)->run != RunName{command.job, command.attempt}) return;
  const Status sent = (*resident)->child->send(
      ChildFound{command.job, command.attempt, command.key, command.value});
  if (!sent) (*resident)->child->kill();
}

void ExecutorHost::Loop::perform(const EndBy& command) {
  auto* resident = place(command.slot);
  if (resident && *resident) (*resident)->child->end_by(command.at, command.kill_at);
}

void ExecutorHost::Loop::perform(const Disarm& command) {
  auto* resident = place(command.slot);
  if (resident && *resident) (*resident)->child->disarm();
}

void ExecutorHost::Loop::perform(const KillExecutor& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident) return;
  // Asked again, because the supervisor doesn't do it.
  if (std::exchange((*resident)->killing, true)) (*resident)->child->kill_supervisor();
  (*resident)->child->kill();
}

// ---- What executors say ----------------------------------------------------------------------

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildReady&) {
  if (std::exchange(resident.ready, true)) return;
  report(ExecutorReady{.slot = slot, .app = resident.app});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildBegan& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  report(ExecutorBegan{.slot = slot, .job = message.job, .attempt = message.attempt});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildStep& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  report(ExecutorStep{.slot = slot,
                      .job = message.job,
                      .attempt = message.attempt,
                      .step = message.step,
                      .of_steps = message.of_steps});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildResult& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  resident.run.reset();
  ExecutorDone done{.slot = slot, .job = message.job, .attempt = message.attempt};
  auto hash = settings_.results.store(wall_time(), message.bytes);
  if (hash) {
    done.result = {.hash = *std::move(hash),
                   .bytes = std::ssize(message.bytes),
                   .media_type = cut(message.media_type, limits::name_bytes_max),
                   .node = settings_.node};
  } else {
    done.cause = hash.error().code;
    done.detail = cut(hash.error().detail + too_large_text(hash.error()), limits::detail_bytes_max);
  }
  done.log = end_log(slot, resident);
  report(std::move(done));
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildFailed& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  resident.run.reset();
  // A failure without a cause would read as a success.
  const Errc cause = message.cause == Errc{} ? Errc::device_failed : message.cause;
  report(ExecutorDone{.slot = slot,
                      .job = message.job,
                      .attempt = message.attempt,
                      .cause = cause,
                      .detail = cut(message.detail, limits::detail_bytes_max),
                      .log = end_log(slot, resident)});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildStopped& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  resident.run.reset();
  report(ExecutorDone{.slot = slot,
                      .job = message.job,
                      .attempt = message.attempt,
                      .stopped = true,
                      .log = end_log(slot, resident)});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildLeft& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  if (std::ssize(message.key) > limits::name_bytes_max ||
      std::ssize(message.value) > limits::rank_address_bytes_max)
    return;
  report(RankLeft{.slot = slot,
                  .job = message.job,
                  .attempt = message.attempt,
                  .key = message.key,
                  .value = message.value});
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildHelped& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  resident.run.reset();
  report(ExecutorDone{.slot = slot,
                      .job = message.job,
                      .attempt = message.attempt,
                      .log = end_log(slot, resident)});
}

// ---- The host --------------------------------------------------------------------------------

ExecutorPrograms ExecutorPrograms::beside_this_program() {
  std::error_code failure;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", failure).parent_path();
  return {.supervisor = folder / "gpupool-supervisor", .diffusion = folder / "gpupool-diffusion"};
}

Result<std::unique_ptr<ExecutorHost>> ExecutorHost::open(const Config& config, NodeId node,
                                                         ExecutorPrograms programs,
                                                         ResultStore& results, Report report) {
  const bool needs_programs =
      std::any_of(config.apps.begin(), config.apps.end(),
                  [](const AppConfig& app) { return app.executor == ExecutorKind::diffusion; });
  for (const auto& program : {programs.supervisor, programs.diffusion})
    if (needs_programs && ::access(program.c_str(), X_OK) != 0)
      return Error{.code = Errc::file_unreadable, .detail = system_error(program.string()).detail};

  const std::filesystem::path folder{config.worker.folder};
  std::error_code failure;
  std::filesystem::create_directories(folder / "executors", failure);
  FileDescriptor lock{::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (failure || !lock)
    return Error{.code = Errc::file_unwritable, .detail = system_error(folder.string()).detail};
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{.code = Errc::journal_locked,
                 .detail = folder.string() + " is in use by another worker"};
  sweep_leftovers(folder / "executors");

  FileDescriptor wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake) return system_error("an eventfd could not be made");
  return std::unique_ptr<ExecutorHost>{
      new ExecutorHost(std::make_unique<Loop>(Loop::Settings{.config = config,
                                                             .node = node,
                                                             .programs = std::move(programs),
                                                             .results = results,
                                                             .report = std::move(report),
                                                             .lock = std::move(lock),
                                                             .wake = std::move(wake)}))};
}

ExecutorHost::ExecutorHost(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
ExecutorHost::~ExecutorHost() = default;

void ExecutorHost::perform(const ToExecutors& command) { loop_->push(command); }
const RunLogs& ExecutorHost::logs() const { return loop_->logs(); }

}  // namespace gpupool
