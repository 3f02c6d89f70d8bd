// Leases: who gets which slot, what a worker may refuse or lose, and what becomes of lost runs.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

// A pool whose only slot runs a first job; the lease of that job.
struct OneSlot {
  Harness pool;
  JobId job;
  Lease lease;

  explicit OneSlot(Duration declared = seconds(60)) {
    pool.start();
    pool.add_node(1, 1);
    job = pool.admit(declared);
    lease = pool.only_lease();
  }
  TestNode& node() { return pool.nodes.at(NodeId{1}); }
};

}  // namespace

TEST_CASE("Broker starts the next job in order of arrival when a slot falls free") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const JobId second = pool.admit(seconds(300));
  const JobId third = pool.admit(seconds(1));
  pool.end(Harness::success(one.lease, seconds(3)));
  CHECK(pool.workers_got<Lease>().empty());  // until its worker says that the slot is free
  pool.beat(one.node());
  const Lease next = pool.only_lease();
  CHECK(next.job == second);
  pool.begin(next);
  pool.end(Harness::success(next, seconds(3)));
  pool.beat(one.node());
  CHECK(pool.only_lease().job == third);
}

TEST_CASE("A lease says what to run, for whom, and echoes the latest heartbeat") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  for (int i = 0; i < 5; ++i) pool.beat(node);
  const JobId job = pool.admit(seconds(42));
  const Lease lease = pool.only_lease();
  CHECK(lease.job == job);
  CHECK(lease.attempt == 1);
  CHECK(lease.epoch == Epoch{1});
  CHECK(lease.heartbeat == node.heartbeat);
  CHECK(lease.incarnation == node.incarnation);
  CHECK(lease.app == "nothing");
  CHECK(lease.declared == seconds(42));
  CHECK(pool.ledger_asked<Leased>().size() == 1);
}

TEST_CASE("A slot on which the app is warm is preferred") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 3);
  node.slots[2].warm_app = "nothing";
  pool.beat(node);
  pool.admit();
  CHECK(pool.only_lease().slot == SlotIndex{2});
  pool.admit();
  CHECK(pool.only_lease().slot == SlotIndex{0});
}

TEST_CASE("A slot carries one lease at a time, whatever its worker reports late") {
  OneSlot one;
  one.pool.admit();
  one.pool.beat(one.node());  // sent before the lease arrived: still free
  for (const Lease& lease : one.pool.workers_got<Lease>()) CHECK(lease.job == one.job);
}

TEST_CASE("The likely start comes from declared durations where no others are known") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const Instant began = pool.now;
  pool.sessions_got<JobMoved>();
  pool.admit(seconds(10));
  pool.tell(pool.request("user:zoe", seconds(5)));
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].event.position == 2);
  CHECK(moved[0].event.likely_start == began + seconds(60) + seconds(10));
}

TEST_CASE("The likely start comes from what such jobs really took, and is no part of the promise") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.end(Harness::success(one.lease, seconds(4)));
  pool.beat(one.node());
  const JobId running = pool.admit(seconds(60));
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  const Instant began = pool.now;
  pool.admit(seconds(60));
  pool.sessions_got<JobMoved>();
  pool.tell(pool.request("user:zoe", seconds(60)));
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].event.likely_start == began + seconds(4) + seconds(4));
  CHECK(moved[0].event.promise == pool.now + longest * 4);
  // One that takes longer than nine of ten such jobs did counts with all that it declared.
  pool.pass(seconds(10));
  CHECK(pool.job(running).phase == Phase::running);
  pool.sessions_got<JobMoved>();
  pool.tell(pool.request("user:kim", seconds(60)));
  CHECK(pool.sessions_got<JobMoved>().back().event.likely_start ==
        began + seconds(60) + seconds(4) + seconds(4));
}

TEST_CASE("Followers hear of a new position once, not every second") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const JobId waiting = pool.admit();
  pool.pass(seconds(2));
  pool.sessions_got<JobMoved>();
  pool.pass(seconds(10));
  for (const auto& moved : pool.sessions_got<JobMoved>()) CHECK(moved.event.job != waiting);
}

