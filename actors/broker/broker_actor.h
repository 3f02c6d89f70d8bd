#pragma once
// The broker's shell: steps the core and learns the handles of the workers that report to it.

#include <functional>

#include "actors/perform.h"

namespace gpupool {

struct BrokerEvents {
  std::function<void()> ready;    // the first time that the pool could run a job
  std::function<void()> deposed;  // another broker took the lead
  std::function<void()> stopped;  // it was told to stop, and nothing runs any more
};

BrokerHandle spawn_broker(caf::actor_system& system, Surroundings around, BrokerEvents events,
                          const std::string& build);

}  // namespace gpupool
