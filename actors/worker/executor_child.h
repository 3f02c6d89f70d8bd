#pragma once
// One executor process and its supervisor, as the host sees them: two sockets, the pipe of their
// output, and a note on disk for whoever cleans up after a crash of the worker. It translates
// between packets and messages and keeps no rule about runs. Used by the host's thread only, which
// must live as long as the child: the kernel takes the thread that started it for its parent.

#include <signal.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "actors/worker/executor_protocol.h"
#include "actors/worker/process.h"
#include "base/result.h"
#include "base/time.h"

namespace gpupool {

// What starts an executor: its supervisor's program and the executor's own command line.
struct ChildPlan {
  std::filesystem::path supervisor;
  std::vector<std::string> command;
  std::vector<std::string> environment{};  // "NAME=value": beside what the worker itself has
  std::filesystem::path record;            // where its processes are noted
};

class ExecutorChild {
 public:
  static Result<std::unique_ptr<ExecutorChild>> start(const ChildPlan& plan);
  ~ExecutorChild();

  // To be polled; below 0 once the other side has closed it.
  int control() const { return control_.get(); }
  int socket() const { return socket_.get(); }
  int output() const { return output_.get(); }

  void end_by(const EndBy& when);
  void disarm();
  // The supervisor kills everything, then itself ends.
  void kill();
  // For one that doesn't obey; has_lost_supervisor() and sweep() do the rest.
  void kill_supervisor();
  // After an error, here or in receive(), the socket is closed.
  Status send(const ToChild& message);

  // What the executor said since the last call. An error: it speaks nonsense.
  Result<std::vector<FromChild>> receive();
  void read_reports();
  // What it wrote to stdout and stderr since the last call. All that it had written before, unless
  // somebody writes faster than this reads.
  std::string read_output();

  // The supervisor has gone: nobody else holds the other end of its socket.
  bool has_lost_supervisor() const { return !control_; }
  // Then: kills what it may have left behind. Returns whether nothing is left, which is not asked
  // for long of its control group.
  bool sweep();
  // How the executor ended; known once the supervisor has gone.
  SupervisorReport ending() const { return ending_; }
  const std::string& ending_detail() const { return ending_detail_; }

 private:
  ExecutorChild() = default;
  void order(const SupervisorOrder& order);
  void note();
  bool has_left_processes();
  bool has_left_group();

  std::filesystem::path record_;
  std::string marker_;
  ProcessName supervisor_;
  ProcessName executor_;
  FileDescriptor control_;
  FileDescriptor socket_;
  FileDescriptor output_;
  FrameReader<FromChild> inbox_;
  bool reported_ = false;  // the supervisor said how it ended, so nothing was left
  bool reaped_ = false;
  int clean_rounds_ = 0;
  int group_rounds_ = 0;  // in which its control group could not be removed
  bool group_gone_ = false;
  SupervisorReport ending_{.kind = SupervisorReport::Kind::exited, .signal = SIGKILL};
  std::string ending_detail_ = "its supervisor was killed";
};

// Ends exactly the processes that a worker which is gone noted in `folder`, and removes the notes.
// Returns how many were still alive. A note of an earlier boot names nobody.
std::size_t sweep_leftovers(const std::filesystem::path& folder);

}  // namespace gpupool
