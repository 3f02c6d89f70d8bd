// Jobs of several slots: where they are placed, who waits for whom, and that their slots are
// leased, lost and taken up together or not at all.
#include <catch2/catch.hpp>

#include "actors/describe.h"
#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config gang_config(Spread spread = Spread::devices) {
  Config config = broker_test_config();
  for (AppConfig& app : config.apps) app.spread = spread;
  return config;
}

// Has had its time to know all nodes, so what is not known is not there.
struct GangPool : Harness {
  explicit GangPool(Spread spread = Spread::devices) : Harness(gang_config(spread)) {
    start();
    pass(seconds(5));
  }
  JobId admit_gang(Duration declared = seconds(60)) {
    Submit wish = request("user:gang" + std::to_string(last_query), declared);
    wish.body.size = "xlarge";
    return admit(wish);
  }
  Refusal refuse_gang() {
    Submit wish = request("user:refused");
    wish.body.size = "xlarge";
    return refuse(wish);
  }
  std::size_t lent_to(JobId job) const {
    std::size_t count = 0;
    for (const auto& [id, node] : core->placement().all())
      for (const auto& slot : node.slots) count += slot.leased_to == job ? 1U : 0U;
    return count;
  }
};

std::vector<SlotIndex> slots_of(const Lease& lease) {
  std::vector<SlotIndex> slots{lease.slot};
  slots.insert(slots.end(), lease.more_slots.begin(), lease.more_slots.end());
  return slots;
}

}  // namespace

TEST_CASE("An xlarge job holds twice its duration and gets two slots on different devices") {
  GangPool pool;
  pool.add_node(1, {0, 0, 1});
  const JobId job = pool.admit_gang(seconds(30));
  const Lease lease = pool.only_lease();
  CHECK(slots_of(lease) == std::vector<SlotIndex>{{0}, {2}});
  CHECK(pool.lent_to(job) == 2);
  CHECK(pool.job(job).hold->quota_part == GpuTime{60'000});
  pool.begin(lease);
  pool.end(Harness::success(lease, seconds(10)));
  CHECK(pool.receipt(job)->charged == GpuTime{20'000});
}

TEST_CASE("An app that spreads over one device gets both slots there, on the tightest device") {
  GangPool pool(Spread::device);
  pool.add_node(1, {0, 1, 1, 1, 2, 2});
  pool.admit_gang();
  CHECK(slots_of(pool.only_lease()) == std::vector<SlotIndex>{{4}, {5}});
}

TEST_CASE("The slot that runs an xlarge job is a warm one, and warm slots are preferred") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1, 2});
  node.slots[2].warm_app = "nothing";
  pool.beat(node);
  pool.admit_gang();
  CHECK(slots_of(pool.only_lease()) == std::vector<SlotIndex>{{2}, {0}});
}

TEST_CASE("Of the nodes that have room for it a job gets the one where it fits tightest") {
  GangPool pool;
  pool.add_node(1, {0, 1, 2});
  pool.add_node(2, {0, 1});
  SECTION("xlarge") { pool.admit_gang(); }
  SECTION("large") { pool.admit(); }
  CHECK(pool.only_lease().node == NodeId{2});
}

TEST_CASE("An xlarge job gets two slots at once, and what would delay it does not go past") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  const JobId first = pool.admit(seconds(10));
  const Lease running = pool.only_lease();
  pool.begin(running);
  const JobId gang = pool.admit_gang();
  const JobId younger = pool.admit(seconds(11));
  pool.beat(node);
  CHECK(pool.workers_got<Lease>().empty());  // one slot is free all the time, and kept for it
  pool.end(Harness::success(running, seconds(3)));
  pool.beat(node);
  const Lease lease = pool.only_lease();
  CHECK(lease.job == gang);
  CHECK(lease.more_slots.size() == 1);
  CHECK(pool.job(younger).phase == Phase::queued);
  CHECK_FALSE(pool.knows(first));
}

TEST_CASE("A slot that is kept for an xlarge job runs meanwhile what is over in time") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  pool.admit(seconds(10));
  const Lease running = pool.only_lease();
  pool.begin(running);
  const JobId gang = pool.admit_gang();
  const JobId longer = pool.admit(seconds(11));
  const JobId shorter = pool.admit(seconds(10));
  const Lease beside = pool.only_lease();
  CHECK(beside.job == shorter);
  CHECK(beside.slot != running.slot);
  pool.begin(beside);
  pool.end(Harness::success(running, seconds(3)));
  pool.beat(node);
  // The other slot is free now, but kept: with a second less there is no time for this one.
  CHECK(pool.workers_got<Lease>().empty());
  CHECK(pool.job(longer).phase == Phase::queued);
  pool.end(Harness::success(beside, seconds(3)));
  pool.beat(node);
  CHECK(pool.only_lease().job == gang);
}

