// One contract, run over every journal; then what only a file can suffer.

#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <tuple>

#include "actors/ledger/journal_memory.h"
#include "actors/ledger/journal_sqlite.h"
#include "base/prng.h"
#include "tests/actors/ledger/journal_records.h"
#include "tests/folder.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

std::unique_ptr<JournalSqlite> opened(const std::string& path) {
  auto journal = JournalSqlite::open(path);
  INFO((journal ? std::string() : journal.error().detail));
  REQUIRE(journal);
  return std::move(*journal);
}

Errc opening_error(const std::string& path) {
  auto journal = JournalSqlite::open(path);
  REQUIRE_FALSE(journal);
  CHECK_FALSE(journal.error().detail.empty());
  return journal.error().code;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A file system of this size on the folder, in a mount namespace of this process alone, gone with
// it.
bool has_small_disk(const Folder& folder, const char* size) {
  const bool mounted = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                       ::mount("none", folder.path.c_str(), "tmpfs", 0, size) == 0;
  if (!mounted) WARN("SKIPPED: a small file system cannot be mounted here (needs root)");
  return mounted;
}

// Each kind of journal, and how it is found again after its process ended.
struct MemoryPlace {
  JournalMemory journal;
  Journal& open() { return journal; }
  Journal& reopen() { return journal; }
};

struct SqlitePlace {
  Folder folder;
  std::unique_ptr<JournalSqlite> journal;
  Journal& open() { return *(journal = opened(folder.file())); }
  Journal& reopen() {
    journal.reset();
    return open();
  }
};

using JournalPlaces = std::tuple<MemoryPlace, SqlitePlace>;

}  // namespace

#include "tests/actors/ledger/journal_contract.h"

TEST_CASE("The memory journal fails in each way that a disk can") {
  JournalMemory journal;
  REQUIRE(journal.append(records_from(1, 1), stamp));
  journal.set_fault(JournalFault::refused);
  CHECK(journal.append(records_from(2, 2), stamp).error().code == Errc::journal_refused);
  CHECK(replayed(journal).size() == 1);
  journal.set_fault(JournalFault::in_doubt_lost);
  CHECK(journal.append(records_from(2, 2), stamp).error().code == Errc::outcome_unknown);
  CHECK(replayed(journal).size() == 1);
  journal.set_fault(JournalFault::in_doubt_written);
  CHECK(journal.append(records_from(2, 2), stamp).error().code == Errc::outcome_unknown);
  CHECK(replayed(journal).size() == 3);
  journal.set_fault(JournalFault::none);
  REQUIRE(journal.append(records_from(4, 1), stamp));
}

TEST_CASE(
    "A batch that a power loss tore anywhere is gone whole when the journal is opened again") {
  JournalMemory honest;
  REQUIRE(honest.append(records_from(1, 2), stamp));
  REQUIRE(honest.append(records_from(3, 2), stamp));
  const std::size_t size = honest.batches().back().size();
  for (std::size_t bytes = 0; bytes < size; ++bytes) {
    JournalMemory journal;
    REQUIRE(journal.append(records_from(1, 2), stamp));
    journal.set_fault(JournalFault::torn);
    journal.tear_at(bytes);
    REQUIRE(journal.append(records_from(3, 2), stamp).error().code == Errc::outcome_unknown);
    CHECK(journal.batches().back().size() == bytes);
    journal.set_fault(JournalFault::none);
    CHECK(journal.append(records_from(3, 2), stamp).error().code == Errc::outcome_unknown);
    CHECK_FALSE(journal.replay([](const Record&) { return ok(); }));
    journal.restart();
    CHECK(replayed(journal).size() == 2);
    REQUIRE(journal.append(records_from(3, 1), stamp));
    CHECK(replayed(journal).size() == 3);
  }
}

TEST_CASE("The memory journal locates a damaged and a missing record") {
  JournalMemory journal;
  for (std::uint64_t first = 1; first < 10; ++first)
    REQUIRE(journal.append(records_from(first, 1), stamp));
  const auto visit = [](const Record&) { return ok(); };
  journal.batches()[6][journal.batches()[6].size() - 33] ^= 1;
  CHECK(journal.replay(visit).error().code == Errc::journal_corrupt);
  CHECK(journal.replay(visit).error().want == 7);
  journal.batches().erase(journal.batches().begin() + 4);
  CHECK(journal.replay(visit).error().want == 5);
}

TEST_CASE("A second opener of a ledger file is locked out until the first is gone") {
  const Folder folder;
  auto first = opened(folder.file());
  CHECK(opening_error(folder.file()) == Errc::journal_locked);
  std::filesystem::create_symlink(folder.file(), folder.file("alias.sqlite"));
  CHECK(opening_error(folder.file("alias.sqlite")) == Errc::journal_locked);
  REQUIRE(first->append(records_from(1, 1), stamp));
  first.reset();
  CHECK(replayed(*opened(folder.file())).size() == 1);
}

