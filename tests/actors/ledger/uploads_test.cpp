// Callers' files, on their way into the pool and to the runs that work on them.

#include "actors/ledger/uploads.h"

#include <cstdlib>
#include <filesystem>

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "actors/ledger/journal_sqlite.h"
#include "config/limits.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const AccountId ada{"user:ada"};
const AccountId bob{"user:bob"};
const std::string hash(64, 'a');
constexpr std::int64_t piece = limits::upload_piece_bytes;
const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};

StoreUpload store(const AccountId& account, std::int64_t total, std::int64_t offset) {
  return {.session = {1},
          .query = 9,
          .account = account,
          .hash = hash,
          .total = total,
          .offset = offset,
          .bytes = std::string(static_cast<std::size_t>(std::min(piece, total - offset)), 'x')};
}

StoreUpload question(const AccountId& account, std::int64_t total) {
  StoreUpload asked = store(account, total, 0);
  asked.bytes.clear();
  return asked;
}

struct Folder {
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gpupool-up-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path path;
};

struct Bench {
  explicit Bench(Journal& journal) : uploads(journal) { REQUIRE(uploads.recover()); }

  UploadStored tell(const StoreUpload& message, Instant now = noon) {
    Effects answers;
    uploads.take(now, message, [this] { return in_use; });
    uploads.write(answers);
    REQUIRE(answers.send.size() == 1);
    return std::get<UploadStored>(std::get<ToSession>(answers.send[0].message));
  }
  FilesPiece fetch(const AccountId& account, std::int64_t offset) {
    Effects answers;
    uploads.take(FetchFiles{.node = {7}, .offset = offset, .account = account, .hash = hash});
    uploads.write(answers);
    REQUIRE(answers.send.size() == 1);
    return std::get<FilesPiece>(std::get<ToBroker>(answers.send[0].message));
  }
  Errc verdict(const AccountId& account, Errc before = {}) {
    Reserve reserve{.caller = {.account = account}, .verdict = before, .files = hash};
    uploads.check(noon, reserve);
    return reserve.verdict;
  }

  std::set<UploadName> in_use;
  Uploads uploads;
};

}  // namespace

TEST_CASE("Files come in order, and what is there already is not taken twice") {
  JournalMemory journal;
  Bench bench(journal);
  const std::int64_t total = 2 * piece + 5;
  CHECK(bench.tell(question(ada, total)).answer.stored == 0);
  CHECK(bench.tell(store(ada, total, 0)).answer.stored == piece);
  CHECK(bench.tell(store(ada, total, 0)).answer.stored == piece);
  CHECK(bench.tell(store(ada, total, 2 * piece)).answer.stored == piece);  // too early
  CHECK(bench.tell(store(ada, total, piece)).answer.stored == 2 * piece);
  CHECK(bench.verdict(ada) == Errc::bad_request);
  CHECK(bench.tell(store(ada, total, 2 * piece)).answer.stored == total);
  CHECK(bench.verdict(ada) == Errc{});
  CHECK(bench.tell(question(ada, total)).answer.stored == total);
  CHECK(bench.tell(question(ada, total + 1)).error == Errc::bad_request);
  CHECK(bench.fetch(ada, piece).bytes.size() == static_cast<std::size_t>(piece));
  CHECK(bench.fetch(ada, 2 * piece).bytes == "xxxxx");
  CHECK(bench.fetch(ada, 2 * piece).total == total);
}

TEST_CASE("Files belong to their account: nobody else's hash leads to them") {
  JournalMemory journal;
  Bench bench(journal);
  bench.tell(store(ada, 5, 0));
  CHECK(bench.tell(question(bob, 5)).answer.stored == 0);
  CHECK(bench.verdict(bob) == Errc::bad_request);
  CHECK(bench.fetch(bob, 0).error == Errc::result_gone);
  CHECK(bench.verdict(bob, Errc::quota_exceeded) == Errc::bad_request);
  CHECK(bench.verdict(bob, Errc::bad_request) == Errc::bad_request);
}

