#include "actors/worker/executor_child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

#include "actors/worker/process_cgroup.h"
#include "base/clock.h"

extern char** environ;

namespace gpupool {
namespace {

constexpr std::size_t read_bytes = 64 * 1024;
constexpr std::size_t reads_per_turn_max = 64;  // so that one executor can't keep the thread
constexpr std::size_t output_bytes_per_turn_max = 1024 * 1024;  // the most that a pipe holds
constexpr int first_free_descriptor = 16;
constexpr int sweep_rounds_max = 500;  // of 10 ms each
constexpr int sweep_round_ms = 10;
constexpr int group_rounds_max = 50;  // likewise

struct Ends {
  FileDescriptor ours;
  FileDescriptor theirs;
};

// Ours never blocks; theirs is out of the way of the numbers that the supervisor finds it under.
Result<Ends> prepared(int ours, int theirs) {
  Ends ends{FileDescriptor{ours}, FileDescriptor{theirs}};
  ::fcntl(ends.ours.get(), F_SETFL, O_NONBLOCK);
  ends.theirs = FileDescriptor{::fcntl(ends.theirs.get(), F_DUPFD_CLOEXEC, first_free_descriptor)};
  if (!ends.theirs) return system_error("a descriptor could not be moved");
  return ends;
}

Result<Ends> make_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
    return system_error("a socket pair could not be made");
  return prepared(ends[0], ends[1]);
}

Result<Ends> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("a pipe could not be made");
  return prepared(ends[0], ends[1]);
}

// ECONNRESET says, once, that the other side went without reading everything. What it had sent
// before can still be read.
bool is_passing(int error) { return error == EINTR || error == ECONNRESET; }

// Unique over every worker of this boot: nobody's environment has it by accident.
std::string new_marker() {
  static std::atomic<std::uint64_t> count{0};
  return std::to_string(::getpid()) + "-" + std::to_string(boot_time().ms) + "-" +
         std::to_string(++count);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The worker's own, but for what `own` says; of a name that stands twice the first would count.
std::vector<std::string> environment_with(std::vector<std::string> own) {
  const std::size_t owned = own.size();
  const auto is_own = [&](std::string_view entry) {
    const std::string_view start = entry.substr(0, entry.find('=') + 1);
    return std::any_of(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(owned),
                       [&](const std::string& one) { return one.starts_with(start); });
  };
  for (char** each = environ; each != nullptr && *each != nullptr; ++each)
    if (!is_own(*each)) own.emplace_back(*each);
  return own;
}

// What a supervisor finds open when it starts.
struct Openings {
  Ends control;
  Ends socket;
  Ends output;
};

// posix_spawn with the sockets and the output under their numbers, default signals, and nothing
// else open.
Result<pid_t> spawn(std::vector<std::string> command, std::vector<std::string> environment,
                    const Openings& open) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  for (const auto& [ours, theirs] :
       {std::pair{&open.control, supervisor_control_descriptor},
        std::pair{&open.socket, supervisor_passes_on_descriptor},
        std::pair{&open.output, STDOUT_FILENO}, std::pair{&open.output, STDERR_FILENO}})
    ::posix_spawn_file_actions_adddup2(&actions, ours->theirs.get(), theirs);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, supervisor_passes_on_descriptor + 1);
  sigset_t signals;
  ::sigfillset(&signals);
  ::posix_spawnattr_setsigdefault(&attributes, &signals);
  ::sigemptyset(&signals);
  ::posix_spawnattr_setsigmask(&attributes, &signals);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  errno = ::posix_spawn(&pid, command.front().c_str(), &actions, &attributes,
                        pointers_to(command).data(), pointers_to(environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (errno != 0) return system_error(command.front() + " could not be started");
  return pid;
}

}  // namespace

Result<std::unique_ptr<ExecutorChild>> ExecutorChild::start(const ChildPlan& plan) {
  auto control = make_pair(SOCK_SEQPACKET);
  if (!control) return control.error();
  auto socket = make_pair(SOCK_STREAM);
  if (!socket) return socket.error();
  auto output = make_pipe();
  if (!output) return output.error();
  Openings open{*std::move(control), *std::move(socket), *std::move(output)};
  std::unique_ptr<ExecutorChild> child{new ExecutorChild};
  child->marker_ = new_marker();
  std::vector<std::string> command{plan.supervisor.string(), std::to_string(::getpid())};
  command.insert(command.end(), plan.command.begin(), plan.command.end());
  std::vector<std::string> own = plan.environment;
  own.push_back(std::string(marker_variable) + "=" + child->marker_);
  const auto pid = spawn(std::move(command), environment_with(std::move(own)), open);
  if (!pid) return pid.error();
  // Nobody else waits for it, so the pid is still its own, even if it has exited.
  child->supervisor_ = process_named(*pid).value_or(ProcessName{.pid = *pid});
  child->control_ = std::move(open.control.ours);
  child->socket_ = std::move(open.socket.ours);
  child->output_ = std::move(open.output.ours);
  child->record_ = plan.record;
  child->note();
  return child;
}

ExecutorChild::~ExecutorChild() {
  if (!group_gone_) remove_cgroup(cgroup_of(marker_));
  std::error_code ignored;
  std::filesystem::remove(record_, ignored);
}

void ExecutorChild::order(const SupervisorOrder& order) {
  ::send(control_.get(), &order, sizeof order, MSG_NOSIGNAL);
}

