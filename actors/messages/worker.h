#pragma once
// Between the broker and a worker, and between a worker and its executors.

#include "actors/messages/parts.h"

namespace gpupool {

// ---- Worker <-> broker -----------------------------------------------------------------------

// held: for a run on another node, whose job has this slot too.
enum class SlotState : std::uint8_t {
  free = 1,
  starting = 2,
  running = 3,
  checking = 4,
  down = 5,
  held = 6
};

struct SlotReport {
  SlotIndex slot;
  std::uint32_t device = 0;
  SlotState state{};
  JobId job;  // of the lease that occupies it; 0: none
  std::uint32_t attempt = 0;
  std::string warm_app;  // the app whose executor is resident; empty: none
  std::string partition = "default";
  Duration ran{};   // since its run began; 0: it did not yet
  Duration held{};  // how long that run may last, by what the worker knows
  std::string why;  // it takes no jobs; empty: it does
  auto fields() {
    return std::tie(slot, device, state, job, attempt, warm_app, partition, ran, held, why);
  }
};

// A slot takes no jobs from now on, or does again (`why` is empty). Said at once; every heartbeat
// says it again.
struct SlotChanged {
  NodeId node;
  std::string name;  // the node's
  SlotIndex slot;
  std::string why;
  auto fields() { return std::tie(node, name, slot, why); }
};

// An operator wants slots that were taken out to be tried again.
struct ResumeSlots {
  Epoch epoch;
  auto fields() { return std::tie(epoch); }
};

// A worker introduces itself: at start, after every lost connection, and to a new epoch.
struct Join {
  NodeId node;
  std::string name;
  Incarnation incarnation;
  std::string build;
  std::uint64_t heartbeat = 0;
  std::vector<SlotReport> slots;
  bool draining = false;             // it ends soon and wants no more leases
  std::vector<std::string> devices;  // what each is, for people, in the order of their numbers
  auto fields() {
    return std::tie(node, name, incarnation, build, heartbeat, slots, draining, devices);
  }
};

struct Joined {
  Epoch epoch;
  Errc refused{};  // 0, why this node may not join, or node_lost: it counts as lost and may join
  std::string detail;
  std::string name;  // the node's
  auto fields() { return std::tie(epoch, refused, detail, name); }
};

struct Heartbeat {
  NodeId node;
  Incarnation incarnation;
  std::uint64_t number = 0;
  std::vector<SlotReport> slots;
  bool draining = false;
  auto fields() { return std::tie(node, incarnation, number, slots, draining); }
};

// The broker knows this node under `epoch`; 0: it does not, join again.
struct HeartbeatSeen {
  Epoch epoch;
  std::uint64_t number = 0;
  auto fields() { return std::tie(epoch, number); }
};

// A job's slots on one node. Where it has some on several nodes each gets a lease of this attempt:
// one node runs it; on the others its ranks work with that run if its app has ranks, and all hold
// their slots until CancelRun, or until that run must be over.
struct Lease {
  JobId job;
  std::uint32_t attempt = 0;
  Epoch epoch;
  NodeId node;
  Incarnation incarnation;
  SlotIndex slot;
  std::uint64_t heartbeat = 0;  // the latest that the broker had of this worker
  std::string app;
  Shared<JobRequest> body;
  Duration declared{};
  std::vector<SlotIndex> more_slots;  // of a bigger size: held with `slot`, which runs it
  NodeId runs_on;                     // another node, and `slot` is only held too; 0: this one
  std::uint32_t elsewhere = 0;        // slots that the job has on other nodes
  Duration held{};  // what is held of `declared`: it ends then unless ExtendRun comes; 0: all
  std::uint32_t first_rank = 0;  // of `slot`; those of more_slots follow
  auto fields() {
    return std::tie(job, attempt, epoch, node, incarnation, slot, heartbeat, app, body, declared,
                    more_slots, runs_on, elsewhere, held, first_rank);
  }
};

// What a rank left for those on other nodes to find it by: from its worker to the broker, and from
// there to the workers of the others.
struct RankShared {
  NodeId node;  // where it was left
  JobId job;
  std::uint32_t attempt = 0;
  std::string key;
  std::string value;
  auto fields() { return std::tie(node, job, attempt, key, value); }
};

// A rank that helped a run on another node is gone: the run can't go on, by the pool's fault.
struct RankLost {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Errc cause{};
  std::string detail;
  auto fields() { return std::tie(node, job, attempt, cause, detail); }
};

// More is held for this run now, durably: it may last so long from when it began. Sent again while
// heartbeats say less.
struct ExtendRun {
  Epoch epoch;
  JobId job;
  std::uint32_t attempt = 0;
  Duration held{};
  auto fields() { return std::tie(epoch, job, attempt, held); }
};

struct LeaseRefused {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Errc code{};
  std::int64_t want = 0;
  std::int64_t have = 0;
  auto fields() { return std::tie(node, job, attempt, code, want, have); }
};

// The model is resident and the run began: from here on it is charged.
struct RunBegan {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(node, job, attempt); }
};