TEST_CASE("A refused lease sends its job back to its place in the queue, with a new promise") {
  OneSlot one;
  Harness& pool = one.pool;
  const JobId younger = pool.admit();
  pool.ledger_asked<Restate>();
  pool.tell(LeaseRefused{.node = one.lease.node,
                         .job = one.job,
                         .attempt = one.lease.attempt,
                         .code = Errc::lease_refused});
  CHECK(pool.job(one.job).phase == Phase::queued);
  CHECK(pool.workers_got<Lease>().empty());
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE_FALSE(restated.empty());
  CHECK(restated[0].job == one.job);
  CHECK(restated[0].promise == pool.now + longest * 2);
  pool.beat(one.node());
  const Lease again = pool.only_lease();
  CHECK(again.job == one.job);
  CHECK(again.attempt == 2);  // a lease's number is its own
  CHECK(pool.job(younger).phase == Phase::queued);
}

TEST_CASE("What is said of an earlier lease does not touch the present one") {
  OneSlot one;
  Harness& pool = one.pool;
  const LeaseRefused refused{.node = one.lease.node,
                             .job = one.job,
                             .attempt = one.lease.attempt,
                             .code = Errc::lease_refused};
  pool.tell(refused);
  pool.beat(one.node());
  const Lease again = pool.only_lease();
  pool.tell(refused);  // doubled on its way
  CHECK(pool.job(one.job).phase == Phase::leased);
  pool.tell(RunBegan{one.lease.node, one.job, one.lease.attempt});
  CHECK(pool.job(one.job).phase == Phase::leased);
  pool.begin(again);
  CHECK(pool.job(one.job).phase == Phase::running);
}

TEST_CASE("A lease that three later heartbeats don't show is sent again") {
  OneSlot one;
  Harness& pool = one.pool;
  for (int i = 0; i < 2; ++i) pool.beat(one.node());
  CHECK(pool.workers_got<Lease>().empty());
  pool.beat(one.node());
  const Lease again = pool.only_lease();
  CHECK(again.job == one.job);
  CHECK(again.attempt == one.lease.attempt);
  CHECK(again.heartbeat == one.node().heartbeat);
}

TEST_CASE("A run whose beginning was not heard of is seen in a heartbeat") {
  OneSlot one;
  SlotReport& slot = one.pool.slot_of(one.lease);
  slot = {.slot = slot.slot, .state = SlotState::running, .job = one.job, .attempt = 1};
  one.pool.beat(one.node());
  CHECK(one.pool.job(one.job).phase == Phase::running);
}

TEST_CASE("Steps are told to those who follow, never backwards") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.sessions_got<JobMoved>();
  const auto step = [&](std::uint32_t number) {
    pool.tell(RunStep{one.lease.node, one.job, 1, number, 30});
  };
  step(5);
  step(4);
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].event.step == 5);
  CHECK(moved[0].event.of_steps == 30);
}

TEST_CASE("An end is acknowledged only after the ledger has settled it, and settled once") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.ledger_answers = false;
  const RunEnded ended = Harness::success(one.lease, milliseconds(4200));
  pool.end(ended);
  pool.tell(ended);  // its worker repeats it
  CHECK(pool.workers_got<EndSeen>().empty());
  CHECK(pool.sessions_got<JobSettled>().empty());
  CHECK(pool.ledger_asked<Settle>().size() == 1);
  pool.pass(seconds(2));
  CHECK(pool.ledger_asked<Settle>().size() == 2);  // unanswered: sent again
  pool.answer_ledger();
  CHECK(pool.workers_got<EndSeen>().size() == 1);
  const auto settled = pool.sessions_got<JobSettled>();
  REQUIRE(settled.size() == 1);
  CHECK(settled[0].done->receipt.charged == GpuTime{4200});
  CHECK(settled[0].done->receipt.node == "node-1");
  CHECK_FALSE(pool.knows(one.job));
  pool.tell(ended);
  CHECK(pool.workers_got<EndSeen>().size() == 1);  // known already: the worker may forget it
}

