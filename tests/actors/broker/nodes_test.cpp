// Jobs that may lie on several nodes (spread = "nodes"): one node runs them, the others hold their
// slots; all are leased, called off and taken up together.
#include <catch2/catch.hpp>
#include <set>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

Config across_nodes() {
  Config config = broker_test_config();
  for (AppConfig& app : config.apps) app.spread = Spread::nodes;
  return config;
}

// Two nodes of one slot, and time enough to know that there are no others.
struct TwoNodes : Harness {
  TwoNodes() : Harness(across_nodes()) {
    start();
    pass(seconds(5));
    add_node(1, 1);
    add_node(2, 1);
  }
  Submit wish() {
    Submit submit = request("user:gang" + std::to_string(last_query));
    submit.body.size = "xlarge";
    return submit;
  }
  // The two leases of a job, the one that runs it first.
  std::vector<Lease> leases() {
    auto found = workers_got<Lease>();
    REQUIRE(found.size() == 2);
    if (found[0].runs_on) std::swap(found[0], found[1]);
    CHECK_FALSE(found[0].runs_on);
    CHECK(found[1].runs_on == found[0].node);
    return found;
  }
  TestNode& node_of(const Lease& lease) { return nodes.at(lease.node); }
  void begin(const std::vector<Lease>& leases) {
    occupy(leases[1], SlotState::held);
    Harness::begin(leases[0]);
  }
  void let_go(const Lease& lease) {
    slot_of(lease) = {.slot = lease.slot, .state = SlotState::free};
    beat(node_of(lease));
  }
};

}  // namespace

TEST_CASE("Without a node of two slots a job gets one of each of two nodes, and one runs it") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  CHECK(leases[0].job == job);
  CHECK(leases[0].attempt == leases[1].attempt);
  CHECK(leases[0].elsewhere == 1);
  CHECK(leases[1].elsewhere == 1);
  CHECK(leases[0].more_slots.empty());
  CHECK(leases[1].body->app == "nothing");
  pool.begin(leases);
  pool.beat(pool.node_of(leases[0]));
  pool.beat(pool.node_of(leases[1]));
  CHECK(pool.job(job).phase == Phase::running);
  CHECK(pool.called_off().empty());
  pool.end(Harness::success(leases[0], seconds(10)));
  CHECK(pool.called_off() == std::set<NodeId>{leases[1].node});
  CHECK(pool.receipt(job)->charged == GpuTime{20'000});
  CHECK(pool.receipt(job)->attempts == 1);
  pool.let_go(leases[1]);
  pool.beat(pool.node_of(leases[0]));
  CHECK(pool.core->placement().free_slots() == 2);
}

TEST_CASE("One node that has all slots comes before several, however full it is") {
  TwoNodes pool;
  pool.add_node(3, {0, 1});
  pool.admit(pool.wish());
  const Lease lease = pool.only_lease();
  CHECK(lease.node == NodeId{3});
  CHECK(lease.more_slots.size() == 1);
  CHECK(lease.elsewhere == 0);
}

TEST_CASE(
    "Slots of several nodes are waited for together, and run meanwhile what is over in time") {
  TwoNodes pool;
  pool.admit(seconds(10));
  const Lease first = pool.only_lease();
  pool.Harness::begin(first);
  const JobId gang = pool.admit(pool.wish());
  const JobId longer = pool.admit(seconds(11));
  CHECK(pool.workers_got<Lease>().empty());
  pool.admit(seconds(10));
  const Lease beside = pool.only_lease();
  CHECK(beside.node != first.node);
  pool.end(Harness::success(beside, seconds(1)));
  pool.beat(pool.node_of(beside));
  pool.end(Harness::success(first, seconds(2)));
  pool.beat(pool.node_of(first));
  CHECK(pool.leases()[0].job == gang);
  CHECK(pool.job(longer).phase == Phase::queued);
}

TEST_CASE("A node that refuses to hold its slots ends the attempt on the others") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  const LeaseRefused refused{
      .node = leases[1].node, .job = job, .attempt = 1, .code = Errc::lease_refused};
  SECTION("before the run began: the job is in its place of the queue again") {
    pool.tell(refused);
    CHECK(pool.job(job).phase == Phase::queued);
    CHECK(pool.job(job).losses == 0);
  }
  SECTION("after it began: an attempt that the pool lost") {
    pool.Harness::begin(leases[0]);
    pool.tell(refused);
    CHECK(pool.job(job).losses == 1);
  }
  CHECK(pool.called_off() == std::set<NodeId>{leases[0].node});
  pool.let_go(leases[0]);
  pool.beat(pool.node_of(leases[1]));
  CHECK(pool.leases()[0].attempt == 2);
}

TEST_CASE("A node that is no part of a job can't refuse it") {
  TwoNodes pool;
  pool.add_node(3, {0, 0});
  const JobId job = pool.admit(pool.wish());
  pool.workers_got<Lease>();
  pool.tell(LeaseRefused{.node = {3}, .job = job, .attempt = 1});
  CHECK(pool.job(job).phase == Phase::leased);
}