// The caller's process may come: its client is told how.
struct RunGranted {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Shared<Grant> grant;
  auto fields() { return std::tie(node, job, attempt, grant); }
};

struct RunStep {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  auto fields() { return std::tie(node, job, attempt, step, of_steps); }
};

// The executor of a run wants the next piece of the files that it works on: through its worker and
// the broker, which knows whose they are, to the ledger.
struct FetchFiles {
  NodeId node;
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::int64_t offset = 0;
  AccountId account;  // filled in by the broker, as is the hash
  std::string hash;
  auto fields() { return std::tie(node, slot, job, attempt, offset, account, hash); }
};

// And back the same way.
struct FilesPiece {
  NodeId node;
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::int64_t offset = 0;
  std::int64_t total = 0;
  std::string bytes;
  Errc error{};  // result_gone, ledger_unavailable, or 0
  auto fields() { return std::tie(node, slot, job, attempt, offset, total, bytes, error); }
};

// A command was told that it has only so long left.
struct RunWarned {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Duration left{};
  auto fields() { return std::tie(node, job, attempt, left); }
};

// How a run ended; its result, if any, is durable. Sent again until acknowledged.
struct RunEnded {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Epoch epoch;
  Outcome outcome{};
  Errc cause{};
  bool pool_fault = false;  // true: not charged, run again
  std::string detail;
  Duration ran{};
  ResultRef result;
  ResultRef log;
  bool slots_free = false;  // what it ran on can be lent again at once; else a heartbeat says when
  bool began = false;
  std::int32_t exit_code = 0;  // as in Receipt
  std::int32_t signal = 0;
  auto fields() {
    return std::tie(node, job, attempt, epoch, outcome, cause, pool_fault, detail, ran, result, log,
                    slots_free, began, exit_code, signal);
  }
};

struct EndSeen {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

struct CancelRun {
  Epoch epoch;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(epoch, job, attempt); }
};

// ---- Worker <-> its executors (inside one node) ----------------------------------------------

// What the node's monitor sees of a GPU that it lends.
struct DeviceHealth {
  std::uint32_t device = 0;  // its place in the configuration
  bool lost = false;
  std::string detail;                    // lost: the driver's words
  std::uint32_t temperature = 0;         // degrees Celsius; 0: not known
  std::uint64_t uncorrected_errors = 0;  // of its memory, since the driver was loaded
  auto fields() { return std::tie(device, lost, detail, temperature, uncorrected_errors); }
};

// Make the executor of `app` resident on a slot, or take up the one that was set aside there;
// answered by ExecutorReady or ExecutorExited.
struct StartExecutor {
  SlotIndex slot;
  std::string app;
  auto fields() { return std::tie(slot, app); }
};

struct StartRun {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::string app;
  Shared<JobRequest> body;
  std::uint32_t rank = 0;   // of those that do it together; 0 gives the result
  std::uint32_t ranks = 1;  // how many there are
  std::uint32_t slots = 1;  // that the job has here
  Duration declared{};
  auto fields() { return std::tie(slot, job, attempt, app, body, rank, ranks, slots, declared); }
};

