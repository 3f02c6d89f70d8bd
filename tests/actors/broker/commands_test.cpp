// Jobs of command apps: a run that began may have done something that must not happen twice.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config with_command(std::uint32_t retries) {
  Config config = broker_test_config();
  config.apps.push_back(
      {.name = "tool", .executor = ExecutorKind::command, .spread = Spread::device});
  config.apps.back().command.words = {"/bin/true"};
  config.apps.back().command.retries = retries;
  return config;
}

struct Pool : Harness {
  explicit Pool(std::uint32_t retries = 0) : Harness(with_command(retries)) {
    start();
    add_node(1, 1);
  }
  JobId admit_tool() {
    Submit submit = request();
    submit.body = {.app = "tool", .declared = seconds(60)};
    return admit(submit);
  }
  RunEnded loss(const Lease& lease, bool began) {
    RunEnded lost = crash(lease);
    lost.began = began;
    return lost;
  }
};

}  // namespace

TEST_CASE("A command that began does not run again, and is not charged where the pool failed it") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.pass(seconds(2));
  pool.end(pool.loss(lease, true));
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::failed);
  CHECK(pool.receipt(job)->cause == Errc::executor_crashed);
  CHECK(pool.receipt(job)->charged == GpuTime{});
}

TEST_CASE("A command that never began runs again, as anything else does") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease first = pool.only_lease();
  pool.end(pool.loss(first, false));
  CHECK(pool.receipt(job) == nullptr);
  pool.beat(pool.nodes.at(first.node));
  CHECK(pool.only_lease().job == job);
}

TEST_CASE("An app says how often a command that began may run again") {
  Pool pool(1);
  const JobId job = pool.admit_tool();
  for (int attempt = 0; attempt < 2; ++attempt) {
    INFO(attempt);
    CHECK(pool.receipt(job) == nullptr);
    const Lease lease = pool.only_lease();
    REQUIRE(lease.job == job);
    pool.begin(lease);
    pool.end(pool.loss(lease, true));
    pool.beat(pool.nodes.at(lease.node));
  }
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::failed);
  CHECK_THAT(pool.receipt(job)->detail,
             Catch::EndsWith("not run again: [[apps]] tool.retries = 1"));
}

TEST_CASE("Nobody knows whether a command on a lost node began, so it does not run again") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease lease = pool.only_lease();
  pool.silence(pool.nodes.at(lease.node));
  pool.pass(seconds(120));
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::failed);
  CHECK(pool.receipt(job)->cause == Errc::node_lost);
  CHECK(pool.receipt(job)->charged == GpuTime{});
}

TEST_CASE("A command's exit code and signal stand in its receipt") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  RunEnded ended = Harness::success(lease, seconds(2));
  ended.outcome = Outcome::failed;
  ended.cause = Errc::program_failed;
  ended.exit_code = 3;
  ended.signal = 0;
  pool.end(ended);
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->exit_code == 3);
  CHECK(pool.receipt(job)->charged == GpuTime{2'000});
}

TEST_CASE("Who follows a command is told that it was warned of its end") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.sessions_got<JobMoved>();
  pool.tell(RunWarned{.node = lease.node, .job = job, .attempt = 1, .left = seconds(5)});
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].event.notice == "it ends in 5 s: it was sent SIGUSR1");
}

TEST_CASE("A run gets the files of its own hold and no others") {
  Pool pool;
  const JobId job = pool.admit_tool();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.ledger_asked<FetchFiles>();
  // Its hold names none.
  pool.tell(FetchFiles{.node = lease.node, .job = job, .attempt = 1, .hash = "another's"});
  CHECK(pool.ledger_asked<FetchFiles>().empty());
}

}  // namespace gpupool
