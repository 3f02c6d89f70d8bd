#include "actors/worker/process_cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "actors/worker/process.h"

namespace gpupool {
namespace {

constexpr std::string_view apart_prefix = "gpupool-caller-";

// A folder of the cgroup file system in which groups can be made, and what they can bound.
struct Hierarchy {
  std::string folder;
  bool is_v2 = false;
  bool has_memory = false;
  bool has_pids = false;
};

bool write_text(const std::string& path, const std::string& text) {
  const FileDescriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  return file && ::write(file.get(), text.data(), text.size()) == std::ssize(text);
}

bool has_word(const std::string& words, std::string_view word, char between) {
  std::istringstream list(words);
  for (std::string one; std::getline(list, one, between);)
    if (one == word) return true;
  return false;
}

// Only of groups whose own children may have controllers: where processes are there can be none,
// so it may be the one above.
void add_v2(const std::string& path, std::vector<Hierarchy>& found) {
  for (const std::string root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    std::string folder = root + path;
    for (int above = 0; above < 2 && folder.size() > root.size(); ++above) {
      std::string controllers;
      std::getline(std::ifstream(folder + "/cgroup.subtree_control"), controllers);
      Hierarchy one{.folder = folder,
                    .is_v2 = true,
                    .has_memory = has_word(controllers, "memory", ' '),
                    .has_pids = has_word(controllers, "pids", ' ')};
      if (one.has_memory || one.has_pids) return found.push_back(std::move(one));
      folder = folder.substr(0, folder.rfind('/'));
    }
  }
}

// A line of /proc/PID/cgroup: "4:memory:/a/b", and "0::/a/b" for v2, which has no controllers
// there.
struct Membership {
  std::string controllers;
  std::string path;  // empty for "/"
};

std::vector<Membership> memberships_of(const std::string& process) {
  std::vector<Membership> found;
  std::ifstream lines("/proc/" + process + "/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string path = line.substr(second + 1);
    found.push_back({.controllers = line.substr(first + 1, second - first - 1),
                     .path = path == "/" ? std::string{} : path});
  }
  return found;
}

std::vector<Hierarchy> hierarchies() {
  std::vector<Hierarchy> found;
  for (const auto& [controllers, path] : memberships_of("self")) {
    if (controllers.empty()) {
      add_v2(path, found);
      continue;
    }
    Hierarchy one{.folder = "/sys/fs/cgroup/" + controllers + path,
                  .is_v2 = false,
                  .has_memory = has_word(controllers, "memory", ','),
                  .has_pids = has_word(controllers, "pids", ',')};
    if (one.has_memory || one.has_pids) found.push_back(std::move(one));
  }
  return found;
}

bool set_limits(const Hierarchy& hierarchy, const std::string& group, const CgroupLimits& limits) {
  if (hierarchy.has_memory && limits.memory_bytes > 0) {
    const std::string file = hierarchy.is_v2 ? "/memory.max" : "/memory.limit_in_bytes";
    const std::string most = std::to_string(limits.memory_bytes);
    if (!write_text(group + file, most)) return false;
    // Swap is none of it; not every kernel counts it.
    write_text(group + (hierarchy.is_v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"),
               hierarchy.is_v2 ? "0" : most);
  }
  return !hierarchy.has_pids || limits.processes == 0 ||
         write_text(group + "/pids.max", std::to_string(limits.processes));
}

}  // namespace

std::vector<std::string> join_cgroup(const std::string& name, const CgroupLimits& limits) {
  std::vector<std::string> bounded;
  for (const Hierarchy& hierarchy : hierarchies()) {
    const std::string group = hierarchy.folder + "/" + name;
    if (::mkdir(group.c_str(), 0755) != 0) continue;
    if (!set_limits(hierarchy, group, limits) || !write_text(group + "/cgroup.procs", "0")) {
      ::rmdir(group.c_str());
      continue;
    }
    if (hierarchy.has_memory && limits.memory_bytes > 0) bounded.emplace_back("memory");
    if (hierarchy.has_pids && limits.processes > 0) bounded.emplace_back("pids");
  }
  return bounded;
}

bool remove_cgroup(const std::string& name) {
  bool is_gone = true;
  for (const Hierarchy& hierarchy : hierarchies())
    if (::rmdir((hierarchy.folder + "/" + name).c_str()) != 0 && errno == EBUSY) is_gone = false;
  return is_gone;
}

// Of the hierarchies that count or bound nothing by themselves, so that nothing changes but who is
// together. What another process of its caller has started, and is let in itself, gets a group
// beside that one's: each ends alone.
std::string set_apart(pid_t pid, const std::string& name) {
  for (const auto& [controllers, own] : memberships_of(std::to_string(pid))) {
    const std::size_t last = own.rfind('/');
    const bool is_set_apart = last != own.npos && own.substr(last + 1).starts_with(apart_prefix);
    const std::string path = is_set_apart ? own.substr(0, last) : own;
    std::vector<std::string> roots;
    if (controllers.empty()) roots = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    if (controllers == "pids" || controllers == "freezer")
      roots = {"/sys/fs/cgroup/" + controllers};
    for (const std::string& root : roots) {
      const std::string folder = root + path + "/" + std::string(apart_prefix) + name;
      if (::access((root + path + "/cgroup.procs").c_str(), F_OK) != 0 ||
          ::mkdir(folder.c_str(), 0755) != 0)
        continue;
      if (write_text(folder + "/cgroup.procs", std::to_string(pid))) return folder;
      ::rmdir(folder.c_str());
    }
  }
  return {};
}

// With the groups that what is in it may have made below.
bool clear_cgroup(const std::string& folder) {
  bool is_empty = true;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(folder, gone))
    if (entry.is_directory(gone)) is_empty = clear_cgroup(entry.path().string()) && is_empty;
  if (!write_text(folder + "/cgroup.kill", "1")) {
    std::ifstream processes(folder + "/cgroup.procs");
    for (pid_t pid = 0; processes >> pid;) {
      is_empty = false;
      if (pid > 1) ::kill(pid, SIGKILL);
    }
  }
  return is_empty && (::rmdir(folder.c_str()) == 0 || errno == ENOENT);
}

}  // namespace gpupool