TEST_CASE("Slots of two nodes are not together: an xlarge job waits for one node to have both") {
  GangPool pool;
  pool.add_node(1, {0, 1});
  pool.add_node(2, {0, 1});
  std::vector<Lease> running;
  for (int i = 0; i < 3; ++i) {
    pool.admit();
    running.push_back(pool.only_lease());
    pool.begin(running.back());
  }
  CHECK(running[1].node == running[0].node);  // tightest: the second node stays whole
  const JobId gang = pool.admit_gang();
  pool.end(Harness::success(running[0], seconds(3)));
  pool.beat(pool.nodes.at(running[0].node));
  CHECK(pool.workers_got<Lease>().empty());
  pool.end(Harness::success(running[1], seconds(3)));
  pool.beat(pool.nodes.at(running[1].node));
  CHECK(pool.only_lease().job == gang);
}

TEST_CASE("A size that no known node has room for is refused, with the largest shape there is") {
  GangPool pool;
  SECTION("without any node it is the pool that is not there") {
    CHECK(pool.refuse_gang().code == Errc::pool_unavailable);
  }
  SECTION("one device has no two devices") {
    pool.add_node(1, {0, 0, 0});
    const Refusal refusal = pool.refuse_gang();
    CHECK(refusal.code == Errc::size_unavailable);
    CHECK(refusal.want == 2);
    CHECK(refusal.have == 1);
    CHECK(refusal.detail ==
          "they have to be of partition default, on different devices of one node");
    CHECK_FALSE(refusal.balance.fits[1].offered);
    CHECK_THAT(hint_of(refusal), Catch::StartsWith("at size large, a request of up to "));
  }
  SECTION("two nodes of one slot are no node of two") {
    pool.add_node(1, 1);
    pool.add_node(2, 1);
    CHECK(pool.refuse_gang().code == Errc::size_unavailable);
  }
  SECTION("a lost node's shape counts, while another node is healthy") {
    TestNode& big = pool.add_node(1, {0, 1});
    pool.add_node(2, 1);
    pool.silence(big);
    pool.pass(seconds(6));
    CHECK(pool.admit_gang());
  }
  SECTION("with no healthy node it is the pool that is not there") {
    pool.silence(pool.add_node(1, 1));
    pool.pass(seconds(6));
    CHECK(pool.refuse_gang().code == Errc::pool_unavailable);
  }
}

TEST_CASE("While nodes are still on their way a size is admitted, and ended if none ever has it") {
  Harness pool(gang_config());
  pool.start();
  pool.add_node(1, 1);
  Submit wish = pool.request();
  wish.body.size = "xlarge";
  const JobId gang = pool.admit(wish);
  REQUIRE(gang);
  const JobId younger = pool.admit();
  CHECK(pool.only_lease().job == younger);  // a shape that is not there is not waited for
  pool.pass(seconds(62));
  const Receipt* receipt = pool.receipt(gang);
  REQUIRE(receipt != nullptr);
  CHECK(receipt->outcome == Outcome::failed);
  CHECK(receipt->cause == Errc::size_unavailable);
  CHECK(receipt->charged == GpuTime{});
  CHECK_THAT(receipt->detail, Catch::Contains("2 slots") && Catch::Contains("is 1"));
}

TEST_CASE("The ledger hears which sizes are offered: at the lead, and when that changes") {
  Harness pool(gang_config());
  pool.start();
  auto told = pool.ledger_asked<Shapes>();
  REQUIRE(told.size() == 1);  // not known yet is not "no"
  CHECK(told[0].sizes == std::vector<std::string>{"large", "xlarge"});
  pool.add_node(1, 1);
  pool.pass(seconds(6));
  told = pool.ledger_asked<Shapes>();
  REQUIRE(told.size() == 1);
  CHECK(told[0].epoch == Epoch{1});
  CHECK(told[0].sizes == std::vector<std::string>{"large"});
  pool.add_node(2, {0, 1});
  pool.pass(seconds(1));
  told = pool.ledger_asked<Shapes>();
  REQUIRE(told.size() == 1);
  CHECK(told[0].sizes.size() == 2);
  pool.pass(seconds(10));
  CHECK(pool.ledger_asked<Shapes>().empty());
}

TEST_CASE("While its shape is away an xlarge job steps aside, and is the head again afterwards") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  node.slots[1].state = SlotState::down;
  pool.beat(node);
  const JobId gang = pool.admit_gang();
  const JobId younger = pool.admit();
  const Lease lease = pool.only_lease();
  CHECK(lease.job == younger);
  pool.begin(lease);
  pool.pass(longest * 2);  // its promise can't be kept any more
  const JobId youngest = pool.admit();
  pool.ledger_asked<Restate>();
  node.slots[1].state = SlotState::free;
  pool.beat(node);
  CHECK(pool.workers_got<Lease>().empty());
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE_FALSE(restated.empty());
  CHECK(restated[0].job == gang);
  CHECK(restated[0].promise == pool.now + longest * 2);
  CHECK_THAT(restated[0].reason, Catch::Contains("2 slots together"));
  pool.end(Harness::success(lease, seconds(3)));
  pool.beat(node);
  CHECK(pool.only_lease().job == gang);
  CHECK(pool.job(youngest).phase == Phase::queued);
}

