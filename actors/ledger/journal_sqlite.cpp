#include "actors/ledger/journal_sqlite.h"

#include <sqlite3.h>

#include <filesystem>
#include <system_error>
#include <utility>

namespace gpupool {
namespace {

// A batch is named by its last record. `gpupool ledger export` says in JSON what stands in it.
constexpr const char* schema = R"sql(
CREATE TABLE batches (
  last_sequence INTEGER PRIMARY KEY,
  batch         BLOB NOT NULL
) STRICT;
)sql";

// What layout 3 added: requests that are too large for a record, while their job is open.
constexpr const char* schema_of_blobs = R"sql(
CREATE TABLE blobs (
  job     INTEGER PRIMARY KEY,
  request BLOB NOT NULL
) STRICT;
)sql";

// Added without a layout of its own: a gpupool that does not know it leaves it alone.
constexpr const char* schema_of_uploads = R"sql(
CREATE TABLE IF NOT EXISTS uploads (
  account TEXT NOT NULL,
  hash    TEXT NOT NULL,
  place   INTEGER NOT NULL,
  total   INTEGER NOT NULL,
  bytes   BLOB NOT NULL,
  PRIMARY KEY (account, hash, place)
) STRICT;
)sql";

}  // namespace

JournalSqlite::JournalSqlite(std::string path) : path_(std::move(path)) {}
JournalSqlite::~JournalSqlite() = default;

Result<std::unique_ptr<JournalSqlite>> JournalSqlite::open(const std::string& path,
                                                           std::int64_t reserve_bytes) {
  std::unique_ptr<JournalSqlite> journal(new JournalSqlite(path));
  for (const auto step : {&JournalSqlite::open_file, &JournalSqlite::check_identity,
                          &JournalSqlite::take_file, &JournalSqlite::create_layout,
                          &JournalSqlite::prepare_statements, &JournalSqlite::read_tail})
    if (const auto done = (journal.get()->*step)(); !done) return done.error();
  auto reserve = DiskReserve::open(path + "-reserve", reserve_bytes);
  if (!reserve) return reserve.error();
  journal->reserve_ = std::move(*reserve);
  return journal;
}

Error JournalSqlite::failure(Errc code, const std::string& doing) const {
  return {.code = code,
          .detail = path_ + ": " + doing + ": " + sqlite3_errmsg(database_.get()) + " (sqlite " +
                    std::to_string(sqlite3_extended_errcode(database_.get())) + ")"};
}

// While the file is being opened, SQLite's code says what an operator has to do about it.
Error JournalSqlite::opening_failure(const std::string& doing) const {
  switch (sqlite3_errcode(database_.get())) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {.code = Errc::journal_locked,
              .detail = path_ + " is in use by another process; one daemon serves a ledger"};
    case SQLITE_NOTADB:
      return {.code = Errc::file_malformed, .detail = path_ + " is not a gpupool ledger"};
    case SQLITE_CORRUPT:
      return failure(Errc::journal_corrupt, doing);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_FULL:
      return failure(Errc::file_unwritable, doing);
    default:
      return failure(Errc::system_failed, doing);
  }
}

Status JournalSqlite::open_file() {
  const auto parent = std::filesystem::path(path_).parent_path();
  std::error_code ignored;
  if (!parent.empty() && !std::filesystem::is_directory(parent, ignored))
    return Error{.code = Errc::file_unwritable,
                 .detail = path_ + ": the folder " + parent.string() + " does not exist"};
  sqlite3* database = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int opened = sqlite3_open_v2(path_.c_str(), &database, flags, nullptr);
  database_.reset(database);
  if (database == nullptr)
    return Error{.code = Errc::system_failed, .detail = path_ + ": out of memory"};
  sqlite3_extended_result_codes(database, 1);
  if (opened != SQLITE_OK) return opening_failure("open");
  if (sqlite3_db_readonly(database, "main") == 1)
    return Error{.code = Errc::file_unwritable, .detail = path_ + " is read-only"};
  return ok();
}

// Reads only, so that the file of another program stays as it was. Exclusive before the first
// access: whatever lock is taken from then on is kept, and the log needs no shared memory.
Status JournalSqlite::check_identity() {
  if (const auto locked = execute("PRAGMA locking_mode=EXCLUSIVE", Errc::system_failed); !locked)
    return locked;
  const auto application = number("PRAGMA application_id");
  if (!application) return application.error();
  const auto version = number("PRAGMA user_version");
  if (!version) return version.error();
  const auto tables = number("SELECT count(*) FROM sqlite_schema");
  if (!tables) return tables.error();
  found_version_ = *version;
  if (*application == 0 && *version == 0 && *tables == 0) return ok();
  if (*application != application_id)
    return Error{.code = Errc::file_malformed,
                 .detail = path_ + " is a database of another program, not a gpupool ledger"};
  if (*version != layout_version && *version != layout_version - 1)
    return Error{.code = Errc::unsupported,
                 .detail = path_ + " has ledger layout " + std::to_string(*version) +
                           "; this gpupool knows layouts " + std::to_string(layout_version - 1) +
                           " and " + std::to_string(layout_version)};
  return ok();
}

