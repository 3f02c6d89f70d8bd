// Runs with ranks on two nodes: each node starts its own, what they leave travels through the
// broker, and a node that only helps holds its slots until it is told that the run is over.
#include <catch2/catch.hpp>

#include "actors/worker/slot_share.h"
#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

Config slots(std::size_t count) {
  Config config = test_config();
  config.worker.devices.assign(count, DeviceConfig{});
  return config;
}

// A job of three slots: rank 0 on a node of one, 1 and 2 on another. The test is the broker.
struct TwoNodes {
  TwoNodes() {
    for (Node* node : {&first, &second}) {
      node->join();
      for (std::uint32_t slot = 0; slot < node->config.worker.devices.size(); ++slot)
        node->tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
    }
  }
  Lease first_lease() const {
    Lease lease = first.lease();
    lease.elsewhere = 2;
    return lease;
  }
  Lease second_lease() const {
    Lease lease = second.lease();
    lease.more_slots = {{1}};
    lease.runs_on = first.node;
    lease.elsewhere = 1;
    lease.first_rank = 1;
    return lease;
  }
  void start() {
    first.take(first_lease());
    second.take(second_lease());
  }
  void begin() {
    start();
    for (const std::uint32_t slot : {0, 1})
      second.tell(ExecutorBegan{.slot = {slot}, .job = JobId{1}, .attempt = 1});
    first.tell(ExecutorBegan{.slot = {0}, .job = JobId{1}, .attempt = 1});
  }
  static RankLeft left(std::uint32_t slot, const std::string& key) {
    return {.slot = {slot}, .job = JobId{1}, .attempt = 1, .key = key, .value = "at " + key};
  }
  const Effects& call_off() {
    return second.tell(CancelRun{.epoch = second.epoch, .job = JobId{1}, .attempt = 1});
  }
  const Effects& helper_done(std::uint32_t slot, Errc cause = {}) {
    return second.tell(ExecutorDone{.slot = {slot}, .job = JobId{1}, .attempt = 1, .cause = cause});
  }
  SlotReport helper(std::uint32_t slot) const { return second.worker.slot_reports()[slot]; }
  bool are_held() const {
    for (const std::uint32_t slot : {0, 1})
      if (helper(slot).state != SlotState::held || helper(slot).job != JobId{1}) return false;
    return true;
  }

  Node first{slots(1)};
  Node second{slots(2), NodeId{8}};
};

}  // namespace

TEST_CASE("Each node starts its ranks, counted over all nodes, and only rank 0 is spoken of") {
  TwoNodes nodes;
  const StartRun zero = only<StartRun>(nodes.first.tell(nodes.first_lease()));
  CHECK(zero.rank == 0);
  CHECK(zero.ranks == 3);
  const auto others = all<StartRun>(nodes.second.tell(nodes.second_lease()));
  REQUIRE(others.size() == 2);
  CHECK(others[0].slot == SlotIndex{0});
  CHECK(others[0].rank == 1);
  CHECK(others[1].rank == 2);
  CHECK(others[1].ranks == 3);
  CHECK(nodes.are_held());
  CHECK(
      none<RunBegan>(nodes.second.tell(ExecutorBegan{.slot = {0}, .job = JobId{1}, .attempt = 1})));
  CHECK(none<RunStep>(nodes.second.tell(
      ExecutorStep{.slot = {0}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 2})));
  CHECK(nodes.are_held());
  CHECK(nodes.helper(0).ran == Duration{});
  CHECK(all<StartRun>(nodes.second.tell(nodes.second_lease())).empty());  // a copy
  CHECK(none<LeaseRefused>(nodes.second.effects));
}

TEST_CASE("What a rank leaves its neighbours find at once, and other nodes through the broker") {
  TwoNodes nodes;
  nodes.start();
  nodes.second.tell(TwoNodes::left(0, "1"));
  CHECK(only<RankFound>(nodes.second.effects).slot == SlotIndex{1});
  const RankShared shared = only<RankShared>(nodes.second.effects);
  CHECK(shared.node == nodes.second.node);
  CHECK(shared.value == "at 1");
  const RankFound found = only<RankFound>(nodes.first.tell(shared));
  CHECK(found.slot == SlotIndex{0});
  CHECK(found.key == "1");
  CHECK(found.value == "at 1");
  CHECK(none<RankFound>(nodes.first.tell(shared)));  // a copy
  RankShared other = shared;
  other.attempt = 2;
  CHECK(none<RankFound>(nodes.first.tell(other)));  // of another run
  const RankShared zero = only<RankShared>(nodes.first.tell(TwoNodes::left(0, "0")));
  CHECK(all<RankFound>(nodes.second.tell(zero)).size() == 2);
  CHECK(none<RankFound>(nodes.first.tell(zero)));  // its own
}

