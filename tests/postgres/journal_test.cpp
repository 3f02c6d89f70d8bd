// The contract of journals over PostgreSQL, then what only a server can do to one: other tables,
// other settings, refusals, lost connections, crashes, and another process that wants to lead.

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <future>
#include <memory>
#include <thread>
#include <tuple>

#include "actors/ledger/journal_memory.h"
#include "actors/ledger/journal_postgres_candidate.h"
#include "actors/ledger/journal_postgres_verdict.h"
#include "base/clock.h"
#include "tests/actors/ledger/journal_records.h"
#include "tests/postgres/cluster.h"
#include "tests/postgres/cut_proxy.h"
#include "tests/system/pool_process.h"

using namespace gpupool;
using namespace gpupool::bench;
using namespace gpupool::test;

namespace {

// A clock that a test moves, and what a leader is told when it has lost the lead. Leaders renew
// once an hour, so that only the test's clock decides.
struct HandClock {
  std::shared_ptr<std::atomic<std::int64_t>> now = std::make_shared<std::atomic<std::int64_t>>(1);
  std::shared_ptr<std::atomic<int>> lost = std::make_shared<std::atomic<int>>(0);

  PostgresSurroundings around() const {
    return {.now = [now = now] { return Instant{*now}; },
            .lost = [lost = lost](const Error& error) { *lost = static_cast<int>(error.code); },
            .terms = {.renew_every = hours(1)}};
  }
  void pass(Duration time) const { *now += time.ms; }
};

std::unique_ptr<PostgresCandidate> candidate(const PostgresPlace& place, const HandClock& clock) {
  auto entered = PostgresCandidate::enter(place, clock.around());
  INFO((entered ? std::string() : entered.error().detail));
  REQUIRE(entered);
  return std::move(*entered);
}

std::unique_ptr<JournalPostgres> looked(PostgresCandidate& candidate) {
  auto journal = candidate.look();
  INFO((journal ? std::string() : journal.error().detail));
  REQUIRE(journal);
  return std::move(*journal);
}

std::unique_ptr<JournalPostgres> led(const PostgresPlace& place, const HandClock& clock = {}) {
  auto journal = looked(*candidate(place, clock));
  REQUIRE(journal);
  return journal;
}

// Takes over from a leader that has not renewed for 4 s.
std::unique_ptr<JournalPostgres> taken_over(const PostgresPlace& place) {
  const HandClock clock;
  const auto standby = candidate(place, clock);
  REQUIRE(looked(*standby) == nullptr);
  clock.pass(milliseconds(3'999));
  REQUIRE(looked(*standby) == nullptr);
  clock.pass(milliseconds(1));
  auto journal = looked(*standby);
  REQUIRE(journal);
  return journal;
}

Error entering_error(const PostgresPlace& place) {
  const auto entered = PostgresCandidate::enter(place, HandClock{}.around());
  REQUIRE_FALSE(entered);
  return entered.error();
}

bool says(const Error& error, const std::string& words) {
  return error.detail.find(words) != std::string::npos;
}

std::string count_of(const Cluster& cluster, const PostgresPlace& place) {
  return cluster.sql("SELECT count(*) FROM " + place.schema + ".batches");
}

// Every insert runs this, at once or when its transaction ends.
void on_insert(const Cluster& cluster, const PostgresPlace& place, const std::string& body,
               bool at_commit = false) {
  const std::string function = place.schema + ".meddle()";
  cluster.sql("DROP TRIGGER IF EXISTS meddle ON " + place.schema +
              ".batches; CREATE OR REPLACE FUNCTION " + function +
              " RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body +
              " RETURN NEW; END $$; CREATE " + (at_commit ? "CONSTRAINT TRIGGER" : "TRIGGER") +
              " meddle AFTER INSERT ON " + place.schema + ".batches " +
              (at_commit ? "DEFERRABLE INITIALLY DEFERRED " : "") +
              "FOR EACH ROW EXECUTE FUNCTION " + function);
}

void leave_inserts_alone(const Cluster& cluster, const PostgresPlace& place) {
  cluster.sql("DROP TRIGGER meddle ON " + place.schema + ".batches");
}

std::string raising(const std::string& sqlstate) {
  return "RAISE EXCEPTION 'made up' USING ERRCODE = '" + sqlstate + "';";
}

struct PostgresJournalPlace {
  PostgresPlace place = Cluster::shared() ? Cluster::shared()->place() : PostgresPlace{};
  std::unique_ptr<JournalPostgres> journal;
  JournalMemory nothing;

  Journal& open() {
    if (!Cluster::shared()) return nothing;  // said aloud by shared()
    return *(journal = led(place));
  }
  Journal& reopen() {
    journal.reset();
    return open();
  }
};

using JournalPlaces = std::tuple<PostgresJournalPlace>;

}  // namespace

#include "tests/actors/ledger/journal_contract.h"

TEST_CASE("A schema with tables of another program is refused and left as it was") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  cluster->sql("CREATE SCHEMA " + place.schema + " AUTHORIZATION gpupool");
  cluster->sql("CREATE TABLE " + place.schema + ".batches (last_sequence int)");
  CHECK(entering_error(place).code == Errc::file_malformed);
  cluster->sql("CREATE TABLE " + place.schema + ".meta (key text, value text); GRANT SELECT ON " +
               place.schema + ".meta TO gpupool");
  const Error error = entering_error(place);
  CHECK(error.code == Errc::file_malformed);
  CHECK(says(error, "tables of another program"));
  CHECK(cluster->sql("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = '" +
                     place.schema + "'::regnamespace") == "2");
}

TEST_CASE("A ledger of another layout or of another pool is refused") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  led(place).reset();
  cluster->sql("UPDATE " + place.schema + ".meta SET layout_version = 99");
  CHECK(entering_error(place).code == Errc::unsupported);
  cluster->sql("UPDATE " + place.schema +
               ".meta SET layout_version = " + std::to_string(postgres_layout_version));
  place.pool = "another";
  const Error error = entering_error(place);
  CHECK(error.code == Errc::file_malformed);
  CHECK(says(error, "is the ledger of pool \"test\""));
}

