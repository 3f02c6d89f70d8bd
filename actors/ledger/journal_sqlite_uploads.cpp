// Files of callers in the ledger's file: rows of their own, beside the batches.
#include <sqlite3.h>

#include <string>

#include "actors/ledger/journal_sqlite.h"

namespace gpupool {
namespace {

void bind_text(sqlite3_stmt* statement, int place, std::string_view text) {
  sqlite3_bind_text64(statement, place, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

void bind_name(sqlite3_stmt* statement, const UploadName& name) {
  bind_text(statement, 1, name.account.text);
  bind_text(statement, 2, name.hash);
}

int step_once(sqlite3_stmt* statement) {
  const int stepped = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return stepped;
}

}  // namespace

// Unlike a batch of records a write in doubt harms nobody: whoever looks finds the pieces, or sends
// them again. It never uses what is kept back for settles.
Status JournalSqlite::add_to_uploads(std::span<const UploadPiece> pieces) {
  if (in_doubt_ || !reserve_.restore())
    return Error{.code = Errc::journal_refused,
                 .detail = path_ + ": the disk is full, or an earlier write was in doubt"};
  if (const auto begun = execute("BEGIN IMMEDIATE", Errc::journal_refused); !begun)
    return roll_back(begun.error());
  for (const UploadPiece& piece : pieces) {
    sqlite3_stmt* statement = insert_piece_.get();
    bind_name(statement, piece.name);
    sqlite3_bind_int64(statement, 3, piece.offset);
    sqlite3_bind_int64(statement, 4, piece.total);
    sqlite3_bind_blob64(statement, 5, piece.bytes.data(), piece.bytes.size(), SQLITE_STATIC);
    if (step_once(statement) != SQLITE_DONE)
      return roll_back(failure(Errc::journal_refused, "write files"));
  }
  if (const auto committed = execute("COMMIT", Errc::journal_refused); !committed)
    return roll_back(committed.error());
  return ok();
}

Result<std::vector<UploadFound>> JournalSqlite::uploads() {
  const auto statement = prepare(
      "SELECT account, hash, max(total), sum(length(bytes)) FROM uploads GROUP BY account, hash");
  if (!statement) return statement.error();
  std::vector<UploadFound> found;
  int stepped = SQLITE_DONE;
  const auto text = [&](int column) {
    const void* bytes = sqlite3_column_text(statement->get(), column);
    return std::string(static_cast<const char*>(bytes),
                       static_cast<std::size_t>(sqlite3_column_bytes(statement->get(), column)));
  };
  while ((stepped = sqlite3_step(statement->get())) == SQLITE_ROW)
    found.push_back({.name = {.account = {.text = text(0)}, .hash = text(1)},
                     .total = sqlite3_column_int64(statement->get(), 2),
                     .stored = sqlite3_column_int64(statement->get(), 3)});
  if (stepped == SQLITE_DONE) return found;
  return failure(Errc::system_failed, "read what files there are");
}

Result<std::string> JournalSqlite::upload_piece(const UploadName& name, std::int64_t offset) {
  sqlite3_stmt* statement = read_piece_.get();
  bind_name(statement, name);
  sqlite3_bind_int64(statement, 3, offset);
  std::string bytes;
  const int stepped = sqlite3_step(statement);
  if (stepped == SQLITE_ROW)
    bytes.assign(static_cast<const char*>(sqlite3_column_blob(statement, 0)),
                 static_cast<std::size_t>(sqlite3_column_bytes(statement, 0)));
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (stepped == SQLITE_ROW || stepped == SQLITE_DONE) return bytes;
  return failure(Errc::system_failed, "read files");
}

Status JournalSqlite::remove_upload(const UploadName& name) {
  bind_name(remove_upload_.get(), name);
  return step_once(remove_upload_.get()) == SQLITE_DONE
             ? ok()
             : Status{failure(Errc::journal_refused, "remove files")};
}

}  // namespace gpupool
