#pragma once
// The pool as an operator sees it: nodes and queue at one moment, and what broker and ledger count.
// Counters only grow, from the start of this process on: who wants a rate takes two of them.

#include <array>

#include "actors/messages/parts.h"
#include "actors/messages/worker.h"

namespace gpupool {

// ---- Nodes and queue ---------------------------------------------------------------------------

// suspected: not heard of for a while; what it runs goes on, and it gets no new leases.
enum class NodeState : std::uint8_t { healthy = 1, draining = 2, lost = 3, suspected = 4 };

struct SlotView {
  SlotIndex slot;
  std::uint32_t device = 0;
  SlotState state{};
  std::string warm_app;
  JobId job;  // 0: none
  AccountId account;
  std::string app;
  Instant ends_by{};  // the latest end of that job
  std::string partition;
  std::string reservation;  // that has it, now or soon; empty: none
  std::string why;          // it takes no jobs; empty: it does
  Instant since{};          // the job has it
  auto fields() {
    return std::tie(slot, device, state, warm_app, job, account, app, ends_by, partition,
                    reservation, why, since);
  }
};

struct NodeView {
  std::string name;
  NodeState state{};
  std::string build;
  Instant seen{};
  std::vector<SlotView> slots;
  std::vector<std::string> devices;  // what each is, by their numbers
  auto fields() { return std::tie(name, state, build, seen, slots, devices); }
};

struct QueueEntry {
  JobId job;
  AccountId account;
  std::string tier;
  std::string app;
  std::string size;
  JobState state{};
  std::uint32_t position = 0;  // queued: 1 is likely the next; 0: not known
  Duration declared{};
  Instant admitted_at{};
  Instant promise{};
  Instant likely_start{};
  std::string node;
  std::string partition;  // or the reservation, in whose queue it stands
  auto fields() {
    return std::tie(job, account, tier, app, size, state, position, declared, admitted_at, promise,
                    likely_start, node, partition);
  }
};

// ---- What is counted ----------------------------------------------------------------------------

// The upper bounds of buckets, in microseconds; one more bucket takes what is beyond the last.
inline constexpr std::array<std::int64_t, 13> wait_bounds_us{
    100'000,    500'000,     1'000'000,   2'000'000,   5'000'000,     10'000'000,   30'000'000,
    60'000'000, 120'000'000, 300'000'000, 600'000'000, 1'800'000'000, 3'600'000'000};
inline constexpr std::array<std::int64_t, 10> run_bounds_us{
    500'000,    1'000'000,  2'000'000,   5'000'000,   10'000'000,
    30'000'000, 60'000'000, 120'000'000, 300'000'000, 600'000'000};
inline constexpr std::array<std::int64_t, 10> commit_bounds_us{
    500, 1'000, 2'000, 5'000, 10'000, 20'000, 50'000, 100'000, 500'000, 1'000'000};

// How many measures fell into each bucket (actors/histogram.h).
struct Histogram {
  std::vector<std::uint64_t> counts;  // empty: none was taken
  std::int64_t sum_us = 0;
  auto fields() { return std::tie(counts, sum_us); }
};

// A slot was a job's from `from` to `to`; it ran from `began` on, or not at all (0).
struct SlotSpan {
  std::string node;
  SlotIndex slot;
  JobId job;
  AccountId account;
  std::string app;
  Instant from{};
  Instant began{};
  Instant to{};  // 0: it still is
  auto fields() { return std::tie(node, slot, job, account, app, from, began, to); }
};

// From the broker to the console, about once a second while it leads.
struct PoolPulse {
  Instant at{};
  std::uint64_t admitted = 0;
  std::uint64_t started = 0;   // leases
  std::uint64_t requeued = 0;  // runs lost by the pool's fault
  std::uint64_t missed = 0;    // leases after what was promised
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t expired = 0;
  std::uint64_t cancelled = 0;
  GpuTime charged;
  Histogram waits;           // from admission to the lease, by wait_bounds_us
  Histogram runs;            // what is charged, before the factor, by run_bounds_us
  std::uint64_t queued = 0;  // jobs at this moment
  std::uint64_t starting = 0;
  std::uint64_t running = 0;
  std::uint64_t slots_free = 0;
  std::uint64_t slots_busy = 0;
  std::uint64_t slots_down = 0;  // those of lost nodes among them
  std::uint64_t healthy = 0;     // nodes
  std::uint64_t draining = 0;
  std::uint64_t suspected = 0;
  std::uint64_t lost = 0;
  std::vector<SlotSpan> spans;  // that ended since the last pulse
  std::uint64_t left_out = 0;   // and so many more did
  auto fields() {
    return std::tie(at, admitted, started, requeued, missed, succeeded, failed, expired, cancelled,
                    charged, waits, runs, queued, starting, running, slots_free, slots_busy,
                    slots_down, healthy, draining, suspected, lost, spans, left_out);
  }
};

// From the ledger to the console, once a second at most, after a commit.
struct LedgerPulse {
  Instant at{};
  std::uint64_t commits = 0;
  std::uint64_t records = 0;
  Histogram commit_times;      // by commit_bounds_us
  std::uint64_t sequence = 0;  // of the last record
  auto fields() { return std::tie(at, commits, records, commit_times, sequence); }
};

// ---- All of it ----------------------------------------------------------------------------------

struct CodeCount {
  Errc code{};
  std::uint64_t count = 0;
  auto fields() { return std::tie(code, count); }
};

// A minute, or a quarter of an hour: what happened in it.
struct PoolPeriod {
  Instant at{};                     // its beginning
  std::uint32_t busy_permille = 0;  // of the slots that were up
  std::uint64_t started = 0;
  Duration wait_mean{};
  Duration wait_p95{};  // the bucket's upper bound
  Duration wait_max{};  // likewise
  std::uint64_t refused = 0;
  auto fields() {
    return std::tie(at, busy_permille, started, wait_mean, wait_p95, wait_max, refused);
  }
};

struct AuditSeen {
  Instant at{};  // 0: there was none yet
  std::string who;
  std::vector<std::string> findings;
  std::uint64_t sequence = 0;
  std::uint64_t open_holds = 0;
  std::uint64_t accounts = 0;
  auto fields() { return std::tie(at, who, findings, sequence, open_holds, accounts); }
};

struct Overview {
  Instant at{};
  Instant started_at{};
  std::vector<NodeView> nodes;
  std::uint64_t slots_left_out = 0;  // of nodes that are not in the list
  std::vector<QueueEntry> queue;     // the oldest open jobs
  std::uint64_t waiting = 0;         // queued jobs in all
  bool more_jobs = false;
  PoolPulse pulse;
  LedgerPulse ledger;
  std::uint32_t commits_per_minute = 0;  // in the last one
  std::uint32_t records_per_minute = 0;
  std::vector<CodeCount> refused;         // since the start
  std::vector<CodeCount> refused_minute;  // the last one
  std::vector<CodeCount> refused_hour;
  std::vector<PoolPeriod> hour;  // minutes, the oldest first
  std::vector<PoolPeriod> day;   // quarters of an hour, likewise
  Instant spans_from{};
  std::vector<SlotSpan> spans;       // of the last 15 minutes, the oldest first
  std::uint64_t spans_left_out = 0;  // that were too many
  AuditSeen audit;
  std::string announcement;
  auto fields() {
    return std::tie(at, started_at, nodes, slots_left_out, queue, waiting, more_jobs, pulse, ledger,
                    commits_per_minute, records_per_minute, refused, refused_minute, refused_hour,
                    hour, day, spans_from, spans, spans_left_out, audit, announcement);
  }
};

}  // namespace gpupool
