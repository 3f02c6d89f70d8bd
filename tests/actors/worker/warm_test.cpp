// Executors that stay warm beside the one that is resident on a slot, within the slot's memory.
#include "tests/actors/worker/node.h"

using namespace gpupool;

namespace {

// One slot of 100 for apps a, b, c of 40 each, and d of 90; e does not say what it takes.
Config warm_config(std::int64_t memory = 100) {
  Config config = default_config();
  config.worker.devices = {{.memory_bytes = memory}};
  config.apps.clear();
  for (const auto& [name, takes] : {std::pair{"a", 40}, {"b", 40}, {"c", 40}, {"d", 90}, {"e", 0}})
    config.apps.push_back({.name = name, .memory_bytes = takes});
  return config;
}

class WarmNode : public Node {
 public:
  explicit WarmNode(Config config = warm_config()) : Node(std::move(config)) {
    join();
    tell(ExecutorReady{.slot = {}, .app = "a"});
  }
  // What the executors were told when a lease of `app` came.
  Effects lease_of(const std::string& app) {
    Lease one = lease(JobId{++jobs_});
    one.app = app;
    take(one);
    return effects;
  }
  // The run of that lease, from its executor's ready to its end.
  void run(const std::string& app) {
    tell(ExecutorReady{.slot = {}, .app = app});
    tell(ExecutorBegan{.slot = {}, .job = JobId{jobs_}, .attempt = 1});
    finish(JobId{jobs_});
    tell(EndSeen{JobId{jobs_}, 1});
  }
  const Effects& gone(const std::string& app) {
    return tell(ExecutorExited{.slot = {}, .signal = 9, .app = app});
  }
  SlotState state() const { return slot().state; }
  JobId last_job() const { return JobId{jobs_}; }

 private:
  std::uint64_t jobs_ = 0;
};

std::vector<std::string> killed(const Effects& effects) {
  std::vector<std::string> apps;
  for (const KillExecutor& kill : all<KillExecutor>(effects)) apps.push_back(kill.app);
  return apps;
}

using Apps = std::vector<std::string>;

}  // namespace

TEST_CASE("An executor stays warm beside another that fits, and is taken up again") {
  WarmNode node;
  const Effects to_b = node.lease_of("b");
  CHECK(all<SetAside>(to_b).size() == 1);
  CHECK(only<StartExecutor>(to_b).app == "b");
  CHECK(killed(to_b).empty());
  node.run("b");
  const Effects to_a = node.lease_of("a");
  CHECK(all<SetAside>(to_a).size() == 1);
  CHECK(only<StartExecutor>(to_a).app == "a");  // the host finds it warm
  CHECK(killed(to_a).empty());
  node.run("a");
  CHECK(node.slot().warm_app == "a");
}

TEST_CASE("The least recently used one goes when a third would be too much, before that starts") {
  WarmNode node;
  node.lease_of("b");
  node.run("b");
  node.lease_of("a");
  node.run("a");  // now b is the older one
  const Effects to_c = node.lease_of("c");
  CHECK(killed(to_c) == Apps{"b"});
  CHECK(none<StartExecutor>(to_c));
  CHECK(all<SetAside>(to_c).size() == 1);
  CHECK(node.state() == SlotState::starting);
  CHECK(only<StartExecutor>(node.gone("b")).app == "c");
  node.run("c");
  CHECK(killed(node.lease_of("a")).empty());
}

TEST_CASE("A big one takes the whole slot, and one of unknown size too") {
  const std::string big = GENERATE("d", "e");
  WarmNode node;
  node.lease_of("b");
  node.run("b");
  const Effects to_big = node.lease_of(big);
  CHECK(killed(to_big) == Apps{"a", ""});  // the one that was aside, and the resident one
  CHECK(none<SetAside>(to_big));
  CHECK(none<StartExecutor>(node.gone("b")));
  CHECK(only<StartExecutor>(node.gone("a")).app == big);
  node.run(big);
  const Effects back = node.lease_of("a");
  CHECK(killed(back) == Apps{""});
  CHECK(only<StartExecutor>(node.gone(big)).app == "a");
}

TEST_CASE("Without a memory limit a slot keeps one executor, as ever") {
  WarmNode node(warm_config(0));
  const Effects to_b = node.lease_of("b");
  CHECK(killed(to_b) == Apps{""});
  CHECK(none<SetAside>(to_b));
  CHECK(only<StartExecutor>(node.gone("a")).app == "b");
}

TEST_CASE("The time that unloading takes counts in the start limit") {
  WarmNode node;
  node.lease_of("b");
  node.run("b");
  node.lease_of("c");
  Effects sent = node.pass(seconds(29));
  CHECK(killed(sent).size() >= 28);  // told again and again
  CHECK(none<RunEnded>(sent));
  sent = node.pass(seconds(4));
  const auto ended = all<RunEnded>(sent);
  REQUIRE_FALSE(ended.empty());
  CHECK(ended.front().cause == Errc::start_limit_missed);
  CHECK(ended.front().pool_fault);
  // What had to go is gone at last, and the slot is put right.
  CHECK(only<StartExecutor>(node.gone("a")).app == "a");
  node.tell(ExecutorReady{.slot = {}, .app = "a"});
  CHECK(node.state() == SlotState::free);
}

TEST_CASE("A cancel while room is made ends the run at once, and the slot comes back") {
  WarmNode node;
  node.lease_of("b");
  node.run("b");
  node.lease_of("c");
  node.tell(CancelRun{.epoch = node.epoch, .job = node.last_job(), .attempt = 1});
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::cancelled);
  CHECK(node.state() == SlotState::checking);
  CHECK(only<StartExecutor>(node.gone("a")).app == "c");
  node.tell(ExecutorReady{.slot = {}, .app = "c"});
  CHECK(node.state() == SlotState::free);
}

TEST_CASE("One that dies while it is set aside is only forgotten") {
  WarmNode node;
  node.lease_of("b");
  node.gone("a");
  CHECK(none<RunEnded>(node.effects));
  node.run("b");
  CHECK(node.state() == SlotState::free);
  CHECK(killed(node.lease_of("c")).empty());  // nothing has to go for it
}

TEST_CASE("One that dies just before it is set aside is known by its name") {
  WarmNode node;
  node.lease_of("b");  // the word of a's end is on its way
  node.gone("a");
  node.tell(ExecutorReady{.slot = {}, .app = "b"});
  CHECK(all<StartRun>(node.effects).size() == 1);
}

TEST_CASE("What becomes warm again after a command has the room that it takes") {
  Config config = warm_config();
  std::swap(config.apps[0], config.apps[3]);  // d, of 90, is the warm one
  config.apps.push_back({.name = "tool",
                         .executor = ExecutorKind::command,
                         .spread = Spread::device,
                         .memory_bytes = 50});
  config.apps.back().command.words = {"/bin/true"};
  WarmNode node(config);
  node.tell(ExecutorReady{.slot = {}, .app = "d"});
  node.lease_of("b");
  node.gone("d");
  node.run("b");
  CHECK(all<SetAside>(node.lease_of("tool")).size() == 1);  // b stays beside it
  node.tell(ExecutorReady{.slot = {}, .app = "tool"});
  node.tell(ExecutorBegan{.slot = {}, .job = node.last_job(), .attempt = 1});
  node.finish(node.last_job());
  const Effects after = node.gone("tool");
  CHECK(killed(after) == Apps{"b"});
  CHECK(none<StartExecutor>(after));
  CHECK(only<StartExecutor>(node.gone("b")).app == "d");
}
