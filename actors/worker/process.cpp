#include "actors/worker/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

extern char** environ;

namespace gpupool {
namespace {

constexpr std::size_t proc_file_bytes_max = 1024 * 1024;
constexpr std::size_t said_bytes_max = 4096;

// A file of /proc, whole; empty if it can't be read.
std::string read_proc(const std::string& path) {
  const FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string text;
  char buffer[4096];
  while (file && text.size() < proc_file_bytes_max) {
    const ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number number{};
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

struct Stat {
  char state = 0;
  pid_t parent = 0;
  std::uint64_t started = 0;
};

// /proc/PID/stat. The command name stands in parentheses and may itself hold spaces and
// parentheses, so counting begins after the last ')'.
std::optional<Stat> stat_of(pid_t pid) {
  const std::string text = read_proc("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::vector<std::string_view> words;
  std::string_view rest = std::string_view(text).substr(name_end + 1);
  while (!rest.empty()) {
    const auto begin = rest.find_first_not_of(" \n");
    if (begin == std::string_view::npos) break;
    rest.remove_prefix(begin);
    const auto length = std::min(rest.find_first_of(" \n"), rest.size());
    words.push_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  constexpr std::size_t parent_word = 1;
  constexpr std::size_t started_word = 19;  // field 22 of proc(5), the state being field 3
  if (words.size() <= started_word) return std::nullopt;
  const auto parent = number_in<pid_t>(words[parent_word]);
  const auto started = number_in<std::uint64_t>(words[started_word]);
  if (!parent || !started) return std::nullopt;
  return Stat{words[0].front(), *parent, *started};
}

bool is_gone(const Stat& stat) { return stat.state == 'Z' || stat.state == 'X'; }

void for_each_process(const std::function<void(pid_t)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> proc{::opendir("/proc"), ::closedir};
  while (const dirent* entry = proc ? ::readdir(proc.get()) : nullptr)
    if (const auto pid = number_in<pid_t>(entry->d_name)) visit(*pid);
}

bool has_marker(pid_t pid, const std::string& marker) {
  const std::string wanted = std::string(marker_variable) + "=" + marker;
  std::string_view rest;
  const std::string environment = read_proc("/proc/" + std::to_string(pid) + "/environ");
  for (rest = environment; !rest.empty();) {
    const auto length = std::min(rest.find('\0'), rest.size());
    if (rest.substr(0, length) == wanted) return true;
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
  return false;
}

// The pidfd is opened first and the check made after: what is killed is what was checked.
void kill_if(pid_t pid, const std::function<bool()>& is_the_one) {
  const FileDescriptor process{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!process && errno == ESRCH) return;
  if (!is_the_one()) return;
  // Some sandboxes have no pidfds; there the moment since the check has to be risked.
  if (process) {
    ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  } else {
    ::kill(pid, SIGKILL);
  }
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    number_ = other.release();
  }
  return *this;
}

int FileDescriptor::release() { return std::exchange(number_, -1); }

void FileDescriptor::close() {
  if (number_ >= 0) ::close(release());
}

std::string boot_id() {
  std::string id = read_proc("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

Error system_error(std::string_view what) {
  const int number = errno;
  return {.code = Errc::system_failed,
          .want = number,
          .detail = std::string(what) + ": " + std::strerror(number)};
}

std::optional<ProcessName> process_named(pid_t pid) {
  const auto stat = stat_of(pid);
  if (!stat || is_gone(*stat)) return std::nullopt;
  return ProcessName{pid, stat->started};
}

bool is_alive(const ProcessName& name) {
  const auto now = name.pid > 0 ? process_named(name.pid) : std::nullopt;
  return now && now->started == name.started;
}

void kill_exactly(const ProcessName& name) {
  if (name.pid > 0) kill_if(name.pid, [&] { return is_alive(name); });
}

std::vector<ProcessName> descendants_of(pid_t root) {
  struct Kin {
    pid_t parent = 0;
    ProcessName name;
    bool lives = false;
  };
  std::vector<Kin> all;
  for_each_process([&](pid_t pid) {
    if (const auto stat = stat_of(pid))
      all.push_back({stat->parent, {pid, stat->started}, !is_gone(*stat)});
  });
  std::vector<pid_t> family{root};
  std::vector<ProcessName> living;
  // Grows while it is walked: each one found is asked for its children in turn.
  for (std::size_t i = 0; i < family.size(); ++i) {
    for (const Kin& kin : all) {
      if (kin.parent != family[i]) continue;
      if (std::find(family.begin(), family.end(), kin.name.pid) != family.end()) continue;
      family.push_back(kin.name.pid);
      if (kin.lives) living.push_back(kin.name);
    }
  }
  return living;
}

std::size_t kill_marked(const std::string& marker) {
  std::size_t found = 0;
  if (marker.empty()) return found;
  for_each_process([&](pid_t pid) {
    if (!has_marker(pid, marker)) return;
    ++found;  // even if it goes before the kill: it may have left a child that this round misses
    kill_if(pid, [&] { return has_marker(pid, marker); });
  });
  return found;
}

Finished run_to_end(const std::vector<std::string>& command) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return {.good = false, .said = std::strerror(errno)};
  const FileDescriptor read_end{ends[0]};
  FileDescriptor write_end{ends[1]};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  std::vector<char*> arguments;
  for (const auto& one : command) arguments.push_back(const_cast<char*>(one.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failed =
      ::posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  write_end.close();
  if (failed != 0) return {.good = false, .said = command[0] + ": " + std::strerror(failed)};
  Finished finished;
  std::array<char, 512> piece{};
  for (ssize_t got = 0; (got = ::read(read_end.get(), piece.data(), piece.size())) > 0;)
    if (finished.said.size() < said_bytes_max)
      finished.said.append(piece.data(), static_cast<std::size_t>(got));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  while (finished.said.ends_with('\n')) finished.said.pop_back();
  finished.good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return finished;
}

Status send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return system_error("a socket could not be written");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return ok();
}

}  // namespace gpupool
