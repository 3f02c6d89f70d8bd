// Cancelling in every phase, and what a restarted broker makes of what it finds.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

void cancel(Harness& pool, JobId job) {
  pool.tell(Cancel{
      .session = SessionId{1}, .query = 900, .account = pool.job(job).hold->account, .job = job});
}

RunEnded cancelled(const Lease& lease, Duration ran) {
  return {.node = lease.node,
          .job = lease.job,
          .attempt = lease.attempt,
          .epoch = lease.epoch,
          .outcome = Outcome::cancelled,
          .ran = ran};
}

}  // namespace

TEST_CASE("A queued job is cancelled at once and uncharged") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit();
  cancel(pool, job);
  const auto settled = pool.sessions_got<JobSettled>();
  REQUIRE(settled.size() == 1);
  CHECK(settled[0].done->receipt.outcome == Outcome::cancelled);
  CHECK(settled[0].done->receipt.charged == GpuTime{});
  CHECK_FALSE(pool.knows(job));
}

TEST_CASE("A starting job is called off at its worker and is free if it never ran") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  cancel(pool, job);
  CHECK(pool.workers_got<CancelRun>().size() == 1);
  CHECK(pool.knows(job));
  pool.end(cancelled(lease, {}));
  CHECK(pool.receipt(job)->outcome == Outcome::cancelled);
  CHECK(pool.receipt(job)->charged == GpuTime{});
}

TEST_CASE("A cancelled lease that never arrived is not sent again") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  pool.only_lease();
  cancel(pool, job);
  for (int i = 0; i < 3; ++i) pool.beat(node);
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.receipt(job)->outcome == Outcome::cancelled);
}

TEST_CASE("A running job that is cancelled is charged what it ran") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  cancel(pool, job);
  pool.workers_got<CancelRun>();
  pool.beat(node);  // the order was lost: it is repeated while the run goes on
  CHECK(pool.workers_got<CancelRun>().size() == 1);
  pool.end(cancelled(lease, seconds(3)));
  CHECK(pool.receipt(job)->charged == GpuTime{3000});
}

TEST_CASE("A job that ends before its cancel arrives keeps its result") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  cancel(pool, job);
  pool.end(Harness::success(lease, seconds(3)));
  CHECK(pool.receipt(job)->outcome == Outcome::succeeded);
}

TEST_CASE("A job cancelled between two attempts does not run again") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.ledger_answers = false;
  pool.end(Harness::crash(lease));
  cancel(pool, job);
  pool.answer_ledger();
  pool.beat(node);
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.receipt(job)->outcome == Outcome::cancelled);
  CHECK(pool.receipt(job)->charged == GpuTime{});
}

TEST_CASE("A cancelled job whose node is lost is cancelled, not run again") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  pool.add_node(2, 1);
  const JobId job = pool.admit();
  pool.begin(pool.only_lease());
  cancel(pool, job);
  pool.silence(node);
  pool.pass(seconds(6));
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.receipt(job)->outcome == Outcome::cancelled);
}

TEST_CASE("A restarted broker takes up the runs that workers report, and charges them once") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.start();
  CHECK(pool.job(job).phase == Phase::queued);
  pool.beat(node);
  CHECK(pool.workers_got<HeartbeatSeen>().back().epoch == Epoch{});  // join again
  pool.join(node);
  CHECK(pool.workers_got<Joined>().back().epoch == Epoch{2});
  CHECK(pool.job(job).phase == Phase::running);
  pool.pass(seconds(10));
  CHECK(pool.workers_got<Lease>().empty());
  pool.end(Harness::success(lease, seconds(8)));
  CHECK(pool.receipt(job)->charged == GpuTime{8000});
  CHECK(pool.receipt(job)->attempts == 1);
}

TEST_CASE("What no worker reports within the grace runs again in its old place") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  pool.begin(pool.only_lease());
  const JobId younger = pool.admit();
  pool.nodes.clear();
  pool.beating.clear();
  pool.start();
  pool.add_node(2, 1);
  pool.pass(milliseconds(4750));
  CHECK(pool.workers_got<Lease>().empty());
  pool.pass(milliseconds(500));
  const Lease again = pool.only_lease();
  CHECK(again.job == job);
  CHECK(again.attempt == 2);
  CHECK(again.epoch == Epoch{2});
  CHECK(pool.job(younger).phase == Phase::queued);
}

TEST_CASE("A restart adds its downtime to the promises, and says so") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit();
  const Instant promised = pool.job(job).promise;
  pool.now = pool.now + seconds(100);
  pool.start();
  pool.sessions_got<JobMoved>();
  pool.ledger_asked<Restate>();
  pool.pass(seconds(6));
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE(restated.size() == 1);
  CHECK(restated[0].job == job);
  CHECK(restated[0].promise >= promised + seconds(100));
  CHECK_THAT(restated[0].reason, Catch::Contains("restarted"));
  CHECK(pool.job(job).promise == restated[0].promise);
}

