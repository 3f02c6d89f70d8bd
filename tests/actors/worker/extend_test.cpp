// Runs whose hold is less than they declared: they end where it ends, and later if they are told so
// before.
#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

// 60 s declared, 10 s held.
struct HeldNode : Node {
  HeldNode() {
    join();
    ready();
    Lease with = lease();
    with.held = seconds(10);
    take(with);
    tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
    began = now;
  }
  const Effects& extend(Duration held, Epoch told_by = Epoch{5}) {
    return tell(ExtendRun{.epoch = told_by, .job = JobId{1}, .attempt = 1, .held = held});
  }
  void step() {
    tell(ExecutorStep{.slot = {}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 30});
  }
  Instant began{};
};

}  // namespace

TEST_CASE("A run ends where its hold ends, by the supervisor's own timer too") {
  HeldNode node;
  CHECK(only<EndBy>(node.effects).at == node.began + seconds(10));
  CHECK(only<EndBy>(node.effects).kill_at == node.began + seconds(12));
  node.wait(seconds(5));
  node.step();
  node.wait(seconds(5));
  const RunEnded ended = only<RunEnded>(node.stopped());
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.cause == Errc::quota_exceeded);
  CHECK(ended.ran == seconds(10));
  CHECK(ended.detail == "its hold of 10.0 s was not extended in time");
}

TEST_CASE("An extension moves the end, and the receipt counts what ran of it") {
  HeldNode node;
  node.wait(seconds(8));
  node.step();
  CHECK(only<EndBy>(node.extend(seconds(15))).at == node.began + seconds(15));
  node.wait(seconds(4));
  const RunEnded ended = only<RunEnded>(node.finish());
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.ran == seconds(12));
}

TEST_CASE("An extension never shortens a run, nor lets it last longer than it declared") {
  HeldNode node;
  CHECK(none<EndBy>(node.extend(seconds(5))));
  CHECK(none<EndBy>(node.extend(seconds(10))));
  CHECK(only<EndBy>(node.extend(seconds(600))).at == node.began + seconds(60));
  node.wait(seconds(9));
  node.step();
  for (int i = 0; i < 6; ++i) {
    node.wait(seconds(9));
    node.step();
  }
  const RunEnded ended = only<RunEnded>(node.stopped());
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.cause == Errc{});  // its declared end, as any other
  CHECK(ended.ran == seconds(60));
}

TEST_CASE("An extension that comes when the run is ending is too late") {
  HeldNode node;
  node.wait(seconds(9));
  node.step();
  node.wait(seconds(1));
  CHECK(none<EndBy>(node.extend(seconds(15))));
  CHECK(only<RunEnded>(node.stopped()).ran == seconds(10));
}

TEST_CASE("An extension of an earlier epoch, or of another run, is none") {
  HeldNode node;
  CHECK(none<EndBy>(node.extend(seconds(15), Epoch{4})));
  CHECK(none<EndBy>(
      node.tell(ExtendRun{.epoch = Epoch{5}, .job = JobId{1}, .attempt = 2, .held = seconds(15)})));
  CHECK(none<EndBy>(
      node.tell(ExtendRun{.epoch = Epoch{5}, .job = JobId{2}, .attempt = 1, .held = seconds(15)})));
}

TEST_CASE("An extension before the run began counts from when it begins") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  lease.held = seconds(10);
  node.take(lease);
  node.tell(ExtendRun{.epoch = Epoch{5}, .job = JobId{1}, .attempt = 1, .held = seconds(15)});
  node.wait(seconds(1));
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
  CHECK(only<EndBy>(node.effects).at == node.now + seconds(15));
}

TEST_CASE("A cancelled run is not given more time") {
  HeldNode node;
  node.tell(CancelRun{.epoch = Epoch{5}, .job = JobId{1}, .attempt = 1});
  CHECK(none<EndBy>(node.extend(seconds(15))));
}

TEST_CASE("Reports say how long a run is on and how long it may last") {
  HeldNode node;
  CHECK(node.slot().held == seconds(10));
  node.wait(seconds(3));
  CHECK(node.slot().ran == seconds(3));
  node.extend(seconds(15));
  CHECK(node.slot().held == seconds(15));
  node.finish();
  CHECK(node.slot().ran == Duration{});
  CHECK(node.slot().held == Duration{});
}

TEST_CASE("What a slot keeps warm is of its own partition") {
  Config config = test_config();
  config.worker.devices = {DeviceConfig{}, {.partition = "own"}, {.partition = "none"}};
  config.apps[1].partition = "own";
  Node node(config);
  const auto reports = node.worker.slot_reports();
  CHECK(reports[2].state == SlotState::free);  // nothing to load: what comes is started then
  node.tell(ExecutorReady{.slot = {1}, .app = "sketch"});
  CHECK(node.worker.slot_reports()[1].warm_app == "sketch");
  node.tell(ExecutorReady{.slot = {0}, .app = "emoji"});
  CHECK(node.worker.slot_reports()[0].warm_app == "emoji");
}

TEST_CASE("Reports name the partition of each slot's device") {
  Config config = test_config();
  config.worker.devices = {{.slots = 2}, {.partition = "own"}};
  Node node(config);
  const auto reports = node.worker.slot_reports();
  REQUIRE(reports.size() == 3);
  CHECK(reports[0].partition == "default");
  CHECK(reports[1].partition == "default");
  CHECK(reports[2].partition == "own");
}

}  // namespace gpupool
