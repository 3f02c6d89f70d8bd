#include "actors/ledger/journal_sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/pack.h"

namespace gpupool {
namespace {

// A record's row can be read with the sqlite3 tool: when, what kind, and the packed body. A batch
// is named by its last record and says what the machine's clocks showed.
constexpr const char* schema = R"sql(
CREATE TABLE records (
  sequence INTEGER PRIMARY KEY,
  at_ms    INTEGER NOT NULL,
  kind     TEXT    NOT NULL,
  body     BLOB    NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE batches (
  last_sequence INTEGER PRIMARY KEY,
  wall_ms       INTEGER NOT NULL,
  boot_ms       INTEGER NOT NULL,
  boot_id       TEXT    NOT NULL,
  checksum      INTEGER NOT NULL
) STRICT;
)sql";

std::string column_text(sqlite3_stmt* row, int column) {
  const void* bytes = sqlite3_column_blob(row, column);
  const int size = sqlite3_column_bytes(row, column);
  return bytes == nullptr
             ? std::string()
             : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

void bind_text(sqlite3_stmt* statement, int place, const std::string& text) {
  sqlite3_bind_text(statement, place, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

std::int64_t checksum_of_batch(std::int64_t last_sequence, const ClockStamp& stamp) {
  return static_cast<std::int64_t>(hash_of(std::to_string(last_sequence) + pack(stamp)));
}

// A new file's name is durable only once its folder is.
void sync_folder_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  const int folder =
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);
  ::close(folder);
}

}  // namespace

void JournalSqlite::CloseDatabase::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}
void JournalSqlite::CloseStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

JournalSqlite::JournalSqlite(std::string path) : path_(std::move(path)) {}
JournalSqlite::~JournalSqlite() = default;

Result<std::unique_ptr<JournalSqlite>> JournalSqlite::open(const std::string& path) {
  std::unique_ptr<JournalSqlite> journal(new JournalSqlite(path));
  for (const auto step : {&JournalSqlite::open_file, &JournalSqlite::check_identity,
                          &JournalSqlite::take_file, &JournalSqlite::create_layout,
                          &JournalSqlite::prepare_statements, &JournalSqlite::read_tail})
    if (const auto done = (journal.get()->*step)(); !done) return done.error();
  return journal;
}

Error JournalSqlite::failure(Errc code, const std::string& doing) const {
  return {.code = code,
          .detail = path_ + ": " + doing + ": " + sqlite3_errmsg(database_.get()) + " (sqlite " +
                    std::to_string(sqlite3_extended_errcode(database_.get())) + ")"};
}

Error JournalSqlite::damage(std::int64_t sequence, const std::string& what) const {
  return {.code = Errc::journal_corrupt,
          .want = sequence,
          .detail = path_ + ": record " + std::to_string(sequence) + " " + what};
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
  is_new_ = *application == 0 && *version == 0 && *tables == 0;
  if (is_new_) return ok();
  if (*application != application_id)
    return Error{.code = Errc::file_malformed,
                 .detail = path_ + " is a database of another program, not a gpupool ledger"};
  if (*version != layout_version)
    return Error{.code = Errc::unsupported,
                 .detail = path_ + " has ledger layout " + std::to_string(*version) +
                           "; this gpupool knows layout " + std::to_string(layout_version)};
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
  if (sqlite3_step(mode->get()) != SQLITE_ROW || column_text(mode->get(), 0) != "wal")
    return Error{.code = Errc::unsupported,
                 .detail = path_ + ": this file system cannot keep a write-ahead log"};
  return ok();
}

// A new file, or one whose creation was cut short: layout and names appear in one transaction.
Status JournalSqlite::create_layout() {
  if (!is_new_) return ok();
  const std::string create = std::string("BEGIN IMMEDIATE;") + schema +
                             "PRAGMA application_id=" + std::to_string(application_id) +
                             ";PRAGMA user_version=" + std::to_string(layout_version) + ";COMMIT;";
  const auto created = execute(create.c_str(), Errc::file_unwritable);
  if (created) sync_folder_of(path_);
  return created;
}

Status JournalSqlite::prepare_statements() {
  auto record = prepare(
      "INSERT INTO records (sequence, at_ms, kind, body, checksum) VALUES (?1, ?2, ?3, ?4, ?5)");
  if (!record) return record.error();
  auto batch = prepare(
      "INSERT INTO batches (last_sequence, wall_ms, boot_ms, boot_id, checksum) "
      "VALUES (?1, ?2, ?3, ?4, ?5)");
  if (!batch) return batch.error();
  insert_record_ = std::move(*record);
  insert_batch_ = std::move(*batch);
  return ok();
}

// The last record and the last batch are written together; one without the other is damage.
Status JournalSqlite::read_tail() {
  const auto last = prepare(
      "SELECT last_sequence, wall_ms, boot_ms, boot_id, checksum FROM batches "
      "ORDER BY last_sequence DESC LIMIT 1");
  if (!last) return last.error();
  const int stepped = sqlite3_step(last->get());
  if (stepped != SQLITE_ROW && stepped != SQLITE_DONE)
    return opening_failure("read the last batch");
  const std::int64_t end = stepped == SQLITE_ROW ? sqlite3_column_int64(last->get(), 0) : 0;
  const auto records = number("SELECT coalesce(max(sequence), 0) FROM records");
  if (!records) return records.error();
  if (*records < end) return damage(*records + 1, "is missing at the end");
  if (*records > end) return damage(end + 1, "belongs to no batch");
  if (end == 0) return ok();
  const auto at = number("SELECT at_ms FROM records ORDER BY sequence DESC LIMIT 1");
  if (!at) return at.error();
  tail_ = {.sequence = static_cast<std::uint64_t>(end),
           .at = {*at},
           .stamp = {.wall = {sqlite3_column_int64(last->get(), 1)},
                     .boot = {sqlite3_column_int64(last->get(), 2)},
                     .boot_id = column_text(last->get(), 3)}};
  if (sqlite3_column_int64(last->get(), 4) != checksum_of_batch(end, tail_.stamp))
    return damage(end, "came with a batch that does not match its checksum");
  return ok();
}

Status JournalSqlite::execute(const char* sql, Errc code) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok();
  return failure(code, "write");
}

