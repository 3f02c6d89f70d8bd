#pragma once
// The executors of a node as processes. ExecutorHost owns them, their sockets and one I/O thread
// that starts, watches and ends them; it decides nothing about jobs. Always: what is on a slot is
// killed to the last process before ExecutorExited is reported, and no process outlives the host; a
// result, and what its run wrote, is durable in the ResultStore before its end is reported. Every
// StartExecutor on an empty slot is followed by exactly one ExecutorExited in the end; orders for a
// slot whose executor has just gone are dropped, since that report is on its way.

#include <filesystem>
#include <functional>
#include <memory>

#include "actors/messages.h"
#include "actors/worker/executor_log.h"
#include "actors/worker/result_store.h"
#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// The programs that a worker starts.
struct ExecutorPrograms {
  std::filesystem::path supervisor;
  std::filesystem::path diffusion;
  std::filesystem::path diffusion_cuda;  // the same on a GPU; a build without CUDA has none
  std::filesystem::path command;

  // gpupool-supervisor, gpupool-diffusion, gpupool-diffusion-cuda and gpupool-command in the folder
  // of the running program.
  static ExecutorPrograms beside_this_program();
};

class ExecutorHost {
 public:
  using Report = std::function<void(ToWorker)>;

  // Takes the lock of worker.folder, ends what an earlier worker left running there, and starts the
  // thread. `report` is called from that thread only. `config` and `results` outlive the host.
  // Errors: file_unwritable (the folder), journal_locked (another worker has it), file_unreadable
  // (a program), unsupported (a kind of device that was not built).
  static Result<std::unique_ptr<ExecutorHost>> open(const Config& config, NodeId node,
                                                    ExecutorPrograms programs, ResultStore& results,
                                                    Report report);

  // Ends every executor and waits until nothing of them is left; reports nothing any more.
  ~ExecutorHost();

  // From any thread; never blocks on an executor.
  void perform(const ToExecutors& command);

  // What the runs write; from any thread.
  const RunLogs& logs() const;

 private:
  class Loop;
  explicit ExecutorHost(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
};

}  // namespace gpupool
