// Holds that grow: what an app with duration = "auto" holds at first, how it is extended while it
// runs, what its worker is told, and what happens when nothing more can be held.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config automatic_config(Duration allowance = seconds(1'500)) {
  Config config = broker_test_config();
  config.apps.front().automatic = true;
  config.apps.front().default_duration = seconds(10);
  config.tiers[2].allowance = {allowance.ms};
  config.tiers[2].longest = {200'000};
  return config;
}

struct GrowingPool : Harness {
  explicit GrowingPool(Duration allowance = seconds(1'500)) : Harness(automatic_config(allowance)) {
    start();
    add_node(1, 2);
  }
  // One that declares nothing, on its slot and running.
  Lease run(const std::string& account = "user:ada") {
    job_id = admit(request(account, {}));
    const Lease lease = only_lease();
    begin(lease);
    began = now;
    sessions_got<JobMoved>();
    return lease;
  }
  // As the worker would report the run from now on.
  void report(const Lease& lease, Duration held) {
    SlotReport& slot = slot_of(lease);
    slot.ran = std::max(now - began, Duration{1});
    slot.held = held;
  }
  // Its slot can be lent again.
  void finish(const Lease& lease, Duration ran) {
    end(success(lease, ran));
    beat(nodes.at(lease.node));
  }
  Duration held() const { return {balance().held.ms}; }
  Balance balance() const { return ledger.balance(now, {"user:ada"}, "pro"); }

  JobId job_id;
  Instant began{};
};

}  // namespace

