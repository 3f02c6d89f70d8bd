// Real daemons on one database: one leads and the others stand by. Whatever happens to the leader
// or to the server, what was acknowledged is there, and nobody writes who does not lead.
#include <signal.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <memory>

#include "actors/ledger/journal_postgres.h"
#include "tests/postgres/cluster.h"
#include "tests/postgres/two_brokers.h"
#include "tests/system/jobs.h"
#include "tests/system/kill_ledger.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

constexpr Duration patience = seconds(60);

PoolOptions pool_on(const PostgresPlace& place) {
  return {.broker_settings = "rejoin_grace_s = 1\n",
          .ledger_settings = "journal = \"postgres\"\npostgres = \"" + place.conninfo +
                             "\"\npostgres_schema = \"" + place.schema + "\"\n"};
}

// Two daemons with everything of their own but the ledger: the first leads, the second stands by.
struct Pair {
  explicit Pair(const PostgresPlace& place) : first(pool_on(place)), second(pool_on(place)) {
    first.start();
    second.start_broker();
    REQUIRE(wait_until(patience, [this] { return second.state() == "standby"; }));
  }
  PoolProcess first;
  PoolProcess second;
};

bool follows(PoolProcess& standby) {
  return wait_until(patience, [&] { return standby.state() == "ready"; }) && standby.wait_ready();
}

}  // namespace

TEST_CASE("A standby takes over from a leader that was killed, with every acknowledged job") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  {
    Pair pair(place);
    CHECK(pair.second.log_says("standby: waiting: the pool is led by "));
    const auto ada = pair.first.client("ada");
    const RequestId request = submit_picture(*ada, 400);
    const auto running = wait_for_state(*ada, JobState::running);
    REQUIRE(running);
    pair.first.kill_broker();
    REQUIRE(follows(pair.second));
    CHECK(pair.second.log_says("leads: this process leads from now on"));
    const auto again = pair.second.client("ada");
    REQUIRE(again->submit(request, picture(400)));
    const auto done = wait_for_end(*again);
    REQUIRE(done);
    CHECK(done->receipt.job == running->job);
    CHECK(done->receipt.outcome == Outcome::succeeded);
    CHECK(done->receipt.charged.ms == done->receipt.ran.ms);
    // The one that was killed is now the standby; the one that leads leaves in good order.
    pair.first.start_broker();
    REQUIRE(wait_until(patience, [&] { return pair.first.state() == "standby"; }));
    pair.second.stop();
    REQUIRE(follows(pair.first));
    pair.first.stop();
  }
  place.pool = "";
  check_books(place, 1);
}

TEST_CASE("A leader that was stopped and wakes after a takeover ends with exit code 76") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  {
    Pair pair(place);
    pair.first.signal_broker(SIGSTOP);
    REQUIRE(follows(pair.second));
    pair.first.signal_broker(SIGCONT);
    CHECK(pair.first.broker_ended(patience) == 76);
    CHECK(pair.first.log_says("deposed: this process leads no more"));
    const auto ada = pair.second.client("ada");
    submit_picture(*ada, 5);
    const auto done = wait_for_end(*ada);
    REQUIRE(done);
    CHECK(done->receipt.outcome == Outcome::succeeded);
  }
  place.pool = "";
  check_books(place, 1);
}

TEST_CASE("A server that crashes under a pool ends it, and the request is resolved by its id") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  {
    PoolProcess pool(pool_on(place));
    pool.start();
    const auto ada = pool.client("ada");
    const RequestId request = submit_picture(*ada, 400);
    REQUIRE(wait_for_state(*ada, JobState::running));
    cluster->crash();
    const auto code = pool.broker_ended(patience);
    CHECK((code == 75 || code == 76));
    const Output down = pool.gpupoold({"--config", pool.config()});
    CHECK(down.exit_code == 1);
    CHECK(down.error.find("cannot start: ") != std::string::npos);
    CHECK(down.error.find("look at the server and at ledger.postgres") != std::string::npos);
    const Output checked = pool.gpupoold({"--config", pool.config(), "--check-config"});
    CHECK(checked.exit_code == 2);
    CHECK(checked.error.find("ledger.postgres: PostgreSQL: ") != std::string::npos);
    cluster->start();
    pool.start();
    const auto again = pool.client("ada");
    REQUIRE(again->submit(request, picture(400)));
    const auto done = wait_for_end(*again);
    REQUIRE(done);
    CHECK(done->receipt.outcome == Outcome::succeeded);
    pool.stop();
  }
  place.pool = "";
  check_books(place, 1);
}

// A start waits until the old leader cannot lead any more: four seconds.
TEST_CASE("Every acknowledged hold and receipt is in the database once, however it is killed") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  PostgresPlace place = cluster->place();
  place.pool = "";
  kill_under_load({.settings = pool_on(place).ledger_settings,
                   .name = [](const PoolProcess&) { return std::string("postgres:"); },
                   .open = [&place](const PoolProcess&) -> std::unique_ptr<Journal> {
                     auto journal = JournalPostgres::open_to_read(place);
                     INFO((journal ? std::string() : journal.error().detail));
                     REQUIRE(journal);
                     return std::move(*journal);
                   },
                   .rounds = 8,
                   .start_ms = 5'000});
}

TEST_CASE("The books in a database are audited beside the pool that writes them") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  const PostgresPlace place = cluster->place();
  PoolProcess pool(pool_on(place));
  pool.start();
  const auto ada = pool.client("ada");
  submit_picture(*ada, 5);
  REQUIRE(wait_for_end(*ada));
  const Output named = pool.gpupool(
      "", {"audit", "--ledger", "postgres:" + place.conninfo, "--schema", place.schema});
  INFO(named.out << named.error);
  CHECK(named.exit_code == 0);
  CHECK(named.out.find("everything adds up") != std::string::npos);
  const Output configured = pool.gpupool(
      "", {"audit", "--ledger", "postgres:", "--config", pool.config().string(), "--json"});
  INFO(configured.out << configured.error);
  CHECK(configured.exit_code == 0);
  CHECK(configured.out.find("\"settled\": 1") != std::string::npos);
  CHECK(pool.gpupool("", {"audit", "--ledger", "postgres:"}).exit_code == 2);
  CHECK(pool.gpupool("", {"audit", "--ledger", "postgres:host=/nowhere"}).exit_code == 5);
  CHECK(pool.gpupool("", {"audit", "--ledger", "postgres:" + place.conninfo, "--schema", "other"})
            .exit_code == 2);
  const Output checked = pool.gpupoold({"--config", pool.config(), "--check-config"});
  INFO(checked.out << checked.error);
  CHECK(checked.exit_code == 0);
  CHECK(checked.out.find("schema " + place.schema) != std::string::npos);
}

TEST_CASE("A standby that is told to stop ends at once") {
  auto* cluster = Cluster::shared();
  if (!cluster) return;
  Pair pair(cluster->place());
  pair.second.signal_broker(SIGTERM);
  CHECK(pair.second.broker_ended(seconds(20)) == 0);
  CHECK(pair.second.state().empty());
  CHECK(pair.first.state() == "ready");
}

}  // namespace gpupool::test
