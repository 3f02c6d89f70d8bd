#pragma once
// A worker in virtual time for tests: what it sent, by kind, and the usual ways into a run.

#include <catch2/catch.hpp>
#include <optional>
#include <type_traits>
#include <variant>
#include <vector>

#include "actors/worker/worker.h"

namespace gpupool {

// Every message of kind T among the effects, in order.
template <class T>
std::vector<T> all(const Effects& effects) {
  std::vector<T> found;
  for (const Send& send : effects.send)
    std::visit(
        [&](const auto& role) {
          std::visit(
              [&](const auto& message) {
                if constexpr (std::is_same_v<std::decay_t<decltype(message)>, T>)
                  found.push_back(message);
              },
              role);
        },
        send.message);
  return found;
}

template <class T>
T only(const Effects& effects) {
  const auto found = all<T>(effects);
  REQUIRE(found.size() == 1);
  return found.front();
}

template <class T>
bool none(const Effects& effects) {
  return all<T>(effects).empty();
}

inline Config test_config() {
  Config config = default_config();
  config.worker.devices = {DeviceConfig{}};
  config.apps.push_back({.name = "sketch", .model = "models/sketch"});
  config.apps.push_back({.name = "nothing", .executor = ExecutorKind::noop});
  return config;
}

// One slot unless the configuration says otherwise; at 100 s after boot.
class Node {
 public:
  static constexpr NodeId id{7};
  static constexpr Incarnation incarnation{3};

  explicit Node(Config with = test_config(), NodeId me = id)
      : node(me),
        config(std::move(with)),
        worker(config, me, incarnation, "test build", std::string(32, 's')) {
    effects = worker.start(now);
    heartbeat = only<Join>(effects).heartbeat;
  }

  const Effects& tell(const ToWorker& message) {
    effects = worker.step(now, message);
    for (const Heartbeat& beat : all<Heartbeat>(effects)) heartbeat = beat.number;
    for (const Join& join : all<Join>(effects)) heartbeat = join.heartbeat;
    return effects;
  }
  const Effects& wait(Duration duration) {
    now = now + duration;
    return tell(Tick{});
  }
  // Lets time pass wake by wake, the broker answering every heartbeat. Returns everything sent.
  Effects pass(Duration duration) {
    Effects sent;
    const Instant end = now + duration;
    while (now < end) {
      now = std::max(now + milliseconds(1), std::min(end, effects.wake_at));
      keep(sent, tell(Tick{}));
      keep(sent, tell(HeartbeatSeen{.epoch = epoch, .number = heartbeat}));
    }
    return sent;
  }
  // Steps only when the worker asked to be woken, without an answer from a broker, until it sends a
  // T. Returns after how long that was; at most a minute.
  template <class T>
  Duration until() {
    const Instant since = now;
    do {
      now = effects.wake_at;
      tell(Tick{});
    } while (none<T>(effects) && now - since < seconds(60));
    return now - since;
  }

  void join() { tell(Joined{.epoch = epoch}); }
  void ready() { tell(ExecutorReady{.slot = {}, .app = "emoji"}); }
  Lease lease(JobId job = JobId{1}) const {
    return {.job = job,
            .attempt = 1,
            .epoch = epoch,
            .node = node,
            .incarnation = incarnation,
            .heartbeat = heartbeat,
            .app = "emoji",
            .body = JobRequest{.app = "emoji", .arguments = {{"prompt", "a red heart"}}},
            .declared = seconds(60)};
  }
  // A node that is known, whose slot is free, and that takes a lease.
  void take(const Lease& lease) {
    tell(lease);
    REQUIRE(none<LeaseRefused>(effects));
  }
  void begin(JobId job = JobId{1}) {
    join();
    ready();
    take(lease(job));
    tell(ExecutorBegan{.slot = {}, .job = job, .attempt = 1});
    REQUIRE(all<RunBegan>(effects).size() == 1);
  }
  const Effects& finish(JobId job = JobId{1}) {
    return tell(ExecutorDone{
        .slot = {}, .job = job, .attempt = 1, .result = {.hash = "ab", .bytes = 10, .node = id}});
  }
  const Effects& stopped(JobId job = JobId{1}) {
    return tell(ExecutorDone{.slot = {}, .job = job, .attempt = 1, .stopped = true});
  }
  SlotReport slot() const { return worker.slot_reports().front(); }

  const NodeId node;
  Config config;
  Worker worker;
  Instant now{100'000};
  Epoch epoch{5};
  std::uint64_t heartbeat = 0;  // the number sent last
  Effects effects;              // of the last step

 private:
  static void keep(Effects& into, const Effects& more) {
    into.send.insert(into.send.end(), more.send.begin(), more.send.end());
  }
};

}  // namespace gpupool
