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

// Of a worker that starts, at each that an earlier one has left: a second.
constexpr int looks_max = 100;
constexpr int look_ms = 10;

ProcessName name_of(const LocalProcess& process) {
  return {.pid = process.pid, .started = process.started};
}

std::string file_name_of(const LocalProcess& process) {
  return std::to_string(process.pid) + "-" + std::to_string(process.started);
}

void end_noted(const std::filesystem::path& note) {
  std::string boot;
  ProcessTree noted;
  std::ifstream text{note};
  if (text >> boot >> noted.root.pid >> noted.root.started && boot == boot_id()) {
    std::getline(text >> std::ws, noted.group);
    for (int i = 0; i < looks_max; ++i) {
      noted.kill();
      if (noted.is_gone()) break;
      ::poll(nullptr, 0, look_ms);
    }
  }
  std::error_code ignored;
  std::filesystem::remove(note, ignored);
}

}  // namespace

ProcessWatch::ProcessWatch(std::filesystem::path folder, std::filesystem::path guard)
    : folder_(std::move(folder)), guard_(std::move(guard)) {
  std::error_code ignored;
  std::filesystem::create_directories(folder_, ignored);
  std::vector<std::filesystem::path> notes;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, ignored))
    notes.push_back(entry.path());
  for (const auto& note : notes) end_noted(note);
}

void ProcessWatch::note(const Watched& watched) const {
  const auto& [root, group, children] = watched.tree;
  std::ofstream{folder_ / file_name_of(watched.process)} << boot_id() << ' ' << root.pid << ' '
                                                         << root.started << ' ' << group << '\n';
}

void ProcessWatch::watch(SlotIndex slot, const LocalProcess& process) {
  for (Watched& one : watched_)
    if (one.process == process) {  // a warm one that was let in again
      one.slot = slot;
      return tell_guard(one);
    }
  FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))};
  watched_.push_back({.slot = slot,
                      .process = process,
                      .pidfd = std::move(pidfd),
                      .tree = {.root = name_of(process)}});
  Watched& fresh = watched_.back();
  // Only of the very process that was let in: its pid may be another's by now.
  if (is_alive(fresh.tree.root)) fresh.tree.group = set_apart(process.pid, file_name_of(process));
  note(fresh);
  tell_guard(fresh);
}

void ProcessWatch::end_by(SlotIndex slot, Instant kill_at) {
  kill_at_[slot] = kill_at;
  if (kill_at == Instant::never()) kill_at_.erase(slot);
  for (const Watched& one : watched_)
    if (one.slot == slot && !one.killing) tell_guard(one);
}

void ProcessWatch::tell_guard(const Watched& watched) {
  const auto at = kill_at_.find(watched.slot);
  guard_.guard(watched.tree.root, watched.tree.group,
               at == kill_at_.end() ? Instant::never() : at->second);
}

void ProcessWatch::kill(Watched& watched) {
  watched.killing = true;
  watched.tree.kill();
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
  if (guard_.control() >= 0) all.push_back(guard_.control());
  for (const Watched& one : watched_)
    if (one.pidfd && !one.killing) all.push_back(one.pidfd.get());
  return all;
}

bool ProcessWatch::wants_time() const {
  return std::any_of(watched_.begin(), watched_.end(),
                     [](const Watched& one) { return one.killing || !one.pidfd; });
}

bool ProcessWatch::is_gone(Watched& watched) {
  if (is_alive(watched.tree.root)) return false;
  // Of one that ended by itself only its group can tell what it had started.
  if (watched.killing || !watched.tree.group.empty()) kill(watched);
  return watched.tree.is_gone();
}

std::vector<std::pair<SlotIndex, LocalProcess>> ProcessWatch::take_gone() {
  if (guard_.is_lost())
    for (const Watched& one : watched_) tell_guard(one);
  std::vector<std::pair<SlotIndex, LocalProcess>> gone;
  std::erase_if(watched_, [&](Watched& one) {
    if (!is_gone(one)) return false;
    gone.emplace_back(one.slot, one.process);
    guard_.forget(one.tree.root);
    std::error_code ignored;
    std::filesystem::remove(folder_ / file_name_of(one.process), ignored);
    return true;
  });
  return gone;
}

}  // namespace gpupool