TEST_CASE("Files are there after a restart, in SQLite too, and go on where they stopped") {
  const Folder folder;
  const auto opened = [&] {
    auto journal = JournalSqlite::open((folder.path / "ledger.sqlite").string());
    REQUIRE(journal);
    return *std::move(journal);
  };
  {
    const auto journal = opened();
    Bench bench(*journal);
    CHECK(bench.tell(store(ada, piece + 5, 0)).answer.stored == piece);
  }
  const auto journal = opened();
  Bench bench(*journal);
  CHECK(bench.tell(question(ada, piece + 5)).answer.stored == piece);
  CHECK(bench.tell(store(ada, piece + 5, piece)).answer.stored == piece + 5);
  CHECK(bench.fetch(ada, piece).bytes == "xxxxx");
  CHECK(bench.fetch(ada, 0).bytes == std::string(static_cast<std::size_t>(piece), 'x'));
  REQUIRE(journal->remove_upload({ada, hash}));
  CHECK(journal->uploads()->empty());
}

TEST_CASE("What could not be written is counted no more, and is taken again later") {
  JournalMemory journal;
  Bench bench(journal);
  journal.set_fault(JournalFault::refused);
  const UploadStored refused = bench.tell(store(ada, 5, 0));
  CHECK(refused.error == Errc::ledger_unavailable);
  journal.set_fault(JournalFault::none);
  CHECK(bench.tell(question(ada, 5)).answer.stored == 0);
  CHECK(bench.tell(store(ada, 5, 0)).answer.stored == 5);
}

TEST_CASE(
    "An account has so many bytes of files, and old ones make room unless a job works on them") {
  JournalMemory journal;
  Bench bench(journal);
  const std::int64_t most = limits::files_bytes_max;
  std::vector<std::string> hashes;
  StoreUpload message = store(ada, most, 0);
  for (char c = 'b'; std::cmp_less_equal((c - 'a') * most, limits::account_uploads_bytes_max);
       ++c) {
    message.hash = std::string(64, c);
    CHECK(bench.tell(message).error == Errc{});
    hashes.push_back(message.hash);
  }
  message.hash = hash;
  const UploadStored refused = bench.tell(message);
  CHECK(refused.error == Errc::overloaded);
  CHECK(refused.have == limits::account_uploads_bytes_max);
  const Instant later = noon + Duration{limits::upload_keep_ms};
  for (const std::string& one : hashes) bench.in_use.insert({ada, one});
  CHECK(bench.tell(message, later).error == Errc::overloaded);
  bench.in_use.erase({ada, hashes[0]});
  CHECK(bench.tell(message, later + seconds(1)).error == Errc::overloaded);  // used until now
  CHECK(bench.tell(message, later + Duration{limits::upload_keep_ms}).error == Errc{});
  message.account = bob;
  CHECK(bench.tell(message).error == Errc{});
}

TEST_CASE("A hold names its files, and is refused while they are not there") {
  JournalMemory journal;
  const Config config = default_config();
  GroupCommit commits(config, journal);
  REQUIRE(commits.recover());
  const Caller who = caller("user:ada");
  const auto answers = [&](ToLedger message) {
    commits.take(noon, std::move(message));
    auto effects = commits.commit(noon, stamp);
    REQUIRE(effects);
    return effects->send;
  };
  answers(Lead{});
  Reserve reserve = wish(who, noon, 1);
  reserve.files = hash;
  const auto refused = answers(reserve);
  REQUIRE(refused.size() == 1);
  const auto* not_held = message_in<NotHeld>(refused[0].message);
  REQUIRE(not_held != nullptr);
  CHECK(not_held->refusal.code == Errc::bad_request);
  CHECK(not_held->refusal.detail.find("upload them first") != std::string::npos);
  answers(store(who.account, 5, 0));
  reserve = wish(who, noon, 2);
  reserve.files = hash;
  const auto taken = answers(reserve);
  const auto* held = message_in<Held>(taken[0].message);
  REQUIRE(held != nullptr);
  CHECK(held->hold->files == hash);
  CHECK(commits.ledger().holds_with_files().size() == 1);
}
