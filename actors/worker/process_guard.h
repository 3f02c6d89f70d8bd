#pragma once
// The worker's end of `gpupool-supervisor guard` (cli/guard.h), a small process that ends callers'
// own processes where their worker can't: at their deadline while it stands still, at once when it
// has died. Started with the first process to guard, and again if it is lost. Used by one thread.

#include <filesystem>
#include <string>

#include "actors/worker/process.h"
#include "base/time.h"

namespace gpupool {

// One packet over a SOCK_SEQPACKET pair; the bytes of the group's folder follow it. A guard knows
// a process by its name, and the last packet about it counts.
struct GuardOrder {
  enum class Kind : std::uint32_t { guard = 1, forget = 2 };
  Kind kind{};
  std::int32_t pid = 0;
  std::uint64_t started = 0;
  std::int64_t kill_at_ms = 0;  // on the boot clock; 0: none is set
};
inline constexpr std::size_t guard_packet_max = 4'096;
inline constexpr int guard_control_descriptor = 3;

class ProcessGuard {
 public:
  // `program`: gpupool-supervisor. Without one nothing is guarded.
  explicit ProcessGuard(std::filesystem::path program) : program_(std::move(program)) {}
  ~ProcessGuard();  // what it still guards is killed then
  ProcessGuard(const ProcessGuard&) = delete;
  ProcessGuard& operator=(const ProcessGuard&) = delete;

  // False: there is no guard, and could none be started.
  bool guard(const ProcessName& process, const std::string& group, Instant kill_at);
  void forget(const ProcessName& process);
  // It went away, or took no more orders: whatever is to be guarded has to be told anew.
  bool is_lost();
  // To be polled: readable once it went away. -1: there is none.
  int control() const { return control_.get(); }

 private:
  bool start();
  bool send(const GuardOrder& order, const std::string& group);
  void end();
  void give_up();

  const std::filesystem::path program_;
  FileDescriptor control_;
  pid_t pid_ = 0;
  bool is_lost_ = false;
};

}  // namespace gpupool
