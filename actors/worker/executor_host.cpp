#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "actors/worker/executor.h"
#include "actors/worker/executor_loop.h"
#include "actors/worker/executor_sandbox.h"
#include "base/clock.h"
#include "config/limits.h"

namespace gpupool {

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

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildWrote& message) {
  if (resident.run == RunName{message.job, message.attempt}) logs_.add(slot, message);
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildPreview& message) {
  if (resident.run == RunName{message.job, message.attempt}) logs_.show(slot, message.bytes);
}

void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildWants& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  report(FetchFiles{
      .slot = slot, .job = message.job, .attempt = message.attempt, .offset = message.offset});
}

// A command's own failure is no fault of the pool, whatever it left.
void ExecutorHost::Loop::heard(SlotIndex slot, Resident& resident, const ChildEnded& message) {
  if (resident.run != RunName{message.job, message.attempt}) return;
  resident.run.reset();
  ExecutorDone done{.slot = slot,
                    .job = message.job,
                    .attempt = message.attempt,
                    .stopped = message.stopped,
                    .ran = message.ran,
                    .exit_code = message.exit_code,
                    .signal = message.signal};
  if (!message.detail.empty() || message.exit_code != 0 || message.signal != 0) {
    done.cause = Errc::program_failed;
    done.detail = cut(!message.detail.empty() ? message.detail
                      : message.signal != 0
                          ? "the command was ended by signal " + std::to_string(message.signal)
                          : "the command exited with code " + std::to_string(message.exit_code),
                      limits::detail_bytes_max);
  }
  if (!message.files.empty()) {
    auto hash = settings_.results.store(wall_time(), message.files);
    if (hash) {
      done.result = {.hash = *std::move(hash),
                     .bytes = std::ssize(message.files),
                     .media_type = "application/x-tar",
                     .node = settings_.node};
    } else {
      logs_.remark(slot, "[what the command left in $GPUPOOL_OUT could not be stored: " +
                             hash.error().detail + too_large_text(hash.error()) + "]");
      if (done.cause == Errc{}) done.cause = hash.error().code;
    }
  }
  done.log = end_log(slot, resident);
  report(std::move(done));
}

// ---- The host --------------------------------------------------------------------------------

ExecutorPrograms ExecutorPrograms::beside_this_program() {
  std::error_code failure;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", failure).parent_path();
  return {.supervisor = folder / "gpupool-supervisor",
          .diffusion = folder / "gpupool-diffusion",
          .diffusion_cuda = folder / "gpupool-diffusion-cuda",
          .command = folder / "gpupool-command"};
}

Result<std::unique_ptr<ExecutorHost>> ExecutorHost::open(const Config& config, NodeId node,
                                                         ExecutorPrograms programs,
                                                         ResultStore& results, Report report) {
  const auto has_app = [&config](ExecutorKind kind) {
    return std::any_of(config.apps.begin(), config.apps.end(),
                       [kind](const AppConfig& app) { return app.executor == kind; });
  };
  const bool draws = has_app(ExecutorKind::diffusion);
  const bool commands = has_app(ExecutorKind::command);
  for (const auto& [program, is_needed] :
       {std::pair{programs.supervisor, draws || commands || has_app(ExecutorKind::external)},
        std::pair{programs.diffusion, draws}, std::pair{programs.command, commands}})
    if (is_needed && ::access(program.c_str(), X_OK) != 0)
      return Error{.code = Errc::file_unreadable, .detail = system_error(program.string()).detail};

  const auto& devices = config.worker.devices;
  const auto gpu = std::find_if(devices.begin(), devices.end(), [](const DeviceConfig& one) {
    return one.kind == DeviceKind::cuda;
  });
  if (gpu != devices.end() && (draws || !commands) &&
      ::access(programs.diffusion_cuda.c_str(), X_OK) != 0)
    return Error{.code = Errc::unsupported,
                 .detail = "worker.devices[" + std::to_string(gpu - devices.begin()) +
                           "] is a cuda device, and there is no " +
                           programs.diffusion_cuda.string() +
                           ": build it with the CUDA Toolkit 13 (cmake -DGPUPOOL_CUDA=ON), or lend "
                           "cpu devices only"};

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

  std::string no_sandbox;
  if (needs_sandbox(config))
    if (const Status there = check_sandbox(programs.command, config.worker.run_as); !there)
      no_sandbox = there.error().detail;
  FileDescriptor wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake) return system_error("an eventfd could not be made");
  return std::unique_ptr<ExecutorHost>{
      new ExecutorHost(std::make_unique<Loop>(Loop::Settings{.config = config,
                                                             .node = node,
                                                             .programs = std::move(programs),
                                                             .results = results,
                                                             .report = std::move(report),
                                                             .lock = std::move(lock),
                                                             .no_sandbox = std::move(no_sandbox),
                                                             .wake = std::move(wake)}))};
}

ExecutorHost::ExecutorHost(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
ExecutorHost::~ExecutorHost() = default;

void ExecutorHost::perform(const ToExecutors& command) { loop_->push(command); }
const RunLogs& ExecutorHost::logs() const { return loop_->logs(); }

}  // namespace gpupool
