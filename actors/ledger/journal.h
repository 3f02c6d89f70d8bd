#pragma once
// Journal: where the ledger's records become durable, a batch a commit. One interface over memory
// (tests), SQLite and PostgreSQL; tests/actors/ledger/journal_test.cpp is its contract, run over
// every one. What always holds: the records stand in it by sequence from 1 without gaps, unchanged
// for ever, each chained to the one before it (actors/ledger/batch.h). Used by one thread, the
// ledger's.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "actors/ledger/batch.h"
#include "base/sure_until.h"

namespace gpupool {

// Whose files, by the hash that the account has announced.
struct UploadName {
  AccountId account;
  std::string hash;
  friend auto operator<=>(const UploadName&, const UploadName&) = default;
};

// The pieces of an upload come in order, without gaps.
struct UploadPiece {
  UploadName name;
  std::int64_t total = 0;  // of all of it
  std::int64_t offset = 0;
  std::string bytes;
};

struct UploadFound {
  UploadName name;
  std::int64_t total = 0;
  std::int64_t stored = 0;  // of it, from the beginning
};

class Journal {
 public:
  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  virtual ~Journal() = default;

  // All of `batch` becomes durable, the blobs of its holds too, or none of it; and the blobs of the
  // holds that it closes are gone. Returns when it is durable. The first sequence
  // follows the last one in the journal, and times never go back. Otherwise, or when the system
  // cleanly refused (disk full, read-only): journal_refused, nothing was written, and the journal
  // may be used again. outcome_unknown: nobody can tell; the process has to end and replay.
  virtual Status append(std::span<const Record> batch, const ClockStamp& stamp) = 0;

  // The same for a batch that only gives back, right after an append was cleanly refused: it may
  // use what the journal keeps back for this. One without a reserve has no more to give.
  virtual Status append_from_reserve(std::span<const Record> batch, const ClockStamp& stamp) {
    return append(batch, stamp);
  }

  // The batches that follow record `sequence`, as they were written: as many as fit into
  // `bytes_max`, and one if there is any at all. journal_corrupt names in `want` the record from
  // which on nothing can be read.
  virtual Result<std::vector<std::string>> batches_after(std::uint64_t sequence,
                                                         std::size_t bytes_max) = 0;

  virtual Result<JournalTail> tail() = 0;

  // The bytes of an open job's blob; empty: there is none.
  virtual Result<std::string> blob(JobId job) = 0;

  // Files of callers (actors/ledger/uploads.h), beside the records. All of these pieces become
  // durable, or none: journal_refused, or outcome_unknown where a later look will tell.
  virtual Status add_to_uploads(std::span<const UploadPiece> pieces) = 0;
  virtual Result<std::vector<UploadFound>> uploads() = 0;
  // The piece that begins there; empty: none does.
  virtual Result<std::string> upload_piece(const UploadName& name, std::int64_t offset) = 0;
  virtual Status remove_upload(const UploadName& name) = 0;

  // Until when nobody else can own it. None: nobody can while it is open.
  virtual std::shared_ptr<const SureUntil> sure_until() const { return nullptr; }

  using Visit = std::function<Status(const StoredRecord&)>;
  // Every record after `from` as it stands, in order, whatever it says; for audits. `from` moves
  // along. Ends early with the visitor's error.
  Status read(JournalTail& from, const Visit& visit);
  Status read(const Visit& visit) {
    JournalTail begin;
    return read(begin, visit);
  }

  // Every record after `from` in order. Ends early with the visitor's error; journal_corrupt names
  // in `want` the first record that is missing or not as it was written.
  Status replay(JournalTail from, const std::function<Status(const Record&)>& visit);
  Status replay(const std::function<Status(const Record&)>& visit) { return replay({}, visit); }
};

// The first thing wrong with appending `batch` after `tail`; every journal refuses it so.
Status check_continuation(const JournalTail& tail, std::span<const Record> batch);

}  // namespace gpupool
