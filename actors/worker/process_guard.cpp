#include "actors/worker/process_guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

extern char** environ;

namespace gpupool {
namespace {

constexpr int first_free_descriptor = 16;

}  // namespace

ProcessGuard::~ProcessGuard() { end(); }

// The end of the connection is its order to kill what it guards, and then it leaves.
void ProcessGuard::end() {
  control_.close();
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

// One that takes no orders may not act on the old ones either.
void ProcessGuard::give_up() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
  end();
  is_lost_ = true;
}

bool ProcessGuard::start() {
  if (program_.empty()) return false;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  control_ = FileDescriptor{ends[0]};
  const FileDescriptor low{ends[1]};
  const FileDescriptor theirs{::fcntl(low.get(), F_DUPFD_CLOEXEC, first_free_descriptor)};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), guard_control_descriptor);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, guard_control_descriptor + 1);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::string program = program_.string();
  std::string mode = "guard";
  char* command[] = {program.data(), mode.data(), nullptr};
  const int failure =
      ::posix_spawn(&pid_, program.c_str(), &actions, &attributes, command, environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure == 0) return true;
  pid_ = 0;
  control_.close();
  return false;
}

bool ProcessGuard::is_lost() {
  pollfd source{control_.get(), POLLIN, 0};
  if (control_ && ::poll(&source, 1, 0) > 0) give_up();  // it never says anything
  return std::exchange(is_lost_, false);
}

bool ProcessGuard::send(const GuardOrder& order, const std::string& group) {
  std::string packet(reinterpret_cast<const char*>(&order), sizeof order);
  packet += group;
  const bool sent = packet.size() <= guard_packet_max &&
                    ::send(control_.get(), packet.data(), packet.size(),
                           MSG_NOSIGNAL | MSG_DONTWAIT) == std::ssize(packet);
  if (!sent) give_up();
  return sent;
}

bool ProcessGuard::guard(const ProcessName& process, const std::string& group, Instant kill_at) {
  if (!control_ && !start()) return false;
  return send({.kind = GuardOrder::Kind::guard,
               .pid = process.pid,
               .started = process.started,
               .kill_at_ms = kill_at.ms},
              group);
}

void ProcessGuard::forget(const ProcessName& process) {
  if (control_)
    send({.kind = GuardOrder::Kind::forget, .pid = process.pid, .started = process.started}, {});
}

}  // namespace gpupool
