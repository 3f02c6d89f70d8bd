// Runs of several ranks: each slot of the lease works, the first one's is rank 0, and they begin,
// fail and end together.
#include <catch2/catch.hpp>

#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

Config three_slots() {
  Config config = test_config();
  config.worker.devices = {DeviceConfig{}, DeviceConfig{}, DeviceConfig{}};
  return config;
}

// Three slots that are free, and a lease of two of them.
struct RankNode : Node {
  RankNode() : Node(three_slots()) {
    join();
    for (std::uint32_t slot = 0; slot < 3; ++slot)
      tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
  }
  Lease gang(const std::string& app = "emoji") const {
    Lease two = lease();
    two.app = app;
    two.more_slots = {{2}};
    return two;
  }
  const Effects& began(std::uint32_t slot) {
    return tell(ExecutorBegan{.slot = {slot}, .job = JobId{1}, .attempt = 1});
  }
  void begin_both() {
    take(gang());
    began(2);
    began(0);
  }
  const Effects& done(std::uint32_t slot, Errc cause = {}, const std::string& hash = "") {
    return tell(ExecutorDone{
        .slot = {slot}, .job = JobId{1}, .attempt = 1, .cause = cause, .result = {.hash = hash}});
  }
  SlotReport slot(std::uint32_t index) const { return worker.slot_reports()[index]; }
};

}  // namespace

TEST_CASE("Each slot of a lease runs a rank, and the run begins when rank 0 says so") {
  RankNode node;
  const auto starts = all<StartRun>(node.tell(node.gang()));
  REQUIRE(starts.size() == 2);
  CHECK(starts[0].slot == SlotIndex{0});
  CHECK(starts[0].rank == 0);
  CHECK(starts[1].slot == SlotIndex{2});
  CHECK(starts[1].rank == 1);
  CHECK(starts[1].ranks == 2);
  CHECK(none<RunBegan>(node.began(2)));
  CHECK(node.slot(2).state == SlotState::starting);  // the node speaks with one voice
  CHECK(only<RunBegan>(node.began(0)).job == JobId{1});
  CHECK(node.slot(2).state == SlotState::running);
  node.tell(ExecutorStep{.slot = {2}, .job = JobId{1}, .attempt = 1, .step = 3, .of_steps = 9});
  CHECK(none<RunStep>(node.effects));
  node.tell(ExecutorStep{.slot = {0}, .job = JobId{1}, .attempt = 1, .step = 3, .of_steps = 9});
  CHECK(only<RunStep>(node.effects).step == 3);
}

TEST_CASE("What a rank leaves the others find, also those that start later") {
  RankNode node;
  node.tell(node.gang("sketch"));  // each slot has to make room first
  for (const std::uint32_t slot : {0, 2}) node.tell(ExecutorExited{.slot = {slot}, .signal = 9});
  node.tell(ExecutorReady{.slot = {0}, .app = "sketch"});
  CHECK(only<StartRun>(node.effects).rank == 0);
  const RankLeft left{
      .slot = {0}, .job = JobId{1}, .attempt = 1, .key = "0", .value = "an address"};
  CHECK(none<RankFound>(node.tell(left)));
  node.tell(ExecutorReady{.slot = {2}, .app = "sketch"});
  const RankFound found = only<RankFound>(node.effects);
  CHECK(found.slot == SlotIndex{2});
  CHECK(found.value == "an address");
  RankLeft other = left;
  other.slot = {2};
  CHECK(only<RankFound>(node.tell(other)).slot == SlotIndex{0});
  other.attempt = 2;
  CHECK(none<RankFound>(node.tell(other)));  // of another run
  other.slot = {99};
  CHECK(none<RankFound>(node.tell(other)));
}

TEST_CASE("A run ends with rank 0, whose receipt names the devices; no slot is lent before") {
  RankNode node;
  node.begin_both();
  CHECK(none<RunEnded>(node.done(2)));
  CHECK(node.slot(2).job == JobId{1});  // still held
  const RunEnded ended = only<RunEnded>(node.done(0, {}, "ab"));
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.result.hash == "ab");
  CHECK(ended.detail == "by 2 ranks, on devices 0, 2");
  CHECK(node.slot(0).state == SlotState::free);
  CHECK(node.slot(2).state == SlotState::free);
}

TEST_CASE("A rank that is late to end is killed after the grace, and its slot is lent after that") {
  RankNode node;
  node.begin_both();
  only<RunEnded>(node.done(0, {}, "ab"));
  CHECK(node.slot(2).state == SlotState::checking);
  CHECK(node.slot(2).job == JobId{});
  const EndBy end = only<EndBy>(node.effects);
  CHECK(end.slot == SlotIndex{2});
  CHECK(end.kill_at == node.now + node.config.worker.kill_grace);
  node.wait(node.config.worker.kill_grace);
  CHECK(only<KillExecutor>(node.effects).slot == SlotIndex{2});
  node.tell(ExecutorExited{.slot = {2}, .signal = 9});
  CHECK(none<RunEnded>(node.effects));
  CHECK(only<StartExecutor>(node.effects).slot == SlotIndex{2});
  node.tell(ExecutorReady{.slot = {2}, .app = "emoji"});
  CHECK(node.slot(2).state == SlotState::free);
}

