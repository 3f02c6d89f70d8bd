// A power loss in the middle of a commit, and bytes that change on the disk: a copy of a ledger's
// files is cut at every offset of its last commit, or has each byte of a row changed, and is
// opened. Whole batches are there or not, and what changed is found and named.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "actors/ledger/journal_memory.h"
#include "actors/ledger/journal_sqlite.h"
#include "base/pack.h"
#include "base/prng.h"
#include "ledger_bench.h"
#include "tests/folder.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};

std::vector<Record> records_from(std::uint64_t first, std::size_t count) {
  std::vector<Record> records;
  for (std::uint64_t i = first; i < first + count; ++i)
    records.push_back({.sequence = i,
                       .at = noon + milliseconds(static_cast<std::int64_t>(i)),
                       .body = PromiseRestated{.job = {i}, .promise = noon, .reason = "restart"}});
  return records;
}

// The two files of a ledger, as they lie on the disk.
struct Files {
  std::string base;
  std::string log;  // SQLite's write-ahead log
};

std::string path_in(const Folder& folder) { return (folder.path / "ledger.sqlite").string(); }

Files files_in(const Folder& folder) {
  return {content_of(path_in(folder)), content_of(path_in(folder) + "-wal")};
}

void put(const Folder& folder, const Files& files) {
  const std::string path = path_in(folder);
  std::filesystem::remove(path + "-wal");
  std::ofstream(path, std::ios::binary | std::ios::trunc) << files.base;
  std::ofstream(path + "-wal", std::ios::binary | std::ios::trunc) << files.log;
}

std::unique_ptr<JournalSqlite> opened(const Folder& folder) {
  auto journal = JournalSqlite::open(path_in(folder));
  INFO((journal ? std::string() : journal.error().detail));
  REQUIRE(journal);
  return std::move(*journal);
}

// How many records these files have as a ledger. They open, and are the first ones as written.
std::size_t records_of(const Folder& folder, const Files& files) {
  put(folder, files);
  const auto journal = opened(folder);
  std::vector<Record> records;
  const auto done = journal->replay([&records](const Record& record) {
    records.push_back(record);
    return ok();
  });
  INFO((done ? std::string() : done.error().detail));
  REQUIRE(done);
  if (pack(records) != pack(records_from(1, records.size()))) FAIL("a record is another one");
  return records.size();
}

// A ledger whose last commit, records 5 to 7, stands in its log alone.
struct Written {
  Written() {
    { REQUIRE(opened(folder)->append(records_from(1, 2), stamp)); }  // into the file, at its close
    const auto journal = opened(folder);
    REQUIRE(journal->append(records_from(3, 2), stamp));
    before = files_in(folder);
    REQUIRE(journal->append(records_from(5, 3), stamp));
    after = files_in(folder);
    REQUIRE(after.base == before.base);
    REQUIRE(after.log.starts_with(before.log));
    REQUIRE(after.log.size() > before.log.size());
  }
  Folder folder;
  Files before;
  Files after;
};

// The rows of a ledger of three batches, and what its file has: the bytes are the same.
struct Rows {
  Rows() {
    for (const auto& [first, count] : {std::pair{1, 2}, {3, 3}, {6, 2}}) {
      const auto batch =
          records_from(static_cast<std::uint64_t>(first), static_cast<std::size_t>(count));
      REQUIRE(opened(folder)->append(batch, stamp));
      REQUIRE(memory.append(batch, stamp));
    }
    files = files_in(folder);
    REQUIRE(files.log.empty());
  }
  std::size_t place_of(std::size_t row) {
    const std::size_t place = files.base.find(memory.batches()[row]);
    REQUIRE(place != std::string::npos);
    return place;
  }
  // What is said of the file with this byte changed.
  Error damage_at(std::size_t place) {
    Files damaged = files;
    damaged.base[place] = static_cast<char>(damaged.base[place] ^ (1 << (place % 8)));
    put(folder, damaged);
    auto journal = JournalSqlite::open(path_in(folder));
    const Status done =
        !journal ? Status{journal.error()} : (*journal)->replay([](const Record&) { return ok(); });
    REQUIRE_FALSE(done);
    return done.error();
  }
  Folder folder;
  JournalMemory memory;
  Files files;
};

}  // namespace