TEST_CASE("The pool's fault runs a job again, and after three attempts it fails uncharged") {
  OneSlot one;
  Harness& pool = one.pool;
  Lease lease = one.lease;
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    CHECK(lease.attempt == attempt);
    pool.begin(lease);
    pool.end(Harness::crash(lease));
    pool.beat(one.node());
    if (attempt < 3) lease = pool.only_lease();
  }
  const Receipt* receipt = pool.receipt(one.job);
  REQUIRE(receipt != nullptr);
  CHECK(receipt->outcome == Outcome::failed);
  CHECK(receipt->cause == Errc::executor_crashed);
  CHECK(receipt->charged == GpuTime{});
  CHECK(receipt->given_back == receipt->held);
  CHECK(receipt->attempts == 3);
  CHECK(receipt->detail ==
        "the executor was ended by signal 11; not run again: it was lost 3 times");
}

TEST_CASE("A requeue is waited for, and its end acknowledged with it") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.ledger_answers = false;
  pool.end(Harness::crash(one.lease));
  pool.beat(one.node());
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.workers_got<EndSeen>().empty());
  pool.answer_ledger();
  CHECK(pool.workers_got<EndSeen>().size() == 1);
  CHECK(pool.only_lease().attempt == 2);
}

TEST_CASE("A job that runs again keeps its arrival, and younger promises say why they moved") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const JobId younger = pool.admit();
  const Instant promised = pool.job(younger).promise;
  pool.pass(longest + seconds(1));  // close to its promise
  pool.ledger_asked<Restate>();
  pool.end(Harness::crash(one.lease));
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE(restated.size() == 1);
  CHECK(restated[0].job == younger);
  CHECK(restated[0].promise == promised + longest * 2);
  CHECK_THAT(restated[0].reason, Catch::Contains("run again"));
  pool.beat(one.node());
  CHECK(pool.only_lease().job == one.job);
}

TEST_CASE("A silent node is lost after five seconds and its job runs elsewhere") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.add_node(2, 1);
  pool.silence(one.node());
  pool.pass(milliseconds(4750));
  CHECK(pool.job(one.job).phase == Phase::running);
  pool.pass(milliseconds(250));
  const auto requeued = pool.ledger_asked<Requeue>();
  REQUIRE(requeued.size() == 1);
  CHECK(requeued[0].cause == Errc::node_lost);
  const Lease again = pool.only_lease();
  CHECK(again.job == one.job);
  CHECK(again.attempt == 2);
  CHECK(again.node == NodeId{2});
}

TEST_CASE("The slots of a lost node are lent again only once its worker says that they are free") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const JobId other = pool.admit();
  pool.silence(one.node());
  pool.pass(seconds(6));
  CHECK(pool.workers_got<Lease>().empty());
  pool.beat(one.node());  // unknown by now: it has to join again
  CHECK(pool.workers_got<HeartbeatSeen>().back().epoch == Epoch{});
  pool.join(one.node());
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.job(one.job).phase == Phase::running);  // its run went on and is taken up again
  CHECK(pool.job(other).phase == Phase::queued);
}

TEST_CASE("A late result of a lost run is delivered and charged, and the other run is called off") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  pool.add_node(2, 1);
  pool.silence(one.node());
  pool.pass(seconds(5));
  const Lease second = pool.only_lease();
  pool.begin(second);
  pool.workers_got<CancelRun>();
  pool.end(Harness::success(one.lease, seconds(7)));
  const auto called_off = pool.workers_got<CancelRun>();
  REQUIRE(called_off.size() == 1);
  CHECK(called_off[0].attempt == 2);
  const Receipt* receipt = pool.receipt(one.job);
  REQUIRE(receipt != nullptr);
  CHECK(receipt->charged == GpuTime{7000});
  CHECK(receipt->node == "node-1");
  pool.workers_got<EndSeen>();
  pool.end(Harness::success(second, seconds(9)));  // too late
  CHECK(pool.workers_got<EndSeen>().size() == 1);
  CHECK(pool.receipt(one.job)->charged == GpuTime{7000});
  CHECK(pool.ledger.check_invariants().empty());
}

