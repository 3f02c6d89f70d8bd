#pragma once
// The history's shell, beside the ledger's. Runs on a thread of its own, since its store waits for
// the disk; of low priority, since the ledger's commits do not wait for it.

#include <functional>
#include <memory>

#include "actors/ledger/history.h"
#include "actors/perform.h"

namespace gpupool {

struct HistoryEvents {
  std::function<void(const Error&)> trouble;  // questions about the past cannot be answered now
  std::function<void()> rebuilt;              // it began from the start: it was another journal's
};

// Tests in virtual time keep the history on their own thread.
enum class HistoryThread : std::uint8_t { own, shared };

// Registers itself in the directory, which knows the ledger already.
void spawn_history(caf::actor_system& system, Surroundings around, HistoryEvents events,
                   std::unique_ptr<HistoryStore> store, HistoryThread thread = HistoryThread::own);

}  // namespace gpupool