TEST_CASE("A rank that dies takes the run with it, at the pool's cost, and frees every slot") {
  RankNode node;
  node.begin_both();
  SECTION("another one than rank 0") {
    node.tell(ExecutorExited{.slot = {2}, .signal = 9});
    CHECK(only<KillExecutor>(node.effects).slot == SlotIndex{0});
    const RunEnded ended = only<RunEnded>(node.tell(ExecutorExited{.slot = {0}, .signal = 9}));
    CHECK(ended.pool_fault);
    CHECK(ended.cause == Errc::executor_crashed);
    CHECK_THAT(ended.detail, Catch::Contains("another rank") && Catch::Contains("signal 9"));
    for (const std::uint32_t slot : {0, 2})
      node.tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
  }
  SECTION("rank 0: the others are stopped") {
    const Effects& effects = node.tell(ExecutorExited{.slot = {0}, .signal = 9});
    CHECK(only<RunEnded>(effects).pool_fault);
    CHECK(only<EndBy>(effects).slot == SlotIndex{2});
    CHECK(only<EndBy>(effects).at == node.now);
    node.tell(ExecutorReady{.slot = {0}, .app = "emoji"});
    node.done(2, Errc::executor_crashed);
  }
  CHECK(node.slot(0).state == SlotState::free);
  CHECK(node.slot(2).state == SlotState::free);
}

TEST_CASE("A rank that hangs is found by its own steps") {
  RankNode node;
  node.begin_both();
  const Duration stall = node.config.apps.front().stall;
  node.wait(stall - milliseconds(1));
  node.tell(ExecutorStep{.slot = {0}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 9});
  node.wait(milliseconds(1));
  CHECK(only<KillExecutor>(node.effects).slot == SlotIndex{2});
  node.tell(ExecutorExited{.slot = {2}, .signal = 9});
  node.tell(ExecutorExited{.slot = {0}, .signal = 9});
  CHECK(only<RunEnded>(node.effects).cause == Errc::executor_stalled);
}

TEST_CASE("A cancel and the declared end stop rank 0, and the others end after it") {
  RankNode node;
  node.begin_both();
  SECTION("a cancel") {
    const Effects& effects =
        node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1});
    CHECK(only<EndBy>(effects).slot == SlotIndex{0});
    node.done(2, Errc::executor_crashed);  // rank 0 has left it, and its word comes later
    CHECK(none<KillExecutor>(node.effects));
    node.tell(ExecutorDone{.slot = {0}, .job = JobId{1}, .attempt = 1, .stopped = true});
    CHECK(only<RunEnded>(node.effects).outcome == Outcome::cancelled);
  }
  SECTION("the declared end") {
    for (int second = 0; second < 60; ++second) {
      for (const std::uint32_t slot : {0, 2})
        node.tell(
            ExecutorStep{.slot = {slot}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 9});
      node.wait(seconds(1));
    }
    node.done(2, Errc::executor_crashed);
    node.tell(ExecutorDone{.slot = {0}, .job = JobId{1}, .attempt = 1, .stopped = true});
    CHECK(only<RunEnded>(node.effects).outcome == Outcome::expired);
    CHECK(only<RunEnded>(node.effects).ran == seconds(60));
  }
  CHECK(node.slot(2).state == SlotState::free);
}

TEST_CASE("A hold that grows lets every rank run on") {
  RankNode node;
  Lease wish = node.gang();
  wish.held = seconds(10);
  node.take(wish);
  node.began(2);
  node.began(0);
  const auto ends = all<EndBy>(node.tell(
      ExtendRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1, .held = seconds(30)}));
  REQUIRE(ends.size() == 2);
  CHECK(ends[0].at == node.now + seconds(30));
  CHECK(ends[1].at == ends[0].at + node.config.worker.kill_grace);  // rank 0 ends first
}

TEST_CASE("A request that every rank refuses is the program's fault") {
  RankNode node;
  node.take(node.gang());
  node.done(2, Errc::program_failed);
  CHECK(none<KillExecutor>(node.effects));
  const RunEnded ended = only<RunEnded>(node.done(0, Errc::program_failed));
  CHECK_FALSE(ended.pool_fault);
  CHECK(ended.cause == Errc::program_failed);
  CHECK(node.slot(2).state == SlotState::free);
}

TEST_CASE("A cancel before the ranks have started frees every slot") {
  RankNode node;
  node.take(node.gang("sketch"));
  const Effects& effects = node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1});
  CHECK(only<RunEnded>(effects).outcome == Outcome::cancelled);
  for (const std::uint32_t slot : {0, 2}) {
    node.tell(ExecutorExited{.slot = {slot}, .signal = 9});
    node.tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
    CHECK(node.slot(slot).state == SlotState::free);
  }
}

}  // namespace gpupool