Result<JournalSqlite::Statement> JournalSqlite::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement,
                         nullptr) != SQLITE_OK)
    return opening_failure("prepare");
  return Statement(statement);
}

Result<std::int64_t> JournalSqlite::number(const char* sql) {
  const auto statement = prepare(sql);
  if (!statement) return statement.error();
  if (sqlite3_step(statement->get()) != SQLITE_ROW) return opening_failure("read");
  return std::int64_t{sqlite3_column_int64(statement->get(), 0)};
}

Status JournalSqlite::insert(std::span<const Record> batch, const ClockStamp& stamp) {
  for (const Record& record : batch) {
    const JournalRow row = row_of(record);
    sqlite3_stmt* statement = insert_record_.get();
    sqlite3_bind_int64(statement, 1, row.sequence);
    sqlite3_bind_int64(statement, 2, row.at_ms);
    bind_text(statement, 3, row.kind);
    sqlite3_bind_blob64(statement, 4, row.body.data(), row.body.size(), SQLITE_STATIC);
    sqlite3_bind_int64(statement, 5, row.checksum);
    const int stepped = sqlite3_step(statement);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (stepped != SQLITE_DONE) return failure(Errc::journal_refused, "write a record");
  }
  sqlite3_stmt* statement = insert_batch_.get();
  const auto last_sequence = static_cast<std::int64_t>(batch.back().sequence);
  sqlite3_bind_int64(statement, 1, last_sequence);
  sqlite3_bind_int64(statement, 2, stamp.wall.ms);
  sqlite3_bind_int64(statement, 3, stamp.boot.ms);
  bind_text(statement, 4, stamp.boot_id);
  sqlite3_bind_int64(statement, 5, checksum_of_batch(last_sequence, stamp));
  const int stepped = sqlite3_step(statement);
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (stepped != SQLITE_DONE) return failure(Errc::journal_refused, "write a batch");
  return ok();
}

