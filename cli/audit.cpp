#include "cli/audit.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "actors/describe.h"
#include "actors/ledger/journal_sqlite_copy.h"
#include "actors/ledger/open_journal.h"
#include "actors/ledger/story.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "config/load.h"

namespace gpupool {
namespace {

std::string hex(std::uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

// "1 hold", "2 holds"
std::string counted(std::uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

bool differs(const AuditReport& report) {
  return !report.findings.empty() || report.more_findings > 0;
}

// By the configuration, or as every hold was made under a rule that is on record.
bool knows_windows(const AuditReport& report, const AuditOptions& options) {
  return !options.config.empty() || (report.holds > 0 && report.windowless == 0);
}

std::string checked_text(const AuditReport& report, bool knows_window) {
  std::string text =
      "checked at every record\n"
      "  digest, order and time\n";
  if (!report.rebuilt) return text + "  everything else up to the first record that is broken\n";
  text +=
      "  a hold is the cost of its duration, opens once, and closes at most once; with its\n"
      "  extensions it is never more\n"
      "  no request id is admitted twice\n"
      "  charged = min(held, ran x factor), and 0 for the pool's faults\n"
      "  credits that are held were granted; a grant or adjustment says who, why, old and new\n"
      "  a tier that an operator set is the tier of the account's holds\n";
  if (knows_window)
    text += "  a hold belongs to the window that is open, or that the rule of windows opens\n";
  text += "  used + held <= allowance, at " + std::to_string(report.measured) + " of " +
          counted(report.measured + report.unmeasured, "hold") + " with a quota part";
  if (report.unmeasured > 0)
    text += "; the other " + std::to_string(report.unmeasured) +
            " are older than the first terms on record";
  return text +
         "\nchecked at the end\n"
         "  every invariant of the rebuilt state: held is the sum of open holds, part by part\n"
         "  every balance is the sum of its records\n" +
         (report.blobs == 0 ? ""
                            : "  " + counted(report.blobs, "large request") +
                                  " of open jobs, beside the records, as written\n");
}

std::string not_checked_text(bool knows_window) {
  std::string text =
      "not checked, since the file does not say it\n"
      "  that no two leases shared a slot\n"
      "  that answers left after their commits\n";
  if (!knows_window)
    text +=
        "  that windows ended in time, before their rule was on record (--config FILE has it)\n";
  return text;
}

// The options, read and judged.
struct Asked {
  Config config = default_config();
  std::optional<WindowConfig> window;
  AuditScope scope;
  std::optional<std::pair<std::uint64_t, std::string>> noted;
};

Result<Asked> asked_of(const AuditOptions& options) {
  Asked asked;
  if (!options.config.empty()) {
    auto loaded = load_config(options.config);
    if (!loaded) return loaded.error();
    asked.config = std::move(*loaded);
    asked.window = asked.config.window;
  }
  if (!options.since.empty()) {
    const auto since = parse_since(options.since, wall_time());
    if (!since) return since.error();
    asked.scope.since = *since;
  }
  if (!options.account.empty())
    asked.scope.account = {options.account.find(':') == std::string::npos
                               ? "user:" + options.account
                               : options.account};
  if (!options.noted.empty()) {
    auto noted = parse_noted(options.noted);
    if (!noted) return noted.error();
    asked.noted = std::move(*noted);
  }
  return asked;
}

// A journal to read, and the copy of the file that it may stand in.
struct Books {
  std::unique_ptr<JournalSqliteCopy> copy;
  std::unique_ptr<Journal> from_server;
  Journal* journal = nullptr;
};

Result<Books> open_books(const AuditOptions& options, const Config& config) {
  constexpr std::string_view postgres = "postgres:";
  Books books;
  if (!options.ledger.starts_with(postgres)) {
    auto copy = JournalSqliteCopy::take(options.ledger);
    if (!copy) return copy.error();
    books.copy = std::move(*copy);
    books.journal = &books.copy->journal();
    return books;
  }
  LedgerConfig place = config.ledger;
  if (options.ledger != postgres) {  // not the configuration's
    place.postgres = options.ledger.substr(postgres.size());
    place.postgres_schema = options.schema;
    place.postgres_password.clear();
  } else if (place.journal != JournalKind::postgres) {
    return Error{.code = Errc::bad_request,
                 .detail =
                     "--ledger postgres: is the database of --config FILE; without one, "
                     "write it behind the colon: \"postgres:host=db1 dbname=ledger\""};
  }
  auto journal = open_postgres_to_read(place);
  if (!journal) return journal.error();
  books.from_server = std::move(*journal);
  books.journal = books.from_server.get();
  return books;
}

// The records, and what lies beside them. Of a ledger that is being written to, a request that is
// not there is missing only if its job is still open when the records were read once more.
Status read_books(Journal& journal, Audit& audit,
                  const std::function<void(const StoredRecord&)>& seen) {
  JournalTail at;
  const auto visit = [&](const StoredRecord& stored) {
    audit.read(stored);
    seen(stored);
    return ok();
  };
  if (const Status read = journal.read(at, visit); !read) return read;
  std::map<JobId, std::string> blobs;
  for (const JobId job : audit.blobs_wanted()) {
    auto blob = journal.blob(job);
    if (!blob) return blob.error();
    blobs.emplace(job, std::move(*blob));
  }
  if (blobs.empty()) return ok();
  const Status read = journal.read(at, visit);
  for (const JobId job : audit.blobs_wanted())
    if (const auto blob = blobs.find(job); blob != blobs.end()) audit.read_blob(job, blob->second);
  return read;
}

ExitCode say_unopened(const Connection& connection, const Error& error) {
  switch (error.code) {
    case Errc::journal_corrupt:
      say_error(connection, error);
      return ExitCode::audit_differs;
    case Errc::system_failed:
    case Errc::journal_locked:
      say_error(connection, error);
      return ExitCode::no_pool;
    default:
      return say_usage_error(connection, error);
  }
}

}  // namespace

std::string audit_view(const AuditReport& report, const AuditOptions& options) {
  const bool knows_window = knows_windows(report, options);
  std::string text = options.ledger + ": " + counted(report.records, "record");
  if (report.records > 0)
    text += " from " + utc_text_exact(report.first) + " to " + utc_text_exact(report.last);
  text += "\n  " + counted(report.holds, "hold") + " opened, " + std::to_string(report.settled) +
          " settled, " + std::to_string(report.open) + " open; " +
          (report.extensions == 0 ? "" : counted(report.extensions, "extension") + "; ") +
          counted(report.accounts, "account") + "; " + counted(report.orders, "change") +
          " of terms and standing\n";
  text += checked_text(report, knows_window) + not_checked_text(knows_window);
  if (report.records > 0)
    text += "history up to its end (note it: --noted compares): " + std::to_string(report.records) +
            ":" + hex(report.history) + "\n";
  if (report.beyond_scope > 0)
    text += counted(report.beyond_scope, "difference") + " beyond --since or --account\n";
  if (report.rebuilt && knows_window)
    text += "state after the last record: " + hex(report.digest) + "\n";
  if (!differs(report))
    return text + (report.beyond_scope > 0 ? "the rest adds up\n" : "everything adds up\n");
  text += counted(report.findings.size() + report.more_findings, "difference") + "\n";
  for (const std::string& finding : report.findings) text += "  " + printable(finding) + "\n";
  if (report.more_findings > 0) text += "  and " + std::to_string(report.more_findings) + " more\n";
  return text;
}

Json json_of(const AuditReport& report, const AuditOptions& options) {
  const auto time = [&report](Instant at) {
    return report.records == 0 ? Json(nullptr) : Json(utc_text_exact(at));
  };
  return {{"ledger", options.ledger},
          {"differs", differs(report)},
          {"findings", report.findings},
          {"more_findings", report.more_findings},
          {"beyond_scope", report.beyond_scope},
          {"history", report.records == 0 ? Json(nullptr) : Json(hex(report.history))},
          {"records", report.records},
          {"first_record_at", time(report.first)},
          {"last_record_at", time(report.last)},
          {"holds", report.holds},
          {"settled", report.settled},
          {"open_holds", report.open},
          {"large_requests", report.blobs},
          {"accounts", report.accounts},
          {"orders", report.orders},
          {"holds_measured", report.measured},
          {"holds_unmeasured", report.unmeasured},
          {"extensions", report.extensions},
          {"windows_checked", knows_windows(report, options)},
          {"rebuilt", report.rebuilt},
          {"digest", report.rebuilt ? Json(hex(report.digest)) : Json(nullptr)}};
}

Result<std::pair<std::uint64_t, std::string>> parse_noted(const std::string& text) {
  const Error error{.code = Errc::bad_request,
                    .detail =
                        "--noted: expected RECORD:DIGEST as an audit prints it, with 64 "
                        "hexadecimal digits"};
  const auto colon = text.find(':');
  std::uint64_t record = 0;
  const char* end = text.data() + std::min(colon, text.size());
  const auto read = std::from_chars(text.data(), end, record);
  if (colon == std::string::npos || read.ec != std::errc{} || read.ptr != end || record == 0)
    return error;
  std::string digest = text.substr(colon + 1);
  const auto is_digit = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
  if (digest.size() != 2 * sizeof(Digest) || !std::all_of(digest.begin(), digest.end(), is_digit))
    return error;
  std::transform(digest.begin(), digest.end(), digest.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::pair(record, std::move(digest));
}

ExitCode audit_ledger(const Connection& connection, const AuditOptions& options) {
  const auto asked = asked_of(options);
  if (!asked) return say_usage_error(connection, asked.error());
  const auto books = open_books(options, asked->config);
  if (!books) return say_unopened(connection, books.error());
  Audit audit(asked->config, asked->window, asked->scope);
  const auto& noted = asked->noted;
  bool has_noted = !noted;
  const Status read = read_books(*books->journal, audit, [&](const StoredRecord& stored) {
    has_noted =
        has_noted || (stored.sequence == noted->first && hex(stored.digest) == noted->second);
  });
  AuditReport report = audit.finish();
  if (!has_noted)
    report.findings.push_back(
        "record " + std::to_string(noted->first) +
        " is not the one whose digest was noted: history was rewritten or cut");
  if (!read && read.error().code == Errc::system_failed)
    return say_unopened(connection, read.error());
  if (!read) {  // a page that the database itself cannot read
    report.rebuilt = false;
    report.findings.push_back(read.error().detail);
  }
  print(connection.json ? text_of(json_of(report, options)) : audit_view(report, options));
  return differs(report) ? ExitCode::audit_differs : ExitCode::done;
}

}  // namespace gpupool
