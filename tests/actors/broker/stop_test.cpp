// A broker that is told to stop, and nodes that end.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

struct RunningPool : Harness {
  Lease lease;

  RunningPool() {
    start();
    add_node(1, 1);
    admit();
    lease = only_lease();
    begin(lease);
  }
  void stop() { tell(Stop{.by = now + seconds(30)}); }
};

}  // namespace

TEST_CASE("A broker that stops admits nothing and says so, after what the request itself lacks") {
  RunningPool pool;
  pool.stop();
  Submit wish = pool.request();
  const Refusal refusal = pool.refuse(wish);
  CHECK(refusal.code == Errc::pool_unavailable);
  CHECK(refusal.detail == "the pool is stopping; try again in a moment");
  wish.body.app = "nowhere";
  wish.request = Harness::request_id(pool.now, 99);
  CHECK(pool.refuse(wish).code == Errc::unknown_app);
}

TEST_CASE("A broker that stops leases nothing; its queued jobs keep their holds") {
  RunningPool pool;
  const JobId waiting = pool.admit();
  pool.stop();
  pool.tell(ClientGone{SessionId{1}});
  CHECK_FALSE(pool.core->stopped());
  pool.end(Harness::success(pool.lease, seconds(3)));
  pool.pass(seconds(29));
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.job(waiting).phase == Phase::queued);
  CHECK(pool.core->stopped());
  pool.start();
  pool.join(pool.nodes.at(NodeId{1}));
  pool.pass(milliseconds(1750));
  CHECK(pool.only_lease().job == waiting);
}

TEST_CASE("A broker has stopped when the ledger has settled what ran") {
  RunningPool pool;
  pool.stop();
  pool.ledger_answers = false;
  pool.end(Harness::success(pool.lease, seconds(3)));
  CHECK_FALSE(pool.core->stopped());
  pool.answer_ledger();
  CHECK(pool.core->stopped());
}

TEST_CASE("A broker has stopped at its limit, whatever still runs") {
  RunningPool pool;
  pool.stop();
  pool.pass(milliseconds(29'750));
  CHECK_FALSE(pool.core->stopped());
  pool.pass(milliseconds(250));
  CHECK(pool.core->stopped());
}

TEST_CASE("A node whose worker ends gets no more leases; what it runs goes on") {
  RunningPool pool;
  TestNode& node = pool.nodes.at(NodeId{1});
  node.draining = true;
  pool.beat(node);
  CHECK(pool.job(pool.lease.job).phase == Phase::running);
  const JobId waiting = pool.admit();
  pool.end(Harness::success(pool.lease, seconds(3)));
  pool.beat(node);
  CHECK(pool.workers_got<Lease>().empty());
  pool.add_node(2, 1);
  CHECK(pool.only_lease().job == waiting);
}

TEST_CASE("What a run wrote goes from its end into the settle") {
  RunningPool pool;
  RunEnded ended = Harness::success(pool.lease, seconds(3));
  ended.log = {.hash = "def", .bytes = 20, .media_type = "text/plain", .node = pool.lease.node};
  pool.end(ended);
  const auto settles = pool.ledger_asked<Settle>();
  REQUIRE(settles.size() == 1);
  CHECK(settles[0].log->hash == "def");
}

TEST_CASE("One job can be asked for by its number") {
  RunningPool pool;
  const Submit one = pool.request("user:ada");
  const JobId job = pool.admit(one);
  pool.admit(pool.request("user:ada"));
  pool.tell(JobsQuery{.session = {1}, .query = 3, .account = {"user:ada"}, .job = job});
  pool.tell(JobsQuery{.session = {1}, .query = 4, .account = {"user:eve"}, .job = job});
  const auto lists = pool.sessions_got<JobsList>();
  REQUIRE(lists.size() == 2);
  REQUIRE(lists[0].answer.jobs.size() == 1);
  CHECK(lists[0].answer.jobs[0].job == job);
  CHECK(lists[1].answer.jobs.empty());
}

}  // namespace gpupool
