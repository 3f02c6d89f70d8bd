// The worker towards its broker: joining, heartbeats, epochs, which leases it takes, and ends that
// are repeated until they are seen.
#include "actors/worker/worker.h"

#include "config/limits.h"
#include "tests/actors/worker/node.h"

namespace gpupool {

TEST_CASE("A worker joins when it starts and makes its warm executors resident") {
  Config config = test_config();
  config.worker.devices = {DeviceConfig{.slots = 1}, DeviceConfig{.slots = 2}};
  Worker worker{config, NodeId{7}, Incarnation{3}, "this build", std::string(32, 's')};
  const Effects effects = worker.start(Instant{100'000});
  const Join join = only<Join>(effects);
  CHECK(join.name == config.worker.name);
  CHECK(join.build == "this build");
  CHECK(join.incarnation == Incarnation{3});
  REQUIRE(join.slots.size() == 3);
  CHECK(join.slots[2].slot == SlotIndex{2});
  CHECK(join.slots[2].device == 1);
  CHECK(join.slots[2].state == SlotState::checking);
  const auto starts = all<StartExecutor>(effects);
  REQUIRE(starts.size() == 3);
  CHECK(starts[2].app == "emoji");
  CHECK(effects.wake_at == Instant{100'000} + config.worker.heartbeat_interval);
}

TEST_CASE("A worker without a diffusion app has nothing to warm, and its slots are free at once") {
  Config config = test_config();
  std::erase_if(config.apps, [](const AppConfig& app) { return app.name != "nothing"; });
  Node node{config};
  CHECK(none<StartExecutor>(node.effects));
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A joined worker sends a heartbeat every interval with a number that grows") {
  Node node;
  node.join();
  const auto beats = all<Heartbeat>(node.pass(seconds(2)));
  REQUIRE(beats.size() == 4);
  for (std::size_t i = 1; i < beats.size(); ++i) CHECK(beats[i].number == beats[i - 1].number + 1);
}

TEST_CASE("A worker that was stopped for a while sends one heartbeat, not all that it missed") {
  Node node;
  node.join();
  node.wait(seconds(4));
  CHECK(all<Heartbeat>(node.effects).size() == 1);
  CHECK(node.effects.wake_at > node.now);
}

TEST_CASE("Until it is joined a worker asks again with every interval") {
  Node node;
  CHECK(all<Join>(node.wait(node.config.worker.heartbeat_interval)).size() == 1);
  node.tell(Joined{.epoch = node.epoch, .refused = Errc::version_mismatch});
  CHECK(all<Join>(node.wait(node.config.worker.heartbeat_interval)).size() == 1);
  node.join();
  CHECK(all<Heartbeat>(node.wait(node.config.worker.heartbeat_interval)).size() == 1);
}

TEST_CASE("A broker that doesn't know the worker is joined again at once, and only once") {
  Node node;
  node.join();
  CHECK(all<Join>(node.tell(HeartbeatSeen{.epoch = {}, .number = node.heartbeat})).size() == 1);
  CHECK(none<Join>(node.tell(HeartbeatSeen{.epoch = {}, .number = node.heartbeat})));
}

TEST_CASE("A worker whose heartbeats go unseen joins again on every interval until one is seen") {
  Node node;
  node.join();
  const Duration interval = node.config.worker.heartbeat_interval;
  for (Duration waited = interval; waited < node.config.broker.heartbeat_loss;
       waited = waited + interval)
    CHECK(none<Join>(node.wait(interval)));
  CHECK(all<Join>(node.wait(interval)).size() == 1);
  CHECK(all<Join>(node.wait(interval)).size() == 1);
  node.tell(HeartbeatSeen{.epoch = node.epoch, .number = node.heartbeat});
  CHECK(none<Join>(node.wait(interval)));
}

TEST_CASE("An answer of an older epoch doesn't count as the broker's") {
  Node node;
  node.join();
  node.tell(Joined{.epoch = Epoch{6}});
  node.pass(node.config.broker.heartbeat_loss);  // all answered with epoch 5
  CHECK(all<Join>(node.effects).size() + all<Join>(node.pass(seconds(1))).size() >= 1);
}

TEST_CASE("A refusal of an older epoch doesn't make the worker leave") {
  Node node;
  node.tell(Joined{.epoch = Epoch{6}});
  node.tell(Joined{.epoch = Epoch{5}, .refused = Errc::version_mismatch});
  CHECK(none<Join>(node.wait(node.config.worker.heartbeat_interval)));
}

TEST_CASE("A slot that falls free is told to the broker at once, not with the next heartbeat") {
  Node node;
  node.join();
  node.ready();
  REQUIRE(all<Heartbeat>(node.effects).size() == 1);
  CHECK(only<Heartbeat>(node.effects).slots.front().state == SlotState::free);
  CHECK(only<Heartbeat>(node.effects).slots.front().warm_app == "emoji");
}

TEST_CASE("A worker that isn't joined sends no heartbeats") {
  Node node;
  node.ready();
  CHECK(none<Heartbeat>(node.effects));
}

TEST_CASE("A lease that echoes a heartbeat of 2 s ago is taken, an older one is refused") {
  Node node;
  node.join();
  node.ready();
  const Lease lease = node.lease();
  SECTION("just fresh enough") {
    node.now = node.now + node.config.worker.heartbeat_stale;
    CHECK(none<LeaseRefused>(node.tell(lease)));
    CHECK(all<StartRun>(node.effects).size() == 1);
  }
  SECTION("a millisecond too old") {
    node.now = node.now + node.config.worker.heartbeat_stale + milliseconds(1);
    const LeaseRefused refused = only<LeaseRefused>(node.tell(lease));
    CHECK(refused.code == Errc::lease_refused);
    CHECK(refused.want == 2001);
    CHECK(refused.have == 2000);
    CHECK(none<StartRun>(node.effects));
    CHECK(node.slot().state == SlotState::free);
  }
}

TEST_CASE("A lease may echo a heartbeat that newer ones have followed, as long as it is fresh") {
  Node node;
  node.join();
  node.ready();
  const Lease lease = node.lease();
  REQUIRE(all<Heartbeat>(node.pass(milliseconds(1'900))).size() >= 3);
  CHECK(none<LeaseRefused>(node.tell(lease)));
}

TEST_CASE("A lease is refused that echoes no heartbeat of ours, or is for another incarnation") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  SECTION("a number that was never sent") { lease.heartbeat = node.heartbeat + 1; }
  SECTION("no number") { lease.heartbeat = 0; }
  SECTION("an earlier incarnation") { lease.incarnation = Incarnation{2}; }
  SECTION("a slot that doesn't exist") { lease.slot = SlotIndex{1}; }
  CHECK(only<LeaseRefused>(node.tell(lease)).code == Errc::lease_refused);
}

TEST_CASE("A lease is refused on a slot that is not free") {
  Node node;
  node.join();
  SECTION("its executor is not there yet") {}
  SECTION("it carries another run") {
    node.ready();
    node.take(node.lease(JobId{9}));
  }
  const LeaseRefused refused = only<LeaseRefused>(node.tell(node.lease()));
  CHECK(refused.code == Errc::lease_refused);
  CHECK(refused.job == JobId{1});
  CHECK(refused.attempt == 1);
}

TEST_CASE("A lease of an app that the node doesn't know, or of an impossible time, is refused") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  SECTION("unknown app") {
    lease.app = "elsewhere";
    CHECK(only<LeaseRefused>(node.tell(lease)).code == Errc::unknown_app);
  }
  SECTION("no time") {
    lease.declared = {};
    CHECK(only<LeaseRefused>(node.tell(lease)).code == Errc::illegal_duration);
  }
  SECTION("more than the most") {
    lease.declared = Duration{limits::duration_ms_max + 1};
    CHECK(only<LeaseRefused>(node.tell(lease)).code == Errc::illegal_duration);
  }
}

TEST_CASE("A lease for another node is nobody's business here") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  lease.node = NodeId{8};
  CHECK(node.tell(lease).send.empty());
}

TEST_CASE("An older epoch can neither lease nor cancel") {
  Node node;
  node.begin();
  node.tell(Joined{.epoch = Epoch{6}});
  CHECK(none<EndBy>(node.tell(CancelRun{.epoch = Epoch{5}, .job = JobId{1}, .attempt = 1})));
  const LeaseRefused refused = only<LeaseRefused>(node.tell(node.lease(JobId{2})));
  CHECK(refused.code == Errc::stale_epoch);
  CHECK(refused.want == 5);
  CHECK(refused.have == 6);
}

TEST_CASE("The same lease again starts no second run and is not refused") {
  Node node;
  node.join();
  node.ready();
  const Lease lease = node.lease();
  node.take(lease);
  SECTION("while it waits to begin") {}
  SECTION("while it runs") { node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1}); }
  SECTION("after its end was seen") {
    node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
    node.finish();
    node.tell(EndSeen{.job = JobId{1}, .attempt = 1});
  }
  CHECK(node.tell(lease).send.empty());
}

TEST_CASE("The same lease again, after an end that was not seen, is answered with that end") {
  Node node;
  const Lease lease = node.lease();
  node.begin();
  node.finish();
  node.tell(lease);
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::succeeded);
  CHECK(none<StartRun>(node.effects));
}

TEST_CASE("The next attempt of a job is another run") {
  Node node;
  node.begin();
  node.finish();
  Lease again = node.lease();
  again.attempt = 2;
  CHECK(all<StartRun>(node.tell(again)).size() == 1);
}

TEST_CASE("An end is told every second until the broker has seen it") {
  Node node;
  node.begin();
  CHECK(all<RunEnded>(node.finish()).size() == 1);
  CHECK(all<RunEnded>(node.pass(seconds(3))).size() == 3);
  node.tell(EndSeen{.job = JobId{1}, .attempt = 2});
  CHECK(all<RunEnded>(node.pass(seconds(1))).size() == 1);
  node.tell(EndSeen{.job = JobId{1}, .attempt = 1});
  CHECK(none<RunEnded>(node.pass(seconds(3))));
}

TEST_CASE("A broker of a new epoch hears every unseen end at once, with the epoch of its lease") {
  Node node;
  node.begin();
  node.finish();
  const RunEnded ended = only<RunEnded>(node.tell(Joined{.epoch = Epoch{6}}));
  CHECK(ended.epoch == Epoch{5});
  CHECK(none<RunEnded>(node.tell(Joined{.epoch = Epoch{6}})));
}

TEST_CASE("A node whose ends nobody sees takes no more leases at the limit") {
  Node node;
  node.join();
  node.ready();
  for (std::int64_t i = 1; i <= limits::unseen_ends_max; ++i) {
    const JobId job{static_cast<std::uint64_t>(i)};
    node.take(node.lease(job));
    node.finish(job);
  }
  const LeaseRefused refused = only<LeaseRefused>(node.tell(node.lease(JobId{999'999})));
  CHECK(refused.code == Errc::overloaded);
  CHECK(refused.have == limits::unseen_ends_max);
}

TEST_CASE("Cut off from its broker a worker finishes its run by its own clock and starts nothing") {
  Node node;
  node.begin();
  const Lease late = node.lease(JobId{2});
  for (int i = 0; i < 60; ++i) {
    node.wait(seconds(1));
    node.tell(ExecutorStep{.slot = {}, .job = JobId{1}, .attempt = 1, .step = 1, .of_steps = 9});
  }
  const RunEnded ended = only<RunEnded>(node.stopped());
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.ran == seconds(60));
  CHECK(only<LeaseRefused>(node.tell(late)).code == Errc::lease_refused);
}

TEST_CASE("A join names what runs, so that a new broker can adopt it") {
  Node node;
  node.begin(JobId{4});
  const Join join = only<Join>(node.tell(HeartbeatSeen{.epoch = {}, .number = node.heartbeat}));
  REQUIRE(join.slots.size() == 1);
  CHECK(join.slots[0].state == SlotState::running);
  CHECK(join.slots[0].job == JobId{4});
  CHECK(join.slots[0].attempt == 1);
}

TEST_CASE("Reports about slots that don't exist change nothing") {
  Node node;
  node.join();
  const SlotIndex nowhere{99};
  CHECK(node.tell(ExecutorReady{.slot = nowhere, .app = "emoji"}).send.empty());
  CHECK(node.tell(ExecutorExited{.slot = nowhere, .signal = 9}).send.empty());
  CHECK(node.tell(ExecutorDone{.slot = nowhere, .job = JobId{1}, .attempt = 1}).send.empty());
}

}  // namespace gpupool
