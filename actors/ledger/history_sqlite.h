#pragma once
// HistorySqlite: the HistoryStore in a SQLite file beside the ledger's (WAL, synchronous=NORMAL:
// whole after a crash, perhaps not up to date). A file of another layout or one that is damaged is
// made anew, since all of it can be read from the journal again; a file of another program is left
// alone. One thread.

#include <memory>
#include <string>

#include "actors/ledger/history_store.h"
#include "actors/ledger/sqlite_handle.h"

namespace gpupool {

class HistorySqlite final : public HistoryStore {
 public:
  static constexpr std::int32_t application_id = 0x67706869;  // "gphi"
  static constexpr std::int32_t layout_version = 1;

  // Errors: file_unwritable, file_malformed (of another program), journal_locked, system_failed.
  static Result<std::unique_ptr<HistorySqlite>> open(const std::string& path);
  // Takes the file away, so that the next open begins with an empty one. file_malformed: it is of
  // another program and was left alone.
  static Status remove(const std::string& path);
  ~HistorySqlite() override;

  Result<JournalTail> mark() override;
  Status turn(const HistoryPage& page) override;
  Status clear() override;
  Result<std::vector<HistoryJob>> open_jobs() override;
  Result<std::optional<HistoryJob>> job(JobId job) override;
  Result<std::vector<Receipt>> receipts(const AccountId& account, JobId before,
                                        std::size_t count) override;
  Result<std::vector<UsageDay>> days(const AccountId& account, Instant since,
                                     std::size_t count) override;

 private:
  enum class Find : std::uint8_t { usable, foreign, outdated };

  explicit HistorySqlite(std::string path) : path_(std::move(path)) {}
  Status connect();
  Result<Find> look();
  Status prepare_all();
  Status prepare(const char* sql, SqliteStatement& statement);
  Status execute(const char* sql);
  Status write(const HistoryPage& page);
  Status step_to_end(sqlite3_stmt* statement);
  template <class Take>
  Status each_row(sqlite3_stmt* statement, const Take& take);
  Error failure(const std::string& doing) const;

  const std::string path_;
  SqliteDatabase database_;  // outlives its statements
  SqliteStatement put_job_;
  SqliteStatement add_day_;
  SqliteStatement put_mark_;
  SqliteStatement get_mark_;
  SqliteStatement get_open_;
  SqliteStatement get_job_;
  SqliteStatement get_receipts_;
  SqliteStatement get_days_;
};

}  // namespace gpupool
