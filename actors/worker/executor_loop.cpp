#include "actors/worker/executor_loop.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <utility>

#include "base/clock.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr int sweep_poll_ms = 10;
constexpr std::chrono::seconds watch_patience{1};     // of a worker's thread for this one
constexpr Duration patience_at_the_end = seconds(2);  // with supervisors, before they are killed
constexpr Duration longest_end = seconds(10);  // the next worker ends what the kernel still holds

std::string last_line_of(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const auto line = text.rfind('\n');
  return std::string(line == std::string_view::npos ? text : text.substr(line + 1));
}

}  // namespace

std::string cut(std::string text, std::int64_t bytes_max) {
  if (std::ssize(text) > bytes_max) text.resize(static_cast<std::size_t>(bytes_max));
  return text;
}

std::string too_large_text(const Error& error) {
  if (error.have == 0) return {};
  return "a result of " + std::to_string(error.want) + " bytes; a node keeps at most " +
         std::to_string(error.have);
}

// ---- The thread ------------------------------------------------------------------------------

ExecutorHost::Loop::~Loop() {
  stopping_ = true;
  wake();
  thread_.join();
}

// A process that is let in is noted, set apart and guarded before its caller hears of it, which is
// what the worker's thread does next: it waits for that. Some milliseconds, nearly always; of a
// thread that is busy for longer, e.g. with a large result, not longer than this.
void ExecutorHost::Loop::push(const ToExecutors& command) {
  std::unique_lock lock{mutex_};
  const bool was_idle = commands_.empty();
  commands_.push_back(command);
  const std::uint64_t number = ++pushed_;
  // The thread takes all that is there, so only the first of them has to wake it.
  if (was_idle) wake();
  if (std::holds_alternative<WatchProcess>(command))
    performed_change_.wait_for(lock, watch_patience, [&] { return performed_ >= number; });
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
  for (ExecutorChild* child : children()) child->kill();
  processes_.kill_all();
  while ((!children().empty() || processes_.wants_time()) && boot_time() - since < longest_end)
    end_all(since);
}

void ExecutorHost::Loop::end_all(Instant since) {
  poll_children();
  if (boot_time() - since < patience_at_the_end) return;
  processes_.forget_all();  // what still will not die is in the kernel's hands
  for (ExecutorChild* child : children()) child->kill_supervisor();
  ::poll(nullptr, 0, sweep_poll_ms);
}

void ExecutorHost::Loop::take_commands() {
  std::vector<ToExecutors> commands;
  {
    const std::scoped_lock lock{mutex_};
    commands.swap(commands_);
  }
  for (const ToExecutors& command : commands) {
    std::visit([this](const auto& each) { perform(each); }, command);
    const std::scoped_lock lock{mutex_};
    ++performed_;
    if (std::holds_alternative<WatchProcess>(command)) performed_change_.notify_all();
  }
}

// Waits until something happens, and looks at every child.
void ExecutorHost::Loop::poll_children() {
  std::vector<pollfd> sources{{settings_.wake.get(), POLLIN, 0}};
  bool sweeping = stopping_;
  for (const ExecutorChild* child : children()) {
    sources.push_back({child->control(), POLLIN, 0});
    sources.push_back({child->socket(), POLLIN, 0});
    sources.push_back({child->output(), POLLIN, 0});
    sweeping = sweeping || child->has_lost_supervisor();
  }
  for (const int process : processes_.descriptors()) sources.push_back({process, POLLIN, 0});
  sweeping = sweeping || processes_.wants_time();
  ::poll(sources.data(), sources.size(), sweeping ? sweep_poll_ms : -1);
  std::uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t got = ::read(settings_.wake.get(), &wakes, sizeof wakes);
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    watch(SlotIndex{i});
    watch_aside(SlotIndex{i});
  }
  for (const auto& [slot, process] : processes_.take_gone())
    report(ProcessGone{.slot = slot, .process = process});
}

std::vector<ExecutorChild*> ExecutorHost::Loop::children() const {
  std::vector<ExecutorChild*> all;
  for (const auto& slot : slots_)
    if (slot && slot->child) all.push_back(slot->child.get());
  for (const auto& slot : aside_)
    for (const Resident& one : slot) all.push_back(one.child.get());
  return all;
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
  std::string app = resident->app;
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
                        .log = std::move(log),
                        .app = std::move(app)});
}

// Nobody speaks to these: only their ends matter.
void ExecutorHost::Loop::watch_aside(SlotIndex slot) {
  std::erase_if(aside_[slot.value], [&](Resident& one) {
    one.child->read_reports();
    (void)one.child->read_output();
    if (!one.child->has_lost_supervisor() || !one.child->sweep()) return false;
    const SupervisorReport ending = one.child->ending();
    report(ExecutorExited{.slot = slot,
                          .signal = ending.signal,
                          .exit_code = ending.exit_code,
                          .detail = one.child->ending_detail(),
                          .app = one.app});
    return true;
  });
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
  if (!resident || *resident || take_up(command.slot, command.app)) return;
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
  const SlotShare& share = shares_[slot.value];
  const ExecutorPrograms& programs = settings_.programs;
  const bool is_command = app.executor == ExecutorKind::command;
  if (is_command && app.command.sandbox != SandboxKind::none && !settings_.no_sandbox.empty())
    return Error{.code = Errc::unsupported, .detail = settings_.no_sandbox};
  std::vector<std::string> command;
  if (is_command) {
    command = command_program(slot, app);
  } else {
    const auto& program =
        share.kind == DeviceKind::cuda ? programs.diffusion_cuda : programs.diffusion;
    command = {program.string(), "--model", app.model};
    command.insert(command.end(), share.arguments.begin(), share.arguments.end());
    const std::vector<std::string> ranks = rank_arguments(settings_.config, app);
    command.insert(command.end(), ranks.begin(), ranks.end());
  }
  return ExecutorChild::start(
      {.supervisor = programs.supervisor,
       .command = std::move(command),
       .environment = share.environment,
       .record = folder / "executors" / ("slot-" + std::to_string(slot.value) + "-" + app.name)});
}

