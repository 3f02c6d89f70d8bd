#include "cli/ledger_command.h"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <system_error>
#include <vector>

#include "actors/ledger/audit.h"
#include "actors/ledger/blob.h"
#include "actors/ledger/history.h"
#include "actors/ledger/history_sqlite.h"
#include "actors/ledger/journal_sqlite_copy.h"
#include "actors/ledger/open_journal.h"
#include "base/clock.h"
#include "base/pack.h"
#include "cli/arguments.h"
#include "cli/record_json.h"
#include "cli/say.h"
#include "config/limits.h"
#include "config/load.h"

namespace gpupool {
namespace {

constexpr std::size_t batch_max = 1'024;                 // records of one commit of an import
constexpr std::size_t line_bytes_max = 4 * 1024 * 1024;  // more than any record's
constexpr std::uint64_t told_every = 10'000;             // records

// Counts on a terminal, and says nothing elsewhere: there, standard error is for what is wrong.
class Counter {
 public:
  explicit Counter(std::string what) : what_(std::move(what)), style_(style_of(2)) {}
  ~Counter() {
    if (is_open_) print_error("\r\x1b[K");
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  void count(std::uint64_t records) {
    if (!style_.is_terminal || records % told_every != 0) return;
    print_error("\r\x1b[K" + what_ + " " + std::to_string(records) + " records");
    is_open_ = true;
  }

 private:
  const std::string what_;
  const Style style_;
  bool is_open_ = false;
};

std::string system_words() { return std::generic_category().message(errno); }

ExitCode code_for(const Error& error) {
  switch (error.code) {
    case Errc::journal_corrupt:
      return ExitCode::audit_differs;
    case Errc::file_unwritable:
      return ExitCode::job_failed;
    case Errc::system_failed:
    case Errc::journal_locked:
    case Errc::journal_refused:
    case Errc::outcome_unknown:
      return ExitCode::no_pool;
    default:
      return ExitCode::usage;
  }
}

ExitCode say(const Connection& connection, const Error& error) {
  say_error(connection, error);
  return code_for(error);
}

Result<std::unique_ptr<Journal>> open_file_journal(const std::string& path) {
  auto journal = JournalSqlite::open(path);
  if (!journal) return journal.error();
  return std::unique_ptr<Journal>(std::move(*journal));
}

// What an import may replace: nothing, or a ledger without a record.
Status check_target(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return ok();
  auto journal = JournalSqlite::open(path);
  if (!journal) return journal.error();
  const auto tail = (*journal)->tail();
  if (!tail) return tail.error();
  if (tail->sequence == 0) return ok();
  return Error{.code = Errc::bad_request,
               .detail = path + " has " + std::to_string(tail->sequence) +
                         " records already; import into a new file"};
}

void remove_ledger(const std::string& path) {
  std::error_code ignored;
  for (const char* end : {"", "-wal", "-shm", "-reserve"})
    std::filesystem::remove(path + end, ignored);
}

Result<LedgerSummary> summary_of(Journal& journal, std::uint64_t records) {
  const auto tail = journal.tail();
  if (!tail) return tail.error();
  LedgerSummary summary{.records = records};
  if (tail->sequence > 0) summary.end = std::to_string(tail->sequence) + ":" + hex(tail->digest);
  return summary;
}

Error malformed(std::uint64_t line, const std::string& what) {
  return {.code = Errc::file_malformed, .detail = "line " + std::to_string(line) + ": " + what};
}

// A line that is longer than any record's comes in pieces, none of which is one.
NextLine lines_of(std::istream& in) {
  return [&in, buffer = std::vector<char>(line_bytes_max)](std::string& line) mutable {
    in.getline(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto count = static_cast<std::size_t>(in.gcount());
    line.assign(buffer.data(), in.good() ? count - 1 : count);  // without the line's end
    return in.good() || count > 0;
  };
}

// What an open hold has beside its record.
Status add_blob(Journal& journal, Record& record) {
  auto* opened = std::get_if<HoldOpened>(&record.body);
  if (opened == nullptr || !has_blob(opened->hold)) return ok();
  auto bytes = journal.blob(opened->hold->job);
  if (!bytes) return bytes.error();
  if (!bytes->empty()) opened->blob = std::move(*bytes);
  return ok();
}

std::string counted(std::uint64_t records) {
  return std::to_string(records) + (records == 1 ? " record" : " records");
}

// The new ledger is made beside its name and moved there once it is whole.
Result<LedgerSummary> import_beside(const std::string& path, const NextLine& next,
                                    const Config& config, std::optional<WindowConfig> window,
                                    const Count& count) {
  const std::string beside = path + ".importing-" + std::to_string(::getpid());
  auto journal = JournalSqlite::open(beside);
  if (!journal) return journal.error();
  auto summary = read_lines(next, config, window, **journal, count);
  journal->reset();  // which takes its log into it
  if (!summary) {
    remove_ledger(beside);
    return summary;
  }
  remove_ledger(path);
  std::error_code failure;
  std::filesystem::rename(beside, path, failure);
  if (failure) {
    remove_ledger(beside);
    return Error{.code = Errc::file_unwritable, .detail = path + ": " + failure.message()};
  }
  sync_folder_of(path);
  return summary;
}

}  // namespace

Result<LedgerSummary> write_lines(Journal& journal, Instant since, const TakeLine& take,
                                  const Count& count) {
  std::uint64_t records = 0;
  const Status done = journal.replay([&](Record record) -> Status {
    if (record.at < since) return ok();
    if (const Status added = add_blob(journal, record); !added) return added;
    if (!take(line_of(record) + "\n"))
      return Error{.code = Errc::file_unwritable, .detail = "the output: " + system_words()};
    count(++records);
    return ok();
  });
  if (!done) return done.error();
  return summary_of(journal, records);
}

// A record's line has its number: the first is record 1, and none is missing.
Result<LedgerSummary> read_lines(const NextLine& next, const Config& config,
                                 std::optional<WindowConfig> window, Journal& journal,
                                 const Count& count) {
  Audit audit(config, window);
  std::vector<Record> batch;
  std::set<JobId> with_blobs;
  std::uint64_t number = 0;
  Instant latest{};
  const auto append = [&]() -> Status {
    const Status written = journal.append(batch, {.wall = latest, .boot_id = "imported"});
    batch.clear();
    return written;
  };
  for (std::string line; next(line);) {
    ++number;
    auto record = record_of_line(line);
    if (!record) return malformed(number, record.error().detail);
    if (record->sequence != number)
      return malformed(number, "record " + std::to_string(record->sequence) +
                                   " stands where record " + std::to_string(number) +
                                   " has to; an import needs all of an export, made without "
                                   "--since");
    if (record->at < latest) return malformed(number, "its time is before that of the line before");
    latest = record->at;
    audit.read({.sequence = number, .at = latest, .body = pack(record->body)});
    if (const auto* opened = std::get_if<HoldOpened>(&record->body);
        opened && !opened->blob->empty())
      with_blobs.insert(opened->hold->job);
    if (auto* settled = std::get_if<HoldSettled>(&record->body))
      settled->has_blob = with_blobs.erase(settled->job) > 0;
    batch.push_back(std::move(*record));
    count(number);
    if (batch.size() < batch_max) continue;
    if (const Status written = append(); !written) return written.error();
  }
  const AuditReport report = audit.finish();
  if (!report.rebuilt)
    return Error{.code = Errc::journal_corrupt,
                 .detail = "no ledger could have written this: " + report.findings.front()};
  for (const JobId job : audit.blobs_wanted())
    if (!with_blobs.contains(job))
      return Error{.code = Errc::journal_corrupt,
                   .detail = "the request of job " + std::to_string(job.value) +
                             ", which is open, is not there (\"blob\" in the line of its hold)"};
  if (const Status written = append(); !written) return written.error();
  auto summary = summary_of(journal, number);
  if (summary) summary->digest = report.digest;
  return summary;
}

ExitCode export_ledger(const Connection& connection, const LedgerExportOptions& options) {
  Instant since{};
  if (!options.since.empty()) {
    const auto parsed = parse_since(options.since, wall_time());
    if (!parsed) return say_usage_error(connection, parsed.error());
    since = *parsed;
  }
  const auto copy = JournalSqliteCopy::take(options.ledger);
  if (!copy) return say(connection, copy.error());
  const auto take = [](const std::string& line) {
    return std::fwrite(line.data(), 1, line.size(), stdout) == line.size();
  };
  Counter counter("exported");
  const auto written = write_lines((*copy)->journal(), since, take,
                                   [&counter](std::uint64_t records) { counter.count(records); });
  if (!written) return say(connection, written.error());
  if (std::fflush(stdout) != 0)
    return say(connection,
               {.code = Errc::file_unwritable, .detail = "the output: " + system_words()});
  if (!connection.json)
    print_error(counted(written->records) + " of " + options.ledger +
                (written->end.empty() ? "" : ", whose history ends with " + written->end) + "\n");
  return ExitCode::done;
}

ExitCode import_ledger(const Connection& connection, const LedgerImportOptions& options) {
  Config config = default_config();
  std::optional<WindowConfig> window;
  if (!options.config.empty()) {
    auto loaded = load_config(options.config);
    if (!loaded) return say_usage_error(connection, loaded.error());
    config = std::move(*loaded);
    window = config.window;
  }
  if (const Status empty = check_target(options.ledger); !empty)
    return say_usage_error(connection, empty.error());
  std::ifstream file;
  if (options.lines != "-") {
    file.open(options.lines, std::ios::binary);
    if (!file)
      return say(connection,
                 {.code = Errc::file_unreadable, .detail = options.lines + ": " + system_words()});
  }
  Counter counter("imported");
  const auto made =
      import_beside(options.ledger, lines_of(options.lines == "-" ? std::cin : file), config,
                    window, [&counter](std::uint64_t records) { counter.count(records); });
  if (!made) {
    Error error = made.error();
    if (error.code == Errc::file_malformed) error.detail = options.lines + ": " + error.detail;
    return say(connection, error);
  }
  if (connection.json)
    print(text_of({{"ledger", options.ledger},
                   {"records", made->records},
                   {"history", made->end.empty() ? Json(nullptr) : Json(made->end)}}));
  else
    print(options.ledger + ": " + counted(made->records) +
          (made->end.empty() ? "" : "; its history ends with " + made->end + " (note it)") + "\n");
  return ExitCode::done;
}

// The history asks for what follows, and is given it, until there is no more.
Result<std::uint64_t> fill_history(Journal& journal, HistoryStore& store, const Count& count) {
  History history(store);
  Effects asked = history.step(Tick{});
  while (!history.trouble() && !asked.send.empty()) {
    auto batches = journal.batches_after(history.applied(),
                                         static_cast<std::size_t>(limits::journal_read_bytes));
    if (!batches) return batches.error();
    if (batches->empty()) return history.applied();
    asked = history.step(JournalRead{.batches = std::move(*batches)});
    count(history.applied());
  }
  return history.trouble().value_or(
      Error{.code = Errc::system_failed, .detail = "the history asked for nothing"});
}

ExitCode rebuild_history(const Connection& connection, const LedgerRebuildOptions& options) {
  Config config = default_config();
  if (!options.config.empty()) {
    auto loaded = load_config(options.config);
    if (!loaded) return say_usage_error(connection, loaded.error());
    config = std::move(*loaded);
  } else if (!options.ledger.empty()) {
    config.ledger.path = options.ledger;
  }
  const bool is_file = config.ledger.journal == JournalKind::sqlite;
  std::error_code ignored;
  if (is_file && !std::filesystem::exists(config.ledger.path, ignored))
    return say(connection, {.code = Errc::file_unreadable,
                            .detail = config.ledger.path + " is not there; name a ledger with "
                                                           "--ledger or its pool with --config"});
  auto journal =
      is_file ? open_file_journal(config.ledger.path) : open_postgres_to_read(config.ledger);
  if (!journal) return say(connection, journal.error());
  const std::string path = history_path(config);
  if (const Status gone = HistorySqlite::remove(path); !gone) return say(connection, gone.error());
  auto store = HistorySqlite::open(path);
  if (!store) return say(connection, store.error());
  Counter counter("read");
  const auto filled = fill_history(**journal, **store,
                                   [&counter](std::uint64_t records) { counter.count(records); });
  if (!filled) return say(connection, filled.error());
  if (connection.json)
    print(text_of({{"history", path}, {"records", *filled}}));
  else
    print(path + ": made anew from " + counted(*filled) + "\n");
  return ExitCode::done;
}

}  // namespace gpupool
