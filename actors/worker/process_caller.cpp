#include "actors/worker/process_caller.h"

#include <dirent.h>
#include <pwd.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <vector>

#include "actors/worker/process.h"

namespace gpupool {
namespace {

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

template <class Number>
std::optional<Number> number_in(std::string_view text, int base = 10) {
  Number number{};
  const auto [stop, failure] =
      std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (failure != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

// What /proc/PID/status says of who it is.
struct Status {
  uid_t user = 0;
  pid_t innermost = 0;  // its pid in its own namespace
};

std::optional<Status> status_of(pid_t pid) {
  std::ifstream file(folder_of(pid) + "/status");
  std::optional<uid_t> user;
  std::optional<pid_t> innermost;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    uid_t real = 0;
    if (key == "Uid:" && words >> real) user = real;
    if (key != "NSpid:") continue;
    for (pid_t number = 0; words >> number;) innermost = number;
  }
  if (!user) return std::nullopt;
  return Status{.user = *user, .innermost = innermost.value_or(pid)};
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> pids;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc{::opendir("/proc"), ::closedir};
  while (const dirent* entry = proc ? ::readdir(proc.get()) : nullptr)
    if (const auto pid = number_in<pid_t>(entry->d_name)) pids.push_back(*pid);
  return pids;
}

// Those others that call themselves `pid`, each in a namespace of its own.
std::vector<pid_t> others_called(pid_t pid) {
  std::vector<pid_t> found;
  for (const pid_t one : all_processes())
    if (const auto status = status_of(one); one != pid && status && status->innermost == pid)
      found.push_back(one);
  return found;
}

struct Socket {
  uid_t user = 0;
  std::string inode;
};

std::optional<std::uint16_t> port_in(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  return number_in<std::uint16_t>(std::string_view(address).substr(colon + 1), 16);
}

// The other end of the connection, as the network of this process shows it.
std::vector<Socket> other_ends(pid_t pid, const CallerClaim& claim) {
  std::vector<Socket> sockets;
  for (const char* table : {"/net/tcp", "/net/tcp6"}) {
    std::ifstream file(folder_of(pid) + table);
    std::string line;
    std::getline(file, line);  // the names of the columns
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::array<std::string, 10> word;
      for (std::string& one : word) words >> one;
      const auto user = number_in<uid_t>(word[7]);
      if (port_in(word[1]) == claim.port && port_in(word[2]) == claim.here && user)
        sockets.push_back({.user = *user, .inode = word[9]});
    }
  }
  return sockets;
}

// Whether one of these sockets is the process's; nothing: it does not show what it has open.
std::optional<bool> holds(pid_t pid, const std::vector<Socket>& sockets) {
  const std::string folder = folder_of(pid) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> opened{::opendir(folder.c_str()), ::closedir};
  if (!opened) return std::nullopt;
  while (const dirent* entry = ::readdir(opened.get())) {
    std::array<char, 64> target{};
    const std::string link = folder + "/" + entry->d_name;
    const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
    if (length <= 0) continue;
    const std::string_view text(target.data(), static_cast<std::size_t>(length));
    for (const Socket& socket : sockets)
      if (text == "socket:[" + socket.inode + "]") return true;
  }
  return false;
}

// Of each hierarchy, or of the only one.
bool is_in_cgroup(pid_t pid, const std::string& wanted) {
  std::ifstream file(folder_of(pid) + "/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto second = line.find(':', line.find(':') + 1);
    if (second == std::string::npos) continue;
    const std::string path = line.substr(second + 1);
    if (path == wanted || path.starts_with(wanted + "/")) return true;
  }
  return false;
}

std::optional<uid_t> user_named(const std::string& name) {
  std::array<char, 4096> room{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, room.data(), room.size(), &found) != 0 || !found)
    return std::nullopt;
  return entry.pw_uid;
}

bool is_of_the_pool(pid_t pid) {
  if (pid == ::getpid() || pid == ::getppid() || pid == 1) return true;
  // The supervisors of executors carry its marker, and whatever they start.
  std::ifstream environment(folder_of(pid) + "/environ");
  const std::string start = std::string(marker_variable) + "=";
  for (std::string variable; std::getline(environment, variable, '\0');)
    if (variable.starts_with(start)) return true;
  return false;
}

bool is_callers(pid_t pid, const CallerClaim& claim) {
  const auto status = status_of(pid);
  if (!status || is_of_the_pool(pid)) return false;
  std::vector<Socket> sockets = other_ends(pid, claim);
  std::erase_if(sockets, [&](const Socket& one) { return one.user != status->user; });
  const bool is_bound = !claim.cgroup.empty() || !claim.user.empty();
  // Another user's process does not show its sockets to an ordinary one; that one of the same user
  // made the connection has to do, and cgroup and user of the Space say the rest.
  if (sockets.empty() || !holds(pid, sockets).value_or(is_bound)) return false;
  if (!claim.cgroup.empty() && !is_in_cgroup(pid, claim.cgroup)) return false;
  if (!claim.user.empty() && user_named(claim.user) != status->user) return false;
  return ::kill(pid, 0) == 0;  // what cannot be ended at its deadline is not let in
}

// Named first and looked at then: another one that gets its pid meanwhile has another name.
std::optional<LocalProcess> caller_called(pid_t pid, const CallerClaim& claim) {
  const auto name = process_named(pid);
  const auto status = status_of(pid);
  if (!name || !status || status->innermost != claim.pid || !is_callers(pid, claim)) return {};
  if (!is_alive(*name)) return {};
  return LocalProcess{.pid = name->pid, .started = name->started};
}

}  // namespace

// It is nearly always the process of that pid here; the first ones of containers are not.
Result<LocalProcess> find_caller(const CallerClaim& claim) {
  if (const auto here = caller_called(claim.pid, claim)) return *here;
  for (const pid_t pid : others_called(claim.pid))
    if (const auto inside = caller_called(pid, claim)) return *inside;
  return Error{.code = Errc::forbidden,
               .detail = "no process of the caller calls itself " + std::to_string(claim.pid)};
}

}  // namespace gpupool
