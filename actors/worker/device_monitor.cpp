#include "actors/worker/device_monitor.h"

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "actors/worker/nvml.h"

namespace gpupool {
namespace {

constexpr std::chrono::seconds patience_at_the_end{2};

}  // namespace

// Shared with the thread, which may outlive its monitor.
struct DeviceMonitor::State {
  std::filesystem::path library;
  std::chrono::milliseconds interval{};
  std::map<std::uint32_t, std::string> devices;  // by their places in the configuration
  Events events;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;  // guarded by mutex, as are the events: after the end nobody is called
  bool ended = false;

  void run();
  bool look(std::unique_ptr<Nvml>& nvml, bool& told);
};

// False: it is time to end.
bool DeviceMonitor::State::look(std::unique_ptr<Nvml>& nvml, bool& told) {
  std::optional<Error> blind;
  if (nvml == nullptr) {
    auto opened = Nvml::open(library);
    if (opened)
      nvml = *std::move(opened);
    else
      blind = opened.error();
  }
  std::vector<DeviceHealth> all;
  for (const auto& [place, device] : devices) {
    if (nvml == nullptr) break;
    all.push_back(nvml->health_of(device));
    all.back().device = place;
  }
  const std::scoped_lock lock{mutex};
  if (stopping) return false;
  for (const DeviceHealth& one : all) events.seen(one);
  if (blind && !std::exchange(told, true)) events.blind(*blind);
  told = told && blind;
  return true;
}

void DeviceMonitor::State::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);  // signals are for the daemon's own threads
  std::unique_ptr<Nvml> nvml;
  bool told = false;
  while (look(nvml, told)) {
    std::unique_lock lock{mutex};
    if (changed.wait_for(lock, interval, [this] { return stopping; })) break;
  }
  nvml.reset();
  const std::scoped_lock lock{mutex};
  ended = true;
  changed.notify_all();
}

DeviceMonitor::DeviceMonitor(const WorkerConfig& worker, std::filesystem::path library,
                             Events events)
    : state_(std::make_shared<State>()) {
  state_->library = std::move(library);
  state_->interval = std::chrono::milliseconds(worker.health_interval.ms);
  state_->events = std::move(events);
  for (std::uint32_t i = 0; i < worker.devices.size(); ++i)
    if (worker.devices[i].kind == DeviceKind::cuda)
      state_->devices.emplace(i, worker.devices[i].device);
  std::thread([state = state_] { state->run(); }).detach();
}

DeviceMonitor::~DeviceMonitor() {
  std::unique_lock lock{state_->mutex};
  state_->stopping = true;
  state_->changed.notify_all();
  state_->changed.wait_for(lock, patience_at_the_end, [this] { return state_->ended; });
}

}  // namespace gpupool