TEST_CASE("A run that ended while there was no broker counts as it ended") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.start();
  pool.slot_of(lease) = {.slot = lease.slot, .state = SlotState::free};
  pool.join(node);
  RunEnded ended = cancelled(lease, seconds(60));
  ended.outcome = Outcome::expired;
  pool.end(ended);
  const Receipt* receipt = pool.receipt(job);
  REQUIRE(receipt != nullptr);
  CHECK(receipt->outcome == Outcome::expired);
  CHECK(receipt->charged == GpuTime{60'000});
}

TEST_CASE("A run that ended without a broker counts though its node is the last to join") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  pool.add_node(2, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  REQUIRE(lease.node == node.id);
  pool.begin(lease);
  pool.start();
  pool.slot_of(lease) = {.slot = lease.slot, .state = SlotState::free};
  pool.silence(node);
  pool.pass(seconds(3));
  pool.join(node);
  pool.tell(Tick{});
  RunEnded ended = cancelled(lease, seconds(60));
  ended.outcome = Outcome::expired;
  pool.end(ended);
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::expired);
}

TEST_CASE("An end that comes before its node is told again once it has joined") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.start();
  pool.end(Harness::success(lease, seconds(3)));
  CHECK(pool.workers_got<EndSeen>().empty());
  CHECK(pool.knows(job));
  pool.join(node);
  pool.tell(Harness::success(lease, seconds(3)));
  CHECK(pool.workers_got<EndSeen>().size() == 1);
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::succeeded);
  CHECK(pool.receipt(job)->node == "node-1");
}

TEST_CASE("An end that comes before the lead is not acknowledged: its worker sends it again") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.ledger_answers = false;
  pool.start();
  pool.end(Harness::success(lease, seconds(3)));
  CHECK(pool.workers_got<EndSeen>().empty());
  pool.answer_ledger();
  CHECK(pool.knows(job));
  pool.join(node);
  pool.tell(Harness::success(lease, seconds(3)));
  CHECK(pool.workers_got<EndSeen>().size() == 1);
  CHECK(pool.receipt(job)->outcome == Outcome::succeeded);
}

TEST_CASE("Attempts that were lost before a restart still count after it") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  for (int attempt = 1; attempt <= 2; ++attempt) {
    const Lease lease = pool.only_lease();
    pool.begin(lease);
    pool.end(Harness::crash(lease));
    pool.beat(node);
  }
  const Lease third = pool.only_lease();
  CHECK(third.attempt == 3);
  pool.begin(third);
  pool.start();
  pool.join(node);
  CHECK(pool.job(job).losses == 2);
  pool.end(Harness::crash(third));
  CHECK(pool.receipt(job)->outcome == Outcome::failed);
}

TEST_CASE("A refused lease is no lost attempt, after a restart neither") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  const JobId job = pool.admit();
  for (int i = 0; i < 5; ++i) {
    const Lease lease = pool.only_lease();
    pool.tell(LeaseRefused{.node = lease.node, .job = job, .attempt = lease.attempt});
    pool.beat(node);
  }
  pool.start();
  pool.join(node);
  CHECK(pool.job(job).losses == 0);
  pool.pass(seconds(6));
  CHECK(pool.job(job).losses == 1);  // the last lease, of which nobody knows what became
}

TEST_CASE("A deposed broker falls silent") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.ledger.step(pool.now, Lead{.ticket = 77});  // another broker
  pool.tell(pool.request());
  CHECK(pool.core->deposed());
  pool.workers_got<Lease>();
  pool.sessions_got<JobMoved>();
  pool.pass(seconds(10));
  CHECK(pool.workers_got<HeartbeatSeen>().empty());
  CHECK(pool.ledger_asked<Reserve>().size() == 1);
}

TEST_CASE("A slow ledger makes no broker depose itself") {
  Harness pool;
  pool.ledger_answers = false;
  pool.start();
  pool.pass(milliseconds(2500));
  CHECK(pool.ledger_asked<Lead>().size() == 2);
  pool.answer_ledger();
  CHECK(pool.core->leading());
  CHECK(pool.admit());
  CHECK_FALSE(pool.core->deposed());
}

TEST_CASE("A job that the ledger does not have open is forgotten, and its followers are told") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit();
  pool.tell(LedgerRefused{.job = job, .code = Errc::job_unknown});
  CHECK_FALSE(pool.knows(job));
  const auto errors = pool.sessions_got<BrokerError>();
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].code == Errc::job_unknown);
}

TEST_CASE("Promises survive a restart as they were restated last") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit();
  pool.now = pool.now + seconds(10);
  pool.start();
  pool.pass(seconds(6));
  const Instant restated = pool.job(job).promise;
  CHECK(restated >= pool.now - seconds(6) + longest * 2);
  pool.start();
  CHECK(pool.job(job).promise == restated);
}

}  // namespace gpupool