TEST_CASE("The likely start of an xlarge job waits for two slots, and nobody's is before it") {
  GangPool pool;
  pool.add_node(1, {0, 1});
  pool.admit(seconds(10));
  pool.begin(pool.only_lease());
  const JobId gang = pool.admit_gang(seconds(20));
  pool.sessions_got<JobMoved>();
  pool.tell(pool.request("user:zoe", seconds(15)));
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].event.likely_start == pool.now + seconds(30));
  CHECK(pool.job(gang).phase == Phase::queued);
}

TEST_CASE("A lost attempt, a refusal or an end gives all slots of a gang back") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  const JobId gang = pool.admit_gang();
  const Lease lease = pool.only_lease();
  SECTION("refused") {
    pool.tell(LeaseRefused{.node = lease.node, .job = gang, .attempt = 1});
    CHECK(pool.lent_to(gang) == 0);
    pool.beat(node);
    CHECK(pool.only_lease().attempt == 2);
  }
  SECTION("crashed") {
    pool.begin(lease);
    pool.end(Harness::crash(lease));
    CHECK(pool.lent_to(gang) == 0);
    pool.beat(node);
    CHECK(pool.only_lease().more_slots.size() == 1);
  }
  SECTION("its node lost") {
    pool.silence(node);
    pool.pass(seconds(6));
    CHECK(pool.lent_to(gang) == 0);
    CHECK(pool.job(gang).losses == 1);  // once, though it had two slots there
  }
  SECTION("cancelled before it began") {
    pool.tell(
        Cancel{.session = SessionId{1}, .account = pool.job(gang).hold->account, .job = gang});
    CHECK(pool.workers_got<CancelRun>().size() == 1);
    for (int i = 0; i < 4; ++i) pool.beat(node);
    CHECK_FALSE(pool.knows(gang));
    CHECK(pool.core->placement().free_slots() == 2);
  }
  SECTION("never arrived") {
    for (int i = 0; i < 3; ++i) pool.beat(node);
    const auto again = pool.workers_got<Lease>();
    REQUIRE(again.size() == 1);
    CHECK(slots_of(again[0]) == slots_of(lease));
  }
}

TEST_CASE("A restarted broker takes a gang up whole") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1, 2});
  const JobId gang = pool.admit_gang();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.start();
  pool.join(node);
  CHECK(pool.job(gang).phase == Phase::running);
  CHECK(pool.lent_to(gang) == 2);
  pool.pass(seconds(10));
  CHECK(pool.workers_got<CancelRun>().empty());
  pool.end(Harness::success(lease, seconds(8)));
  CHECK(pool.receipt(gang)->charged == GpuTime{16'000});
  CHECK(pool.receipt(gang)->attempts == 1);
}

TEST_CASE(
    "A gang that is reported on fewer slots than its job holds is called off and runs again") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  const JobId gang = pool.admit_gang();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  node.slots[1] = {.slot = {1}, .device = 1, .state = SlotState::free};
  pool.start();
  pool.join(node);
  CHECK(pool.job(gang).phase == Phase::queued);
  CHECK(pool.workers_got<CancelRun>().size() == 1);
  RunEnded ended = Harness::success(lease, seconds(1));
  ended.outcome = Outcome::cancelled;
  ended.result = {};
  pool.end(ended);
  CHECK(pool.knows(gang));  // it was the broker who called it off, not its client
  pool.pass(milliseconds(1750));
  CHECK(pool.only_lease().attempt == 2);
}

TEST_CASE("A gang of which one slot is lent to another job waits until that lease is refused") {
  GangPool pool;
  TestNode& node = pool.add_node(1, {0, 1});
  TestNode& other = pool.add_node(2, 1);
  const JobId older = pool.admit();
  REQUIRE(pool.only_lease().node == other.id);
  const JobId gang = pool.admit_gang();
  const Lease late = pool.only_lease();  // on its way until after the next broker's first leases
  pool.silence(other);
  pool.start();
  pool.join(node);
  pool.pass(milliseconds(5500));
  const Lease lease = pool.only_lease();
  REQUIRE(lease.job == older);
  REQUIRE(lease.node == node.id);
  pool.occupy(late, SlotState::running);
  pool.beat(node);
  CHECK(pool.job(gang).phase == Phase::queued);
  CHECK(pool.workers_got<CancelRun>().empty());
  pool.tell(LeaseRefused{.node = node.id, .job = older, .attempt = lease.attempt});
  pool.beat(node);
  CHECK(pool.job(gang).phase == Phase::running);
  CHECK(pool.lent_to(gang) == 2);
  CHECK(pool.job(older).phase == Phase::queued);
}

}  // namespace gpupool
