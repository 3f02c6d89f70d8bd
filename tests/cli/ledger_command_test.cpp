// A ledger written out as lines and read back is the same ledger; what cannot be one is refused
// with its line, and leaves nothing.

#include "cli/ledger_command.h"

#include <filesystem>
#include <sstream>

#include "actors/ledger/audit.h"
#include "actors/ledger/history_sqlite.h"
#include "actors/ledger/journal_memory.h"
#include "actors/ledger/journal_sqlite.h"
#include "base/pack.h"
#include "net/json_output.h"
#include "tests/actors/ledger/ledger_bench.h"
#include "tests/folder.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");

// A pool's day: terms, holds, a lease, a requeue, settles, an operator's word, a job still open.
std::vector<Record> day(LedgerBench& bench) {
  bench.step(terms_of(bench.config));
  const JobId first = bench.hold(ada, seconds(100)).job;
  bench.step(Leased{.epoch = {1}, .job = first, .attempt = 1, .node = {3}, .node_name = "n"});
  bench.step(Requeue{.epoch = {1}, .job = first, .attempt = 1, .promise = noon + seconds(9)});
  bench.settle(first, seconds(60));
  bench.step(SetAccountTier{.who = "operator user:root", .account = ada.account, .tier = "pro"});
  bench.now = noon + hours(25);
  bench.hold(caller("address:192.0.2.7/32", "anonymous"), seconds(20));
  return bench.records;
}

std::vector<std::string> lines_of(Journal& journal, Instant since = {}) {
  std::vector<std::string> lines;
  const auto written = write_lines(
      journal, since,
      [&lines](const std::string& line) {
        lines.push_back(line.substr(0, line.size() - 1));
        return true;
      },
      [](std::uint64_t) {});
  REQUIRE(written);
  CHECK(written->records == lines.size());
  return lines;
}

Result<LedgerSummary> import_into(Journal& journal, const std::vector<std::string>& lines) {
  std::size_t place = 0;
  const auto next = [&](std::string& line) {
    if (place == lines.size()) return false;
    line = lines[place++];
    return true;
  };
  const Config config = default_config();
  return read_lines(next, config, config.window, journal, [](std::uint64_t) {});
}

Error refusal_of(const std::vector<std::string>& lines) {
  JournalMemory journal;
  const auto made = import_into(journal, lines);
  REQUIRE_FALSE(made);
  return made.error();
}

std::string records_of(Journal& journal) {
  std::vector<Record> records;
  REQUIRE(journal.replay([&records](const Record& record) {
    records.push_back(record);
    return ok();
  }));
  return pack(records);
}

struct Exported {
  Exported() {
    const auto records = day(bench);
    REQUIRE(journal.append({records.data(), 2}, {.boot_id = "boot-1"}));
    REQUIRE(journal.append({records.data() + 2, records.size() - 2}, {.boot_id = "boot-2"}));
    lines = lines_of(journal);
  }
  LedgerBench bench;
  JournalMemory journal;
  std::vector<std::string> lines;
};

}  // namespace

TEST_CASE("An export into an empty ledger gives the same records and the same state") {
  Exported old;
  JournalMemory made;
  const auto summary = import_into(made, old.lines);
  REQUIRE(summary);
  CHECK(summary->records == old.bench.records.size());
  CHECK(records_of(made) == records_of(old.journal));
  CHECK(summary->digest == old.bench.ledger.state_digest());
  CHECK(lines_of(made) == old.lines);
  // The chain is its own, and good: how records lay in batches is not in an export.
  CHECK(made.tail()->digest != old.journal.tail()->digest);
  CHECK(summary->end == std::to_string(summary->records) + ":" + hex(made.tail()->digest));
}

