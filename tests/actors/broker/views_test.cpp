// What operators see of the broker and do to it: nodes, queue, cancel, drain.
#include <catch2/catch.hpp>

#include "config/limits.h"
#include "tests/actors/broker/harness.h"

using namespace gpupool;

namespace {

// A pool of node-1 with `slots` slots that leads.
struct Pool : Harness {
  explicit Pool(std::uint32_t slots) {
    start();
    add_node(1, slots);
  }
  NodesFound nodes_now() {
    tell(NodesQuery{.ticket = 5});
    const auto found = console_got<NodesFound>();
    REQUIRE(found.size() == 1);
    CHECK(found[0].ticket == 5);
    return found[0];
  }
  QueueFound queue_now(JobId after = {}, std::uint32_t limit = 50) {
    tell(QueueQuery{.ticket = 6, .after = after, .limit = limit});
    const auto found = console_got<QueueFound>();
    REQUIRE(found.size() == 1);
    CHECK(found[0].ticket == 6);
    return found[0];
  }
  CancelTaken cancel_now(JobId job) {
    tell(OperatorCancel{.ticket = 7, .who = "operator user:root", .job = job});
    const auto taken = console_got<CancelTaken>();
    REQUIRE(taken.size() == 1);
    CHECK(taken[0].ticket == 7);
    return taken[0];
  }
  Receipt only_receipt() {
    const auto settled = sessions_got<JobSettled>();
    REQUIRE(settled.size() == 1);
    return settled[0].done->receipt;
  }
};

}  // namespace

TEST_CASE("Operators see each slot with its job and by when that has surely ended") {
  Pool pool(2);
  const JobId job = pool.admit(seconds(60));
  const Lease lease = pool.only_lease();
  NodesFound found = pool.nodes_now();
  REQUIRE(found.nodes.size() == 1);
  CHECK(found.nodes[0].name == "node-1");
  CHECK(found.nodes[0].state == NodeState::healthy);
  CHECK(found.nodes[0].build == test_build);
  REQUIRE(found.nodes[0].slots.size() == 2);
  const SlotView& starting = found.nodes[0].slots[lease.slot.value];
  CHECK(starting.job == job);
  CHECK(starting.app == "nothing");
  CHECK(starting.account == pool.job(job).hold->account);
  CHECK(starting.ends_by == pool.now + pool.job(job).hold->occupancy);
  CHECK_FALSE(found.nodes[0].slots[1 - lease.slot.value].job);

  pool.pass(seconds(1));
  pool.begin(lease);
  found = pool.nodes_now();
  CHECK(found.nodes[0].slots[lease.slot.value].ends_by ==
        pool.now + seconds(60) + pool.config().worker.kill_grace);
}

TEST_CASE("Nodes are listed by name, and a lost one is still there") {
  Pool pool(1);
  pool.add_node(3, 1);
  pool.add_node(2, 1);
  pool.silence(pool.nodes.at(NodeId{2}));
  pool.pass(seconds(6));
  const NodesFound found = pool.nodes_now();
  REQUIRE(found.nodes.size() == 3);
  CHECK(found.nodes[1].name == "node-2");
  CHECK(found.nodes[1].state == NodeState::lost);
  CHECK(found.nodes[2].name == "node-3");
}

TEST_CASE("The queue lists open jobs in order of arrival, page by page, with their positions") {
  Pool pool(1);
  std::vector<JobId> jobs;
  for (int i = 0; i < 5; ++i) jobs.push_back(pool.admit(seconds(10)));
  QueueFound found = pool.queue_now({}, 3);
  REQUIRE(found.jobs.size() == 3);
  CHECK(found.more);
  CHECK(found.waiting == 4);
  CHECK(found.jobs[0].job == jobs[0]);
  CHECK(found.jobs[0].state == JobState::starting);
  CHECK(found.jobs[0].node == "node-1");
  CHECK(found.jobs[0].position == 0);
  CHECK(found.jobs[1].state == JobState::queued);
  CHECK(found.jobs[1].position == 1);
  CHECK(found.jobs[1].likely_start == pool.now + seconds(10));
  CHECK(found.jobs[2].likely_start == pool.now + seconds(20));
  CHECK(found.jobs[2].promise == pool.job(jobs[2]).promise);

  found = pool.queue_now(jobs[2], 3);
  REQUIRE(found.jobs.size() == 2);
  CHECK_FALSE(found.more);
  CHECK(found.jobs[0].job == jobs[3]);
  CHECK(found.jobs[0].position == 3);
}

