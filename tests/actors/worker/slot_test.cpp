// One slot: the life of its executor, the limits of a run, and how every run is judged.
#include "actors/worker/slot.h"

#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

ExecutorStep step_of(std::uint32_t step) {
  return {.slot = {}, .job = JobId{1}, .attempt = 1, .step = step, .of_steps = 30};
}

// Keeps the run from stalling while time passes.
void run_for(Node& node, Duration duration) {
  for (Duration done{}; done < duration; done = done + seconds(1)) {
    node.wait(std::min(seconds(1), duration - done));
    node.tell(step_of(1));
  }
}

CancelRun cancel() { return {.epoch = Epoch{5}, .job = JobId{1}, .attempt = 1}; }

}  // namespace

TEST_CASE("A lease on a warm slot hands the request over, with the start limit armed before it") {
  Node node;
  node.join();
  node.ready();
  const Effects& effects = node.tell(node.lease());
  const StartRun run = only<StartRun>(effects);
  CHECK(run.job == JobId{1});
  CHECK(run.app == "emoji");
  CHECK(run.body->arguments.front().value == "a red heart");
  // Should the worker die now, the supervisor still ends what never began.
  const EndBy end = only<EndBy>(effects);
  const AppConfig& app = node.config.apps.front();
  CHECK(end.at == node.now + app.start_limit + node.config.worker.kill_grace);
  CHECK(end.kill_at == end.at);
  CHECK(none<StartExecutor>(effects));
  CHECK(node.slot().state == SlotState::starting);
}

TEST_CASE("A lease of another app replaces the executor when nothing of the old one is left") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  lease.app = "sketch";
  CHECK(all<KillExecutor>(node.tell(lease)).size() == 1);
  CHECK(none<StartExecutor>(node.effects));
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(only<StartExecutor>(node.effects).app == "sketch");
  CHECK(none<RunEnded>(node.effects));
  const Instant last = node.now + seconds(30) + node.config.worker.kill_grace;
  CHECK(only<EndBy>(node.effects).at == last);
  CHECK(only<EndBy>(node.effects).kill_at == last);
  node.tell(ExecutorReady{.slot = {}, .app = "sketch"});
  CHECK(all<StartRun>(node.effects).size() == 1);
}

TEST_CASE("The declared end is fixed when the run begins, not when it was leased") {
  Node node;
  node.join();
  node.ready();
  node.take(node.lease());
  node.wait(seconds(4));
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
  CHECK(only<RunBegan>(node.effects).job == JobId{1});
  const EndBy end = only<EndBy>(node.effects);
  CHECK(end.at == node.now + seconds(60));
  CHECK(end.kill_at == end.at + node.config.worker.kill_grace);
  CHECK(node.slot().state == SlotState::running);
}

TEST_CASE("A run that doesn't begin within the start limit is the pool's fault") {
  Node node;
  node.join();
  node.ready();
  node.wait(milliseconds(123));
  node.take(node.lease());
  CHECK(node.until<KillExecutor>() == seconds(30));
  const RunEnded ended = only<RunEnded>(node.tell(ExecutorExited{.slot = {}, .signal = 9}));
  CHECK(ended.pool_fault);
  CHECK(ended.cause == Errc::start_limit_missed);
  CHECK(ended.ran == Duration{});
}

TEST_CASE("A picture is charged from its begin to its end") {
  Node node;
  node.join();
  node.ready();
  node.take(node.lease());
  node.wait(seconds(3));
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
  node.wait(milliseconds(2'345));
  const RunEnded ended = only<RunEnded>(node.finish());
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK_FALSE(ended.pool_fault);
  CHECK(ended.ran == milliseconds(2'345));
  CHECK(ended.result.hash == "ab");
  CHECK(ended.epoch == node.epoch);
  CHECK(all<Disarm>(node.effects).size() == 1);
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A program's own failure is charged for what it ran") {
  Node node;
  node.begin();
  node.wait(seconds(2));
  node.tell(ExecutorDone{.slot = {},
                         .job = JobId{1},
                         .attempt = 1,
                         .cause = Errc::program_failed,
                         .detail = "no such word"});
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::failed);
  CHECK_FALSE(ended.pool_fault);
  CHECK(ended.ran == seconds(2));
  CHECK(ended.detail == "no such word");
}

TEST_CASE("A result that could not be stored and a failed device are the pool's fault") {
  const Errc cause = GENERATE(Errc::result_not_stored, Errc::device_failed);
  Node node;
  node.begin();
  node.tell(ExecutorDone{.slot = {}, .job = JobId{1}, .attempt = 1, .cause = cause});
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.pool_fault);
  CHECK(ended.cause == cause);
}

TEST_CASE("A run stopped at its declared end is expired and pays no more than was declared") {
  Node node;
  node.begin();
  run_for(node, seconds(61));
  const RunEnded ended = only<RunEnded>(node.stopped());
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.ran == seconds(60));
  CHECK_FALSE(ended.pool_fault);
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A picture that is ready between SIGTERM and SIGKILL is delivered at the declared cost") {
  Node node;
  node.begin();
  run_for(node, seconds(61));
  const RunEnded ended = only<RunEnded>(node.finish());
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.ran == seconds(60));
}