void ExecutorChild::end_by(const EndBy& when) {
  order({.kind = SupervisorOrder::Kind::end_by,
         .at_ms = when.at.ms,
         .kill_at_ms = when.kill_at.ms,
         .warn_at_ms = when.warn_at.ms});
}

void ExecutorChild::disarm() { order({.kind = SupervisorOrder::Kind::disarm}); }

void ExecutorChild::kill() { order({.kind = SupervisorOrder::Kind::kill}); }

void ExecutorChild::kill_supervisor() {
  // Its executor gets SIGKILL from the kernel then. Not yet reaped, so the pid is still its own.
  if (!has_lost_supervisor()) ::kill(supervisor_.pid, SIGKILL);
}

Status ExecutorChild::send(const ToChild& message) {
  if (!socket_) return Error{.code = Errc::executor_crashed};
  const Status sent = send_all(socket_.get(), frame_of(message));
  if (!sent) socket_.close();
  return sent;
}

Result<std::vector<FromChild>> ExecutorChild::receive() {
  std::vector<FromChild> messages;
  std::string buffer(read_bytes, '\0');
  for (std::size_t reads = 0; socket_ && reads < reads_per_turn_max; ++reads) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && is_passing(errno)) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      socket_.close();
      break;
    }
    inbox_.add(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    for (;;) {
      auto message = inbox_.next();
      if (!message) {
        socket_.close();
        return message.error();
      }
      if (!*message) break;
      messages.push_back(**std::move(message));
    }
  }
  return messages;
}

void ExecutorChild::read_reports() {
  SupervisorReport report;
  while (control_) {
    const ssize_t got = ::recv(control_.get(), &report, sizeof report, 0);
    if (got < 0 && is_passing(errno)) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got != sizeof report) return control_.close();
    if (report.kind == SupervisorReport::Kind::started) {
      executor_ = process_named(report.pid).value_or(ProcessName{});
      note();
      continue;
    }
    reported_ = true;
    ending_ = report;
    ending_detail_.clear();
    if (report.kind == SupervisorReport::Kind::not_started)
      ending_detail_ =
          std::string("its program could not be started: ") + std::strerror(report.exit_code);
  }
}

std::string ExecutorChild::read_output() {
  std::string output;
  char buffer[16 * 1024];
  while (output_ && output.size() < output_bytes_per_turn_max) {
    const ssize_t got = ::read(output_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      output_.close();
      break;
    }
    output.append(buffer, static_cast<std::size_t>(got));
  }
  return output;
}

bool ExecutorChild::sweep() { return !has_left_processes() && !has_left_group(); }

bool ExecutorChild::has_left_processes() {
  if (!reaped_) reaped_ = ::waitpid(supervisor_.pid, nullptr, WNOHANG) != 0;
  if (!reaped_ || reported_) return !reaped_;
  if (clean_rounds_ >= clean_rounds_enough) return false;
  kill_exactly(executor_);
  const bool is_clean = kill_marked(marker_) == 0 && !is_alive(executor_);
  clean_rounds_ = is_clean ? clean_rounds_ + 1 : 0;
  return clean_rounds_ < clean_rounds_enough;
}

// What was killed shows its marker no longer, and is in its group until it is through with its end.
// A group that stays all the same is no reason to keep a slot.
bool ExecutorChild::has_left_group() {
  if (!group_gone_) group_gone_ = remove_cgroup(cgroup_of(marker_));
  return !group_gone_ && ++group_rounds_ < group_rounds_max;
}

// Read by sweep_leftovers() of the next worker if this one is killed. A note that is cut off names
// fewer processes, and those end by themselves: the supervisor sees the worker's end.
void ExecutorChild::note() {
  std::ofstream file{record_, std::ios::trunc};
  file << boot_id() << "\n" << marker_ << "\n";
  for (const ProcessName& name : {supervisor_, executor_})
    if (name.pid > 0) file << name.pid << " " << name.started << "\n";
}

std::size_t sweep_leftovers(const std::filesystem::path& folder) {
  std::size_t found = 0;
  std::error_code failure;
  std::filesystem::directory_iterator entry{folder, failure};
  if (failure) return found;
  for (; entry != std::filesystem::directory_iterator{}; entry.increment(failure)) {
    std::ifstream file{entry->path()};
    std::string boot, marker;
    if (std::getline(file, boot) && std::getline(file, marker) && boot == boot_id()) {
      std::vector<ProcessName> noted;
      for (ProcessName name; file >> name.pid >> name.started;)
        if (is_alive(name)) noted.push_back(name);
      found += noted.size();
      int clean_rounds = 0;
      for (int i = 0; i < sweep_rounds_max && clean_rounds < clean_rounds_enough; ++i) {
        for (const ProcessName& name : noted) kill_exactly(name);
        std::erase_if(noted, [](const ProcessName& name) { return !is_alive(name); });
        clean_rounds = kill_marked(marker) == 0 && noted.empty() ? clean_rounds + 1 : 0;
        ::poll(nullptr, 0, sweep_round_ms);
      }
      for (int i = 0; i < group_rounds_max && !remove_cgroup(cgroup_of(marker)); ++i)
        ::poll(nullptr, 0, sweep_round_ms);
    }
    std::filesystem::remove(entry->path(), failure);
  }
  return found;
}

}  // namespace gpupool
