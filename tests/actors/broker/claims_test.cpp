// What the broker believes of a worker: reports that hold, of nodes that are heard of.
#include <catch2/catch.hpp>

#include "actors/broker/slot_claims.h"
#include "config/limits.h"
#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

SlotReport free_slot(std::uint32_t index) { return {.slot = {index}, .state = SlotState::free}; }

// Joins with these slots as node 9 and gives why it may not; empty: it may.
std::string refusal_of(Harness& pool, std::vector<SlotReport> slots) {
  TestNode& node = pool.nodes[NodeId{9}];
  node.id = NodeId{9};
  node.slots = std::move(slots);
  pool.join(node);
  for (const Joined& joined : pool.workers_got<Joined>())
    if (joined.name == "node-9") return joined.refused == Errc{} ? "" : joined.detail;
  return "no answer";
}

struct OneNode : Harness {
  OneNode() {
    start();
    add_node(1, 2);
    workers_got<Joined>();
  }
  TestNode& node() { return nodes.at(NodeId{1}); }
  const Node& seen() const { return core->placement().all().at(NodeId{1}); }
};

}  // namespace

TEST_CASE("A worker that contradicts itself about its slots may not join") {
  using Catch::Contains;
  Harness pool;
  pool.start();
  CHECK(refusal_of(pool, {free_slot(0), free_slot(1)}) == "");
  CHECK_THAT(refusal_of(pool, {free_slot(1), free_slot(0), free_slot(1)}),
             Contains("slot 1 of its report is there twice"));
  SlotReport odd = free_slot(0);
  odd.job = JobId{5};
  odd.attempt = 1;
  CHECK_THAT(refusal_of(pool, {odd}), Contains("has a job though it runs none"));
  odd.state = SlotState::running;
  CHECK(refusal_of(pool, {odd}) == "");
  odd.attempt = 0;
  CHECK_THAT(refusal_of(pool, {odd}), Contains("without an attempt"));
  odd.job = {};
  CHECK_THAT(refusal_of(pool, {odd}), Contains("runs a job that it does not name"));
  odd.state = static_cast<SlotState>(7);
  CHECK_THAT(refusal_of(pool, {odd}), Contains("in no state that there is"));
  odd.state = SlotState::free;
  odd.ran = Duration{-1};
  CHECK_THAT(refusal_of(pool, {odd}), Contains("less than nothing"));
  odd = free_slot(0);
  odd.why = std::string(static_cast<std::size_t>(limits::slot_words_bytes_max) + 1, 'x');
  CHECK_THAT(refusal_of(pool, {odd}), Contains("words that are too long"));
  CHECK_THAT(refusal_of(pool, std::vector<SlotReport>(257)), Contains("too many slots"));
}

TEST_CASE("A heartbeat that names another's slots is not heard, and its node is lost in time") {
  OneNode pool;
  TestNode& node = pool.node();
  const auto before = node.slots;
  node.slots.push_back(free_slot(2));
  const Instant last_heard = pool.seen().seen;
  pool.pass(seconds(1));
  CHECK(pool.seen().seen == last_heard);
  const auto told = pool.workers_got<Joined>();
  REQUIRE_FALSE(told.empty());
  CHECK(told.front().refused == Errc::forbidden);
  CHECK_THAT(told.front().detail, Catch::Contains("slot 2 of its report is none that it joined"));
  pool.pass(seconds(4));
  CHECK(pool.seen().lost);

  node.slots = before;
  pool.join(node);
  CHECK_FALSE(pool.seen().lost);
}

TEST_CASE("A slot that moves to another device or partition is a lie") {
  OneNode pool;
  TestNode& node = pool.node();
  const Instant heard = pool.seen().seen;
  const auto is_heard_as = [&](const SlotReport& report) {
    pool.now = pool.now + milliseconds(1);
    const SlotReport before = std::exchange(node.slots[1], report);
    pool.beat(node);
    node.slots[1] = before;
    return pool.seen().seen == pool.now;
  };
  SlotReport moved = node.slots[1];
  CHECK(is_heard_as(moved));
  moved.device = 7;
  CHECK_FALSE(is_heard_as(moved));
  moved = node.slots[1];
  moved.partition = "other";
  CHECK_FALSE(is_heard_as(moved));
  CHECK(pool.seen().seen > heard);
}

TEST_CASE("A run that was leased to one node is neither taken up on another nor ended by it") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  REQUIRE(lease.job == job);
  pool.add_node(2, 1);

  RunEnded false_end = Harness::success(lease, seconds(3));
  false_end.node = NodeId{2};
  pool.tell(false_end);
  CHECK(pool.receipt(job) == nullptr);
  CHECK(pool.job(job).phase == Phase::leased);

  SECTION("also after a restart, from what the ledger knows") {
    pool.nodes.clear();
    pool.beating.clear();
    pool.start();
    SlotReport claim = free_slot(0);
    claim.state = SlotState::running;
    claim.job = job;
    claim.attempt = lease.attempt;
    TestNode& liar = pool.nodes[NodeId{2}];
    liar.id = NodeId{2};
    liar.slots = {claim};
    pool.join(liar);
    CHECK(pool.job(job).phase == Phase::queued);
    CHECK(pool.called_off() == std::set<NodeId>{NodeId{2}});
    pool.tell(false_end);
    CHECK(pool.receipt(job) == nullptr);

    TestNode& honest = pool.nodes[NodeId{1}];
    honest.id = NodeId{1};
    honest.slots = {claim};
    pool.join(honest);
    CHECK(pool.job(job).phase == Phase::running);
    CHECK(pool.job(job).place.node() == NodeId{1});
  }
}

