// Leases of several slots, and stopping: what a node holds together it reports and frees together.
#include <catch2/catch.hpp>

#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

Config gang_config() {
  Config config = test_config();
  config.worker.devices = {DeviceConfig{}, DeviceConfig{}, DeviceConfig{}};
  return config;
}

// Three slots that are free; slot 0 runs what the usual helpers begin.
struct GangNode : Node {
  GangNode() : Node(gang_config()) {
    join();
    for (std::uint32_t slot = 0; slot < 3; ++slot)
      tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
  }
  Lease gang(JobId job = JobId{1}) const {
    Lease two = lease(job);
    two.more_slots = {{2}};
    two.first_rank = 1;  // so that it has no ranks: those are in ranks_test
    return two;
  }
  // Of an app without ranks.
  Lease run_of_another_node() const {
    Lease two = gang();
    two.app = "nothing";
    two.runs_on = NodeId{8};
    return two;
  }
  void begin_gang() {
    take(gang());
    tell(ExecutorBegan{.slot = {0}, .job = JobId{1}, .attempt = 1});
  }
  SlotReport slot(std::uint32_t index) const { return worker.slot_reports()[index]; }
  SlotState state(std::uint32_t index) const { return slot(index).state; }
};

}  // namespace

TEST_CASE("A gang's first slot runs it; the others are held and look like it, executor untouched") {
  GangNode node;
  node.take(node.gang());
  CHECK(all<StartRun>(node.effects).size() == 1);
  CHECK(only<StartRun>(node.effects).slot == SlotIndex{0});
  CHECK(none<KillExecutor>(node.effects));
  CHECK(node.slot(2).job == JobId{1});
  CHECK(node.slot(2).attempt == 1);
  CHECK(node.state(2) == SlotState::starting);
  CHECK(node.slot(2).warm_app == "emoji");
  CHECK(node.state(1) == SlotState::free);
  node.tell(ExecutorBegan{.slot = {0}, .job = JobId{1}, .attempt = 1});
  CHECK(node.state(0) == SlotState::running);
  CHECK(node.state(2) == SlotState::running);
  CHECK(all<RunBegan>(node.effects).size() == 1);
}

TEST_CASE("A gang's slots are free together when its run has ended") {
  GangNode node;
  node.begin_gang();
  node.finish();
  CHECK(node.state(0) == SlotState::free);
  CHECK(node.state(2) == SlotState::free);
  CHECK(node.slot(2).job == JobId{});
  const Heartbeat beat = only<Heartbeat>(node.effects);  // it can be lent again right away
  CHECK(beat.slots[2].state == SlotState::free);
}

TEST_CASE("A gang that succeeded says in its detail that it ran on one of its slots") {
  GangNode node;
  Lease wish = node.gang();
  wish.app = "nothing";
  node.take(wish);
  CHECK(only<RunEnded>(node.effects).detail ==
        "ran on one of the 2 slots that it held: a noop app has no ranks");
  node.begin(JobId{2});
  CHECK(only<RunEnded>(node.finish(JobId{2})).detail.empty());
}

TEST_CASE("A gang's companions are held until its run is past its kill") {
  GangNode node;
  node.begin_gang();
  node.wait(node.config.apps.front().stall);  // hangs, and is killed
  CHECK(only<KillExecutor>(node.effects).slot == SlotIndex{0});
  node.wait(node.config.worker.kill_grace);  // its end is told though the executor is still there
  CHECK(only<RunEnded>(node.effects).cause == Errc::executor_stalled);
  CHECK(node.state(2) == SlotState::checking);
  CHECK(node.slot(2).job == JobId{});
  node.tell(ExecutorExited{.slot = {0}, .signal = 9});
  CHECK(node.state(2) == SlotState::free);
  CHECK(node.state(0) == SlotState::checking);
}

TEST_CASE("A companion's executor that dies is started again after the run, and only then lent") {
  GangNode node;
  node.begin_gang();
  node.tell(ExecutorExited{.slot = {2}, .signal = 9});
  CHECK(none<RunEnded>(node.effects));
  CHECK(none<StartExecutor>(node.effects));
  CHECK(node.state(2) == SlotState::running);
  node.finish();
  CHECK(only<StartExecutor>(node.effects).slot == SlotIndex{2});
  CHECK(node.state(2) == SlotState::checking);
  node.tell(ExecutorReady{.slot = {2}, .app = "emoji"});
  CHECK(node.state(2) == SlotState::free);
}

TEST_CASE("A lease is refused unless all its slots are free, and then changes nothing") {
  GangNode node;
  Lease wish = node.gang(JobId{2});
  SECTION("a companion is busy") { node.begin_gang(), wish.slot = {1}; }
  SECTION("a companion is checking") { node.tell(ExecutorExited{.slot = {2}, .signal = 9}); }
  SECTION("a companion does not exist") { wish.more_slots = {{99}}; }
  SECTION("a slot is named twice") { wish.more_slots = {{0}}; }
  const auto before = node.worker.slot_reports();
  CHECK(only<LeaseRefused>(node.tell(wish)).code == Errc::lease_refused);
  const auto after = node.worker.slot_reports();
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(after[i].state == before[i].state);
  CHECK(none<StartRun>(node.effects));
}

