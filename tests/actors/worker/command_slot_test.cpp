// A slot whose app runs commands: one run for each executor, a warning before the end, and a charge
// from exec to reaped.
#include <catch2/catch.hpp>

#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

Config command_config() {
  Config config = default_config();
  config.worker.devices = {DeviceConfig{}};
  config.worker.kill_grace = seconds(2);
  config.apps = {{.name = "tool", .executor = ExecutorKind::command, .spread = Spread::device}};
  config.apps[0].command.words = {"/bin/true"};
  return config;
}

// A node whose command runs since a moment ago.
struct Running : Node {
  explicit Running(Duration declared = seconds(60)) : Node(command_config()) {
    join();
    tell(ExecutorReady{.slot = {}, .app = "tool"});
    Lease wanted = lease();
    wanted.app = "tool";
    wanted.body = JobRequest{.app = "tool"};
    wanted.declared = declared;
    tell(wanted);
    tell(ExecutorBegan{.slot = {}, .job = JobId{1}, .attempt = 1});
  }
  RunEnded end(ExecutorDone done) {
    done.job = JobId{1};
    done.attempt = 1;
    tell(done);
    return only<RunEnded>(effects);
  }
};

}  // namespace

TEST_CASE("A command app's executor is warm before any lease, as a model would be") {
  Node node(command_config());
  CHECK(only<StartExecutor>(node.effects).app == "tool");
}

TEST_CASE("A command that ended is charged what it ran, not what it took to hear of it") {
  Running node;
  node.pass(seconds(3));
  const RunEnded ended = node.end({.ran = milliseconds(2'345)});
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.ran == milliseconds(2'345));
  CHECK(ended.began);
}

TEST_CASE("A command's own failure is charged, and carries its code and what it left") {
  Running node;
  node.pass(seconds(1));
  const RunEnded ended = node.end({.cause = Errc::program_failed,
                                   .detail = "the command exited with code 3",
                                   .result = {.hash = "abc", .bytes = 3},
                                   .ran = milliseconds(900),
                                   .exit_code = 3});
  CHECK(ended.outcome == Outcome::failed);
  CHECK_FALSE(ended.pool_fault);
  CHECK(ended.exit_code == 3);
  CHECK(ended.result.hash == "abc");
  CHECK(ended.ran == milliseconds(900));
}

TEST_CASE(
    "A slot is lent again only when all that a command started is gone, and a new one waits") {
  Running node;
  const RunEnded ended = node.end({.ran = milliseconds(1)});
  CHECK_FALSE(ended.slots_free);
  CHECK(all<KillExecutor>(node.effects).size() == 1);
  CHECK(node.worker.slot_reports()[0].state == SlotState::checking);
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(only<StartExecutor>(node.effects).app == "tool");
  CHECK(node.worker.slot_reports()[0].state == SlotState::checking);
  node.tell(ExecutorReady{.slot = {}, .app = "tool"});
  CHECK(node.worker.slot_reports()[0].state == SlotState::free);
}

TEST_CASE("Five seconds before its end a command is warned, and those who follow it are told") {
  Running node;
  const EndBy order = all<EndBy>(node.effects).back();
  CHECK(order.at - order.warn_at == command_warning);
  CHECK(order.kill_at - order.at == seconds(2));
  CHECK(none<RunWarned>(node.pass(milliseconds(54'900))));
  CHECK(only<RunWarned>(node.pass(milliseconds(200))).left == command_warning);
  CHECK(none<RunWarned>(node.pass(seconds(1))));
}

TEST_CASE("A command that may run no longer than the warning gets none") {
  Running node(command_warning);
  CHECK(all<EndBy>(node.effects).back().warn_at == Instant{});
  CHECK(none<RunWarned>(node.pass(seconds(4))));
}

TEST_CASE("A command that reports nothing for long is its own affair") {
  Running node;
  CHECK(none<KillExecutor>(node.pass(seconds(50))));
}

TEST_CASE("A command that was stopped at its declared end expired, whatever its exit code says") {
  Running node(seconds(10));
  node.pass(milliseconds(10'100));
  const RunEnded ended = node.end({.stopped = true,
                                   .result = {.hash = "abc", .bytes = 3},
                                   .ran = milliseconds(10'080),
                                   .signal = 15});
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.ran == seconds(10));
  CHECK(ended.result.hash == "abc");
  CHECK(ended.signal == 15);
}

TEST_CASE("A command that could not be started by the pool's fault is not charged") {
  Node node(command_config());
  node.join();
  node.tell(ExecutorReady{.slot = {}, .app = "tool"});
  Lease wanted = node.lease();
  wanted.app = "tool";
  node.tell(wanted);
  node.tell(ExecutorDone{.slot = {},
                         .job = JobId{1},
                         .attempt = 1,
                         .cause = Errc::executor_crashed,
                         .detail = "its sandbox could not be made"});
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.pool_fault);
  CHECK(ended.ran == Duration{});
  CHECK_FALSE(ended.began);
}

}  // namespace gpupool
