#pragma once
// The ledger's shell: groups whatever waits into one commit. Runs on a thread of its own, since
// every commit waits for the disk.

#include <functional>
#include <memory>

#include "actors/ledger/group_commit.h"
#include "actors/perform.h"

namespace gpupool {

struct LedgerEvents {
  std::function<ClockStamp()> stamp;           // this machine's clocks, for each batch
  std::function<void(const Error&)> refused;   // a batch was cleanly refused, e.g. disk full
  std::function<void(const Error&)> in_doubt;  // nobody knows what is durable: end the process
  // Keeps a snapshot, on a thread of its own; at the end of the actor on the ledger's.
  std::function<void(const GroupCommit::Frozen&)> keep = nullptr;
  // How long commits take is measured with it; none: nobody wants to know.
  std::function<std::int64_t()> steady_us = nullptr;
  std::uint64_t snapshot_records = 0;  // how many records make a new snapshot worth while; 0: none
};

// Tests in virtual time keep the ledger on their own thread; a real one waits for the disk on its
// own.
enum class LedgerThread : std::uint8_t { own, shared };

// `commits` has recovered; its journal outlives the actor.
LedgerHandle spawn_ledger(caf::actor_system& system, Surroundings around, LedgerEvents events,
                          std::unique_ptr<GroupCommit> commits,
                          LedgerThread thread = LedgerThread::own);

}  // namespace gpupool