TEST_CASE("A file that is not a ledger is refused and left as it was") {
  const Folder folder;
  const std::string text(5'000, 'x');
  write_file(folder.file(), text);
  CHECK(opening_error(folder.file()) == Errc::file_malformed);
  CHECK(read_file(folder.file()) == text);
}

TEST_CASE("A database of another program, of a newer gpupool, or with lost layout is refused") {
  const Folder folder;
  opened(folder.file()).reset();
  std::string bytes = read_file(folder.file());
  // SQLite's file header: user_version at 60, application_id at 68, big-endian.
  REQUIRE(bytes.substr(68, 4) == "gpup");
  std::string other = bytes;
  other[68] = 'G';
  write_file(folder.file(), other);
  CHECK(opening_error(folder.file()) == Errc::file_malformed);
  std::string newer = bytes;
  newer[63] = 99;
  write_file(folder.file(), newer);
  CHECK(opening_error(folder.file()) == Errc::unsupported);
}

TEST_CASE("A ledger of the layout before this one gets what it lacks, and keeps its records") {
  const Folder folder;
  REQUIRE(opened(folder.file())->append(records_from(1, 3), stamp));
  sqlite3* database = nullptr;
  REQUIRE(sqlite3_open(folder.file().c_str(), &database) == SQLITE_OK);
  REQUIRE(sqlite3_exec(database, "DROP TABLE blobs; PRAGMA user_version=2", nullptr, nullptr,
                       nullptr) == SQLITE_OK);
  sqlite3_close(database);
  std::vector<Record> large = records_from(7, 1);
  large[0].sequence = 4;
  std::get<HoldOpened>(large[0].body).blob = std::string(5'000, 'r');
  REQUIRE(opened(folder.file())->append(large, stamp));
  const auto again = opened(folder.file());
  CHECK(replayed(*again).size() == 4);
  CHECK(again->blob({7})->size() == 5'000);
}

TEST_CASE("A database of another program is left byte for byte as it was") {
  const Folder folder;
  sqlite3* database = nullptr;
  REQUIRE(sqlite3_open(folder.file().c_str(), &database) == SQLITE_OK);
  REQUIRE(sqlite3_exec(database, "CREATE TABLE t (x)", nullptr, nullptr, nullptr) == SQLITE_OK);
  sqlite3_close(database);
  const std::string bytes = read_file(folder.file());
  CHECK(opening_error(folder.file()) == Errc::file_malformed);
  CHECK(read_file(folder.file()) == bytes);
}

TEST_CASE("A ledger in a folder that does not exist names the folder") {
  const Folder folder;
  const auto journal = JournalSqlite::open(folder.file("nowhere/ledger.sqlite"));
  REQUIRE_FALSE(journal);
  CHECK(journal.error().code == Errc::file_unwritable);
  CHECK(journal.error().detail.find("nowhere does not exist") != std::string::npos);
  CHECK(opening_error(folder.path.string()) == Errc::file_unwritable);  // a folder itself
}

TEST_CASE("An empty file becomes a ledger: its creation was cut short") {
  const Folder folder;
  write_file(folder.file(), "");
  REQUIRE(opened(folder.file())->append(records_from(1, 1), stamp));
  CHECK(replayed(*opened(folder.file())).size() == 1);
}

TEST_CASE("A changed byte in a record is found and the record is named") {
  const Folder folder;
  REQUIRE(opened(folder.file())->append(records_from(1, 30), stamp));
  std::string bytes = read_file(folder.file());
  const std::size_t place = bytes.find("user:number-13");
  REQUIRE(place != std::string::npos);
  bytes[place + 5] ^= 4;
  write_file(folder.file(), bytes);
  const auto journal = opened(folder.file());
  std::size_t seen = 0;
  const auto done = journal->replay([&seen](const Record&) {
    ++seen;
    return ok();
  });
  CHECK(done.error().code == Errc::journal_corrupt);
  CHECK(done.error().want == 13);
  CHECK(seen == 12);
}

TEST_CASE("Whatever byte of a ledger file changes, no wrong record is ever read") {
  const Folder folder;
  REQUIRE(opened(folder.file())->append(records_from(1, 60), stamp));
  const std::string honest = read_file(folder.file());
  Prng rng(20'261'122);
  int found = 0;
  for (int round = 0; round < 150; ++round) {
    std::string bytes = honest;
    const std::size_t place = rng.below(bytes.size());
    bytes[place] = static_cast<char>(bytes[place] ^ static_cast<char>(1 + rng.below(255)));
    write_file(folder.file(), bytes);
    INFO("byte " << place);
    auto journal = JournalSqlite::open(folder.file());
    std::vector<Record> records;
    const auto done =
        !journal ? Status{journal.error()} : (*journal)->replay([&records](const Record& record) {
          records.push_back(record);
          return ok();
        });
    found += done ? 0 : 1;
    if (done) {
      CHECK(bytes_of(records) == bytes_of(records_from(1, 60)));
      CHECK(pack((*journal)->tail()->stamp) == pack(stamp));
    } else {
      CHECK(bytes_of(records) == bytes_of(records_from(1, records.size())));
    }
  }
  CHECK(found > 20);
}

TEST_CASE("Every acknowledged batch survives kill -9 at any moment") {
  const Folder folder;
  for (std::uint64_t round = 0; round < 5; ++round) {
    const std::uint64_t before = opened(folder.file())->tail()->sequence;
    std::array<int, 2> acknowledged{};
    REQUIRE(::pipe(acknowledged.data()) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto journal = JournalSqlite::open(folder.file());
      for (std::uint64_t first = before + 1; journal; first += 3)
        if (!(*journal)->append(records_from(first, 3), stamp) ||
            ::write(acknowledged[1], &first, sizeof first) != sizeof first)
          break;
      ::_exit(1);
    }
    ::close(acknowledged[1]);
    std::uint64_t last = 0;
    for (std::uint64_t count = 0; count < 4 + round; ++count)
      REQUIRE(::read(acknowledged[0], &last, sizeof last) == sizeof last);
    ::kill(child, SIGKILL);
    while (::read(acknowledged[0], &last, sizeof last) == sizeof last) {
    }
    ::close(acknowledged[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    const auto records = replayed(*opened(folder.file()));
    CHECK(records.size() >= last + 2);
    CHECK(records.size() % 3 == 0);  // whole batches only
    CHECK(bytes_of(records) == bytes_of(records_from(1, records.size())));
  }
}

TEST_CASE(
    "A full disk refuses cleanly, loses nothing, and the journal goes on when there is room") {
  const Folder folder;
  if (!has_small_disk(folder, "size=512k")) return;
  {
    auto journal = opened(folder.file());
    write_file(folder.file("filler"), std::string(200'000, 'x'));
    std::uint64_t written = 0;
    Status last = ok();
    while (last && written < 100'000) {
      last = journal->append(records_from(written + 1, 50), stamp);
      if (last) written += 50;
    }
    REQUIRE_FALSE(last);
    INFO(last.error().detail);
    CHECK(last.error().code == Errc::journal_refused);
    CHECK(written > 0);
    CHECK(journal->append(records_from(written + 1, 50), stamp).error().code ==
          Errc::journal_refused);
    CHECK(bytes_of(replayed(*journal)) == bytes_of(records_from(1, written)));
    std::filesystem::remove(folder.file("filler"));
    REQUIRE(journal->append(records_from(written + 1, 50), stamp));
    journal.reset();
    CHECK(bytes_of(replayed(*opened(folder.file()))) == bytes_of(records_from(1, written + 50)));
  }
  ::umount2(folder.path.c_str(), MNT_DETACH);
}

TEST_CASE(
    "On a full disk the reserve is written from, and nothing else until there is room again") {
  const Folder folder;
  if (!has_small_disk(folder, "size=2m")) return;
  {
    auto journal = JournalSqlite::open(folder.file(), 1'000'000);
    REQUIRE(journal);
    REQUIRE((*journal)->append(records_from(1, 50), stamp));
    write_file(folder.file("filler"), std::string(3'000'000, 'x'));
    std::uint64_t written = 50;
    Status last = ok();
    while (last && written < 100'000) {
      last = (*journal)->append(records_from(written + 1, 50), stamp);
      if (last) written += 50;
    }
    REQUIRE(last.error().code == Errc::journal_refused);
    REQUIRE((*journal)->append_from_reserve(records_from(written + 1, 50), stamp));
    REQUIRE((*journal)->append_from_reserve(records_from(written + 51, 50), stamp));
    written += 100;
    // There is room for it now, which is not meant for it.
    const Status common = (*journal)->append(records_from(written + 1, 1), stamp);
    CHECK(common.error().code == Errc::journal_refused);
    CHECK(common.error().detail.find("kept back are for settles") != std::string::npos);
    std::filesystem::remove(folder.file("filler"));
    REQUIRE((*journal)->append(records_from(written + 1, 50), stamp));
    CHECK(std::filesystem::file_size(folder.file("ledger.sqlite-reserve")) == 1'000'000);
    CHECK(bytes_of(replayed(**journal)) == bytes_of(records_from(1, written + 50)));
  }
  ::umount2(folder.path.c_str(), MNT_DETACH);
}

TEST_CASE("A disk without room for the reserve is refused, with what to do") {
  const Folder folder;
  if (!has_small_disk(folder, "size=512k")) return;
  const auto journal = JournalSqlite::open(folder.file(), 1'000'000);
  REQUIRE_FALSE(journal);
  CHECK(journal.error().code == Errc::file_unwritable);
  CHECK(journal.error().detail.find("set a smaller ledger.reserve_bytes") != std::string::npos);
  ::umount2(folder.path.c_str(), MNT_DETACH);
}
