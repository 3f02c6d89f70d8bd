#pragma once
// The worker's shell: steps the core by CLOCK_BOOTTIME, hands its commands to the executors,
// answers questions for results and logs from the node's store, has its GPUs watched, and, in a
// process without a broker, dials the pool's brokers whenever it has none that answers.

#include <functional>
#include <memory>
#include <string>

#include "actors/perform.h"
#include "actors/worker/device_monitor.h"
#include "actors/worker/executor.h"
#include "actors/worker/result_store.h"
#include "base/result.h"

namespace gpupool {

// What a worker runs on. The children end with the last reference to their host: this one and the
// directory's.
struct WorkerParts {
  WorkerHandle actor;
  std::shared_ptr<ResultStore> results;
  std::shared_ptr<ExecutorHost> executors;
  std::shared_ptr<DeviceMonitor> monitor;  // of its GPUs; none: it lends none
};

struct WorkerEvents {
  std::function<void()> stopped;  // it was told to stop, and nothing runs on its slots any more
  std::function<void(const Error&)> blind;  // the health of its GPUs can't be seen
  // Told once each until the broker has taken this node: that it can't be reached, or refuses.
  std::function<void(const std::string& address, const Error&)> unreachable;
  std::function<void(const Error&)> refused;
  std::function<void()> joined;  // after a refusal, at first, or on a new connection
  // In a process without a broker: it has met one at this address, and has lost it, with why.
  std::function<void(const std::string& address)> met = nullptr;
  std::function<void(const std::string& why)> lost = nullptr;
};

// `secret`: 32 random bytes.
Result<WorkerParts> spawn_worker(caf::actor_system& system, Surroundings around,
                                 WorkerEvents events, const std::string& build,
                                 const std::string& secret);

}  // namespace gpupool