// The write transaction takes the lock for good now rather than at the first hold.
Status JournalSqlite::take_file() {
  for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
                          "PRAGMA journal_size_limit=67108864", "BEGIN IMMEDIATE", "COMMIT"})
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
      return opening_failure(sql);
  const auto mode = prepare("PRAGMA journal_mode");
  if (!mode) return mode.error();
  if (sqlite3_step(mode->get()) != SQLITE_ROW || column_bytes(mode->get(), 0) != "wal")
    return Error{.code = Errc::unsupported,
                 .detail = path_ + ": this file system cannot keep a write-ahead log"};
  return ok();
}

// A new file, one whose creation was cut short, or one of the layout before: tables and names
// appear in one transaction.
Status JournalSqlite::create_layout() {
  if (found_version_ == layout_version) return execute(schema_of_uploads, Errc::file_unwritable);
  const std::string create = std::string("BEGIN IMMEDIATE;") + (found_version_ == 0 ? schema : "") +
                             schema_of_blobs + schema_of_uploads +
                             "PRAGMA application_id=" + std::to_string(application_id) +
                             ";PRAGMA user_version=" + std::to_string(layout_version) + ";COMMIT;";
  const auto created = execute(create.c_str(), Errc::file_unwritable);
  if (created) sync_folder_of(path_);
  return created;
}

Status JournalSqlite::prepare_statements() {
  const std::pair<SqliteStatement*, const char*> wanted[] = {
      {&insert_batch_, "INSERT INTO batches (last_sequence, batch) VALUES (?1, ?2)"},
      {&read_batches_, "SELECT batch FROM batches WHERE last_sequence > ?1 ORDER BY last_sequence"},
      {&insert_blob_, "INSERT INTO blobs (job, request) VALUES (?1, ?2)"},
      {&remove_blob_, "DELETE FROM blobs WHERE job = ?1"},
      {&read_blob_, "SELECT request FROM blobs WHERE job = ?1"},
      {&insert_piece_,
       "INSERT INTO uploads (account, hash, place, total, bytes)"
       " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"},
      {&read_piece_, "SELECT bytes FROM uploads WHERE account = ?1 AND hash = ?2 AND place = ?3"},
      {&remove_upload_, "DELETE FROM uploads WHERE account = ?1 AND hash = ?2"}};
  for (const auto& [statement, sql] : wanted) {
    auto prepared = prepare(sql);
    if (!prepared) return prepared.error();
    *statement = std::move(*prepared);
  }
  return ok();
}

// What stands in the batch is checked by the replay that every start begins with.
Status JournalSqlite::read_tail() {
  const auto last =
      prepare("SELECT last_sequence, batch FROM batches ORDER BY last_sequence DESC LIMIT 1");
  if (!last) return last.error();
  const int stepped = sqlite3_step(last->get());
  if (stepped == SQLITE_DONE) return ok();
  if (stepped != SQLITE_ROW) return opening_failure("read the last batch");
  const std::int64_t sequence = sqlite3_column_int64(last->get(), 0);
  const auto tail = tail_of_batch(column_bytes(last->get(), 1));
  if (!tail || !std::cmp_equal(tail->sequence, sequence))
    return Error{
        .code = Errc::journal_corrupt,
        .want = sequence,
        .detail = path_ + ": the batch of record " + std::to_string(sequence) + " cannot be read"};
  tail_ = *tail;
  return ok();
}

Status JournalSqlite::execute(const char* sql, Errc code) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok();
  return failure(code, "write");
}

Result<SqliteStatement> JournalSqlite::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement,
                         nullptr) != SQLITE_OK)
    return opening_failure("prepare");
  return SqliteStatement(statement);
}

Result<std::int64_t> JournalSqlite::number(const char* sql) {
  const auto statement = prepare(sql);
  if (!statement) return statement.error();
  if (sqlite3_step(statement->get()) != SQLITE_ROW) return opening_failure("read");
  return std::int64_t{sqlite3_column_int64(statement->get(), 0)};
}

Status JournalSqlite::insert(const SqliteStatement& into, std::uint64_t key,
                             std::string_view bytes) {
  sqlite3_stmt* statement = into.get();
  sqlite3_bind_int64(statement, 1, static_cast<std::int64_t>(key));
  sqlite3_bind_blob64(statement, 2, bytes.data(), bytes.size(), SQLITE_STATIC);
  const int stepped = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  return stepped == SQLITE_DONE ? ok() : Status{failure(Errc::journal_refused, "write a batch")};
}

Status JournalSqlite::change_blobs(const BlobChanges& changes) {
  for (const auto& [job, bytes] : changes.added)
    if (const auto inserted = insert(insert_blob_, job.value, *bytes); !inserted) return inserted;
  for (const JobId job : changes.removed) {
    sqlite3_bind_int64(remove_blob_.get(), 1, static_cast<std::int64_t>(job.value));
    const int stepped = sqlite3_step(remove_blob_.get());
    sqlite3_reset(remove_blob_.get());
    if (stepped != SQLITE_DONE) return failure(Errc::journal_refused, "remove a request");
  }
  return ok();
}