TEST_CASE("When a node is lost the others are called off, and what ran there never comes back") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  const std::size_t lost = GENERATE(0, 1);
  const Lease& gone = leases[lost];
  const Lease& here = leases[1 - lost];
  pool.silence(pool.node_of(gone));
  pool.pass(seconds(6));
  CHECK(pool.called_off().contains(here.node));
  CHECK(pool.job(job).losses == 1);
  CHECK(pool.job(job).phase == Phase::queued);
  pool.let_go(here);
  pool.beating.insert(gone.node);
  pool.join(pool.node_of(gone));  // it still reports what it had
  CHECK(pool.called_off() == std::set<NodeId>{gone.node});
  CHECK(pool.job(job).phase == Phase::queued);
  pool.let_go(gone);
  CHECK(pool.leases()[0].attempt == 2);
}

TEST_CASE("The result of a run counts, though a node that held slots for it was lost meanwhile") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  pool.silence(pool.node_of(leases[1]));
  pool.pass(seconds(6));
  pool.end(Harness::success(leases[0], seconds(5)));
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::succeeded);
  CHECK(pool.receipt(job)->charged == GpuTime{10'000});
}

TEST_CASE("A crash of the run gives the slots of all nodes back") {
  TwoNodes pool;
  pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  pool.end(Harness::crash(leases[0]));
  CHECK(pool.called_off() == std::set<NodeId>{leases[1].node});
  CHECK_FALSE(pool.core->placement().lends_any());
}

TEST_CASE("A cancel goes to the node that runs the job; the others follow its end") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  pool.tell(Cancel{.session = SessionId{1}, .account = pool.job(job).hold->account, .job = job});
  CHECK(pool.called_off() == std::set<NodeId>{leases[0].node});
  pool.beat(pool.node_of(leases[1]));
  CHECK(pool.called_off().empty());
  RunEnded ended = Harness::success(leases[0], seconds(3));
  ended.outcome = Outcome::cancelled;
  ended.result = {};
  pool.end(ended);
  CHECK(pool.called_off() == std::set<NodeId>{leases[1].node});
  CHECK(pool.receipt(job)->charged == GpuTime{6'000});
}

TEST_CASE("A lease that one node never got is sent to it alone, also while the other runs") {
  TwoNodes pool;
  pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.Harness::begin(leases[0]);
  for (int i = 0; i < 3; ++i) pool.beat(pool.node_of(leases[1]));
  const Lease again = pool.only_lease();
  CHECK(again.node == leases[1].node);
  CHECK(again.runs_on == leases[0].node);
  CHECK(again.attempt == 1);
}

TEST_CASE("A restarted broker takes a run up when the last of its nodes has come back") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  pool.start();
  const std::size_t early = GENERATE(0, 1);
  pool.join(pool.node_of(leases[early]));
  CHECK(pool.job(job).phase == Phase::queued);
  CHECK(pool.called_off().empty());
  SECTION("and it goes on as one") {
    pool.join(pool.node_of(leases[1 - early]));
    CHECK(pool.job(job).phase == Phase::running);
    CHECK(pool.job(job).place.node() == leases[0].node);
    pool.pass(seconds(10));
    CHECK(pool.called_off().empty());
    pool.end(Harness::success(leases[0], seconds(15)));
    CHECK(pool.called_off() == std::set<NodeId>{leases[1].node});
    CHECK(pool.receipt(job)->charged == GpuTime{30'000});
    CHECK(pool.receipt(job)->attempts == 1);
  }
  SECTION("and calls it off when that does not come in time") {
    pool.silence(pool.node_of(leases[1 - early]));
    pool.pass(pool.config().broker.rejoin_grace + seconds(1));
    CHECK(pool.called_off() == std::set<NodeId>{leases[early].node});
    CHECK(pool.job(job).losses == 1);
  }
}

TEST_CASE("A size that all nodes together do not have is refused, with what they have") {
  TwoNodes pool;
  Submit wish = pool.wish();
  pool.silence(pool.nodes.at({2}));
  SECTION("a lost node's slots count, while another node is healthy") {
    pool.pass(seconds(6));
    CHECK(pool.admit(wish));
  }
  SECTION("two slots of one device are one") {
    Harness single(across_nodes());
    single.start();
    single.pass(seconds(5));
    single.add_node(1, {0, 0});
    Submit two = single.request();
    two.body.size = "xlarge";
    const Refusal refusal = single.refuse(two);
    CHECK(refusal.code == Errc::size_unavailable);
    CHECK(refusal.want == 2);
    CHECK(refusal.have == 1);
  }
}

TEST_CASE("A run that ends as cancelled, though nobody wanted that, is run again uncharged") {
  TwoNodes pool;
  const JobId job = pool.admit(pool.wish());
  const auto leases = pool.leases();
  pool.begin(leases);
  RunEnded ended = Harness::success(leases[0], seconds(3));
  ended.outcome = Outcome::cancelled;
  ended.result = {};
  pool.end(ended);
  CHECK(pool.job(job).losses == 1);
  pool.let_go(leases[1]);
  pool.beat(pool.node_of(leases[0]));
  CHECK(pool.leases()[0].attempt == 2);
}

}  // namespace gpupool