TEST_CASE("A log that was cut anywhere in its last commit has the batches before it, and opens") {
  const Written written;
  const Folder folder;
  REQUIRE(records_of(folder, written.before) == 4);
  REQUIRE(records_of(folder, written.after) == 7);
  for (std::size_t size = written.before.log.size(); size < written.after.log.size(); ++size) {
    const Files cut{written.after.base, written.after.log.substr(0, size)};
    if (records_of(folder, cut) != 4) FAIL("cut at " << size << ": not the batches before");
  }
}

TEST_CASE(
    "A log whose last commit is there in part only, in any sectors, has all of it or nothing") {
  const Written written;
  const Folder folder;
  const std::size_t begin = written.before.log.size();
  Prng rng(20'261'125);
  std::size_t whole = 0;
  for (int round = 0; round < 300; ++round) {
    Files torn = written.after;
    // What a sector holds that was never written: zeros, or what an earlier log left there.
    const bool is_zero = rng.one_in(2);
    for (std::size_t at = begin; at < torn.log.size(); at += 512)
      if (rng.one_in(3))
        for (std::size_t i = at; i < std::min(at + 512, torn.log.size()); ++i)
          torn.log[i] = is_zero ? '\0' : torn.log[i - begin + 32];
    const bool is_whole = torn.log == written.after.log;
    whole += is_whole ? 1 : 0;
    if (records_of(folder, torn) != (is_whole ? 7U : 4U)) FAIL("a half batch, or a lost one");
  }
  CHECK(whole > 0);
}

TEST_CASE("A log that was cut anywhere at all has whole batches, and takes the next one") {
  const Written written;
  const Folder folder;
  std::set<std::size_t> seen;
  for (std::size_t size = 0; size <= written.after.log.size(); size += 103) {
    const Files cut{written.after.base, written.after.log.substr(0, size)};
    const std::size_t records = records_of(folder, cut);
    seen.insert(records);
    REQUIRE(opened(folder)->append(records_from(records + 1, 1), stamp));
    if (records_of(folder, files_in(folder)) != records + 1) FAIL("the next batch is not there");
  }
  const std::set<std::size_t> whole{2, 4, 7};
  CHECK(std::includes(whole.begin(), whole.end(), seen.begin(), seen.end()));
  CHECK(seen.size() >= 2);
}

TEST_CASE("A page that was half written when the log went into the file is whole again") {
  const Written written;
  const Folder folder;
  put(folder, written.after);
  { opened(folder); }  // its close writes the log into the file
  const Files whole = files_in(folder);
  REQUIRE(whole.log.empty());
  REQUIRE(whole.base.size() == written.after.base.size());
  for (std::size_t cut = 0; cut < whole.base.size(); cut += 128) {
    const Files torn{whole.base.substr(0, cut) + written.after.base.substr(cut), written.after.log};
    if (records_of(folder, torn) != 7) FAIL("torn at " << cut);
  }
}

TEST_CASE("Whichever byte of a row changes in the file, the damage is found at its record") {
  Rows rows;
  const std::string& row = rows.memory.batches()[1];
  const std::size_t place = rows.place_of(1);
  std::vector<std::size_t> ends;  // of the head and of each record
  for (std::size_t at = 0; at < row.size();)
    ends.push_back(at += 4 + static_cast<unsigned char>(row[at]) + 32);
  REQUIRE(ends.size() == 4);
  for (std::size_t byte = 0; byte < row.size(); ++byte) {
    const auto frame = std::upper_bound(ends.begin(), ends.end(), byte) - ends.begin();
    const Error error = rows.damage_at(place + byte);
    INFO("byte " << byte << ": " << error.detail);
    CHECK(error.code == Errc::journal_corrupt);
    CHECK(error.want == 3 + std::max<std::int64_t>(frame - 1, 0));
  }
}

TEST_CASE("Whichever byte of the last row changes, a record of that row is named") {
  Rows rows;
  const std::size_t place = rows.place_of(2);
  for (std::size_t byte = 0; byte < rows.memory.batches()[2].size(); ++byte) {
    const Error error = rows.damage_at(place + byte);
    INFO("byte " << byte << ": " << error.detail);
    CHECK(error.code == Errc::journal_corrupt);
    CHECK((error.want == 6 || error.want == 7));
  }
}
