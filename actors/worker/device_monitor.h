#pragma once
// Looks at the GPUs that a node lends, every so often, and reports what it sees: a thread of its
// own, since a driver in trouble can keep a caller for ever. Only reads. Where there is no NVML it
// says so once and tries again at every look. The destructor waits for a look that is on, but not
// for long; a thread that the driver keeps is left behind and reports nothing any more.

#include <filesystem>
#include <functional>
#include <memory>

#include "actors/messages.h"
#include "base/result.h"
#include "config/config.h"

namespace gpupool {

class DeviceMonitor {
 public:
  struct Events {
    std::function<void(const DeviceHealth&)> seen;  // of each cuda device, at each look
    std::function<void(const Error&)> blind;        // once, until it sees again
  };

  // Both are called from its thread. `worker` is read here only.
  DeviceMonitor(const WorkerConfig& worker, std::filesystem::path library, Events events);
  ~DeviceMonitor();
  DeviceMonitor(const DeviceMonitor&) = delete;
  DeviceMonitor& operator=(const DeviceMonitor&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gpupool
