// A snapshot is a shortcut: with it, without it, or with a wrong one, a start gives the same state.
#include "actors/ledger/snapshot.h"

#include <filesystem>
#include <fstream>

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "actors/ledger/snapshot_file.h"
#include "ledger_bench.h"
#include "tests/folder.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};
const Caller ada = caller("user:ada");

// A ledger that has seen everything a snapshot has to carry.
class Busy {
 public:
  explicit Busy(std::uint64_t number = 0) : number_(number) {
    REQUIRE(commits.recover());
    take(Lead{.ticket = 1});
    take(terms_of(config));
    take(SetAccountTier{.ticket = 2, .who = "operator", .account = {"user:bob"}, .tier = "pro"});
    take(RevokeToken{.ticket = 3,
                     .who = "operator",
                     .token_id = "t1",
                     .issued_before = noon,
                     .forget_at = noon + hours(100)});
    take(SetDraining{.ticket = 4, .who = "operator", .node = "node-2", .draining = true});
    take(Announce{.ticket = 5, .who = "operator", .text = "maintenance"});
    work();
  }

  void take(ToLedger message) {
    commits.take(now, std::move(message));
    const auto answers = commits.commit(now, stamp);
    REQUIRE(answers);
    for (const Send& send : answers->send)
      if (const auto* to = std::get_if<ToBroker>(&send.message))
        if (const auto* held = std::get_if<Held>(to)) last = held->hold->job;
  }

  // Jobs in every state, of users and of addresses.
  void work() {
    for (const std::string account : {"user:ada", "user:bob", "address:192.0.2.1/32"}) {
      const Caller who = caller(account, account[0] == 'a'       ? "anonymous"
                                         : account == "user:bob" ? "pro"
                                                                 : "free");
      for (int i = 0; i < 3; ++i) {
        take(wish(who, now, ++number_, seconds(10)));
        if (i > 0)
          take(Leased{.epoch = {1}, .job = last, .attempt = 1, .node = {3}, .node_name = "node-1"});
        if (i > 1)
          take(Settle{.epoch = {1}, .job = last, .outcome = Outcome::succeeded, .ran = seconds(4)});
        now = now + seconds(7);
      }
    }
  }

  Snapshot snapshot() {
    auto frozen = commits.freeze();
    REQUIRE(frozen);
    RowWriter rows;
    frozen->ledger->write_state(rows);
    return {.at = frozen->at, .state = rows.take()};
  }

  Config config = config_with_allowance(seconds(210));
  JournalMemory journal;
  GroupCommit commits{config, journal};
  Instant now = noon;
  JobId last;

 private:
  std::uint64_t number_;
};

// What a start with this snapshot comes to.
std::uint64_t started_digest(Busy& busy, const std::optional<Snapshot>& snapshot, bool is_used) {
  GroupCommit again(busy.config, busy.journal);
  const Status recovered = again.recover(snapshot);
  INFO((recovered ? std::string() : recovered.error().detail));
  REQUIRE(recovered);
  CHECK(again.snapshot_used() == is_used);
  CHECK(again.ledger().check_invariants().empty());
  return again.ledger().state_digest();
}

}  // namespace

TEST_CASE("A start from a snapshot and what follows it is a start from the whole journal") {
  Busy busy;
  const Snapshot snapshot = busy.snapshot();
  CHECK(busy.commits.records_since_snapshot() == 0);
  CHECK(started_digest(busy, snapshot, true) == busy.commits.ledger().state_digest());
  busy.work();
  busy.now = busy.now + hours(50);  // ids are forgotten and windows end after the snapshot
  busy.work();
  CHECK(busy.commits.records_since_snapshot() > 20);
  const std::uint64_t digest = busy.commits.ledger().state_digest();
  CHECK(started_digest(busy, snapshot, true) == digest);
  CHECK(started_digest(busy, {}, false) == digest);
  CHECK(started_digest(busy, busy.snapshot(), true) == digest);
}

TEST_CASE("A snapshot of another journal is passed over") {
  Busy other(500);
  Busy busy;
  const std::uint64_t digest = busy.commits.ledger().state_digest();
  CHECK(started_digest(busy, other.snapshot(), false) == digest);
  other.work();
  CHECK(started_digest(busy, other.snapshot(), false) == digest);  // longer than the journal
  const Snapshot short_one = Busy(700).snapshot();
  busy.work();
  CHECK(started_digest(busy, short_one, false) == busy.commits.ledger().state_digest());
}

TEST_CASE("A snapshot with one changed byte is never used") {
  Busy busy;
  const std::string bytes = encode_snapshot(busy.snapshot(), "build 1");
  REQUIRE(decode_snapshot(bytes, "build 1"));
  for (std::size_t at = 0; at < bytes.size(); at += 7) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    const auto read = decode_snapshot(damaged, "build 1");
    REQUIRE_FALSE(read);
    CHECK(read.error().code == Errc::file_malformed);
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{31}, bytes.size() - 1})
    CHECK_FALSE(decode_snapshot(bytes.substr(0, size), "build 1"));
}

TEST_CASE("A snapshot of another build is refused, as its layout may differ") {
  Busy busy;
  const auto read = decode_snapshot(encode_snapshot(busy.snapshot(), "build 1"), "build 2");
  REQUIRE_FALSE(read);
  CHECK(read.error().code == Errc::unsupported);
}

TEST_CASE("Rows that are of no ledger are refused, and a start goes without them") {
  Busy busy;
  Snapshot snapshot = busy.snapshot();
  snapshot.state.resize(snapshot.state.size() / 2);
  CHECK(started_digest(busy, snapshot, false) == busy.commits.ledger().state_digest());
  snapshot.state += std::string(100, '\x93');
  CHECK(started_digest(busy, snapshot, false) == busy.commits.ledger().state_digest());
}

TEST_CASE("A snapshot's file is replaced whole, and one that is not there is no error") {
  const Folder folder;
  const std::string path = folder.file("ledger-snapshot");
  const auto none = read_snapshot(path, "build 1");
  REQUIRE(none);
  CHECK_FALSE(none->has_value());
  Busy busy;
  REQUIRE(write_snapshot(path, busy.snapshot(), "build 1"));
  busy.work();
  const Snapshot newer = busy.snapshot();
  REQUIRE(write_snapshot(path, newer, "build 1"));
  const auto read = read_snapshot(path, "build 1");
  REQUIRE(read);
  CHECK((*read)->state == newer.state);
  CHECK((*read)->at.digest == newer.at.digest);
  CHECK_FALSE(std::filesystem::exists(path + ".new"));
  std::ofstream(path, std::ios::trunc) << "not a snapshot";
  CHECK(read_snapshot(path, "build 1").error().code == Errc::file_malformed);
  CHECK(write_snapshot(folder.file("gone/x"), newer, "build 1").error().code ==
        Errc::file_unwritable);
}
