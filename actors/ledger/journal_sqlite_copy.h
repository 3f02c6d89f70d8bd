#pragma once
// JournalSqliteCopy: a ledger file that a daemon may be writing to, copied as it was at one moment
// and opened. The daemon's lock is neither taken nor waited for, and its file is only read. It owns
// the copy, in a folder of its own under $TMPDIR, and removes it. For audits; one thread.

#include <filesystem>
#include <memory>
#include <string>

#include "actors/ledger/journal_sqlite.h"

namespace gpupool {

class JournalSqliteCopy {
 public:
  // Errors: file_unreadable, file_malformed and unsupported (not a ledger that this gpupool reads),
  // journal_corrupt, system_failed (no room for the copy), journal_locked (never still enough).
  static Result<std::unique_ptr<JournalSqliteCopy>> take(const std::string& path);
  ~JournalSqliteCopy();
  JournalSqliteCopy(const JournalSqliteCopy&) = delete;
  JournalSqliteCopy& operator=(const JournalSqliteCopy&) = delete;

  JournalSqlite& journal() { return *journal_; }

 private:
  JournalSqliteCopy(std::string path, std::filesystem::path folder);
  Status copy_files();
  Status open();
  Error named_after_original(Error error) const;

  const std::string path_;  // the original
  const std::filesystem::path folder_;
  const std::string copy_;  // the copy of the file, in the folder
  std::unique_ptr<JournalSqlite> journal_;
};

}  // namespace gpupool