TEST_CASE("A ledger of the layout before this one gets what it lacks, and keeps its records") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  REQUIRE(led(place)->append(records_from(1, 3), stamp));
  cluster->sql("DROP TABLE " + place.schema + ".blobs; UPDATE " + place.schema +
               ".meta SET layout_version = 1");
  {
    const auto reader = JournalPostgres::open_to_read(place);  // changes nothing
    REQUIRE(reader);
    CHECK(replayed(**reader).size() == 3);
  }
  std::vector<Record> large = records_from(7, 1);
  large[0].sequence = 4;
  std::get<HoldOpened>(large[0].body).blob = std::string(5'000, 'r');
  REQUIRE(led(place)->append(large, stamp));
  CHECK(led(place)->blob({7})->size() == 5'000);
  CHECK(cluster->sql("SELECT layout_version FROM " + place.schema + ".meta") ==
        std::to_string(postgres_layout_version));
}

TEST_CASE("Two processes that meet an empty database make one ledger of it") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  for (int round = 0; round < 5; ++round) {
    const PostgresPlace place = cluster->place();
    const auto enter = [&] {
      return static_cast<bool>(PostgresCandidate::enter(place, HandClock{}.around()));
    };
    auto other = std::async(std::launch::async, enter);
    CHECK(enter());
    CHECK(other.get());
  }
}

TEST_CASE("A server that is not there is told in one line, without any password") {
  const Error gone = entering_error(
      {.conninfo = "host=/nowhere dbname=ledger user=gpupool", .password = "open sesame"});
  CHECK(gone.code == Errc::system_failed);
  CHECK(says(gone, "/nowhere"));
  CHECK_FALSE(says(gone, "sesame"));
  for (const char* conninfo : {"host=/nowhere password=sesame", "postgresql://ada:sesame@db/x"}) {
    const Error inside = entering_error({.conninfo = conninfo});
    CHECK(inside.code == Errc::config_invalid);
    CHECK(says(inside, "postgres_password_file"));
    CHECK_FALSE(says(inside, "sesame"));
  }
  CHECK(entering_error({.conninfo = "no such=form of"}).code == Errc::config_invalid);
}

