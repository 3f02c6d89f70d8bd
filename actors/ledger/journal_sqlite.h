#pragma once
// JournalSqlite: the journal in one SQLite file (WAL, synchronous=FULL; a batch is one row, and one
// transaction). It owns the file exclusively from open() to its destruction: a second daemon gets
// journal_locked. The file says what it is (application_id) and how it is laid out (user_version);
// both are checked. Once a write was in doubt, every further append is too. Beside it lies a
// reserve (`<path>-reserve`) for a full disk: until that is whole again, only what may use it is
// written. One thread.

#include <memory>
#include <string>

#include "actors/ledger/blob.h"
#include "actors/ledger/journal.h"
#include "actors/ledger/journal_sqlite_reserve.h"
#include "actors/ledger/recent_batches.h"
#include "actors/ledger/sqlite_handle.h"

namespace gpupool {

class JournalSqlite final : public Journal {
 public:
  static constexpr std::int32_t application_id = 0x67707570;  // "gpup"
  static constexpr std::int32_t layout_version = 3;

  // Creates the file if it is not there; its folder has to be. Errors: file_unwritable (no such
  // folder, read-only), journal_locked, file_malformed (not a ledger), unsupported (of a newer
  // version), journal_corrupt, system_failed; file_unwritable also if there is no room for the
  // reserve.
  static Result<std::unique_ptr<JournalSqlite>> open(const std::string& path,
                                                     std::int64_t reserve_bytes = 0);
  ~JournalSqlite() override;

  Status append(std::span<const Record> batch, const ClockStamp& stamp) override;
  Status append_from_reserve(std::span<const Record> batch, const ClockStamp& stamp) override;
  Result<std::vector<std::string>> batches_after(std::uint64_t sequence,
                                                 std::size_t bytes_max) override;
  Result<JournalTail> tail() override;
  Result<std::string> blob(JobId job) override;
  Status add_to_uploads(std::span<const UploadPiece> pieces) override;
  Result<std::vector<UploadFound>> uploads() override;
  Result<std::string> upload_piece(const UploadName& name, std::int64_t offset) override;
  Status remove_upload(const UploadName& name) override;

 private:
  explicit JournalSqlite(std::string path);

  Status open_file();
  Status check_identity();
  Status take_file();
  Status create_layout();
  Status prepare_statements();
  Status read_tail();

  Status execute(const char* sql, Errc code);
  Result<SqliteStatement> prepare(const char* sql);
  Result<std::int64_t> number(const char* sql);
  Status write(std::span<const Record> batch, const ClockStamp& stamp);
  Status insert(const SqliteStatement& statement, std::uint64_t key, std::string_view bytes);
  Status change_blobs(const BlobChanges& changes);
  Status roll_back(const Error& why);
  Error failure(Errc code, const std::string& doing) const;
  Error opening_failure(const std::string& doing) const;

  std::string path_;
  SqliteDatabase database_;  // outlives its statements
  SqliteStatement insert_batch_;
  SqliteStatement read_batches_;
  SqliteStatement insert_blob_;
  SqliteStatement remove_blob_;
  SqliteStatement read_blob_;
  SqliteStatement insert_piece_;
  SqliteStatement read_piece_;
  SqliteStatement remove_upload_;
  JournalTail tail_;
  RecentBatches recent_;  // that this process wrote
  DiskReserve reserve_;
  std::int64_t found_version_ = 0;  // of the file's layout; 0: nothing was ever written to it
  bool in_doubt_ = false;
};

}  // namespace gpupool
