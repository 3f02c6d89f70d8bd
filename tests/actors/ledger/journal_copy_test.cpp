// A ledger file copied while its daemon writes to it: what the copy holds, and what is refused.

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "actors/ledger/journal_sqlite_copy.h"
#include "tests/folder.h"

using namespace gpupool;

namespace {

Record record(std::uint64_t sequence) {
  return {.sequence = sequence, .at = {1'000}, .body = EpochRaised{.epoch = {sequence}}};
}

const ClockStamp stamp{.wall = {5}, .boot = {6}, .boot_id = "boot-1"};

std::uint64_t records_of(JournalSqlite& journal) {
  std::uint64_t records = 0;
  REQUIRE(journal.read([&records](const StoredRecord& stored) {
    ++records;
    REQUIRE(record_of(stored));
    return ok();
  }));
  return records;
}

Error refusal_of(const std::string& path) {
  const auto copy = JournalSqliteCopy::take(path);
  REQUIRE_FALSE(copy);
  return copy.error();
}

}  // namespace

TEST_CASE("A copy of a ledger in use holds every record that was durable, and the owner goes on") {
  const Folder folder;
  auto owner = JournalSqlite::open(folder.file("ledger.sqlite"));
  REQUIRE(owner);
  std::uint64_t sequence = 0;
  for (int round = 0; round < 40; ++round) {  // over checkpoints of the log as well
    std::vector<Record> batch;
    for (int i = 0; i < 400; ++i) batch.push_back(record(++sequence));
    REQUIRE((*owner)->append(batch, stamp));
    if (round % 8 != 0) continue;
    const auto copy = JournalSqliteCopy::take(folder.file("ledger.sqlite"));
    REQUIRE(copy);
    CHECK(records_of((*copy)->journal()) == sequence);
    CHECK((*copy)->journal().tail()->stamp.boot_id == "boot-1");
  }
}

TEST_CASE("A copy of a ledger that is not in use changes nothing in its folder") {
  const Folder folder;
  {
    auto owner = JournalSqlite::open(folder.file("ledger.sqlite"));
    REQUIRE(owner);
    const std::vector<Record> batch{record(1)};
    REQUIRE((*owner)->append(batch, stamp));
  }
  const auto size = std::filesystem::file_size(folder.file("ledger.sqlite"));
  {
    const auto copy = JournalSqliteCopy::take(folder.file("ledger.sqlite"));
    REQUIRE(copy);
    CHECK(records_of((*copy)->journal()) == 1);
  }
  CHECK(std::filesystem::file_size(folder.file("ledger.sqlite")) == size);
  CHECK_FALSE(std::filesystem::exists(folder.file("ledger.sqlite-wal")));
}

TEST_CASE("What is no ledger is refused by its own name, and nothing is created") {
  const Folder folder;
  const std::string missing = folder.file("missing.sqlite");
  CHECK(refusal_of(missing).code == Errc::file_unreadable);
  CHECK_FALSE(std::filesystem::exists(missing));
  CHECK(refusal_of(folder.file("")).code == Errc::file_malformed);  // a folder
  const std::string other = folder.file("other");
  std::ofstream(other).flush();
  CHECK(refusal_of(other).detail == other + " is empty, not a gpupool ledger");
  std::ofstream(other) << std::string(5'000, 'x');
  CHECK(refusal_of(other).code == Errc::file_malformed);
  CHECK(refusal_of(other).detail == other + " is not a gpupool ledger");
}

TEST_CASE("A ledger whose end was cut off is corrupt") {
  const Folder folder;
  const std::string path = folder.file("ledger.sqlite");
  {
    auto owner = JournalSqlite::open(path);
    REQUIRE(owner);
    std::vector<Record> batch;
    for (std::uint64_t i = 1; i <= 2'000; ++i) batch.push_back(record(i));
    REQUIRE((*owner)->append(batch, stamp));
  }
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  const auto copy = JournalSqliteCopy::take(path);
  if (!copy) {
    CHECK(copy.error().code == Errc::journal_corrupt);
    CHECK(copy.error().detail.find(path) == 0);
    return;
  }
  const auto read = (*copy)->journal().read([](const StoredRecord&) { return ok(); });
  REQUIRE_FALSE(read);
  CHECK(read.error().code == Errc::journal_corrupt);
}