TEST_CASE("A server that does not keep what it acknowledges is refused") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  led(place).reset();
  cluster->sql("ALTER SYSTEM SET fsync = off");
  cluster->sql("SELECT pg_reload_conf()");
  Error error;
  CHECK(wait_until(seconds(20), [&] {
    const auto entered = PostgresCandidate::enter(place, HandClock{}.around());
    if (!entered) error = entered.error();
    return !entered;
  }));
  cluster->sql("ALTER SYSTEM RESET fsync");
  cluster->sql("SELECT pg_reload_conf()");
  CHECK(error.code == Errc::unsupported);
  CHECK(says(error, "fsync = off"));
  CHECK(wait_until(seconds(20), [&] {
    return static_cast<bool>(PostgresCandidate::enter(place, HandClock{}.around()));
  }));
}

TEST_CASE("A role that would commit asynchronously commits durably all the same") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  led(place).reset();
  cluster->sql("CREATE TABLE " + place.schema + ".seen (setting text); GRANT ALL ON " +
               place.schema + ".seen TO gpupool");
  on_insert(
      *cluster, place,
      "INSERT INTO " + place.schema + ".seen VALUES (current_setting('synchronous_commit'));");
  cluster->sql("ALTER ROLE gpupool SET synchronous_commit = off");
  const auto journal = led(place);
  cluster->sql("ALTER ROLE gpupool RESET synchronous_commit");
  REQUIRE(journal->append(records_from(1, 1), stamp));
  CHECK(cluster->sql("SELECT setting FROM " + place.schema + ".seen") == "on");
}

TEST_CASE("A database that takes no writes is refused with what to do") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  cluster->sql("ALTER ROLE gpupool SET default_transaction_read_only = on");
  const Error error = entering_error(cluster->place());
  cluster->sql("ALTER ROLE gpupool RESET default_transaction_read_only");
  CHECK(error.code == Errc::file_unwritable);
  CHECK(says(error, "name the one that takes writes"));
}

TEST_CASE("What the server certainly did not write is refused, and the journal goes on") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const auto journal = led(place);
  std::uint64_t next = 1;
  for (const char* sqlstate :
       {"53100", "53200", "53300", "54000", "22000", "25006", "28000", "40001", "40P01", "42501",
        "42P01", "55P03", "57014", "58030", "58P01", "P0001"}) {
    INFO(sqlstate);
    for (const bool at_commit : {false, true}) {
      on_insert(*cluster, place, raising(sqlstate), at_commit);
      const Status refused = journal->append(records_from(next, 2), stamp);
      REQUIRE(refused.error().code == Errc::journal_refused);
      CHECK(says(refused.error(), sqlstate));
      leave_inserts_alone(*cluster, place);
      REQUIRE(journal->append(records_from(next, 2), stamp));
      next += 2;
    }
  }
  CHECK(bytes_of(replayed(*journal)) == bytes_of(records_from(1, next - 1)));
}

TEST_CASE("What the server does not settle is in doubt, and stays so") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  for (const char* sqlstate : {"57P01", "08P01", "23505", "40003", "XX000", "XX001", "99999"}) {
    INFO(sqlstate);
    const PostgresPlace place = cluster->place();
    const auto journal = led(place);
    on_insert(*cluster, place, raising(sqlstate));
    CHECK(journal->append(records_from(1, 2), stamp).error().code == Errc::outcome_unknown);
    leave_inserts_alone(*cluster, place);
    CHECK(journal->append(records_from(1, 2), stamp).error().code == Errc::outcome_unknown);
    CHECK(count_of(*cluster, place) == "0");
  }
}

