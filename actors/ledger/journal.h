#pragma once
// Journal: where the ledger's records become durable. One interface over memory (tests), SQLite
// and, later, PostgreSQL; tests/actors/ledger/journal_test.cpp is its contract, run over every one.
// What always holds: the records stand in it by sequence from 1 without gaps, unchanged for ever.
// Used by one thread, the ledger's.

#include <functional>
#include <span>
#include <string>

#include "actors/ledger/records.h"
#include "base/result.h"

namespace gpupool {

// One reading of this machine's clocks, taken by a shell. Every batch is stamped with one, so that
// a start can tell a clock that was set from time that passed (actors/ledger/ledger_clock.h).
struct ClockStamp {
  Instant wall{};       // CLOCK_REALTIME
  Instant boot{};       // CLOCK_BOOTTIME
  std::string boot_id;  // /proc/sys/kernel/random/boot_id
  auto fields() { return std::tie(wall, boot, boot_id); }
};

// The end of a journal: its last record and the stamp of the batch that this record came with.
struct JournalTail {
  std::uint64_t sequence = 0;  // 0: the journal is empty
  Instant at{};
  ClockStamp stamp;
};

class Journal {
 public:
  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  virtual ~Journal() = default;

  // All of `batch` becomes durable, or none of it. Returns when it is durable. The first sequence
  // follows the last one in the journal, and times never go back. Otherwise, or when the system
  // cleanly refused (disk full, read-only): journal_refused, nothing was written, and the journal
  // may be used again. outcome_unknown: nobody can tell; the process has to end and replay.
  virtual Status append(std::span<const Record> batch, const ClockStamp& stamp) = 0;

  // Every record in order. Ends early with the visitor's error; journal_corrupt names in `want` the
  // first record that is missing or not as it was written.
  virtual Status replay(const std::function<Status(const Record&)>& visit) = 0;

  virtual Result<JournalTail> tail() = 0;
};

// The first thing wrong with appending `batch` after `tail`; every journal refuses it so.
inline Status check_continuation(const JournalTail& tail, std::span<const Record> batch) {
  std::uint64_t sequence = tail.sequence;
  Instant at = tail.at;
  for (const Record& record : batch) {
    if (record.sequence != sequence + 1)
      return Error{.code = Errc::journal_refused,
                   .detail = "record " + std::to_string(record.sequence) +
                             " cannot follow record " + std::to_string(sequence)};
    if (record.at < at)
      return Error{.code = Errc::journal_refused,
                   .detail = "record " + std::to_string(record.sequence) +
                             " is older than the record before it"};
    sequence = record.sequence;
    at = record.at;
  }
  return ok();
}

}  // namespace gpupool