// What a rank leaves for the others to find it by, and what one of them has left.
struct RankLeft {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::string key;
  std::string value;
  auto fields() { return std::tie(slot, job, attempt, key, value); }
};
struct RankFound {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::string key;
  std::string value;
  auto fields() { return std::tie(slot, job, attempt, key, value); }
};

// The supervisor ends what runs on the slot: SIGUSR1 at `warn_at` (worker's boot clock; 0: none),
// SIGTERM at `at`, SIGKILL at `kill_at`. A later EndBy replaces an earlier one.
struct EndBy {
  SlotIndex slot;
  Instant at{};
  Instant kill_at{};
  Instant warn_at{};
  auto fields() { return std::tie(slot, at, kill_at, warn_at); }
};

// The run is over: the timer is off, the executor stays resident.
struct Disarm {
  SlotIndex slot;
  auto fields() { return std::tie(slot); }
};

// Kill everything of the slot's executor now and report ExecutorExited once nothing of it is left.
struct KillExecutor {
  SlotIndex slot;
  std::string app;  // of one that was set aside; empty: the resident one
  auto fields() { return std::tie(slot, app); }
};

// The resident executor stays warm beside the slot: another one may become resident.
struct SetAside {
  SlotIndex slot;
  auto fields() { return std::tie(slot); }
};

struct ExecutorReady {
  SlotIndex slot;
  std::string app;
  auto fields() { return std::tie(slot, app); }
};

struct ExecutorBegan {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(slot, job, attempt); }
};

struct ExecutorStep {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  auto fields() { return std::tie(slot, job, attempt, step, of_steps); }
};

// The run gave a result, already durable in the node's store (rank 0 alone does), or ended by
// itself without one: `cause` program_failed with `detail`, or 0 with `stopped` after SIGTERM.
struct ExecutorDone {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  Errc cause{};
  bool stopped = false;
  std::string detail;
  ResultRef result;
  ResultRef log;
  Duration ran{};  // a command, from exec to reaped; 0: as long as it took to hear of it
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  auto fields() {
    return std::tie(slot, job, attempt, cause, stopped, detail, result, log, ran, exit_code,
                    signal);
  }
};

// Nothing of the executor is left on the slot: exited or killed, reaped, its children too.
struct ExecutorExited {
  SlotIndex slot;
  std::int32_t signal = 0;  // that ended it; 0: it exited by itself
  std::int32_t exit_code = 0;
  std::string detail;
  ResultRef log;    // of the run that it ended, if one was on
  std::string app;  // of one that was set aside; empty: the resident one
  auto fields() { return std::tie(slot, signal, exit_code, detail, log, app); }
};

// ---- Callers' own processes, through the device API of their node
// ----------------------------------

// A process shows a lease's token and wants to compute. That it is the caller's was checked before.
struct AllowProcess {
  std::uint64_t query = 0;
  std::string token;
  LocalProcess process;
  auto fields() { return std::tie(query, token, process); }
};

// The caller is done. `failed`: its process is of no more use, and is killed.
struct ReleaseLease {
  std::uint64_t query = 0;
  std::string token;
  bool failed = false;
  auto fields() { return std::tie(query, token, failed); }
};

// The answer to both: 0, job_unknown (no lease has this token), forbidden (another process has it).
struct LeaseAnswer {
  std::uint64_t query = 0;
  Errc error{};
  bool unused = false;  // released, and no process ever came
  auto fields() { return std::tie(query, error, unused); }
};

// Watch a process that was let in on a slot, until ProcessGone.
struct WatchProcess {
  SlotIndex slot;
  LocalProcess process;
  auto fields() { return std::tie(slot, process); }
};

// Kill it and what descends from it.
struct KillProcess {
  SlotIndex slot;
  LocalProcess process;
  auto fields() { return std::tie(slot, process); }
};

// Nothing of it is left.
struct ProcessGone {
  SlotIndex slot;
  LocalProcess process;
  auto fields() { return std::tie(slot, process); }
};

}  // namespace gpupool
