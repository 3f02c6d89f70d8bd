// The ranks of one picture on several nodes: how they are counted, what the broker hands on between
// them, and that the loss of one ends the attempt on all.
#include <catch2/catch.hpp>
#include <set>

#include "config/limits.h"
#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config across_nodes() {
  Config config = broker_test_config();
  for (AppConfig& app : config.apps) app.spread = Spread::nodes;
  config.apps[0].executor = ExecutorKind::diffusion;
  return config;
}

// A picture that two nodes of one slot draw together, and a node that has no part in it.
struct RankPool : Harness {
  RankPool() : Harness(across_nodes()) {
    start();
    pass(seconds(5));
    add_node(1, 1);
    add_node(2, 1);
    Submit wish = request();
    wish.body.size = "xlarge";
    wish.body.arguments = {{"prompt", "a red heart"}};
    job_id = admit(wish);
    auto leases = workers_got<Lease>();
    REQUIRE(leases.size() == 2);
    if (leases[0].runs_on) std::swap(leases[0], leases[1]);
    first = leases[0];
    second = leases[1];
    add_node(3, {0, 0});
  }
  void run() {
    occupy(second, SlotState::held);
    begin(first);
  }
  RankShared left_on(NodeId node) const {
    return {.node = node, .job = job_id, .attempt = 1, .key = "0", .value = "an address"};
  }
  RankLost lost_on(NodeId node) const {
    return {.node = node,
            .job = job_id,
            .attempt = 1,
            .cause = Errc::executor_crashed,
            .detail = "the executor was ended by signal 9"};
  }
  void let_go(const Lease& lease) {
    slot_of(lease) = {.slot = lease.slot, .state = SlotState::free};
    beat(nodes.at(lease.node));
  }

  JobId job_id;
  Lease first;
  Lease second;
};

}  // namespace

TEST_CASE("Ranks are counted node by node, the one that runs the job first") {
  RankPool pool;
  CHECK(pool.first.first_rank == 0);
  CHECK(pool.second.first_rank == 1);
  for (int i = 0; i < 3; ++i) pool.beat(pool.nodes.at(pool.second.node));
  CHECK(pool.only_lease().first_rank == 1);  // a copy says the same
}

TEST_CASE("What a rank left goes to the other nodes of its job, as often as it is said") {
  RankPool pool;
  const auto told = [&](const RankShared& shared) {
    pool.tell(shared);
    return pool.shared_with();
  };
  CHECK(told(pool.left_on(pool.first.node)) == std::set<NodeId>{pool.second.node});
  CHECK(told(pool.left_on(pool.first.node)) == std::set<NodeId>{pool.second.node});
  pool.run();
  CHECK(told(pool.left_on(pool.second.node)) == std::set<NodeId>{pool.first.node});
  SECTION("but not what a node without a part in it says") {
    CHECK(told(pool.left_on({3})).empty());
  }
  SECTION("nor what is of another attempt, or of no job") {
    RankShared other = pool.left_on(pool.first.node);
    other.attempt = 2;
    CHECK(told(other).empty());
    other = pool.left_on(pool.first.node);
    other.job = JobId{99};
    CHECK(told(other).empty());
  }
  SECTION("nor what is longer than a rank's may be") {
    RankShared other = pool.left_on(pool.first.node);
    other.key.assign(limits::name_bytes_max + 1, 'k');
    CHECK(told(other).empty());
    other = pool.left_on(pool.first.node);
    other.value.assign(limits::rank_address_bytes_max + 1, 'v');
    CHECK(told(other).empty());
    other.value.pop_back();
    CHECK(told(other).size() == 1);
  }
  SECTION("nor what comes when the run is over") {
    pool.end(Harness::success(pool.first, seconds(1)));
    CHECK(told(pool.left_on(pool.second.node)).empty());
  }
}

TEST_CASE("A rank that is lost ends its attempt on every node, uncharged, and the job runs again") {
  RankPool pool;
  if (GENERATE(false, true)) pool.run();
  pool.tell(pool.lost_on(pool.second.node));
  CHECK(pool.called_off() == std::set<NodeId>{pool.first.node, pool.second.node});
  CHECK(pool.job(pool.job_id).phase == Phase::queued);
  CHECK(pool.job(pool.job_id).losses == 1);
  CHECK(pool.job(pool.job_id).notice == "a rank on node node-" +
                                            std::to_string(pool.second.node.value) +
                                            ": the executor was ended by signal 9");
  pool.tell(pool.lost_on(pool.second.node));  // said again meanwhile
  CHECK(pool.job(pool.job_id).losses == 1);
  RunEnded ended = Harness::success(pool.first, seconds(3));
  ended.outcome = Outcome::cancelled;
  ended.result = {};
  pool.end(ended);
  pool.let_go(pool.second);
  pool.beat(pool.nodes.at(pool.first.node));
  const auto again = pool.workers_got<Lease>();
  REQUIRE_FALSE(again.empty());
  CHECK(again[0].attempt == 2);
}

TEST_CASE("Only a node that helps can lose a rank") {
  RankPool pool;
  pool.run();
  RankLost other = pool.lost_on(pool.second.node);
  SECTION("not the one that runs the job: that tells its end") { other.node = pool.first.node; }
  SECTION("not one without a part in it") { other.node = NodeId{3}; }
  SECTION("not one that there is not") { other.node = NodeId{99}; }
  SECTION("not of another attempt") { other.attempt = 2; }
  pool.tell(other);
  CHECK(pool.called_off().empty());
  CHECK(pool.job(pool.job_id).phase == Phase::running);
}

TEST_CASE("A result that was on its way when a rank was lost counts") {
  RankPool pool;
  pool.run();
  pool.tell(pool.lost_on(pool.second.node));
  pool.end(Harness::success(pool.first, seconds(5)));
  REQUIRE(pool.receipt(pool.job_id) != nullptr);
  CHECK(pool.receipt(pool.job_id)->outcome == Outcome::succeeded);
  CHECK(pool.receipt(pool.job_id)->charged == GpuTime{10'000});
}

TEST_CASE("The words of a lost rank are cut to what a receipt takes") {
  RankPool pool;
  pool.run();
  RankLost lost = pool.lost_on(pool.second.node);
  lost.detail.assign(100'000, 'x');
  pool.tell(lost);
  CHECK(std::ssize(pool.job(pool.job_id).notice) == limits::detail_bytes_max);
}

TEST_CASE("The receipt of a picture says on which nodes its ranks were") {
  RankPool pool;
  pool.run();
  RunEnded ended = Harness::success(pool.first, seconds(5));
  ended.detail = "by 2 ranks";
  pool.end(ended);
  const std::string first = "node-" + std::to_string(pool.first.node.value);
  const std::string second = "node-" + std::to_string(pool.second.node.value);
  CHECK(pool.receipt(pool.job_id)->detail == "by 2 ranks, on " + first + " and " + second);
}

TEST_CASE("A restarted broker hands on what ranks say again once it has taken their run up") {
  RankPool pool;
  pool.occupy(pool.first, SlotState::starting);
  pool.occupy(pool.second, SlotState::held);
  pool.start();
  pool.join(pool.nodes.at(pool.first.node));
  pool.tell(pool.left_on(pool.first.node));
  CHECK(pool.shared_with().empty());
  pool.join(pool.nodes.at(pool.second.node));
  pool.tell(pool.left_on(pool.first.node));
  CHECK(pool.shared_with() == std::set<NodeId>{pool.second.node});
  pool.tell(pool.lost_on(pool.second.node));
  CHECK(pool.job(pool.job_id).losses == 1);
}

}  // namespace gpupool
