#pragma once
// The thread of an ExecutorHost and everything that only it touches: the executors on the slots,
// and those that stay warm beside them. For executor_host.cpp and executor_loop.cpp alone.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "actors/worker/executor.h"
#include "actors/worker/executor_child.h"
#include "actors/worker/process_watch.h"
#include "actors/worker/slot_share.h"

namespace gpupool {

std::string cut(std::string text, std::int64_t bytes_max);
// "a result of 67108900 bytes; a node keeps at most 67108864"; empty if it is not a matter of size.
std::string too_large_text(const Error& error);

class ExecutorHost::Loop {
 public:
  struct Settings {
    const Config& config;
    NodeId node;
    ExecutorPrograms programs;
    ResultStore& results;
    Report report;
    FileDescriptor lock;       // of worker.folder
    std::string no_sandbox{};  // why commands can't have one here; empty: they can
    FileDescriptor wake;
  };

  explicit Loop(Settings settings)
      : settings_(std::move(settings)),
        shares_(shares_of(settings_.config.worker)),
        slots_(shares_.size()),
        aside_(shares_.size()),
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
  bool take_up(SlotIndex slot, const std::string& app);
  void watch_aside(SlotIndex slot);
  std::vector<ExecutorChild*> children() const;
  Result<std::unique_ptr<ExecutorChild>> start_child(SlotIndex slot, const AppConfig& app);
  std::vector<std::string> command_program(SlotIndex slot, const AppConfig& app) const;
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
  void perform(const SetAside& command);
  void perform(const FilesPiece& piece);
  void perform(const WatchProcess& command);
  void perform(const KillProcess& command);

  void heard(SlotIndex slot, Resident& resident, const ChildReady& message);
  void heard(SlotIndex slot, Resident& resident, const ChildBegan& message);
  void heard(SlotIndex slot, Resident& resident, const ChildStep& message);
  void heard(SlotIndex slot, Resident& resident, const ChildResult& message);
  void heard(SlotIndex slot, Resident& resident, const ChildFailed& message);
  void heard(SlotIndex slot, Resident& resident, const ChildStopped& message);
  void heard(SlotIndex slot, Resident& resident, const ChildLeft& message);
  void heard(SlotIndex slot, Resident& resident, const ChildHelped& message);
  void heard(SlotIndex slot, Resident& resident, const ChildWrote& message);
  void heard(SlotIndex slot, Resident& resident, const ChildEnded& message);
  void heard(SlotIndex slot, Resident& resident, const ChildWants& message);
  void heard(SlotIndex slot, Resident& resident, const ChildPreview& message);

  Settings settings_;
  const std::vector<SlotShare> shares_;  // of each slot

  std::mutex mutex_;
  std::vector<ToExecutors> commands_;  // guarded by mutex_, as are the next three
  std::uint64_t pushed_ = 0;
  std::uint64_t performed_ = 0;
  std::condition_variable performed_change_;
  std::atomic<bool> stopping_{false};

  RunLogs logs_;
  std::vector<std::optional<Resident>> slots_;
  std::vector<std::vector<Resident>> aside_;  // warm beside each slot's, and not spoken to
  ProcessWatch processes_{std::filesystem::path{settings_.config.worker.folder} / "processes",
                          settings_.programs.supervisor};
  std::thread thread_;  // last: it uses everything above
};

}  // namespace gpupool