TEST_CASE("A rank that starts late finds what those on other nodes left before") {
  TwoNodes nodes;
  nodes.first.take(nodes.first_lease());
  Lease late = nodes.second_lease();
  late.app = "sketch";  // each slot has to make room first
  nodes.second.take(late);
  const RankShared zero = only<RankShared>(nodes.first.tell(TwoNodes::left(0, "0")));
  CHECK(none<RankFound>(nodes.second.tell(zero)));
  nodes.second.tell(ExecutorExited{.slot = {1}, .signal = 9});
  nodes.second.tell(ExecutorReady{.slot = {1}, .app = "sketch"});
  CHECK(only<RankFound>(nodes.second.effects).value == "at 0");
}

TEST_CASE("What a rank left is said again with every heartbeat until a step shows that all met") {
  TwoNodes nodes;
  nodes.begin();
  nodes.first.tell(TwoNodes::left(0, "0"));
  const auto beat = [&] {
    nodes.first.until<Heartbeat>();
    return all<RankShared>(nodes.first.effects).size();
  };
  CHECK(beat() == 1);
  CHECK(beat() == 1);
  nodes.first.tell(
      ExecutorStep{.slot = {0}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 9});
  CHECK(beat() == 0);
}

TEST_CASE("A node that helped holds its slots until it is told that the run is over") {
  TwoNodes nodes;
  nodes.begin();
  CHECK(none<RankLost>(nodes.helper_done(0)));
  CHECK(none<RunEnded>(nodes.helper_done(1)));
  CHECK(nodes.are_held());
  const RunEnded ended = only<RunEnded>(nodes.first.finish());
  CHECK(ended.detail == "by 3 ranks");
  CHECK(nodes.first.slot().state == SlotState::free);
  nodes.call_off();
  CHECK(none<EndBy>(nodes.second.effects));
  CHECK(nodes.helper(0).state == SlotState::free);
  CHECK(nodes.helper(1).state == SlotState::free);
  CHECK(only<Heartbeat>(nodes.second.effects).slots[1].state == SlotState::free);  // said at once
}

TEST_CASE("A run that is called off stops its ranks, and a slot is lent once nothing is left") {
  TwoNodes nodes;
  nodes.begin();
  const auto ends = all<EndBy>(nodes.call_off());
  REQUIRE(ends.size() == 2);
  CHECK(ends[0].at == nodes.second.now);
  CHECK(ends[0].kill_at == nodes.second.now + nodes.second.config.worker.kill_grace);
  for (const std::uint32_t slot : {0, 1}) {
    CHECK(nodes.helper(slot).state == SlotState::checking);
    CHECK(nodes.helper(slot).job == JobId{});
  }
  nodes.second.tell(ExecutorDone{.slot = {0}, .job = JobId{1}, .attempt = 1, .stopped = true});
  CHECK(nodes.helper(0).state == SlotState::free);
  CHECK(nodes.helper(1).state == SlotState::checking);
  nodes.second.wait(nodes.second.config.worker.kill_grace);
  CHECK(only<KillExecutor>(nodes.second.effects).slot == SlotIndex{1});
  CHECK(nodes.helper(1).state == SlotState::checking);
  nodes.second.tell(ExecutorExited{.slot = {1}, .signal = 9});
  CHECK(none<RankLost>(nodes.second.effects));
  CHECK(only<StartExecutor>(nodes.second.effects).slot == SlotIndex{1});
  nodes.second.tell(ExecutorReady{.slot = {1}, .app = "emoji"});
  CHECK(nodes.helper(1).state == SlotState::free);
}

TEST_CASE("A run that is called off before its ranks have started frees their slots") {
  TwoNodes nodes;
  Lease lease = nodes.second_lease();
  lease.app = "sketch";
  nodes.second.take(lease);
  nodes.call_off();
  for (const std::uint32_t slot : {0, 1}) {
    nodes.second.tell(ExecutorExited{.slot = {slot}, .signal = 9});
    nodes.second.tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
    CHECK(nodes.helper(slot).state == SlotState::free);
  }
  CHECK(only<LeaseRefused>(nodes.second.tell(lease)).code == Errc::lease_refused);  // a late copy
}

TEST_CASE("The loss of a rank is told to the broker, again with every heartbeat until it answers") {
  TwoNodes nodes;
  nodes.begin();
  nodes.second.tell(ExecutorExited{.slot = {1}, .signal = 9});
  const RankLost lost = only<RankLost>(nodes.second.effects);
  CHECK(lost.node == nodes.second.node);
  CHECK(lost.job == JobId{1});
  CHECK(lost.attempt == 1);
  CHECK(lost.cause == Errc::executor_crashed);
  CHECK_THAT(lost.detail, Catch::Contains("signal 9"));
  CHECK(none<StartExecutor>(nodes.second.effects));  // nothing is taken from the run
  CHECK(nodes.are_held());
  nodes.second.until<Heartbeat>();
  CHECK(only<RankLost>(nodes.second.effects).cause == Errc::executor_crashed);
  nodes.call_off();
  CHECK(only<StartExecutor>(nodes.second.effects).slot == SlotIndex{1});
  nodes.second.until<Heartbeat>();
  CHECK(none<RankLost>(nodes.second.effects));
}