TEST_CASE(
    "A request without a duration holds the app's default at first and declares the longest") {
  GrowingPool pool;
  const Lease lease = pool.run();
  CHECK(lease.declared == seconds(200));  // what the tier allows of the app's 300
  CHECK(lease.held == seconds(10));
  CHECK(pool.job(pool.job_id).hold->learned == seconds(10));
  CHECK(pool.balance().held == GpuTime{10'000});
}

TEST_CASE("A request with a duration of its own holds all of it, automatic or not") {
  GrowingPool pool;
  pool.admit(pool.request("user:ada", seconds(30)));
  const Lease lease = pool.only_lease();
  CHECK(lease.declared == seconds(30));
  CHECK(lease.held == Duration{});
  CHECK(pool.balance().held == GpuTime{30'000});
}

TEST_CASE("What runs took is what is held, once enough of them ended") {
  GrowingPool pool;
  for (int i = 0; i < 10; ++i) pool.finish(pool.run(), seconds(20));
  CHECK(pool.run().held == seconds(25));
  CHECK(pool.balance().held == GpuTime{25'000});
  // A broker that starts anew is told by the ledger.
  pool.start();
  pool.join(pool.nodes.at(NodeId{1}));
  pool.pass(seconds(6));
  pool.admit(pool.request("user:bob", {}));
  CHECK(pool.only_lease().held == seconds(25));
}

TEST_CASE("Two seconds before a hold ends it is extended by a half, and the worker is told") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.pass(milliseconds(7'900));
  CHECK(pool.ledger_asked<Extend>().empty());
  pool.pass(milliseconds(250));
  const auto asked = pool.ledger_asked<Extend>();
  REQUIRE(asked.size() == 1);
  CHECK(asked.front().by == GpuTime{5'000});
  const auto told = pool.workers_got<ExtendRun>();
  REQUIRE(told.size() == 1);
  CHECK(told.front().job == lease.job);
  CHECK(told.front().attempt == lease.attempt);
  CHECK(told.front().held == seconds(15));
  CHECK(pool.balance().held == GpuTime{15'000});
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved.front().event.notice == "its hold was extended to 15.0 s");
  CHECK(moved.front().event.held_until == pool.began + seconds(15));
}

TEST_CASE("The worker hears of nothing that is not durable") {
  GrowingPool pool;
  pool.run();
  pool.ledger_answers = false;
  pool.pass(seconds(9));
  CHECK(pool.workers_got<ExtendRun>().empty());
  pool.answer_ledger();
  CHECK(pool.workers_got<ExtendRun>().front().held == seconds(15));
  CHECK(pool.balance().held == GpuTime{15'000});  // though it was asked for more than once
}

TEST_CASE("Extensions go on up to the declared duration and no further") {
  GrowingPool pool;
  const Lease lease = pool.run();
  for (int i = 0; i < 800; ++i) {
    pool.report(lease, pool.held());
    pool.pass(milliseconds(250));
  }
  CHECK(pool.balance().held == GpuTime{200'000});
  const auto asked = pool.ledger_asked<Extend>();
  CHECK(asked.size() == 8);  // 15, 22.5, 33.75, ... 170.9, 200
  CHECK(asked.back().number == 8);
}

TEST_CASE("What is left of the quota is held too, and then the run is warned before its end") {
  GrowingPool pool(seconds(12));
  const Lease lease = pool.run();
  pool.pass(milliseconds(8'250));
  CHECK(pool.balance().held == GpuTime{12'000});
  CHECK(pool.workers_got<ExtendRun>().back().held == seconds(12));
  pool.sessions_got<JobMoved>();
  pool.report(lease, seconds(12));
  pool.pass(seconds(2));
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);  // once
  CHECK(
      moved.front().event.notice.find("no more can be held for it, as its account has 0.0 s left: "
                                      "it ends when it has run 12.0 s") == 0);
  RunEnded ended = Harness::success(lease, seconds(12));
  ended.outcome = Outcome::expired;
  ended.cause = Errc::quota_exceeded;
  pool.end(ended);
  CHECK(pool.receipt(pool.job_id)->charged == GpuTime{12'000});
  CHECK(pool.receipt(pool.job_id)->outcome == Outcome::expired);
}

TEST_CASE("An account that can pay again in time has its hold extended after the warning") {
  GrowingPool pool(seconds(20));
  const JobId other = pool.admit(pool.request("user:ada", seconds(10)));
  pool.workers_got<Lease>();
  const Lease lease = pool.run();
  pool.pass(milliseconds(8'500));
  REQUIRE(pool.workers_got<ExtendRun>().empty());
  CHECK(pool.sessions_got<JobMoved>().back().event.notice.find("no more can be held") == 0);
  pool.tell(Cancel{.session = {1}, .query = 99, .account = {"user:ada"}, .job = other});
  pool.end({.node = {1}, .job = other, .attempt = 1, .outcome = Outcome::cancelled});
  pool.pass(seconds(1));
  CHECK(pool.workers_got<ExtendRun>().back().held == seconds(15));
  CHECK(pool.job(lease.job).notice.empty());
}

TEST_CASE("An extension that the worker did not hear of is told again with its reports") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.pass(seconds(9));
  pool.workers_got<ExtendRun>();
  pool.report(lease, seconds(10));
  pool.beat(pool.nodes.at(lease.node));
  REQUIRE(pool.workers_got<ExtendRun>().size() == 1);
  pool.report(lease, seconds(15));
  pool.beat(pool.nodes.at(lease.node));
  CHECK(pool.workers_got<ExtendRun>().empty());
}

TEST_CASE("A run that an earlier broker began is extended by the worker's own clock") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.pass(seconds(5));
  pool.start();
  pool.pass(seconds(1));
  pool.report(lease, seconds(10));
  pool.nodes.at(lease.node).slots[lease.slot.value].ran = seconds(7);
  pool.join(pool.nodes.at(lease.node));
  pool.ledger_asked<Extend>();
  pool.silence(pool.nodes.at(lease.node));
  pool.pass(seconds(1));
  CHECK(pool.ledger_asked<Extend>().size() == 1);  // 8 s by the worker, 1 s by this broker
  CHECK(pool.balance().held == GpuTime{15'000});
}

TEST_CASE("A job that runs again keeps what was held for it so far") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.pass(seconds(9));
  pool.end(Harness::crash(lease));
  pool.pass(milliseconds(250));
  const auto again = pool.workers_got<Lease>();
  REQUIRE(again.size() == 1);
  CHECK(again.front().held == seconds(15));
  CHECK(pool.balance().held == GpuTime{15'000});
}

TEST_CASE("A run that the pool failed to extend in time is lost by the pool's fault, uncharged") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.ledger_answers = false;  // its disk is slow, or full
  pool.pass(seconds(10));
  RunEnded ended = Harness::success(lease, seconds(10));
  ended.outcome = Outcome::expired;
  ended.cause = Errc::quota_exceeded;
  ended.detail = "its hold of 10.0 s was not extended in time";
  pool.end(ended);
  pool.answer_ledger();
  pool.pass(milliseconds(500));
  CHECK(pool.receipt(pool.job_id) == nullptr);
  CHECK(pool.job(pool.job_id).losses == 1);
  CHECK(pool.workers_got<Lease>().size() == 1);  // again
}

TEST_CASE("A cancelled run is not extended") {
  GrowingPool pool;
  const Lease lease = pool.run();
  pool.tell(Cancel{.session = {1}, .query = 9, .account = {"user:ada"}, .job = lease.job});
  pool.pass(seconds(9));
  CHECK(pool.ledger_asked<Extend>().empty());
}

TEST_CASE("A rest of 24 s does not refuse a picture of 8 s") {
  GrowingPool pool(seconds(104));
  for (int i = 0; i < 10; ++i) pool.finish(pool.run(), seconds(8));
  REQUIRE(pool.balance().left == GpuTime{24'000});
  const Lease lease = pool.run();
  CHECK(lease.held == seconds(11));
  pool.pass(seconds(8));
  pool.end(Harness::success(lease, seconds(8)));
  CHECK(pool.receipt(pool.job_id)->charged == GpuTime{8'000});
}

}  // namespace gpupool
