#include "actors/ledger/history_sqlite.h"

#include <sqlite3.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/pack.h"

namespace gpupool {
namespace {

constexpr const char* schema = R"sql(
CREATE TABLE jobs (
  job     INTEGER PRIMARY KEY,
  account TEXT NOT NULL,
  closed  INTEGER NOT NULL,
  body    BLOB NOT NULL
) STRICT;
CREATE INDEX closed_jobs ON jobs (account, job) WHERE closed = 1;
CREATE INDEX open_jobs ON jobs (job) WHERE closed = 0;
CREATE TABLE days (
  account   TEXT NOT NULL,
  day_ms    INTEGER NOT NULL,
  jobs      INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  ran_ms     INTEGER NOT NULL,
  held_ms    INTEGER NOT NULL,
  charged_ms INTEGER NOT NULL,
  PRIMARY KEY (account, day_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE mark (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  sequence INTEGER NOT NULL,
  at_ms    INTEGER NOT NULL,
  digest   BLOB NOT NULL
) STRICT;
)sql";

void bind_text(sqlite3_stmt* statement, int place, const std::string& text) {
  sqlite3_bind_text64(statement, place, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

void remove_files(const std::string& path) {
  std::error_code ignored;
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix, ignored);
}

Error unreadable(const std::string& path) {
  return {.code = Errc::history_unavailable,
          .detail = path +
                    ": a row cannot be read; stop the daemon and make the file anew with "
                    "`gpupool ledger rebuild`"};
}

}  // namespace

HistorySqlite::~HistorySqlite() = default;

// ---- Opening ------------------------------------------------------------------------------------

Result<std::unique_ptr<HistorySqlite>> HistorySqlite::open(const std::string& path) {
  for (const bool again : {true, false}) {
    std::unique_ptr<HistorySqlite> store(new HistorySqlite(path));
    if (const auto connected = store->connect(); !connected) return connected.error();
    const auto found = store->look();
    if (!found) return found.error();
    if (*found == Find::foreign)
      return Error{.code = Errc::file_malformed,
                   .detail = path +
                             " is not a history of gpupool; move it away, or name another "
                             "ledger.path"};
    if (*found == Find::outdated && again) {
      store.reset();
      remove_files(path);
      continue;
    }
    if (const auto prepared = store->prepare_all(); !prepared) return prepared.error();
    return store;
  }
  return Error{.code = Errc::system_failed, .detail = path + " cannot be made anew"};
}

Status HistorySqlite::remove(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored))
    if (const auto store = open(path); !store) return store.error();
  remove_files(path);
  return ok();
}

Status HistorySqlite::connect() {
  sqlite3* database = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int opened = sqlite3_open_v2(path_.c_str(), &database, flags, nullptr);
  database_.reset(database);
  if (database == nullptr)
    return Error{.code = Errc::system_failed, .detail = path_ + ": out of memory"};
  if (opened != SQLITE_OK) return failure("open");
  return execute("PRAGMA locking_mode=EXCLUSIVE");
}

// A file that SQLite cannot read but whose name is ours was ours: what is in it can be had again.
Result<HistorySqlite::Find> HistorySqlite::look() {
  const auto number = [this](const char* sql) -> Result<std::int64_t> {
    SqliteStatement statement;
    if (const auto prepared = prepare(sql, statement); !prepared) return prepared.error();
    if (sqlite3_step(statement.get()) != SQLITE_ROW) return failure("read");
    return std::int64_t{sqlite3_column_int64(statement.get(), 0)};
  };
  const auto application = number("PRAGMA application_id");
  if (!application) {
    const int code = sqlite3_errcode(database_.get());
    if (code == SQLITE_CORRUPT) return Find::outdated;
    if (code == SQLITE_NOTADB) return Find::foreign;
    return application.error();
  }
  const auto version = number("PRAGMA user_version");
  const auto tables = number("SELECT count(*) FROM sqlite_schema");
  if (!version || !tables) return Find::outdated;
  if (*application == application_id)
    return *version == layout_version ? Find::usable : Find::outdated;
  if (*application != 0 || *tables != 0) return Find::foreign;
  const std::string create = std::string("PRAGMA journal_mode=WAL; BEGIN IMMEDIATE;") + schema +
                             "PRAGMA application_id=" + std::to_string(application_id) +
                             ";PRAGMA user_version=" + std::to_string(layout_version) + ";COMMIT;";
  if (const auto created = execute(create.c_str()); !created) return created.error();
  return Find::usable;
}

Status HistorySqlite::prepare_all() {
  for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL",
                          "PRAGMA journal_size_limit=67108864"})
    if (const auto done = execute(sql); !done) return done;
  const std::pair<const char*, SqliteStatement*> all[] = {
      {"INSERT INTO jobs VALUES (?1, ?2, ?3, ?4) ON CONFLICT (job) DO UPDATE SET closed = ?3, "
       "body = ?4",
       &put_job_},
      {"INSERT INTO days VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (account, day_ms) DO "
       "UPDATE SET jobs = jobs + ?3, succeeded = succeeded + ?4, ran_ms = ran_ms + ?5, "
       "held_ms = held_ms + ?6, charged_ms = charged_ms + ?7",
       &add_day_},
      {"INSERT OR REPLACE INTO mark VALUES (1, ?1, ?2, ?3)", &put_mark_},
      {"SELECT sequence, at_ms, digest FROM mark", &get_mark_},
      {"SELECT body FROM jobs WHERE closed = 0", &get_open_},
      {"SELECT body FROM jobs WHERE job = ?1", &get_job_},
      {"SELECT body FROM jobs WHERE closed = 1 AND account = ?1 AND job < ?2 ORDER BY job DESC "
       "LIMIT ?3",
       &get_receipts_},
      {"SELECT day_ms, jobs, succeeded, ran_ms, held_ms, charged_ms FROM days WHERE account = ?1 "
       "AND day_ms >= ?2 ORDER BY day_ms DESC LIMIT ?3",
       &get_days_}};
  for (const auto& [sql, statement] : all)
    if (const auto done = prepare(sql, *statement); !done) return done;
  return ok();
}

