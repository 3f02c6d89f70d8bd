#pragma once
// Processes as Linux shows them: names that can't be mistaken for another process after a pid was
// used again, who descends from whom, and the packets between a worker and an executor's
// supervisor. Free functions and plain values; no state; usable from any thread.
//
// How a slot's processes hang together: worker -> gpupool-supervisor -> executor -> whatever that
// starts. All of them carry the slot's marker in their environment, so even orphans are found.

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gpupool {

// Owns an open file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { close(); }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  int release();
  void close();

 private:
  int number_ = -1;
};

std::string boot_id();

Error system_error(std::string_view what);  // system_failed with errno and its words

// A pid and when its process started: together they name one process for as long as this boot
// lasts.
struct ProcessName {
  pid_t pid = 0;
  std::uint64_t started = 0;  // clock ticks since boot
  friend bool operator==(const ProcessName&, const ProcessName&) = default;
};

// Empty if the process is gone or a zombie.
std::optional<ProcessName> process_named(pid_t pid);
bool is_alive(const ProcessName& name);
// SIGKILL to exactly this process; through a pidfd, so never to one that got its pid since.
void kill_exactly(const ProcessName& name);

// All that live: children, their children, and so on.
std::vector<ProcessName> descendants_of(pid_t root);

inline constexpr const char* marker_variable = "GPUPOOL_EXECUTOR";
// The control group of what has a marker, if it has one (actors/worker/process_cgroup.h).
inline std::string cgroup_of(const std::string& marker) { return "gpupool-" + marker; }
// SIGKILL to every process whose environment has this marker. Returns how many there were. A look
// through /proc is not one moment: a process that forks and exits meanwhile can hide its child, so
// only several rounds in a row that find nothing mean that nothing is left.
std::size_t kill_marked(const std::string& marker);
inline constexpr int clean_rounds_enough = 3;

// A program that ran to its end: what it wrote to its standard error, and whether it ended with 0.
struct Finished {
  bool good = false;
  std::string said;
};
Finished run_to_end(const std::vector<std::string>& command);

// Sends all of `bytes` over a socket; never raises SIGPIPE.
Status send_all(int socket, std::string_view bytes);

// ---- Worker <-> supervisor: one packet each over a SOCK_SEQPACKET pair -------------------------

// The descriptors that a supervisor finds open when it starts, and an executor its socket.
inline constexpr int supervisor_control_descriptor = 3;
inline constexpr int supervisor_passes_on_descriptor = 4;
inline constexpr int executor_socket_descriptor = 3;

struct SupervisorOrder {
  enum class Kind : std::uint32_t { end_by = 1, disarm = 2, kill = 3 };
  Kind kind{};
  std::uint32_t unused = 0;
  std::int64_t at_ms = 0;  // end_by, on the boot clock
  std::int64_t kill_at_ms = 0;
  std::int64_t warn_at_ms = 0;  // SIGUSR1 to the executor alone; 0: none
};

struct SupervisorReport {
  enum class Kind : std::uint32_t { started = 1, exited = 2, not_started = 3 };
  Kind kind{};
  std::int32_t pid = 0;        // started: the executor's
  std::int32_t signal = 0;     // exited: what ended it; 0: it exited by itself
  std::int32_t exit_code = 0;  // exited; not_started: errno
};

}  // namespace gpupool
