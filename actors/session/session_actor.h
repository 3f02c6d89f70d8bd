#pragma once
// The shell of one client's session. It ends, and leaves the directory, once its core has finished.

#include <atomic>
#include <memory>

#include "actors/perform.h"

namespace gpupool {

// `in_flight` counts what the gateway handed over and the session has not taken yet.
SessionHandle spawn_session(caf::actor_system& system, Surroundings around, SessionId id,
                            std::shared_ptr<std::atomic<std::int64_t>> in_flight);

}  // namespace gpupool