TEST_CASE("A run that stands in nobody's books is called off and never taken up") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  TestNode& second = pool.add_node(2, 1);
  pool.silence(one.node());
  pool.pass(seconds(5));
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.join(one.node());  // still runs attempt 1
  auto called_off = pool.workers_got<CancelRun>();
  REQUIRE(called_off.size() == 1);
  CHECK(called_off[0].attempt == 1);
  pool.silence(second);
  pool.beating.insert(one.node().id);
  pool.pass(seconds(6));  // the second run is lost too, and the first is still reported
  CHECK(pool.job(one.job).phase == Phase::queued);
  CHECK_FALSE(pool.workers_got<CancelRun>().empty());
}

TEST_CASE("Heartbeats and joins that come late or twice don't bring back what ended") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  TestNode& node = one.node();
  const Heartbeat doubled{.node = node.id,
                          .incarnation = node.incarnation,
                          .number = ++node.heartbeat,
                          .slots = node.slots};
  const Join late{.node = node.id,
                  .name = "node-1",
                  .incarnation = node.incarnation,
                  .build = test_build,
                  .heartbeat = ++node.heartbeat,
                  .slots = node.slots};
  pool.end(Harness::crash(one.lease));
  CHECK(pool.job(one.job).phase == Phase::queued);
  pool.tell(doubled);
  pool.tell(late);
  CHECK(pool.job(one.job).phase == Phase::queued);
  pool.beat(node);
  const Lease again = pool.only_lease();
  pool.tell(late);
  pool.tell(doubled);
  CHECK(pool.job(one.job).phase == Phase::leased);
  CHECK(pool.job(one.job).attempt == again.attempt);
}

TEST_CASE("A restarted worker has none of the runs of its earlier self") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  one.node().incarnation = Incarnation{2};
  one.node().heartbeat = 0;
  one.node().slots[0] = {.slot = {0}, .state = SlotState::free};
  pool.join(one.node());
  const Lease again = pool.only_lease();
  CHECK(again.job == one.job);
  CHECK(again.attempt == 2);
  CHECK(again.incarnation == Incarnation{2});

  one.node().incarnation = Incarnation{1};
  pool.workers_got<Joined>();
  pool.join(one.node());  // the earlier one speaks up
  const auto refused = pool.workers_got<Joined>();
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].refused == Errc::forbidden);
}

TEST_CASE("A worker that comes back with fewer slots loses what was leased on the others") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 2);
  pool.admit();
  const JobId second = pool.admit();
  node.slots.pop_back();
  pool.join(node);
  CHECK(pool.job(second).phase == Phase::queued);
  CHECK(pool.job(second).losses == 1);
}

TEST_CASE("A worker of another build is refused and gets nothing") {
  Harness pool;
  pool.start();
  pool.tell(Join{.node = NodeId{1},
                 .name = "node-1",
                 .incarnation = Incarnation{1},
                 .build = "build 2",
                 .heartbeat = 1,
                 .slots = {{.slot = {0}, .state = SlotState::free}}});
  const auto joined = pool.workers_got<Joined>();
  REQUIRE(joined.size() == 1);
  CHECK(joined[0].refused == Errc::version_mismatch);
  pool.admit();
  CHECK(pool.workers_got<Lease>().empty());
}

TEST_CASE("After a time without any slot the promises are made anew, with the reason") {
  OneSlot one;
  Harness& pool = one.pool;
  pool.begin(one.lease);
  const JobId waiting = pool.admit();
  pool.tell(Watch{.session = {1}, .account = pool.job(waiting).hold->account, .job = waiting});
  pool.silence(one.node());
  pool.pass(longest * 5);
  pool.ledger_asked<Restate>();
  pool.beating.insert(one.node().id);
  pool.join(one.node());
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE_FALSE(restated.empty());
  CHECK(restated.back().job == waiting);
  CHECK_THAT(restated.back().reason, Catch::Contains("no slot"));
  CHECK(pool.job(waiting).promise >= pool.now + longest);
}

}  // namespace gpupool
