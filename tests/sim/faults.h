#pragma once
// What a seed decides before a simulation starts: the pool's sizes and limits, often tiny; how bad
// its links are; and what breaks when. Pure values.
//
// How a write can fail behind a journal whose append is one transaction of a database, and which
// fault it is: it fails and says so, the disk is full: journal_refuses. The process dies before it,
// or it fails and nobody can tell: commit_lost. The process dies after it and before its answers
// left, or the answer to the COMMIT was lost: commit_in_doubt; the clients ask again by their ids,
// which is how a batch could be doubled from above. It is doubled from below, by whoever repeats a
// transaction that had arrived: commit_doubled; the second is refused, as it does not follow. The
// power fails within it and the bytes are short or torn: commit_torn; the next start drops what was
// not acknowledged, whole. What was acknowledged and is torn all the same is damage (a disk that
// lied): no start may go over it, and journal_torn_test.cpp and the audit's tests have it.

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "tests/sim/network.h"

namespace gpupool::sim {

enum class FaultKind : std::uint8_t {
  broker_dies,        // its process: broker, ledger and sessions
  commit_lost,        // the process dies in its next commit; nothing of it was written
  commit_in_doubt,    // the process dies in its next commit; all of it was written
  commit_torn,        // the machine does: what was written of its next commit is cut somewhere
  commit_doubled,     // its next commit reaches the journal twice
  journal_refuses,    // the disk is full for a while
  journal_slow,       // every commit takes long for a while
  worker_dies,        // and its executors with it; back after a while, maybe as another build
  partition,          // no message to or from a node for a while
  old_worker_speaks,  // a Join of an earlier incarnation arrives
  rival_leads,        // another broker takes the lead: this one has to end
  broker_stops,       // in good order: its process ends when nothing runs, or at its limit
  worker_stops,       // likewise
  history_fails,      // its store does, for a while
  device_ails         // a GPU is lost, too hot, or has memory errors; better after a while
};

struct Fault {
  FaultKind kind{};
  Instant at{};
  Duration lasts{};
  std::uint32_t node = 0;
};

struct ClientPlan {
  std::string account;
  std::string tier;
  std::uint32_t requests = 0;  // that it will make in all
  Duration pause{};            // between two of its actions, on average
};

// How the executors of a simulation behave; one in so many, 0: never.
struct ExecutorPlan {
  std::uint64_t fails_to_start = 0;
  std::uint64_t starts_late = 0;
  std::uint64_t crashes = 0;
  std::uint64_t hangs = 0;
  std::uint64_t ignores_sigterm = 0;
  std::uint64_t program_fails = 0;
  std::uint64_t device_fails = 0;
  std::uint64_t runs_too_long = 0;
  std::uint64_t result_vanishes = 0;
};

struct Plan {
  std::uint64_t seed = 0;
  Config config;  // of the broker's process; the nodes differ in their names
  std::uint32_t nodes = 1;
  std::vector<std::vector<DeviceConfig>> devices;  // of each node
  bool combined = false;                           // one process with both roles
  Instant start{};
  Duration faults_last{};  // then everything heals and no new requests are made
  LinkFaults links;
  ExecutorPlan executors;
  std::vector<Fault> faults;
  std::vector<ClientPlan> clients;
};

Plan draw_plan(std::uint64_t seed);

const char* name_of(FaultKind kind);

}  // namespace gpupool::sim