TEST_CASE("A silent node gets no leases after 3 s, and is lost after 5 s") {
  OneNode pool;
  pool.silence(pool.node());
  pool.pass(milliseconds(2'750));
  CHECK_FALSE(pool.seen().suspected);
  pool.pass(milliseconds(250));
  CHECK(pool.seen().suspected);
  CHECK(pool.core->ready());  // it is still counted on
  const JobId job = pool.admit();
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.job(job).phase == Phase::queued);

  SECTION("heard again in time it gets them at once") {
    pool.pass(milliseconds(1'750));
    pool.beat(pool.node());
    CHECK_FALSE(pool.seen().suspected);
    CHECK(pool.only_lease().job == job);
  }
  SECTION("else its runs are lost with it") {
    pool.pass(milliseconds(1'750));
    CHECK_FALSE(pool.seen().lost);
    pool.pass(milliseconds(250));
    CHECK(pool.seen().lost);
  }
}

TEST_CASE("What runs on a suspected node goes on, and counts as lost only with the node") {
  OneNode pool;
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.silence(pool.node());
  pool.pass(milliseconds(4'750));
  CHECK(pool.job(job).phase == Phase::running);
  pool.pass(milliseconds(250));
  CHECK(pool.job(job).phase == Phase::queued);
  CHECK(pool.job(job).losses == 1);
}

TEST_CASE("The slots of a lost node are lent again only after its own word on what ran there") {
  OneNode pool;
  const JobId first = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.admit();  // the other slot
  pool.workers_got<Lease>();
  pool.silence(pool.node());
  pool.pass(seconds(5));
  REQUIRE(pool.seen().lost);
  CHECK(pool.workers_got<Lease>().empty());
  // However long the lease may have been: a node that says nothing gets nothing.
  pool.pass(pool.job(first).hold->occupancy + pool.job(first).hold->occupancy);
  CHECK(pool.workers_got<Lease>().empty());
  // Back with the run still on: it is taken up where it is, nothing is put beside it.
  pool.join(pool.node());
  for (const Lease& later : pool.workers_got<Lease>())
    CHECK((later.slot != lease.slot || later.job == first));
  CHECK(pool.job(first).phase == Phase::running);
}

TEST_CASE("A lost node can be removed, a living one cannot, and it may come back") {
  OneNode pool;
  const auto answer = [&](const std::string& name) {
    pool.tell(RemoveNode{.ticket = 7, .node = name});
    const auto told = pool.console_got<NodeRemoved>();
    REQUIRE(told.size() == 1);
    CHECK(told.front().ticket == 7);
    return told.front().error;
  };
  CHECK(answer("node-2") == Errc::bad_request);
  CHECK(answer("node-1") == Errc::forbidden);
  pool.silence(pool.node());
  pool.pass(seconds(4));
  CHECK(answer("node-1") == Errc::forbidden);  // suspected
  pool.pass(seconds(1));
  CHECK(answer("node-1") == Errc{});
  CHECK(pool.core->placement().all().empty());
  pool.beat(pool.node());
  CHECK(pool.workers_got<HeartbeatSeen>().back().epoch == Epoch{});
  pool.join(pool.node());
  CHECK_FALSE(pool.seen().lost);
  CHECK(pool.core->placement().free_slots() == 2);
}

TEST_CASE("After a restart the grace ends once every node that had a lease has reported") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.add_node(2, 1);
  const JobId running = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  const JobId other = pool.admit();
  pool.begin(pool.only_lease());
  const JobId waits = pool.admit();
  pool.beating.clear();
  pool.start();
  pool.pass(seconds(2));
  pool.join(pool.nodes.at(lease.node));
  CHECK(pool.job(running).phase == Phase::running);
  pool.end(Harness::success(lease, seconds(1)));
  pool.pass(milliseconds(500));
  CHECK(pool.workers_got<Lease>().empty());  // the other one may still run something

  SECTION("which is then") {
    const NodeId second{lease.node == NodeId{1} ? 2U : 1U};
    pool.join(pool.nodes.at(second));
    pool.beat(pool.nodes.at(lease.node));
    pool.pass(milliseconds(250));
    CHECK(pool.job(other).phase == Phase::running);
    CHECK(pool.workers_got<Lease>().empty());  // it may still tell of a run that ended
    pool.pass(milliseconds(250));
    CHECK(pool.only_lease().job == waits);
  }
  SECTION("or when its time is over") {
    pool.beating.insert(lease.node);
    pool.pass(milliseconds(2'250));
    CHECK(pool.workers_got<Lease>().empty());
    pool.pass(milliseconds(250));
    CHECK(pool.job(other).losses == 1);
    CHECK_FALSE(pool.workers_got<Lease>().empty());
  }
}

TEST_CASE("The grace lasts as long as workers need to find the new broker") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  const JobId waits = pool.admit();
  pool.beating.clear();
  pool.start();
  pool.join(pool.nodes.at(lease.node));
  pool.beating.insert(lease.node);
  pool.end(Harness::success(lease, seconds(1)));
  CHECK(pool.receipt(job) != nullptr);
  pool.pass(milliseconds(1'250));
  CHECK(pool.workers_got<Lease>().empty());
  pool.pass(milliseconds(250));
  CHECK(pool.only_lease().job == waits);
}

}  // namespace gpupool
