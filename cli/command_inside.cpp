#include "cli/command_inside.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "actors/worker/process.h"
#include "base/pack.h"

namespace gpupool {
namespace {

constexpr int broken_exit = 1;
constexpr int killed_exit = 2;
constexpr rlim_t descriptors_max = 4096;
constexpr int last_rounds_max = 200;  // of 10 ms, for what a command without a sandbox left
constexpr int last_round_ms = 10;
constexpr int first_of_glibc = 32;  // up to SIGRTMIN

void report(InsideReport::Kind kind, int number = 0) {
  const InsideReport report{.kind = kind, .number = number};
  ::send(inside_socket_descriptor, &report, sizeof report, MSG_NOSIGNAL);
}

std::string read_all(int file) {
  std::string bytes;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = ::read(file, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void limit(__rlimit_resource what, std::int64_t most) {
  const rlimit both{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
  ::setrlimit(what, &both);
}

// Each of them for every process that the command becomes or starts; none can be raised again.
void set_limits(const CommandPlan& plan) {
  if (plan.memory_max_bytes > 0) limit(RLIMIT_DATA, plan.memory_max_bytes);
  limit(RLIMIT_NPROC, plan.processes_max);
  limit(RLIMIT_CPU, std::max<std::int64_t>(plan.cpu_time_max.ms / 1000, 1));
  limit(RLIMIT_FSIZE, plan.scratch_bytes);
  limit(RLIMIT_NOFILE, descriptors_max);
  limit(RLIMIT_CORE, 0);
  if (!plan.cores.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const std::uint32_t core : plan.cores)
      if (core < CPU_SETSIZE) CPU_SET(core, &set);
    ::sched_setaffinity(0, sizeof set, &set);
  }
}

// Of all processes of the machine this is the first to go when there is no memory left.
void offer_to_the_oom_killer() {
  const FileDescriptor file{::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)};
  if (file) [[maybe_unused]]
    const ssize_t written = ::write(file.get(), "1000", 4);
}

// Nobody's ignored signal is the command's: the daemon ignores SIGPIPE, and glibc's posix_spawn the
// two that threads use, which its signal() then refuses to touch.
void reset_signals() {
  for (int each = 1; each < NSIG; ++each) ::signal(each, SIG_DFL);
  constexpr unsigned long nothing_set[4] = {};  // the kernel's own sigaction: the default
  for (int each = first_of_glibc; each < SIGRTMIN; ++each)
    ::syscall(SYS_rt_sigaction, each, nothing_set, nullptr, sizeof(std::uint64_t));
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become_command(InsideOrder& order, int failure) {
  ::setsid();
  reset_signals();
  set_limits(order.plan);
  offer_to_the_oom_killer();
  // The pipe moves to the lowest free number and everything above it is closed.
  const int kept = ::dup3(failure, STDERR_FILENO + 1, O_CLOEXEC);
  ::syscall(SYS_close_range, STDERR_FILENO + 2, ~0U, 0U);
  if (::chdir(order.folder.c_str()) == 0) {
    auto environment = pointers_to(order.environment);
    environ = environment.data();  // where execvp looks for the PATH
    auto words = pointers_to(order.plan.words);
    ::execvp(words.front(), words.data());
  }
  const int number = errno;
  [[maybe_unused]] const ssize_t written = ::write(kept, &number, sizeof number);
  ::_exit(broken_exit);
}

// A handler that is there: those who have none would only die of the signal.
bool catches(pid_t pid, int signal) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigCgt:"))
      return (std::strtoull(line.c_str() + 7, nullptr, 16) >> (signal - 1) & 1U) != 0;
  return false;
}

class Inside {
 public:
  explicit Inside(InsideOrder order) : order_(std::move(order)) {}
  int run();

 private:
  int start();
  void take_order();
  bool command_is_over();
  void signal_all(int signal);
  void warn();
  void end_all();

  InsideOrder order_;
  pid_t command_ = 0;
  bool killed_ = false;
};

int Inside::run() {
  sigset_t handled;
  ::sigemptyset(&handled);
  ::sigaddset(&handled, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &handled, nullptr);
  const FileDescriptor signals{::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!order_.is_process_1) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  report(InsideReport::Kind::here);
  if (const int failure = start(); failure != 0) {
    report(InsideReport::Kind::not_started, failure);
    end_all();
    return 0;
  }
  report(InsideReport::Kind::began);
  while (!killed_) {
    pollfd sources[] = {{signals.get(), POLLIN, 0}, {inside_socket_descriptor, POLLIN, 0}};
    ::poll(sources, std::size(sources), -1);
    signalfd_siginfo seen;
    while (::read(signals.get(), &seen, sizeof seen) > 0) {
    }
    if (command_is_over()) break;
    if (sources[1].revents != 0) take_order();
  }
  end_all();
  return killed_ ? killed_exit : 0;
}

// 0, or the errno of what went wrong.
int Inside::start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
  const FileDescriptor read_end{ends[0]};
  FileDescriptor write_end{ends[1]};
  command_ = ::fork();
  if (command_ < 0) return errno;
  if (command_ == 0) become_command(order_, write_end.get());
  write_end.close();
  // The command's output ends with the command and what it started.
  const FileDescriptor nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (const int each : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing.get(), each);
  int failure = 0;
  const ssize_t got = ::read(read_end.get(), &failure, sizeof failure);
  return got == sizeof failure ? failure : 0;
}

// Reaps whatever ended, orphans too.
bool Inside::command_is_over() {
  int status = 0;
  for (;;) {
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return false;
    if (pid != command_) continue;
    report(InsideReport::Kind::ended, status);
    return true;
  }
}

void Inside::take_order() {
  InsideOrderKind order{};
  const ssize_t got = ::recv(inside_socket_descriptor, &order, sizeof order, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got != sizeof order || order == InsideOrderKind::kill)
    killed_ = true;  // nobody is there any more, or the time is over
  else if (order == InsideOrderKind::warn)
    warn();
  else
    signal_all(SIGTERM);
}

// Process 1 of a sandbox reaches everything in it, and nothing else.
void Inside::signal_all(int signal) {
  if (order_.is_process_1) {
    ::kill(-1, signal);
    return;
  }
  for (const ProcessName& name : descendants_of(::getpid())) ::kill(name.pid, signal);
}

void Inside::warn() {
  for (const ProcessName& name : descendants_of(::getpid()))
    if (catches(name.pid, SIGUSR1)) ::kill(name.pid, SIGUSR1);
}

// With process 1 the kernel ends the rest of its namespace. Without one, several rounds: what is
// forked between two is met in the next. The supervisor does the same once more.
void Inside::end_all() {
  if (order_.is_process_1) return;
  for (int round = 0; round < last_rounds_max; ++round) {
    const auto left = descendants_of(::getpid());
    for (const ProcessName& name : left) kill_exactly(name);
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (left.empty()) return;
    ::poll(nullptr, 0, last_round_ms);
  }
}

}  // namespace

int run_inside() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A command of the same user may not look into this process, or steer it.
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  auto order = unpack<InsideOrder>(read_all(inside_order_descriptor));
  ::close(inside_order_descriptor);
  ::close(inside_program_descriptor);
  ::fcntl(inside_socket_descriptor, F_SETFD, FD_CLOEXEC);
  if (!order || order->plan.words.empty()) return broken_exit;
  return Inside(*std::move(order)).run();
}

}  // namespace gpupool