TEST_CASE("The slots of a running gang can't be leased to another job") {
  GangNode node;
  node.begin_gang();
  Lease other = node.lease(JobId{2});
  other.slot = {2};
  CHECK(only<LeaseRefused>(node.tell(other)).job == JobId{2});
  other.slot = {1};
  CHECK(all<StartRun>(node.tell(other)).size() == 1);
}

TEST_CASE("A gang that is cancelled before it began frees all its slots at once") {
  GangNode node;
  Lease wish = node.gang();
  wish.app = "sketch";
  node.take(wish);  // the warm executor has to make room first
  node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1});
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::cancelled);
  CHECK(node.slot(2).job == JobId{});
  node.tell(ExecutorExited{.slot = {0}, .signal = 9});
  CHECK(node.state(2) == SlotState::free);
}

TEST_CASE("Slots that are held for a run on another node start nothing, and are free when told") {
  GangNode node;
  const Lease wish = node.run_of_another_node();
  node.take(wish);
  CHECK(none<StartRun>(node.effects));
  for (const std::uint32_t slot : {0, 2}) {
    CHECK(node.state(slot) == SlotState::held);
    CHECK(node.slot(slot).job == JobId{1});
    CHECK(node.slot(slot).attempt == 1);
  }
  CHECK(node.state(1) == SlotState::free);
  SECTION("another copy of the lease changes nothing") {
    CHECK(none<LeaseRefused>(node.tell(wish)));
    CHECK(node.state(0) == SlotState::held);
  }
  SECTION("nobody else gets them") {
    CHECK(only<LeaseRefused>(node.tell(node.lease(JobId{2}))).job == JobId{2});
  }
  SECTION("the word of an older epoch, or of another attempt, frees nothing") {
    node.tell(CancelRun{.epoch = {node.epoch.value - 1}, .job = JobId{1}, .attempt = 1});
    node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 2});
    CHECK(node.state(0) == SlotState::held);
  }
  node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1});
  CHECK(node.state(0) == SlotState::free);
  CHECK(node.state(2) == SlotState::free);
  CHECK(only<Heartbeat>(node.effects).slots[2].state == SlotState::free);  // said at once
  CHECK(none<RunEnded>(node.effects));
  CHECK(only<LeaseRefused>(node.tell(wish)).code == Errc::lease_refused);  // a late copy
  CHECK(node.state(0) == SlotState::free);
}

TEST_CASE("Without a word they are free when the run of the other node must be over") {
  GangNode node;
  const Lease wish = node.run_of_another_node();
  node.take(wish);
  const Instant since = node.now;
  while (node.state(2) == SlotState::held && node.now < since + seconds(1'000)) {
    node.now = node.effects.wake_at;
    node.tell(Tick{});
  }
  const WorkerConfig& config = node.config.worker;
  const Duration longest = config.heartbeat_stale + seconds(60) + node.config.apps[0].start_limit +
                           config.kill_grace + config.slot_check;
  // The clock of the other node may be slower by 1 %.
  CHECK(node.now - since == longest + Duration{longest.ms / 100});
  CHECK(node.state(0) == SlotState::free);
}

TEST_CASE("A worker that stops waits for what it holds for another node's run") {
  GangNode node;
  const Lease wish = node.run_of_another_node();
  node.take(wish);
  node.tell(Stop{.by = node.now + seconds(30)});
  CHECK_FALSE(node.worker.stopped());
  node.tell(CancelRun{.epoch = node.epoch, .job = JobId{1}, .attempt = 1});
  CHECK(node.worker.stopped());
}

TEST_CASE("A worker that stops refuses leases and says so in every report") {
  Node node;
  node.join();
  node.ready();
  node.tell(Stop{.by = node.now + seconds(30)});
  CHECK(only<Heartbeat>(node.effects).draining);
  CHECK(only<LeaseRefused>(node.tell(node.lease())).code == Errc::pool_unavailable);
  CHECK(only<Join>(node.tell(HeartbeatSeen{.epoch = {}, .number = node.heartbeat})).draining);
}

TEST_CASE("A worker has stopped when nothing runs and the broker has seen every end") {
  Node node;
  node.begin();
  CHECK_FALSE(node.worker.stopped());
  node.tell(Stop{.by = node.now + seconds(30)});
  CHECK_FALSE(node.worker.stopped());
  node.finish();
  CHECK_FALSE(node.worker.stopped());
  node.tell(EndSeen{.job = JobId{1}, .attempt = 1});
  CHECK(node.worker.stopped());
}

TEST_CASE("A worker has stopped at its limit, whatever still runs, and wakes for it") {
  Node node;
  node.begin();
  const Instant by = node.now + seconds(3);
  node.tell(Stop{.by = by});
  while (!node.worker.stopped() && node.now < by + seconds(1)) {
    node.now = node.effects.wake_at;
    node.tell(Tick{});
  }
  CHECK(node.now == by);
}

TEST_CASE("The log of a run goes with its end, however it ended") {
  Node node;
  node.begin();
  const ResultRef log{.hash = "cd", .bytes = 5, .media_type = "text/plain", .node = Node::id};
  SECTION("done") {
    node.tell(ExecutorDone{.slot = {}, .job = JobId{1}, .attempt = 1, .log = log});
  }
  SECTION("crashed") { node.tell(ExecutorExited{.slot = {}, .signal = 11, .log = log}); }
  CHECK(only<RunEnded>(node.effects).log.hash == "cd");
}

}  // namespace gpupool
