#pragma once
// What must hold of a cluster after anything that happened to it, judged from four witnesses who
// know nothing of each other: what clients asked and were told, the receipts of their accounts, the
// executors' own lines about when they were on which slot, and the ledger's records. Pure: it finds
// nothing out itself, and each thing that it can find is shown to it in checker_test.cpp.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actors/ledger/records.h"
#include "actors/messages.h"

namespace gpupool::test {

// One request as its client saw it, from the first submit to the end.
struct Asked {
  AccountId account;
  RequestId request;
  std::vector<JobId> jobs;        // that events named it by; none: never acknowledged
  std::vector<Receipt> receipts;  // that it was told at its end
  std::optional<Errc> refused;
  bool has_end() const { return !receipts.empty() || refused; }
};

// One run as its executor wrote it down, in the host's CLOCK_MONOTONIC.
struct SeenRun {
  std::string node;
  std::uint32_t device = 0;
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t rank = 0;
  Instant began{};
  Instant ended{};     // 0: it was killed, or still runs
  std::string ending;  // "result", "failed", "stopped"; empty as above
  bool alone = true;   // the kernel gave it the slot's lock
};

// A time in which a node's worker could not look at its clock: it was stopped.
struct Pause {
  std::string node;
  Instant from{};
  Instant until{};
};

struct Evidence {
  std::vector<Asked> asked;
  std::map<AccountId, std::vector<Receipt>> receipts;  // every page of every account
  std::vector<SeenRun> runs;
  std::vector<Pause> pauses;
  std::vector<Hold> holds;  // of the journal, of these accounts
  std::vector<HoldSettled> settles;
  std::string audit;  // what it found; empty: everything adds up
};

struct Bounds {
  // What may lie between the two measures of one run, the executor's and the worker's. Its
  // beginning and its end are each told through a socket, a thread and an actor's mailbox, and its
  // result is made durable before its end counts: on an idle machine some milliseconds. `held_up`
  // is the longest that this machine kept a thread waiting that wrote a page and was ready to go on
  // (pace.h): the beginning, the end and the result may each be late by that.
  Duration held_up{};
  Duration measures() const { return milliseconds(50) + held_up * 3; }
};

struct Verdict {
  std::vector<std::string> differences;  // empty: all of it holds
  std::size_t acknowledged = 0;
  std::size_t refused = 0;
  std::size_t delivered = 0;  // receipts of runs that were charged
  std::size_t across = 0;     // of these, by ranks on several nodes
  std::size_t lost_runs = 0;  // runs that nobody was charged for
  Duration widest{};          // between the two measures of a run, without pauses
};

Verdict judge(const Evidence& evidence, const Bounds& bounds);

// The lines of a node's executors; what is no such line is a difference.
std::vector<SeenRun> read_runs(const std::string& node, const std::string& lines,
                               std::vector<std::string>& differences);

}  // namespace gpupool::test