TEST_CASE("Each end of an append has its verdict") {
  using End = PostgresAnswer::End;
  CHECK(judge({.end = End::done, .rows = 1}) == Verdict::written);
  CHECK(judge({.end = End::done, .rows = 0}) == Verdict::fenced);
  CHECK(judge({.end = End::done, .warned = true, .rows = 1}) == Verdict::unknown);
  CHECK(judge({.end = End::refused, .sqlstate = "53100"}) == Verdict::refused);
  CHECK(judge({.end = End::refused, .sqlstate = "5"}) == Verdict::unknown);
  CHECK(judge({.end = End::refused, .sqlstate = ""}) == Verdict::unknown);
  CHECK(judge({.end = End::lost, .sqlstate = "53100"}) == Verdict::unknown);
}

TEST_CASE("A connection that is terminated while it writes leaves the outcome unknown") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const auto journal = led(place);
  REQUIRE(journal->append(records_from(1, 2), stamp));
  on_insert(*cluster, place, "PERFORM pg_advisory_xact_lock(17);", true);
  PGconn* holder = PQconnectdb(cluster->conninfo("postgres").c_str());
  PQclear(PQexec(holder, "SELECT pg_advisory_lock(17)"));
  auto writing =
      std::async(std::launch::async, [&] { return journal->append(records_from(3, 2), stamp); });
  CHECK(cluster->waits_for_lock(1));
  cluster->sql("SELECT pg_terminate_backend(backend_pid) FROM " + place.schema + ".leadership");
  CHECK(writing.get().error().code == Errc::outcome_unknown);
  PQfinish(holder);
  CHECK(journal->append(records_from(3, 2), stamp).error().code == Errc::outcome_unknown);
  leave_inserts_alone(*cluster, place);
  CHECK(bytes_of(replayed(*taken_over(place))) == bytes_of(records_from(1, 2)));
}

TEST_CASE("A batch whose acknowledgement is lost on the way is in doubt, and was written") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  CutProxy proxy(cluster->folder());
  PostgresPlace through = place;
  through.conninfo = "host=" + proxy.folder() + " user=gpupool dbname=ledger";
  const auto journal = led(through);
  REQUIRE(journal->append(records_from(1, 2), stamp));
  proxy.cut_answers();
  CHECK(journal->append(records_from(3, 2), stamp).error().code == Errc::outcome_unknown);
  CHECK(journal->append(records_from(3, 2), stamp).error().code == Errc::outcome_unknown);
  const auto fresh = taken_over(place);
  CHECK(bytes_of(replayed(*fresh)) == bytes_of(records_from(1, 4)));
  REQUIRE(fresh->append(records_from(5, 1), stamp));
}

TEST_CASE("Every acknowledged batch survives a crash of the server at any moment") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  std::uint64_t before = 0;
  for (int round = 0; round < 3; ++round) {
    std::atomic<std::uint64_t> acknowledged = before;
    std::atomic<bool> in_doubt = false;
    auto journal = round == 0 ? led(place) : taken_over(place);
    std::thread writer([&] {
      for (std::uint64_t first = before + 1;; first += 3) {
        const Status written = journal->append(records_from(first, 3), stamp);
        in_doubt = !written && written.error().code == Errc::outcome_unknown;
        if (!written) return;
        acknowledged = first + 2;
      }
    });
    CHECK(wait_until(seconds(30), [&] { return acknowledged > before + 60; }));
    cluster->crash();
    writer.join();
    journal.reset();
    cluster->start();
    CHECK(in_doubt);
    const auto records = replayed(**JournalPostgres::open_to_read(place));
    CHECK(records.size() >= acknowledged);
    CHECK(records.size() % 3 == 0);  // whole batches only
    CHECK(bytes_of(records) == bytes_of(records_from(1, records.size())));
    before = records.size();
  }
}