TEST_CASE("A page of the queue has a row at least and its maximum at most") {
  Pool pool(1);
  for (int i = 0; i < 3; ++i) pool.admit();
  CHECK(pool.queue_now({}, 0).jobs.size() == 1);
  CHECK(pool.queue_now({}, 4'000'000'000U).jobs.size() == 3);
  CHECK(pool.queue_now(JobId{~std::uint64_t{0}}).jobs.empty());
}

TEST_CASE("An operator cancels a queued job of anybody, and its receipt says who did") {
  Pool pool(1);
  pool.admit();
  const JobId waiting = pool.admit();
  const CancelTaken taken = pool.cancel_now(waiting);
  CHECK(taken.error == Errc{});
  CHECK(taken.state == JobState::queued);
  CHECK(taken.account == AccountId{"user:1"});
  const Receipt receipt = pool.only_receipt();
  CHECK(receipt.job == waiting);
  CHECK(receipt.outcome == Outcome::cancelled);
  CHECK(receipt.detail == "cancelled by operator user:root");
  CHECK(receipt.charged == GpuTime{});
}

TEST_CASE("An operator cancels a running job: its worker is told and its receipt says who did") {
  Pool pool(1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  CHECK(pool.cancel_now(job).state == JobState::running);
  REQUIRE(pool.workers_got<CancelRun>().size() == 1);
  RunEnded ended = Pool::success(lease, seconds(3));
  ended.outcome = Outcome::cancelled;
  ended.result = {};
  pool.end(ended);
  const Receipt receipt = pool.only_receipt();
  CHECK(receipt.detail == "cancelled by operator user:root");
  CHECK(receipt.charged == GpuTime{3'000});
}

TEST_CASE("A run that ended well before the operator's cancel reached it is not called cancelled") {
  Pool pool(1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.cancel_now(job);
  pool.end(Pool::success(lease, seconds(3)));
  CHECK(pool.only_receipt().outcome == Outcome::succeeded);
}

TEST_CASE("A cancel by its owner stays the owner's when an operator comes later") {
  Pool pool(1);
  const Submit submit = pool.request("user:ada");
  const JobId job = pool.admit(submit);
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.tell(Cancel{.session = {1}, .query = 50, .account = {"user:ada"}, .job = job});
  pool.cancel_now(job);
  RunEnded ended = Pool::success(lease, seconds(3));
  ended.outcome = Outcome::cancelled;
  pool.end(ended);
  CHECK(pool.only_receipt().detail.empty());
}

TEST_CASE("A job that is not open cannot be cancelled by an operator either") {
  Pool pool(1);
  CHECK(pool.cancel_now(JobId{99}).error == Errc::job_unknown);
}

TEST_CASE("Before the ledger has answered, an operator's cancel waits like a client's") {
  Harness pool;
  pool.ledger_answers = false;
  pool.start();
  pool.tell(OperatorCancel{.ticket = 7, .who = "operator user:root", .job = {99}});
  CHECK(pool.console_got<CancelTaken>().empty());
  pool.answer_ledger();
  CHECK(pool.console_got<CancelTaken>().size() == 1);
}

TEST_CASE("A draining node finishes what runs and gets no leases until it is resumed") {
  Pool pool(2);
  pool.admit();
  const Lease first = pool.only_lease();
  pool.begin(first);
  pool.tell(DrainNodes{{"node-1"}});
  CHECK(pool.nodes_now().nodes[0].state == NodeState::draining);
  CHECK(pool.workers_got<CancelRun>().empty());
  const JobId next = pool.admit();
  pool.pass(seconds(1));
  CHECK(pool.workers_got<Lease>().empty());
  pool.end(Pool::success(first, seconds(3)));
  CHECK(pool.only_receipt().outcome == Outcome::succeeded);
  pool.pass(seconds(1));
  CHECK(pool.workers_got<Lease>().empty());
  pool.tell(DrainNodes{{}});
  REQUIRE(pool.workers_got<Lease>().size() == 1);
  CHECK(pool.job(next).has_slot());
}

TEST_CASE(
    "A slot that its node took out gets no lease from that word on, and its reason is shown") {
  Pool pool(2);
  pool.tell(SlotChanged{.node = NodeId{1}, .name = "node-1", .slot = {0}, .why = "GPU lost"});
  const auto seen = pool.nodes_now().nodes[0].slots;
  CHECK(seen[0].state == SlotState::down);
  CHECK(seen[0].why == "GPU lost");
  CHECK(seen[1].why.empty());
  pool.admit();
  CHECK(pool.only_lease().slot == SlotIndex{1});
  pool.admit();
  CHECK(pool.workers_got<Lease>().empty());
  // That it is well again is for a heartbeat to say, with all that goes with it.
  pool.tell(SlotChanged{.node = NodeId{1}, .name = "node-1", .slot = {0}});
  CHECK(pool.nodes_now().nodes[0].slots[0].state == SlotState::down);
  pool.pass(seconds(1));
  CHECK(pool.only_lease().slot == SlotIndex{0});
}

TEST_CASE("What a slot carries goes on when its node takes it out") {
  Pool pool(1);
  pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.tell(SlotChanged{.node = NodeId{1}, .name = "node-1", .slot = {0}, .why = "too hot"});
  CHECK(pool.nodes_now().nodes[0].slots[0].why == "too hot");
  CHECK(pool.nodes_now().nodes[0].slots[0].state != SlotState::down);
  pool.end(Pool::success(lease, seconds(3)));
  CHECK(pool.only_receipt().outcome == Outcome::succeeded);
  // Of a node or a slot that nobody knows it means nothing.
  pool.tell(SlotChanged{.node = NodeId{9}, .slot = {0}, .why = "too hot"});
  pool.tell(SlotChanged{.node = NodeId{1}, .slot = {7}, .why = "too hot"});
}

TEST_CASE("An operator's resume reaches the node of that name, and no other") {
  Pool pool(1);
  pool.add_node(2, 1);
  (void)pool.workers_got<ResumeSlots>();
  pool.tell(ResumeNode{"node-2"});
  CHECK(pool.workers_got<ResumeSlots>().size() == 1);
  pool.tell(ResumeNode{"node-9"});
  CHECK(pool.workers_got<ResumeSlots>().empty());
}

TEST_CASE("A node that joins later under a draining name gets no leases") {
  Pool pool(1);
  pool.admit();
  pool.begin(pool.only_lease());
  pool.tell(DrainNodes{{"node-2", "node-9"}});
  const JobId waiting = pool.admit();
  pool.add_node(2, 1);
  pool.pass(seconds(1));
  CHECK(pool.workers_got<Lease>().empty());
  CHECK_FALSE(pool.job(waiting).has_slot());
  pool.add_node(3, 1);
  CHECK(pool.workers_got<Lease>().size() == 1);
}

TEST_CASE("What operators drained is known to a broker that starts") {
  Harness pool;
  pool.ledger_answers = false;
  pool.start();
  pool.tell(Leading{.ticket = 1, .epoch = {1}, .draining = {"node-1"}});
  pool.add_node(1, 2);
  CHECK(pool.core->placement().free_slots() == 0);
  CHECK_FALSE(pool.core->ready());
}

TEST_CASE("While every node drains, a pool that has settled in takes no jobs") {
  Pool pool(1);
  pool.pass(seconds(6));
  pool.tell(DrainNodes{{"node-1"}});
  const Refusal refusal = pool.refuse(pool.request("user:eve"));
  CHECK(refusal.code == Errc::pool_unavailable);
  CHECK(refusal.detail == "no node takes new jobs now: an operator is draining them");
}