// What a full disk still had would otherwise go to the next holds.
Status JournalSqlite::append(std::span<const Record> batch, const ClockStamp& stamp) {
  if (reserve_.restore()) return write(batch, stamp);
  return Error{.code = Errc::journal_refused,
               .detail = path_ + ": the disk is full; the " + std::to_string(reserve_.bytes()) +
                         " bytes that were kept back are for settles"};
}

Status JournalSqlite::append_from_reserve(std::span<const Record> batch, const ClockStamp& stamp) {
  reserve_.release();
  return write(batch, stamp);
}

// Before COMMIT nothing that was written counts. A COMMIT that found the disk full stopped before
// the end of its last frame, which a replay would need to believe in the transaction. Any other
// failure of a COMMIT can lie after that frame (a failed fsync, say): in doubt.
Status JournalSqlite::write(std::span<const Record> batch, const ClockStamp& stamp) {
  if (in_doubt_)
    return Error{.code = Errc::outcome_unknown,
                 .detail = path_ + ": an earlier write was in doubt"};
  if (const auto continues = check_continuation(tail_, batch); !continues) return continues;
  if (batch.empty()) return ok();
  if (const auto begun = execute("BEGIN IMMEDIATE", Errc::journal_refused); !begun)
    return roll_back(begun.error());
  JournalTail end = tail_;
  std::string bytes = encode_batch(batch, stamp, end);
  if (const auto inserted = insert(insert_batch_, end.sequence, bytes); !inserted)
    return roll_back(inserted.error());
  if (const auto changed = change_blobs(blob_changes(batch)); !changed)
    return roll_back(changed.error());
  if (sqlite3_exec(database_.get(), "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) {
    const bool is_full = sqlite3_errcode(database_.get()) == SQLITE_FULL;
    const Error why = failure(is_full ? Errc::journal_refused : Errc::outcome_unknown, "commit");
    if (is_full) return roll_back(why);
    in_doubt_ = true;
    return why;
  }
  recent_.add(tail_.sequence, std::move(bytes));
  tail_ = end;
  return ok();
}

// Cleanly refused only if the transaction is gone and the journal ends where it ended.
Status JournalSqlite::roll_back(const Error& why) {
  if (sqlite3_get_autocommit(database_.get()) == 0)
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  const bool is_gone = sqlite3_get_autocommit(database_.get()) != 0;
  const auto end = number("SELECT coalesce(max(last_sequence), 0) FROM batches");
  if (is_gone && end && *end == static_cast<std::int64_t>(tail_.sequence)) return why;
  in_doubt_ = true;
  return Error{.code = Errc::outcome_unknown,
               .detail = why.detail + "; and it could not be rolled back"};
}

// Who follows the journal closely wants what was written last.
Result<std::vector<std::string>> JournalSqlite::batches_after(std::uint64_t sequence,
                                                              std::size_t bytes_max) {
  std::vector<std::string> found;
  if (sequence >= tail_.sequence) return found;
  if (auto recent = recent_.after(sequence, bytes_max)) return *std::move(recent);
  sqlite3_stmt* statement = read_batches_.get();
  sqlite3_bind_int64(statement, 1, static_cast<std::int64_t>(sequence));
  int stepped = SQLITE_DONE;
  for (std::size_t bytes = 0; (stepped = sqlite3_step(statement)) == SQLITE_ROW;) {
    bytes += static_cast<std::size_t>(sqlite3_column_bytes(statement, 0));
    if (!found.empty() && bytes > bytes_max) break;
    found.push_back(column_bytes(statement, 0));
  }
  sqlite3_reset(statement);
  // What was read before the damage is given first; the next call meets it.
  if (stepped == SQLITE_ROW || stepped == SQLITE_DONE || !found.empty()) return found;
  return Error{.code = Errc::journal_corrupt,
               .want = static_cast<std::int64_t>(sequence + 1),
               .detail = "record " + std::to_string(sequence + 1) +
                         " cannot be read: " + sqlite3_errmsg(database_.get())};
}

Result<JournalTail> JournalSqlite::tail() { return tail_; }

Result<std::string> JournalSqlite::blob(JobId job) {
  sqlite3_bind_int64(read_blob_.get(), 1, static_cast<std::int64_t>(job.value));
  const int stepped = sqlite3_step(read_blob_.get());
  std::string bytes = stepped == SQLITE_ROW ? column_bytes(read_blob_.get(), 0) : std::string();
  sqlite3_reset(read_blob_.get());
  if (stepped == SQLITE_ROW || stepped == SQLITE_DONE) return bytes;
  return failure(Errc::journal_corrupt, "read the request of job " + std::to_string(job.value));
}

}  // namespace gpupool