Error HistorySqlite::failure(const std::string& doing) const {
  const int code = sqlite3_errcode(database_.get());
  const bool is_locked = code == SQLITE_BUSY || code == SQLITE_LOCKED;
  const bool is_unwritable = code == SQLITE_READONLY || code == SQLITE_CANTOPEN ||
                             code == SQLITE_PERM || code == SQLITE_FULL;
  return {.code = is_locked       ? Errc::journal_locked
                  : is_unwritable ? Errc::file_unwritable
                                  : Errc::system_failed,
          .detail = path_ + ": " + doing + ": " + sqlite3_errmsg(database_.get())};
}

Status HistorySqlite::execute(const char* sql) {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return ok();
  return failure("write");
}

Status HistorySqlite::prepare(const char* sql, SqliteStatement& statement) {
  sqlite3_stmt* prepared = nullptr;
  if (sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &prepared, nullptr) !=
      SQLITE_OK)
    return failure("prepare");
  statement.reset(prepared);
  return ok();
}

// ---- Writing ------------------------------------------------------------------------------------

Status HistorySqlite::step_to_end(sqlite3_stmt* statement) {
  const int stepped = sqlite3_step(statement);
  sqlite3_reset(statement);
  return stepped == SQLITE_DONE ? ok() : Status{failure("write")};
}

Status HistorySqlite::turn(const HistoryPage& page) {
  if (const auto begun = execute("BEGIN IMMEDIATE"); !begun) return begun;
  Status done = write(page);
  if (done) done = execute("COMMIT");
  if (!done && sqlite3_get_autocommit(database_.get()) == 0)
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  return done;
}

Status HistorySqlite::write(const HistoryPage& page) {
  for (const HistoryJob& job : page.jobs) {
    const std::string body = pack(job);
    sqlite3_stmt* put = put_job_.get();
    sqlite3_bind_int64(put, 1, static_cast<std::int64_t>(job.receipt.job.value));
    bind_text(put, 2, job.receipt.account.text);
    sqlite3_bind_int(put, 3, job.receipt.outcome == Outcome{} ? 0 : 1);
    sqlite3_bind_blob64(put, 4, body.data(), body.size(), SQLITE_STATIC);
    if (const auto done = step_to_end(put); !done) return done;
  }
  for (const auto& [account, day] : page.days) {
    sqlite3_stmt* put = add_day_.get();
    bind_text(put, 1, account.text);
    const std::int64_t numbers[] = {day.day.ms,
                                    static_cast<std::int64_t>(day.jobs),
                                    static_cast<std::int64_t>(day.succeeded),
                                    day.ran.ms,
                                    day.held.ms,
                                    day.charged.ms};
    for (int i = 0; i < std::ssize(numbers); ++i) sqlite3_bind_int64(put, i + 2, numbers[i]);
    if (const auto done = step_to_end(put); !done) return done;
  }
  sqlite3_stmt* put = put_mark_.get();
  sqlite3_bind_int64(put, 1, static_cast<std::int64_t>(page.mark.sequence));
  sqlite3_bind_int64(put, 2, page.mark.at.ms);
  sqlite3_bind_blob64(put, 3, page.mark.digest.data(), page.mark.digest.size(), SQLITE_STATIC);
  return step_to_end(put);
}

