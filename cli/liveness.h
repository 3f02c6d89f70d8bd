#pragma once
// Liveness: whether the actors of this process still answer. It poses as a session that no client
// has and asks each role a small question; the role's own thread has to step its core, and the
// ledger to finish its commit, before the answer comes. For systemd's watchdog. One thread asks.

#include <atomic>
#include <cstdint>
#include <memory>

#include "actors/perform.h"

namespace gpupool {

class Liveness {
 public:
  // `worker` is this process's own, or empty.
  Liveness(caf::actor_system& system, std::shared_ptr<Directory> directory, WorkerHandle worker);
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  // Whether everything that was asked last time has been answered; if so, asks anew.
  bool ask();

 private:
  struct Counts {
    std::atomic<int> unanswered{0};
  };
  class Asker;

  const std::shared_ptr<Directory> directory_;
  const std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
  SessionHandle asker_;
};

}  // namespace gpupool
