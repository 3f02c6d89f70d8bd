#include "actors/worker/process_watch.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>

#include "actors/worker/process_cgroup.h"

namespace gpupool {
namespace {

// Of a worker that starts, at a group that an earlier one has left: a second in all.
constexpr int looks_max = 100;
constexpr int look_ms = 10;

ProcessName name_of(const LocalProcess& process) {
  return {.pid = process.pid, .started = process.started};
}

std::string file_name_of(const LocalProcess& process) {
  return std::to_string(process.pid) + "-" + std::to_string(process.started);
}

// Its descendants first, while they still can be found by it; they may fork meanwhile, so whoever
// waits for the end looks again.
void kill_tree(const ProcessName& root, std::vector<ProcessName>& children) {
  if (is_alive(root))
    for (const ProcessName& child : descendants_of(root.pid)) children.push_back(child);
  kill_exactly(root);
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (!is_alive(children[i])) continue;
    for (const ProcessName& later : descendants_of(children[i].pid))
      if (std::none_of(children.begin(), children.end(), [&](const ProcessName& one) {
            return one.pid == later.pid && one.started == later.started;
          }))
        children.push_back(later);
    kill_exactly(children[i]);
  }
}

void end_noted(const std::filesystem::path& note) {
  std::string boot;
  ProcessName noted;
  std::string group;
  std::ifstream text{note};
  if (text >> boot >> noted.pid >> noted.started && boot == boot_id()) {
    std::vector<ProcessName> children;
    kill_tree(noted, children);
    // What was killed is a member of its group for a moment longer.
    if (std::getline(text >> std::ws, group))
      for (int i = 0; i < looks_max && !clear_cgroup(group); ++i) ::poll(nullptr, 0, look_ms);
  }
  std::error_code ignored;
  std::filesystem::remove(note, ignored);
}

}  // namespace

ProcessWatch::ProcessWatch(std::filesystem::path folder) : folder_(std::move(folder)) {
  std::error_code ignored;
  std::filesystem::create_directories(folder_, ignored);
  std::vector<std::filesystem::path> notes;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored))
    notes.push_back(entry.path());
  for (const auto& note : notes) end_noted(note);
}

void ProcessWatch::note(const std::filesystem::path& folder, const LocalProcess& process,
                        const std::string& group) {
  std::ofstream{folder / file_name_of(process)} << boot_id() << ' ' << process.pid << ' '
                                                << process.started << ' ' << group << '\n';
}

void ProcessWatch::watch(SlotIndex slot, const LocalProcess& process) {
  for (Watched& one : watched_)
    if (one.process == process) {  // a warm one that was let in again
      one.slot = slot;
      return;
    }
  FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))};
  // Only of the very process that was let in: its pid may be another's by now.
  std::string group;
  if (is_alive(name_of(process)))
    group = set_apart(process.pid, "gpupool-" + file_name_of(process));
  note(folder_, process, group);
  watched_.push_back(
      {.slot = slot, .process = process, .pidfd = std::move(pidfd), .group = std::move(group)});
}

void ProcessWatch::kill(Watched& watched) {
  watched.killing = true;
  kill_tree(name_of(watched.process), watched.children);
  if (!watched.group.empty() && clear_cgroup(watched.group)) watched.group.clear();
}

void ProcessWatch::kill(const LocalProcess& process) {
  for (Watched& one : watched_)
    if (one.process == process) kill(one);
}

void ProcessWatch::kill_all() {
  for (Watched& one : watched_) kill(one);
}

void ProcessWatch::forget_all() { watched_.clear(); }

std::vector<int> ProcessWatch::descriptors() const {
  std::vector<int> all;
  for (const Watched& one : watched_)
    if (one.pidfd && !one.killing) all.push_back(one.pidfd.get());
  return all;
}

bool ProcessWatch::wants_time() const {
  return std::any_of(watched_.begin(), watched_.end(),
                     [](const Watched& one) { return one.killing || !one.pidfd; });
}

bool ProcessWatch::is_gone(Watched& watched) {
  if (is_alive(name_of(watched.process))) return false;
  // Of one that ended by itself only its group can tell what it had started.
  if (watched.killing || !watched.group.empty()) kill(watched);
  return watched.group.empty() &&
         std::none_of(watched.children.begin(), watched.children.end(), is_alive);
}

std::vector<std::pair<SlotIndex, LocalProcess>> ProcessWatch::take_gone() {
  std::vector<std::pair<SlotIndex, LocalProcess>> gone;
  std::erase_if(watched_, [&](Watched& one) {
    if (!is_gone(one)) return false;
    gone.emplace_back(one.slot, one.process);
    std::error_code ignored;
    std::filesystem::remove(folder_ / file_name_of(one.process), ignored);
    return true;
  });
  return gone;
}

}  // namespace gpupool
