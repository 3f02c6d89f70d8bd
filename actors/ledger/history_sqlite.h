#pragma once
// HistorySqlite: the HistoryStore in a SQLite file beside the ledger's (WAL, synchronous=NORMAL:
// whole after a crash, perhaps not up to date). A file of another layout or one that is damaged is
// made anew, since all of it can be read from the journal again; a file of another program is left
// alone. One thread.

#include <memory>
#include <string>

#include "actors/ledger/history_store.h"

struct sqlite3;
struct sqlite3_stmt;

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
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };
  struct CloseStatement {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, CloseStatement>;
  enum class Find : std::uint8_t { usable, foreign, outdated };

  explicit HistorySqlite(std::string path) : path_(std::move(path)) {}
  Status connect();
  Result<Find> look();
  Status prepare_all();
  Status prepare(const char* sql, Statement& statement);
  Status execute(const char* sql);
  Status write(const HistoryPage& page);
  Status step_to_end(sqlite3_stmt* statement);
  template <class Take>
  Status each_row(sqlite3_stmt* statement, const Take& take);
  Error failure(const std::string& doing) const;

  const std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;  // outlives its statements
  Statement put_job_;
  Statement add_day_;
  Statement put_mark_;
  Statement get_mark_;
  Statement get_open_;
  Statement get_job_;
  Statement get_receipts_;
  Statement get_days_;
};

}  // namespace gpupool