TEST_CASE("What ignores SIGTERM at its declared end is killed and expired") {
  Node node;
  node.begin();
  run_for(node, seconds(60));
  SECTION("by its supervisor") {
    node.wait(seconds(2) - milliseconds(1));
    CHECK(none<KillExecutor>(node.effects));
  }
  SECTION("by the worker, should the supervisor not do it") {
    CHECK(all<KillExecutor>(node.pass(seconds(2))).size() == 1);
  }
  const RunEnded ended = only<RunEnded>(node.tell(ExecutorExited{.slot = {}, .signal = 9}));
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.ran == seconds(60));
  CHECK_FALSE(ended.pool_fault);
}

TEST_CASE("An executor that can't be killed holds its slot, not its run") {
  Node node;
  node.begin();
  run_for(node, seconds(60));
  Effects sent = node.pass(seconds(4));
  CHECK(only<RunEnded>(sent).outcome == Outcome::expired);
  CHECK(all<KillExecutor>(sent).size() >= 2);
  CHECK(node.slot().state == SlotState::checking);
  node.tell(EndSeen{.job = JobId{1}, .attempt = 1});
  sent = node.pass(seconds(10));
  CHECK(node.slot().state == SlotState::down);
  CHECK(all<KillExecutor>(sent).size() == 10);  // once a second, for as long as it takes
  CHECK(only<StartExecutor>(node.tell(ExecutorExited{.slot = {}, .signal = 9})).app == "emoji");
}