TEST_CASE("A rank that hangs, or does not begin in time, is found by its own node") {
  TwoNodes nodes;
  SECTION("it hangs") {
    nodes.begin();
    nodes.second.wait(nodes.second.config.apps.front().stall);
    for (const std::uint32_t slot : {0, 1})
      nodes.second.tell(ExecutorExited{.slot = {slot}, .signal = 9});
    CHECK(only<RankLost>(nodes.second.effects).cause == Errc::executor_stalled);
  }
  SECTION("it does not begin") {
    nodes.start();
    nodes.second.wait(nodes.second.config.apps.front().start_limit);
    nodes.second.tell(ExecutorExited{.slot = {0}, .signal = 9});
    CHECK(only<RankLost>(nodes.second.effects).cause == Errc::start_limit_missed);
  }
}

TEST_CASE("A request that a rank refuses is not its loss: rank 0 refuses it as well") {
  TwoNodes nodes;
  nodes.start();
  CHECK(none<RankLost>(nodes.helper_done(0, Errc::program_failed)));
  CHECK(nodes.are_held());
  CHECK_FALSE(only<RunEnded>(
                  nodes.first.tell(ExecutorDone{
                      .slot = {0}, .job = JobId{1}, .attempt = 1, .cause = Errc::program_failed}))
                  .pool_fault);
}

TEST_CASE("Ranks on other nodes may run as long as was declared, though less is held so far") {
  TwoNodes nodes;
  Lease lease = nodes.second_lease();
  lease.held = seconds(10);
  nodes.second.take(lease);
  nodes.second.tell(ExecutorBegan{.slot = {0}, .job = JobId{1}, .attempt = 1});
  CHECK(only<EndBy>(nodes.second.effects).at ==
        nodes.second.now + lease.declared + nodes.second.config.worker.kill_grace);
}

TEST_CASE("Without a broker a node helps on, and ends its ranks when the run must be over") {
  TwoNodes nodes;
  nodes.begin();
  Node& second = nodes.second;
  const Instant since = second.now;
  const Duration longest = second.config.worker.heartbeat_stale +
                           occupancy_of(second.config, second.config.apps.front(), seconds(60));
  const Duration most = longest + Duration{longest.ms / 100};  // the other clock may be slower
  while (second.now < since + seconds(60)) {
    second.now = std::min(second.effects.wake_at, since + seconds(60));
    second.tell(Tick{});
    for (const std::uint32_t slot : {0, 1})
      second.tell(
          ExecutorStep{.slot = {slot}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 9});
  }
  CHECK(nodes.are_held());
  // The picture never ends: each is killed after its end, and comes back as it should be.
  while (second.now < since + most) {
    second.now = std::min(second.effects.wake_at, since + most);
    for (const KillExecutor& kill : all<KillExecutor>(second.tell(Tick{}))) {
      const SlotIndex slot = kill.slot;
      second.tell(ExecutorExited{.slot = slot, .signal = 9});
      CHECK(second.now <= since + seconds(60) + second.config.worker.kill_grace * 2);
    }
  }
  CHECK(all<StartExecutor>(second.effects).size() == 2);
  CHECK(nodes.helper(0).state == SlotState::checking);
  CHECK(nodes.helper(0).job == JobId{});
}

TEST_CASE("A node that stops waits for the run that it helps") {
  TwoNodes nodes;
  nodes.begin();
  nodes.second.tell(Stop{.by = nodes.second.now + seconds(30)});
  nodes.helper_done(0);
  nodes.helper_done(1);
  CHECK_FALSE(nodes.second.worker.stopped());
  nodes.call_off();
  CHECK(nodes.second.worker.stopped());
}

TEST_CASE("Only an app that may lie on several nodes has its ranks listen for other machines") {
  Config config = test_config();
  config.broker_role = false;
  config.worker.broker_addresses = {"10.0.0.1:7401", "10.0.0.2:7401"};
  AppConfig app = config.apps.front();
  CHECK(rank_arguments(config, app).empty());
  app.spread = Spread::nodes;
  using Words = std::vector<std::string>;
  CHECK(rank_arguments(config, app) == Words{"--rank-route", "10.0.0.1:7401,10.0.0.2:7401"});
  config.worker.rank_address = "10.0.0.7";
  CHECK(rank_arguments(config, app) == Words{"--rank-address", "10.0.0.7"});
}

TEST_CASE("A node with the broker in its process has ranks where other nodes find that broker") {
  Config config = test_config();
  AppConfig app = config.apps.front();
  app.spread = Spread::nodes;
  config.broker_role = true;
  config.broker.worker_address = "10.0.0.1:7401";
  CHECK(rank_arguments(config, app) == std::vector<std::string>{"--rank-address", "10.0.0.1"});
  for (const char* none : {"", "0.0.0.0:7401"}) {
    config.broker.worker_address = none;
    CHECK(rank_arguments(config, app).empty());
  }
}

}  // namespace gpupool