// Before COMMIT nothing that was written counts. A COMMIT that found the disk full stopped before
// the end of its last frame, which a replay would need to believe in the transaction. Any other
// failure of a COMMIT can lie after that frame (a failed fsync, say): in doubt.
Status JournalSqlite::append(std::span<const Record> batch, const ClockStamp& stamp) {
  if (in_doubt_)
    return Error{.code = Errc::outcome_unknown,
                 .detail = path_ + ": an earlier write was in doubt"};
  if (const auto continues = check_continuation(tail_, batch); !continues) return continues;
  if (batch.empty()) return ok();
  if (const auto begun = execute("BEGIN IMMEDIATE", Errc::journal_refused); !begun)
    return roll_back(begun.error());
  if (const auto inserted = insert(batch, stamp); !inserted) return roll_back(inserted.error());
  if (sqlite3_exec(database_.get(), "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) {
    const bool is_full = sqlite3_errcode(database_.get()) == SQLITE_FULL;
    const Error why = failure(is_full ? Errc::journal_refused : Errc::outcome_unknown, "commit");
    if (is_full) return roll_back(why);
    in_doubt_ = true;
    return why;
  }
  tail_ = {.sequence = batch.back().sequence, .at = batch.back().at, .stamp = stamp};
  return ok();
}

// Cleanly refused only if the transaction is gone and the journal ends where it ended.
Status JournalSqlite::roll_back(const Error& why) {
  if (sqlite3_get_autocommit(database_.get()) == 0)
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  const bool is_gone = sqlite3_get_autocommit(database_.get()) != 0;
  const auto end = number("SELECT coalesce(max(sequence), 0) FROM records");
  if (is_gone && end && *end == static_cast<std::int64_t>(tail_.sequence)) return why;
  in_doubt_ = true;
  return Error{.code = Errc::outcome_unknown,
               .detail = why.detail + "; and it could not be rolled back"};
}

Status JournalSqlite::read_rows(const std::function<Status(const JournalRow&)>& visit) {
  const auto statement =
      prepare("SELECT sequence, at_ms, kind, body, checksum FROM records ORDER BY sequence");
  if (!statement) return statement.error();
  std::int64_t sequence = 0;
  int stepped = SQLITE_ROW;
  while ((stepped = sqlite3_step(statement->get())) == SQLITE_ROW) {
    const JournalRow row{.sequence = sqlite3_column_int64(statement->get(), 0),
                         .at_ms = sqlite3_column_int64(statement->get(), 1),
                         .kind = column_text(statement->get(), 2),
                         .body = column_text(statement->get(), 3),
                         .checksum = sqlite3_column_int64(statement->get(), 4)};
    sequence = row.sequence;
    if (const auto visited = visit(row); !visited) return visited;
  }
  if (stepped != SQLITE_DONE)
    return damage(sequence + 1, std::string("cannot be read: ") + sqlite3_errmsg(database_.get()));
  return ok();
}

Status JournalSqlite::replay(const std::function<Status(const Record&)>& visit) {
  std::int64_t sequence = 0;
  Instant latest{};
  const auto read = read_rows([&](const JournalRow& row) -> Status {
    if (row.sequence != ++sequence) return damage(sequence, "is missing");
    auto record = record_of(row);
    if (!record) {
      Error error = record.error();
      error.detail = path_ + ": " + error.detail;
      return error;
    }
    if (record->at < latest) return damage(sequence, "is older than the record before it");
    latest = record->at;
    return visit(*record);
  });
  if (!read) return read;
  if (sequence != static_cast<std::int64_t>(tail_.sequence))
    return damage(sequence + 1, "is missing at the end");
  return ok();
}

Result<JournalTail> JournalSqlite::tail() { return tail_; }

}  // namespace gpupool