TEST_CASE("A leader that was deposed writes nothing more, and says that another leads") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const HandClock clock;
  const auto old = led(place, clock);
  REQUIRE(old->append(records_from(1, 2), stamp));
  // Its connection has to live for this: only the epoch stands in its way.
  cluster->sql("UPDATE " + place.schema + ".leadership SET epoch = epoch + 1, backend_pid = NULL");
  const Status fenced = old->append(records_from(3, 2), stamp);
  CHECK(fenced.error().code == Errc::journal_fenced);
  CHECK(fenced.error().want == 1);
  CHECK(says(fenced.error(), "another broker took the lead"));
  CHECK(old->append(records_from(3, 2), stamp).error().code == Errc::journal_fenced);
  const auto fresh = taken_over(place);
  CHECK(fresh->epoch() == 3);
  CHECK(bytes_of(replayed(*fresh)) == bytes_of(records_from(1, 2)));
  REQUIRE(fresh->append(records_from(3, 2), stamp));
}

TEST_CASE("A takeover ends the old leader's connection and reads all that it had written") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const auto old = led(place);
  REQUIRE(old->append(records_from(1, 2), stamp));
  const auto fresh = taken_over(place);
  CHECK(fresh->epoch() == 2);
  CHECK(fresh->tail()->sequence == 2);
  REQUIRE(fresh->append(records_from(3, 1), stamp));
  CHECK(old->append(records_from(3, 1), stamp).error().code == Errc::outcome_unknown);
  CHECK(bytes_of(replayed(*fresh)) == bytes_of(records_from(1, 3)));
}

TEST_CASE("A write of the old leader that holds the row is ended by the takeover") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const auto old = led(place);
  on_insert(*cluster, place, "PERFORM pg_advisory_xact_lock(18);");
  PGconn* holder = PQconnectdb(cluster->conninfo("postgres").c_str());
  PQclear(PQexec(holder, "SELECT pg_advisory_lock(18)"));
  auto writing =
      std::async(std::launch::async, [&] { return old->append(records_from(1, 2), stamp); });
  CHECK(cluster->waits_for_lock(1));
  const HandClock clock;
  const auto standby = candidate(place, clock);
  REQUIRE(looked(*standby) == nullptr);
  clock.pass(seconds(4));
  CHECK(looked(*standby) == nullptr);  // it met the write, and ended it
  const auto fresh = looked(*standby);
  REQUIRE(fresh);
  CHECK(writing.get().error().code == Errc::outcome_unknown);
  PQfinish(holder);
  leave_inserts_alone(*cluster, place);
  CHECK(replayed(*fresh).empty());
  REQUIRE(fresh->append(records_from(1, 1), stamp));
}

