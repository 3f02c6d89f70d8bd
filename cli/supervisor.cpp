// gpupool-supervisor: the parent of one executor, and its end. It is small on purpose: it shares no
// fate with the worker but its death, so a worker that is stopped, stuck or gone can't let a run go
// on. Descriptor 3 leads to the worker (packets of actors/worker/process.h), 4 is passed on to the
// executor. When the executor exits, the worker goes away, an order or its own timer says so, it
// kills every process that descends from it, and leaves only when none is left.
//
//     gpupool-supervisor WORKER_PID PROGRAM [ARGUMENT...]
//     gpupool-supervisor guard    (cli/guard.h)

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "actors/worker/process.h"
#include "base/clock.h"
#include "cli/guard.h"

namespace gpupool {
namespace {

constexpr int usage_exit = 2;
constexpr int orphaned_exit = 3;
constexpr int system_exit = 4;
constexpr int ending_poll_ms = 10;  // a process forked between two rounds is met in the next

// Between fork and exec: only calls that are safe there. An errno goes back through `failure`.
[[noreturn]] void become_executor(char** program, pid_t supervisor, int failure) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != supervisor) ::_exit(orphaned_exit);  // it died before the line above
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::dup2(supervisor_passes_on_descriptor, executor_socket_descriptor);
  ::close(supervisor_passes_on_descriptor);
  ::execv(program[0], program);
  const int number = errno;
  [[maybe_unused]] const ssize_t written = ::write(failure, &number, sizeof number);
  ::_exit(system_exit);
}

class Supervisor {
 public:
  int run(char** program);

 private:
  bool open_sources();
  // 0, or the errno of what went wrong.
  int start(char** program);
  void handle_orders();
  void handle_signals();
  void handle_timer();
  void arm();
  void reap();
  void kill_everything();
  void report(SupervisorReport report);

  FileDescriptor signals_;
  FileDescriptor timer_;
  pid_t executor_ = 0;
  int status_ = 0;
  std::optional<SupervisorOrder> end_by_;
  bool warned_ = false;      // SIGUSR1 of this end_by_ was sent, or none is due
  bool terminated_ = false;  // and its SIGTERM
  bool ending_ = false;      // everything is being killed
  bool nothing_left_ = false;
};

int Supervisor::run(char** program) {
  if (!open_sources()) return system_exit;
  if (const int failure = start(program); failure != 0) {
    report({.kind = SupervisorReport::Kind::not_started, .exit_code = failure});
    return system_exit;
  }
  report({.kind = SupervisorReport::Kind::started, .pid = executor_});
  while (!nothing_left_) {
    pollfd sources[] = {{signals_.get(), POLLIN, 0},
                        {timer_.get(), POLLIN, 0},
                        {ending_ ? -1 : supervisor_control_descriptor, POLLIN, 0}};
    ::poll(sources, std::size(sources), ending_ ? ending_poll_ms : -1);
    if (sources[0].revents != 0) handle_signals();
    if (sources[1].revents != 0) handle_timer();
    if (sources[2].revents != 0) handle_orders();
    if (ending_) kill_everything();
  }
  report({.kind = SupervisorReport::Kind::exited,
          .signal = WIFSIGNALED(status_) ? WTERMSIG(status_) : 0,
          .exit_code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 0});
  return 0;
}

bool Supervisor::open_sources() {
  sigset_t handled;
  ::sigemptyset(&handled);
  // SIGINT and SIGHUP of a terminal reach the worker too, and it decides.
  for (const int each : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&handled, each);
  ::sigprocmask(SIG_SETMASK, &handled, nullptr);
  signals_ = FileDescriptor{::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK)};
  timer_ = FileDescriptor{::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)};
  ::fcntl(supervisor_control_descriptor, F_SETFD, FD_CLOEXEC);
  // Orphans of the executor become children of this process, whatever sessions they opened.
  return signals_ && timer_ && ::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

int Supervisor::start(char** program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
  const FileDescriptor read_end{ends[0]};
  FileDescriptor write_end{ends[1]};
  const pid_t self = ::getpid();
  executor_ = ::fork();
  if (executor_ < 0) return errno;
  if (executor_ == 0) become_executor(program, self, write_end.get());
  write_end.close();
  ::close(supervisor_passes_on_descriptor);  // its end is then the executor's end
  int failure = 0;
  // Ends without bytes when exec closed the other side: the program runs.
  const ssize_t got = ::read(read_end.get(), &failure, sizeof failure);
  return got == sizeof failure ? failure : 0;
}

void Supervisor::handle_orders() {
  SupervisorOrder order;
  const ssize_t got = ::recv(supervisor_control_descriptor, &order, sizeof order, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got != sizeof order || order.kind == SupervisorOrder::Kind::kill) {
    ending_ = true;  // the worker is gone, or gives up
    return;
  }
  terminated_ = false;
  end_by_.reset();
  if (order.kind == SupervisorOrder::Kind::end_by) end_by_ = order;
  warned_ = order.warn_at_ms == 0;
  arm();
}

// Sets the timer to the next of SIGUSR1, SIGTERM and SIGKILL; one that has passed fires at once.
void Supervisor::arm() {
  itimerspec when{};
  if (end_by_) {
    const std::int64_t next = terminated_ ? end_by_->kill_at_ms
                              : warned_   ? end_by_->at_ms
                                          : end_by_->warn_at_ms;
    const std::int64_t ms = std::max<std::int64_t>(next, 1);
    when.it_value.tv_sec = ms / 1000;
    when.it_value.tv_nsec = ms % 1000 * 1'000'000;
  }
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Supervisor::handle_timer() {
  std::uint64_t expirations = 0;
  if (::read(timer_.get(), &expirations, sizeof expirations) <= 0) return;
  if (!end_by_ || ending_) return;  // its process group may be another's by now
  const Instant now = boot_time();
  if (now.ms >= end_by_->kill_at_ms) {
    ending_ = true;
  } else if (!warned_ && now.ms < end_by_->at_ms) {
    warned_ = true;
    ::kill(executor_, SIGUSR1);
    arm();
  } else if (!terminated_) {
    terminated_ = true;
    ::kill(-executor_, SIGTERM);
    arm();
  }
}

void Supervisor::handle_signals() {
  signalfd_siginfo signal;
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGTERM) ending_ = true;  // also what the worker's death sends
    if (signal.ssi_signo == SIGCHLD) reap();
  }
}

void Supervisor::reap() {
  int status = 0;
  for (;;) {
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid == executor_) {
      status_ = status;
      ending_ = true;  // what it started may not outlive it
    }
    if (pid < 0 && errno == ECHILD) nothing_left_ = true;
    if (pid <= 0) return;
  }
}

void Supervisor::kill_everything() {
  for (const ProcessName& name : descendants_of(::getpid())) kill_exactly(name);
  reap();
}

void Supervisor::report(SupervisorReport report) {
  // A worker that no longer reads has no use for it.
  ::send(supervisor_control_descriptor, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int supervise(int count, char** arguments) {
  constexpr int program_place = 2;
  if (count == 2 && std::string_view{arguments[1]} == "guard") return guard();
  if (count <= program_place) return usage_exit;
  const pid_t worker = static_cast<pid_t>(std::atol(arguments[1]));
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != worker) return orphaned_exit;  // it died before the line above
  ::syscall(SYS_close_range, supervisor_passes_on_descriptor + 1, ~0U, 0U);
  return Supervisor{}.run(arguments + program_place);
}

}  // namespace
}  // namespace gpupool

int main(int count, char** arguments) { return gpupool::supervise(count, arguments); }