TEST_CASE("No step for as long as the app's stall means a hanging executor: the pool's fault") {
  Node node;
  node.begin();
  node.pass(milliseconds(5'123));
  node.tell(step_of(1));
  CHECK(node.until<KillExecutor>() == seconds(10));
  const RunEnded ended = only<RunEnded>(node.tell(ExecutorExited{.slot = {}, .signal = 9}));
  CHECK(ended.pool_fault);
  CHECK(ended.cause == Errc::executor_stalled);
}

TEST_CASE("Steps that waited while the worker was stopped count before the stall is judged") {
  Node node;
  node.begin();
  node.now = node.now + seconds(11);
  CHECK(none<KillExecutor>(node.tell(step_of(4))));
}

TEST_CASE("A run in its last seconds is not called stalled: its end is near anyway") {
  Node node;
  node.begin();
  run_for(node, seconds(51));
  CHECK(none<KillExecutor>(node.pass(milliseconds(10'500))));
}

TEST_CASE(
    "A crash before the declared end is the pool's fault, and the executor is started again") {
  Node node;
  node.begin();
  node.wait(seconds(1));
  node.tell(ExecutorExited{.slot = {}, .signal = 11});
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.pool_fault);
  CHECK(ended.cause == Errc::executor_crashed);
  CHECK(ended.detail == "the executor was ended by signal 11");
  CHECK(only<StartExecutor>(node.effects).app == "emoji");
  CHECK(node.slot().state == SlotState::checking);
  node.ready();
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A stop that the pool did not order is the pool's fault") {
  Node node;
  node.begin();
  node.wait(seconds(1));
  const RunEnded ended = only<RunEnded>(node.stopped());
  CHECK(ended.pool_fault);
  CHECK(ended.cause == Errc::executor_crashed);
}

TEST_CASE("A cancelled run is stopped at once and pays what it ran") {
  Node node;
  node.begin();
  node.wait(seconds(3));
  const EndBy end = only<EndBy>(node.tell(cancel()));
  CHECK(end.at == node.now);
  CHECK(end.kill_at == node.now + node.config.worker.kill_grace);
  CHECK(none<EndBy>(node.tell(cancel())));
  node.wait(milliseconds(200));
  SECTION("it stops") { node.stopped(); }
  SECTION("it dies") { node.tell(ExecutorExited{.slot = {}, .signal = 15}); }
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::cancelled);
  CHECK(ended.ran == milliseconds(3'200));
  CHECK_FALSE(ended.pool_fault);
}

TEST_CASE("A cancelled run that ignores SIGTERM is killed after the grace") {
  Node node;
  node.begin();
  node.wait(milliseconds(123));
  node.tell(cancel());
  CHECK(node.until<KillExecutor>() == node.config.worker.kill_grace);
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::cancelled);
}

TEST_CASE("A run cancelled before it began pays nothing") {
  Node node;
  node.join();
  node.ready();
  SECTION("before the executor had it: ended at once") {
    Lease lease = node.lease();
    lease.app = "sketch";  // the warm executor has to make room first
    node.take(lease);
    node.wait(seconds(1));
    node.tell(cancel());
  }
  SECTION("after: when the executor has stopped") {
    node.take(node.lease());
    node.wait(seconds(1));
    CHECK(none<RunEnded>(node.tell(cancel())));
    node.stopped();
  }
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::cancelled);
  CHECK(ended.ran == Duration{});
}

TEST_CASE("A begin that crosses a cancel doesn't push the end away") {
  Node node;
  node.join();
  node.ready();
  node.take(node.lease());
  node.tell(cancel());
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
  CHECK(none<EndBy>(node.effects));
  node.wait(milliseconds(50));
  CHECK(only<RunEnded>(node.stopped()).ran == milliseconds(50));
}

TEST_CASE("A cancelled run has its whole grace, whatever other limit falls into it") {
  Node node;
  SECTION("the start limit") {
    node.join();
    node.ready();
    node.take(node.lease());
    node.wait(seconds(29));
  }
  SECTION("the stall") {
    node.begin();
    node.wait(seconds(9));
  }
  node.tell(cancel());
  CHECK(node.until<KillExecutor>() == node.config.worker.kill_grace);
  CHECK(only<RunEnded>(node.tell(ExecutorExited{.slot = {}, .signal = 9})).outcome ==
        Outcome::cancelled);
}

TEST_CASE("A cancel after the declared end leaves the run expired") {
  Node node;
  node.begin();
  run_for(node, seconds(60));
  CHECK(none<EndBy>(node.tell(cancel())));
  CHECK(only<RunEnded>(node.stopped()).outcome == Outcome::expired);
}

TEST_CASE("A cancel of a run that is not here is answered with nothing") {
  Node node;
  node.begin();
  CHECK(node.tell(CancelRun{.epoch = Epoch{5}, .job = JobId{1}, .attempt = 2}).send.empty());
  CHECK(node.tell(CancelRun{.epoch = Epoch{5}, .job = JobId{8}, .attempt = 1}).send.empty());
}

TEST_CASE("Reports of an earlier run don't touch the present one") {
  Node node;
  node.begin(JobId{2});
  CHECK(node.tell(step_of(3)).send.empty());
  CHECK(node.finish(JobId{1}).send.empty());
  CHECK(node.slot().job == JobId{2});
}

TEST_CASE("Steps are told at most every 100 ms, but the first and the last always") {
  Node node;
  node.begin();
  std::vector<std::uint32_t> told;
  for (std::uint32_t step = 1; step <= 30; ++step) {
    node.wait(milliseconds(10));
    for (const RunStep& each : all<RunStep>(node.tell(step_of(step)))) told.push_back(each.step);
  }
  CHECK(told == std::vector<std::uint32_t>{1, 11, 21, 30});
}

TEST_CASE("An executor that can't start is tried again after 1 s, doubling to 30 s") {
  Node node;
  node.join();
  std::vector<std::int64_t> waits;
  for (int i = 0; i < 7; ++i) {
    node.tell(ExecutorExited{.slot = {}, .exit_code = 1});
    CHECK(node.slot().state == SlotState::down);
    const Instant failed = node.now;
    while (none<StartExecutor>(node.pass(milliseconds(100))) && node.now - failed < seconds(60)) {
    }
    waits.push_back((node.now - failed).ms / 1000);
  }
  CHECK(waits == std::vector<std::int64_t>{1, 2, 4, 8, 16, 30, 30});
  CHECK(node.slot().state == SlotState::down);
  node.ready();
  CHECK(node.slot().state == SlotState::free);
  // After a crash it is started again at once, and failures count from one again.
  CHECK(all<StartExecutor>(node.tell(ExecutorExited{.slot = {}, .signal = 11})).size() == 1);
  node.tell(ExecutorExited{.slot = {}, .exit_code = 1});
  CHECK(node.until<StartExecutor>() == seconds(1));
}

TEST_CASE("A slot whose check takes too long is down until its executor is ready") {
  Node node;
  node.join();
  node.pass(node.config.worker.slot_check - milliseconds(1));
  CHECK(node.slot().state == SlotState::checking);
  node.pass(milliseconds(1));
  CHECK(node.slot().state == SlotState::down);
  node.ready();
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("An executor that never becomes ready is killed at the start limit and tried again") {
  Node node;
  node.join();
  CHECK(all<KillExecutor>(node.pass(seconds(30))).size() == 1);
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(node.slot().state == SlotState::down);
  CHECK(all<StartExecutor>(node.pass(seconds(1))).size() == 1);
}

TEST_CASE("The readiness of another app's executor is not taken for this one's") {
  Node node;
  node.join();
  node.tell(ExecutorReady{.slot = {}, .app = "sketch"});
  CHECK(node.slot().state == SlotState::checking);
}

TEST_CASE("An idle executor that dies is started again before the slot is lent") {
  Node node;
  node.join();
  node.ready();
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(all<StartExecutor>(node.effects).size() == 1);
  CHECK(only<LeaseRefused>(node.tell(node.lease())).code == Errc::lease_refused);
}

TEST_CASE("A noop run ends as it is leased, uncharged, and leaves the warm executor alone") {
  Node node;
  node.join();
  node.ready();
  Lease lease = node.lease();
  lease.app = "nothing";
  node.tell(lease);
  const RunEnded ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.ran == Duration{});
  CHECK(ended.result.hash.empty());
  CHECK(ended.slots_free);
  CHECK(none<StartRun>(node.effects));
  CHECK(none<Disarm>(node.effects));
  CHECK(none<KillExecutor>(node.effects));
  CHECK(node.slot().state == SlotState::free);
  CHECK(node.slot().warm_app == "emoji");
}

}  // namespace gpupool