TEST_CASE("A leader that could not renew for 3 s does not even ask the server") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const HandClock clock;
  const auto leader = led(place, clock);
  clock.pass(milliseconds(2'999));
  REQUIRE(leader->append(records_from(1, 1), stamp));
  clock.pass(milliseconds(1));
  const Status late = leader->append(records_from(2, 1), stamp);
  CHECK(late.error().code == Errc::journal_fenced);
  CHECK(says(late.error(), "could not be renewed for 3000 ms"));
  CHECK(count_of(*cluster, place) == "1");
}

TEST_CASE("How long a lead is sure can be seen by all, and ends before it is given back") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const HandClock clock;
  auto leader = led(place, clock);
  const auto sure = leader->sure_until();
  REQUIRE(sure);
  const Instant taken{*clock.now};
  CHECK(sure->holds(taken + milliseconds(2'999)));
  CHECK_FALSE(sure->holds(taken + seconds(3)));  // though the lead's thread has not looked
  leader.reset();
  CHECK_FALSE(sure->holds(taken));
}

TEST_CASE("A leader that renews keeps its standby waiting, and one that leaves lets it lead") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const PostgresSurroundings quick{.now = boot_time,
                                   .lost = [](const Error&) {},
                                   .terms = {.renew_every = milliseconds(100),
                                             .look_every = milliseconds(50),
                                             .sure_for = seconds(20),
                                             .silence = seconds(30)}};
  auto first = PostgresCandidate::enter(place, quick);
  REQUIRE(first);
  auto leader = looked(**first);
  REQUIRE(leader);
  auto second = PostgresCandidate::enter(place, quick);
  REQUIRE(second);
  const auto renewal = [&] {
    return std::stoi(cluster->sql("SELECT renewal FROM " + place.schema + ".leadership"));
  };
  const int before = renewal();
  CHECK(wait_until(seconds(20), [&] {
    CHECK(looked(**second) == nullptr);
    return renewal() > before + 3;
  }));
  CHECK((*second)->leader().find("(epoch 1)") != std::string::npos);
  leader.reset();
  const auto next = looked(**second);
  REQUIRE(next);
  CHECK(next->epoch() == 2);
}

TEST_CASE("A leader whose renewals find another epoch is told at once") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  std::promise<Errc> told;
  auto entered = PostgresCandidate::enter(
      place, {.now = boot_time,
              .lost = [&](const Error& error) { told.set_value(error.code); },
              .terms = {.renew_every = milliseconds(50), .sure_for = seconds(60)}});
  REQUIRE(entered);
  const auto leader = looked(**entered);
  REQUIRE(leader);
  cluster->sql("UPDATE " + place.schema + ".leadership SET epoch = epoch + 1");
  auto code = told.get_future();
  REQUIRE(code.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
  CHECK(code.get() == Errc::journal_fenced);
}

TEST_CASE("A leadership table without its row is damage, not a free seat") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  led(place).reset();
  cluster->sql("DELETE FROM " + place.schema + ".leadership");
  const auto seat = candidate(place, HandClock{});
  CHECK(seat->look().error().code == Errc::journal_corrupt);
}

TEST_CASE("A changed byte in a stored batch is found and the record is named") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  auto journal = led(place);
  REQUIRE(journal->append(records_from(1, 30), stamp));
  REQUIRE(journal->append(records_from(31, 1), stamp));
  cluster->sql("UPDATE " + place.schema +
               ".batches SET batch = overlay(batch PLACING 'X'::bytea FROM position("
               "'user:number-13'::bytea IN batch)) WHERE last_sequence = 30");
  journal.reset();  // it remembers what it wrote
  const auto done = led(place)->replay([](const Record&) { return ok(); });
  CHECK(done.error().code == Errc::journal_corrupt);
  CHECK(done.error().want == 13);
}

TEST_CASE("A journal is read beside its leader, and only read") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  const auto leader = led(place);
  REQUIRE(leader->append(records_from(1, 5), stamp));
  place.pool = "";
  const auto reader = JournalPostgres::open_to_read(place);
  REQUIRE(reader);
  CHECK(replayed(**reader).size() == 5);
  CHECK((*reader)->append(records_from(6, 1), stamp).error().code == Errc::journal_refused);
  REQUIRE(leader->append(records_from(6, 1), stamp));
  CHECK(JournalPostgres::open_to_read(cluster->place()).error().code == Errc::file_unreadable);
}

TEST_CASE("A long journal is read row by row, and a reader may stop in the middle") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  const auto journal = led(place);
  for (std::uint64_t number = 1; number <= 48; ++number)
    REQUIRE(journal->append(
        std::vector<Record>{
            {.sequence = number,
             .at = noon,
             .body = PromiseRestated{.job = {number}, .reason = std::string(1'000'000, 'r')}}},
        stamp));
  const auto peak_kib = [] {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word)
      if (word == "VmHWM:") break;
    std::int64_t kib = 0;
    status >> kib;
    return kib;
  };
  const std::int64_t before = peak_kib();
  std::size_t seen = 0;
  REQUIRE(journal->read([&seen](const StoredRecord&) {
    ++seen;
    return ok();
  }));
  CHECK(seen == 48);
  CHECK(peak_kib() - before < 24'000);
  const Status stopped = journal->read([&seen](const StoredRecord&) -> Status {
    if (--seen == 40) return Error{.code = Errc::interrupted};
    return ok();
  });
  CHECK(stopped.error().code == Errc::interrupted);
  REQUIRE(journal->append(records_from(49, 1), stamp));
}