std::vector<std::string> ExecutorHost::Loop::command_program(SlotIndex slot,
                                                             const AppConfig& app) const {
  const WorkerConfig& worker = settings_.config.worker;
  const auto folder =
      std::filesystem::absolute(worker.folder) / "runs" / std::to_string(slot.value);
  const bool is_bare = app.command.sandbox == SandboxKind::none;
  return {settings_.programs.command.string(),
          "--run-as",
          worker.run_as,
          "--scratch",
          std::to_string(app.command.scratch_bytes),
          "--memory-max",
          std::to_string(app.command.memory_max_bytes),
          "--processes-max",
          std::to_string(app.command.processes_max),
          "--folder",
          is_bare ? folder.string() : std::string()};
}

// The one that was set aside there and is still well.
bool ExecutorHost::Loop::take_up(SlotIndex slot, const std::string& app) {
  auto& aside = aside_[slot.value];
  const auto found = std::find_if(aside.begin(), aside.end(), [&](const Resident& one) {
    return one.app == app && !one.killing && !one.child->has_lost_supervisor();
  });
  if (found == aside.end()) return false;
  slots_[slot.value] = std::move(*found);
  aside.erase(found);
  report(ExecutorReady{.slot = slot, .app = app});
  return true;
}

void ExecutorHost::Loop::perform(const SetAside& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident) return;
  aside_[command.slot.value].push_back(std::move(**resident));
  resident->reset();
}

void ExecutorHost::Loop::perform(const StartRun& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident || !(*resident)->ready || (*resident)->run) return;
  const RunName run{command.job, command.attempt};
  collect_output(command.slot, **resident);  // what it wrote before this run
  logs_.begin(command.slot, run.job, run.attempt);
  (*resident)->run = run;
  ChildRun order{.job = run.job,
                 .attempt = run.attempt,
                 .arguments = command.body->arguments,
                 .rank = command.rank,
                 .ranks = command.ranks};
  const AppConfig* app = settings_.config.app(command.app);
  if (app && app->executor == ExecutorKind::command) {
    auto plan = plan_of(settings_.config, *app, shares_[command.slot.value], command);
    // The broker admitted it by another configuration than this node's.
    if (!plan)
      return heard(command.slot, **resident,
                   ChildFailed{.job = run.job,
                               .attempt = run.attempt,
                               .cause = Errc::program_failed,
                               .detail = plan.error().detail});
    order.plan = *std::move(plan);
    order.arguments.clear();
  }
  const Status sent = (*resident)->child->send(order);
  if (!sent) (*resident)->child->kill();
}

void ExecutorHost::Loop::perform(const RankFound& command) {
  auto* resident = place(command.slot);
  if (!resident || !*resident || (*resident)->run != RunName{command.job, command.attempt}) return;
  const Status sent = (*resident)->child->send(
      ChildFound{command.job, command.attempt, command.key, command.value});
  if (!sent) (*resident)->child->kill();
}

void ExecutorHost::Loop::perform(const FilesPiece& piece) {
  auto* resident = place(piece.slot);
  if (!resident || !*resident || (*resident)->run != RunName{piece.job, piece.attempt}) return;
  const Status sent = (*resident)->child->send(ChildPiece{.job = piece.job,
                                                          .attempt = piece.attempt,
                                                          .offset = piece.offset,
                                                          .total = piece.total,
                                                          .bytes = piece.bytes,
                                                          .error = piece.error});
  if (!sent) (*resident)->child->kill();
}

void ExecutorHost::Loop::perform(const EndBy& command) {
  auto* resident = place(command.slot);
  if (resident && *resident)
    (*resident)->child->end_by(command);
  else
    processes_.end_by(command.slot, command.kill_at);
}

void ExecutorHost::Loop::perform(const Disarm& command) {
  auto* resident = place(command.slot);
  if (resident && *resident)
    (*resident)->child->disarm();
  else
    processes_.end_by(command.slot, Instant::never());
}

void ExecutorHost::Loop::perform(const WatchProcess& command) {
  processes_.watch(command.slot, command.process);
}

void ExecutorHost::Loop::perform(const KillProcess& command) { processes_.kill(command.process); }

void ExecutorHost::Loop::perform(const KillExecutor& command) {
  auto* resident = place(command.slot);
  if (!resident) return;
  const auto kill = [](Resident& one) {
    // Asked again, because the supervisor doesn't do it.
    if (std::exchange(one.killing, true)) one.child->kill_supervisor();
    one.child->kill();
  };
  if (command.app.empty() && *resident) kill(**resident);
  for (Resident& one : aside_[command.slot.value])
    if (one.app == command.app) kill(one);
}

}  // namespace gpupool
