#pragma once
// Batch: the records of one commit, as every journal stores them: one string of bytes, so that the
// database's cost is per commit and not per record. Every record is chained to the one before it:
// its digest is BLAKE2b-256 over that one's digest and its own bytes. So a changed byte is found
// and located, nothing can be taken out or put in between, and the last digest, once noted
// elsewhere, vouches for all of the history. Pure; no thread of its own.
//
// Layout, integers little-endian; the head is chained like a record:
//   head    u32 size, pack(BatchHead),                 digest
//   record  u32 size, i64 time in ms, pack(RecordBody), digest       BatchHead::count times

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "actors/ledger/records.h"
#include "base/result.h"

namespace gpupool {

using Digest = std::array<char, 32>;

// BLAKE2b-256.
Digest digest_of(std::string_view bytes);

// "9f86d081...", 64 characters.
std::string hex(std::string_view bytes);
inline std::string hex(const Digest& digest) { return hex({digest.data(), digest.size()}); }

// One reading of this machine's clocks, taken by a shell. Every batch is stamped with one, so that
// a start can tell a clock that was set from time that passed (actors/ledger/ledger_clock.h).
struct ClockStamp {
  Instant wall{};       // CLOCK_REALTIME
  Instant boot{};       // CLOCK_BOOTTIME
  std::string boot_id;  // /proc/sys/kernel/random/boot_id
  auto fields() { return std::tie(wall, boot, boot_id); }
};

struct BatchHead {
  std::uint64_t first = 0;  // sequence of its first record
  std::uint64_t count = 0;  // how many there are, at least 1
  ClockStamp stamp;
  auto fields() { return std::tie(first, count, stamp); }
};

// The end of a journal: its last record, and the stamp of the batch that this record came with.
struct JournalTail {
  std::uint64_t sequence = 0;  // 0: the journal is empty
  Instant at{};
  ClockStamp stamp;
  Digest digest{};  // of the last record: of all of the history
};

// A record as it stands in a batch, whatever it says.
struct StoredRecord {
  std::uint64_t sequence = 0;
  Instant at{};
  std::string_view body;  // of the batch that is being read
  Digest digest{};        // as it stands behind it
  bool intact = true;     // as it was written, and after the record that was read before it
};

// The bytes of a batch that follows `tail`, which moves to its end. At least one record.
std::string encode_batch(std::span<const Record> records, const ClockStamp& stamp,
                         JournalTail& tail);

// Visits every record of a batch that should follow `tail`, which moves along; ends early with the
// visitor's error. journal_corrupt, `want` = the record: from there on the bytes cannot be told
// apart. Damage that leaves the rest readable is said by StoredRecord::intact.
Status read_batch(std::string_view bytes, JournalTail& tail,
                  const std::function<Status(const StoredRecord&)>& visit);

// The end of this batch as it stands, unchecked: replays check. journal_corrupt, want = 0.
Result<JournalTail> tail_of_batch(std::string_view bytes);

// journal_corrupt, want = its sequence: not as it was written. unsupported: written as it stands,
// but by another gpupool.
Result<Record> record_of(const StoredRecord& stored);

}  // namespace gpupool