Status HistorySqlite::clear() {
  return execute("BEGIN; DELETE FROM jobs; DELETE FROM days; DELETE FROM mark; COMMIT");
}

// ---- Reading ------------------------------------------------------------------------------------

template <class Take>
Status HistorySqlite::each_row(sqlite3_stmt* statement, const Take& take) {
  int stepped = SQLITE_ROW;
  bool is_good = true;
  while (is_good && (stepped = sqlite3_step(statement)) == SQLITE_ROW) is_good = take(statement);
  sqlite3_reset(statement);
  if (!is_good) return unreadable(path_);
  return stepped == SQLITE_DONE ? ok() : Status{failure("read")};
}

Result<JournalTail> HistorySqlite::mark() {
  JournalTail mark;
  const auto read = each_row(get_mark_.get(), [&mark](sqlite3_stmt* row) {
    mark.sequence = static_cast<std::uint64_t>(sqlite3_column_int64(row, 0));
    mark.at = {sqlite3_column_int64(row, 1)};
    const std::string digest = column_bytes(row, 2);
    if (digest.size() != mark.digest.size()) return false;
    std::copy(digest.begin(), digest.end(), mark.digest.begin());
    return true;
  });
  if (!read) return read.error();
  return mark;
}

Result<std::vector<HistoryJob>> HistorySqlite::open_jobs() {
  std::vector<HistoryJob> jobs;
  const auto read = each_row(get_open_.get(), [&jobs](sqlite3_stmt* row) {
    auto job = unpack<HistoryJob>(column_bytes(row, 0));
    if (job) jobs.push_back(std::move(*job));
    return bool{job};
  });
  if (!read) return read.error();
  return jobs;
}

Result<std::optional<HistoryJob>> HistorySqlite::job(JobId id) {
  std::optional<HistoryJob> found;
  sqlite3_bind_int64(get_job_.get(), 1, static_cast<std::int64_t>(id.value));
  const auto read = each_row(get_job_.get(), [&found](sqlite3_stmt* row) {
    auto job = unpack<HistoryJob>(column_bytes(row, 0));
    if (job) found = std::move(*job);
    return bool{job};
  });
  if (!read) return read.error();
  return found;
}

Result<std::vector<Receipt>> HistorySqlite::receipts(const AccountId& account, JobId before,
                                                     std::size_t count) {
  std::vector<Receipt> receipts;
  sqlite3_stmt* get = get_receipts_.get();
  bind_text(get, 1, account.text);
  sqlite3_bind_int64(get, 2, before ? static_cast<std::int64_t>(before.value) : INT64_MAX);
  sqlite3_bind_int64(get, 3, static_cast<std::int64_t>(count));
  const auto read = each_row(get, [&receipts](sqlite3_stmt* row) {
    auto job = unpack<HistoryJob>(column_bytes(row, 0));
    if (job) receipts.push_back(std::move(job->receipt));
    return bool{job};
  });
  if (!read) return read.error();
  return receipts;
}

Result<std::vector<UsageDay>> HistorySqlite::days(const AccountId& account, Instant since,
                                                  std::size_t count) {
  std::vector<UsageDay> days;
  sqlite3_stmt* get = get_days_.get();
  bind_text(get, 1, account.text);
  sqlite3_bind_int64(get, 2, since.ms);
  sqlite3_bind_int64(get, 3, static_cast<std::int64_t>(count));
  const auto read = each_row(get, [&days](sqlite3_stmt* row) {
    const auto number = [row](int column) {
      return std::int64_t{sqlite3_column_int64(row, column)};
    };
    days.push_back({.day = {number(0)},
                    .jobs = static_cast<std::uint64_t>(number(1)),
                    .succeeded = static_cast<std::uint64_t>(number(2)),
                    .ran = {number(3)},
                    .held = {number(4)},
                    .charged = {number(5)}});
    return true;
  });
  if (!read) return read.error();
  return days;
}

}  // namespace gpupool