TEST_CASE("The large request of an open job goes with its hold, out and in again") {
  LedgerBench bench;
  bench.step(terms_of(bench.config));
  for (std::uint64_t number : {1, 2}) {
    Reserve large = wish(ada, bench.now, number, seconds(10));
    large.body = JobRequest{.app = "emoji",
                            .size = "large",
                            .arguments = {{"notes", std::string(5'000, 'n') + "\"\xff"}}};
    bench.step(large);
  }
  const JobId open{bench.records.back().sequence};
  bench.settle({open.value - 1}, seconds(1));
  JournalMemory old;
  REQUIRE(old.append(bench.records, {.boot_id = "boot-1"}));
  REQUIRE(old.blobs().size() == 1);
  const std::vector<std::string> lines = lines_of(old);
  JournalMemory made;
  const auto summary = import_into(made, lines);
  REQUIRE(summary);
  CHECK(summary->digest == bench.ledger.state_digest());
  CHECK(records_of(made) == records_of(old));
  CHECK(made.blobs() == old.blobs());
  CHECK(lines_of(made) == lines);

  std::vector<std::string> bare = lines;
  Json line = Json::parse(bare[open.value - 1]);
  REQUIRE(line["blob"]["arguments"][0]["value"].contains("hex"));
  line["blob"]["app"] = "another";
  bare[open.value - 1] = line.dump();
  CHECK(refusal_of(bare).detail ==
        "line " + std::to_string(open.value) + ": blob: is not the one that the hold names");
  line.erase("blob");
  bare[open.value - 1] = line.dump();
  CHECK(refusal_of(bare).detail == "the request of job " + std::to_string(open.value) +
                                       ", which is open, is not there (\"blob\" in the line of "
                                       "its hold)");
  Json other = Json::parse(lines[0]);
  other["blob"] = Json::object();
  bare[0] = other.dump();
  CHECK(refusal_of(bare).detail == "line 1: blob: only a hold has one");
}

TEST_CASE("An export since a time has the records from then on, and cannot be imported") {
  Exported old;
  const auto lines = lines_of(old.journal, noon + hours(25));
  CHECK(lines.size() == 1);
  const Error error = refusal_of(lines);
  CHECK(error.code == Errc::file_malformed);
  CHECK(error.detail.starts_with("line 1: record "));
  CHECK(error.detail.ends_with("made without --since"));
}

TEST_CASE("An empty export makes an empty ledger") {
  JournalMemory made;
  const auto summary = import_into(made, {});
  REQUIRE(summary);
  CHECK(summary->records == 0);
  CHECK(summary->end.empty());
}

TEST_CASE("A line that is malformed, missing, doubled or out of its time is refused by number") {
  const Exported old;
  std::vector<std::string> lines = old.lines;
  lines[2].pop_back();
  CHECK(refusal_of(lines).detail == "line 3: is not JSON");
  lines = old.lines;
  lines.erase(lines.begin() + 1);
  CHECK(refusal_of(lines).detail.starts_with("line 2: record 3 stands where record 2 has to"));
  lines = old.lines;
  lines.insert(lines.begin() + 3, lines[3]);
  CHECK(refusal_of(lines).detail.starts_with("line 5: record 4 stands where record 5 has to"));
  lines = old.lines;
  lines[1].replace(lines[1].find("1770"), 4, "1760");
  CHECK(refusal_of(lines).detail == "line 2: its time is before that of the line before");
}

TEST_CASE("Records that no ledger could have written are refused, however well they read") {
  const Exported old;
  std::vector<std::string> lines(old.lines.begin(), old.lines.begin() + 2);
  lines.push_back(R"({"sequence":3,"at":1770000000000,"kind":"hold_settled","fields":{"job":2}})");
  const Error error = refusal_of(lines);
  CHECK(error.code == Errc::journal_corrupt);
  CHECK(error.detail.starts_with("no ledger could have written this: record 3: settles job 2"));
}

TEST_CASE("A damaged record ends an export, by its number") {
  Exported old;
  old.journal.batches().back()[60] ^= 1;
  const auto written = write_lines(
      old.journal, {}, [](const std::string&) { return true; }, [](std::uint64_t) {});
  REQUIRE_FALSE(written);
  CHECK(written.error().code == Errc::journal_corrupt);
}

TEST_CASE("An output that takes no more ends an export") {
  Exported old;
  std::uint64_t taken = 0;
  const auto written = write_lines(
      old.journal, {}, [&taken](const std::string&) { return ++taken < 3; }, [](std::uint64_t) {});
  REQUIRE_FALSE(written);
  CHECK(written.error().code == Errc::file_unwritable);
  CHECK(taken == 3);
}

TEST_CASE("An imported file is a ledger that opens, and no ledger with records is replaced") {
  const Folder folder;
  Exported old;
  const std::string lines = folder.file("old.jsonl");
  const std::string made = folder.file("made.sqlite");
  {
    std::ofstream file(lines);
    for (const std::string& line : old.lines) file << line << "\n";
  }
  const Connection connection{.json = true};
  CHECK(import_ledger(connection, {.lines = lines, .ledger = made}) == ExitCode::done);
  CHECK(folder.files() == 2);
  {
    auto journal = JournalSqlite::open(made);
    REQUIRE(journal);
    CHECK(records_of(**journal) == records_of(old.journal));
  }
  const std::string before = content_of(made);
  CHECK(import_ledger(connection, {.lines = lines, .ledger = made}) == ExitCode::usage);
  CHECK(content_of(made) == before);
  std::ofstream(lines, std::ios::app) << "{\n";
  const std::string other = folder.file("other.sqlite");
  CHECK(import_ledger(connection, {.lines = lines, .ledger = other}) == ExitCode::usage);
  CHECK(import_ledger(connection, {.lines = lines + "x", .ledger = other}) == ExitCode::usage);
  CHECK(import_ledger(connection, {.lines = lines, .ledger = (folder.path / "x/y").string()}) ==
        ExitCode::job_failed);
  CHECK(folder.files() == 2);
  CHECK(export_ledger(connection, {.ledger = other}) == ExitCode::usage);
  CHECK(export_ledger(connection, {.ledger = made, .since = "soon"}) == ExitCode::usage);
}

TEST_CASE("A new ledger may take the place of one without a record") {
  const Folder folder;
  const Exported old;
  const std::string lines = folder.file("old.jsonl");
  std::ofstream(lines) << old.lines.front() << "\n";
  const std::string made = folder.file("made.sqlite");
  REQUIRE(JournalSqlite::open(made));
  CHECK(import_ledger({}, {.lines = lines, .ledger = made}) == ExitCode::done);
  auto journal = JournalSqlite::open(made);
  REQUIRE(journal);
  CHECK((*journal)->tail()->sequence == 1);
}

TEST_CASE(
    "A rebuilt history is the one that followed the ledger, from a file and from its records") {
  LedgerBench bench;
  const Folder folder;
  const std::string path = folder.file("pool.sqlite");
  {
    auto journal = JournalSqlite::open(path);
    REQUIRE(journal);
    REQUIRE((*journal)->append(day(bench), {.wall = noon, .boot_id = "boot"}));
  }
  const Connection connection;
  CHECK(rebuild_history(connection, {.ledger = path, .config = ""}) == ExitCode::done);
  {
    auto store = HistorySqlite::open(path + "-history");
    REQUIRE(store);
    CHECK((*store)->mark()->sequence == bench.records.size());
    CHECK((*store)->receipts(ada.account, {}, 10)->front().charged == GpuTime{60'000});
    CHECK((*store)->open_jobs()->size() == 1);
    CHECK((*store)->days(ada.account, {}, 10)->front().charged == GpuTime{60'000});
    // While somebody has it, it stays as it is.
    CHECK(rebuild_history(connection, {.ledger = path, .config = ""}) == ExitCode::no_pool);
  }
  CHECK(rebuild_history(connection, {.ledger = path, .config = ""}) == ExitCode::done);
  CHECK(rebuild_history(connection, {.ledger = folder.file("gone"), .config = ""}) ==
        ExitCode::usage);
  CHECK_FALSE(std::filesystem::exists(folder.file("gone")));
}
