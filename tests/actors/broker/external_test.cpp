// External apps: the grant on its way to its client, runs that are never made twice, and where
// their slots may be.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config external_config() {
  Config config = broker_test_config();
  config.apps.push_back(
      {.name = "own", .executor = ExecutorKind::external, .start_limit = seconds(5)});
  return config;
}

struct OneSlot {
  Harness pool{external_config()};
  JobId job;
  Lease lease;

  OneSlot() {
    pool.start();
    pool.add_node(1, 1);
    Submit submit = pool.request();
    submit.body.app = "own";
    job = pool.admit(submit);
    lease = pool.only_lease();
    pool.occupy(lease, SlotState::starting);
    (void)pool.sessions_got<JobMoved>();
  }
  RunGranted granted(std::uint32_t attempt = 1) const {
    return {.node = lease.node,
            .job = job,
            .attempt = attempt,
            .grant = Grant{.slot = {0}, .device = "cpu-0", .token = "secret"}};
  }
};

}  // namespace

TEST_CASE("The grant of an external job reaches those who follow it, once") {
  OneSlot one;
  one.pool.tell(one.granted());
  const auto moved = one.pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved.front().event.state == JobState::starting);
  CHECK(moved.front().event.node == "node-1");
  CHECK(moved.front().event.grant->token == "secret");
  one.pool.tell(one.granted());
  CHECK(one.pool.sessions_got<JobMoved>().empty());
}

TEST_CASE("A grant of another node or attempt is of nobody") {
  OneSlot one;
  RunGranted wrong = one.granted(2);
  one.pool.tell(wrong);
  wrong = one.granted();
  wrong.node = NodeId{9};
  one.pool.tell(wrong);
  CHECK(one.pool.sessions_got<JobMoved>().empty());
}

TEST_CASE("Whoever follows a granted job later is told its grant, and its account alone") {
  OneSlot one;
  one.pool.tell(one.granted());
  (void)one.pool.sessions_got<JobMoved>();
  one.pool.tell(Watch{.session = SessionId{2},
                      .query = 5,
                      .account = one.pool.job(one.job).hold->account,
                      .job = one.job});
  const auto moved = one.pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved.front().event.grant->token == "secret");
  one.pool.tell(
      Watch{.session = SessionId{3}, .query = 6, .account = {"user:eve"}, .job = one.job});
  CHECK(one.pool.sessions_got<JobMoved>().empty());
}

TEST_CASE("An external job that the pool lost is not run again, and is free") {
  OneSlot one;
  SECTION("its process did not come") {
    RunEnded ended = Harness::crash(one.lease);
    ended.cause = Errc::start_limit_missed;
    one.pool.end(ended);
    REQUIRE(one.pool.receipt(one.job));
    CHECK(one.pool.receipt(one.job)->cause == Errc::start_limit_missed);
  }
  SECTION("its node was lost") {
    one.pool.silence(one.pool.nodes.at(NodeId{1}));
    one.pool.pass(seconds(6));
    REQUIRE(one.pool.receipt(one.job));
    CHECK(one.pool.receipt(one.job)->cause == Errc::node_lost);
  }
  CHECK(one.pool.receipt(one.job)->outcome == Outcome::failed);
  CHECK(one.pool.receipt(one.job)->charged == GpuTime{});
  CHECK(one.pool.receipt(one.job)->attempts == 1);
  CHECK(one.pool.workers_got<Lease>().empty());
}

TEST_CASE("An external job that is given back before it was used is cancelled, and free") {
  OneSlot one;
  RunEnded ended = Harness::crash(one.lease);
  ended.pool_fault = false;
  ended.outcome = Outcome::cancelled;
  ended.cause = {};
  SECTION("by its caller") {
    ended.detail = "released before it was used";
    one.pool.end(ended);
    REQUIRE(one.pool.receipt(one.job));
    CHECK(one.pool.receipt(one.job)->outcome == Outcome::cancelled);
    CHECK(one.pool.receipt(one.job)->cause == Errc{});
    CHECK(one.pool.receipt(one.job)->detail == "released before it was used");
  }
  SECTION("but one that an earlier broker called off is the pool's fault") {
    ended.detail.clear();
    one.pool.end(ended);
    REQUIRE(one.pool.receipt(one.job));
    CHECK(one.pool.receipt(one.job)->cause == Errc::node_lost);
  }
  CHECK(one.pool.receipt(one.job)->charged == GpuTime{});
}

TEST_CASE("A lease that its node did not take was no run of an external job, and is made again") {
  OneSlot one;
  one.pool.slot_of(one.lease) = {.slot = one.lease.slot, .state = SlotState::free};
  one.pool.tell(LeaseRefused{
      .node = one.lease.node, .job = one.job, .attempt = 1, .code = Errc::lease_refused});
  one.pool.pass(milliseconds(250));
  const auto again = one.pool.workers_got<Lease>();
  REQUIRE_FALSE(again.empty());
  CHECK(again.front().job == one.job);
  CHECK(again.front().attempt == 2);
}

TEST_CASE("A node may not have slots of an external app's partition that another one has") {
  OneSlot one;
  one.pool.add_node(2, 1);
  const auto joined = one.pool.workers_got<Joined>();
  REQUIRE_FALSE(joined.empty());
  CHECK(joined.back().refused == Errc::forbidden);
  CHECK(joined.back().detail.find("whose callers are on another node") != std::string::npos);
}

TEST_CASE("Only a device API may say of which Space a request is") {
  Harness pool{external_config()};
  pool.start();
  pool.add_node(1, 1);
  Submit submit = pool.request();
  submit.body.app = "own";
  submit.body.arguments = {{space_argument, "demo"}};
  CHECK(pool.refuse(submit).code == Errc::bad_request);
  Submit visitor = pool.request();
  visitor.body = submit.body;
  visitor.session = SessionId{visitor_bit | 1};
  pool.admit(visitor);
  CHECK(pool.only_lease().body->arguments.size() == 1);
}

TEST_CASE("An external app takes no arguments but those of a lease, and names the one it refuses") {
  Harness pool{external_config()};
  pool.start();
  pool.add_node(1, 1);
  Submit submit = pool.request();
  submit.body.app = "own";
  for (const char* key : {"command", "files", "prompt", "Task", ""}) {
    submit.body.arguments = {{task_argument, "7"}, {key, "true"}};
    const Refusal refusal = pool.refuse(submit);
    CHECK(refusal.code == Errc::bad_request);
    CHECK_THAT(refusal.detail, Catch::Contains('"' + std::string(key) + '"'));
    // The SDK takes that for the word of an app that knows no tasks.
    CHECK_THAT(refusal.detail, !Catch::Contains("\"task\""));
  }
  submit.body.arguments = {{task_argument, "7"}};
  pool.admit(submit);
  CHECK(pool.only_lease().body->arguments.size() == 1);
}

}  // namespace gpupool
