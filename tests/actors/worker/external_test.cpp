// Callers' own processes: grants, the process that comes or does not, what stays warm, and what is
// killed.
#include "actors/worker/lease_token.h"
#include "tests/actors/worker/node.h"

using namespace gpupool;

namespace {

Config external_config(std::uint32_t slots = 1) {
  Config config = default_config();
  config.worker.devices = {{.slots = slots}};
  config.apps = {{.name = "own", .executor = ExecutorKind::external, .start_limit = seconds(5)},
                 {.name = "other", .executor = ExecutorKind::external, .start_limit = seconds(5)},
                 {.name = "nothing", .executor = ExecutorKind::noop}};
  return config;
}

const LocalProcess ours{.pid = 4711, .started = 99};
const LocalProcess another{.pid = 4712, .started = 100};

class ExternalNode : public Node {
 public:
  explicit ExternalNode(Config config = external_config()) : Node(std::move(config)) { join(); }

  // A lease whose grant is told, or kept back: then nothing is granted yet.
  Lease lease_of(const std::string& task, const std::string& app = "own") {
    Lease one = lease(JobId{++jobs_});
    one.app = app;
    one.body = JobRequest{.app = app, .arguments = {{"space", "demo"}, {"task", task}}};
    one.declared = seconds(20);
    return one;
  }
  Grant grant(const std::string& task = "1", const std::string& app = "own") {
    take(lease_of(task, app));
    const auto grants = all<RunGranted>(effects);
    REQUIRE(grants.size() == 1);
    CHECK(grants.front().job == last_job());
    return grants.front().grant;
  }
  LeaseAnswer allow(const std::string& token, const LocalProcess& process = ours) {
    tell(AllowProcess{.query = 8, .token = token, .process = process});
    const auto answer = only<LeaseAnswer>(effects);
    CHECK(answer.query == 8);
    return answer;
  }
  LeaseAnswer release(const std::string& token, bool failed = false) {
    tell(ReleaseLease{.query = 9, .token = token, .failed = failed});
    return only<LeaseAnswer>(effects);
  }
  const Effects& gone(const LocalProcess& process = ours, SlotIndex slot = {}) {
    return tell(ProcessGone{.slot = slot, .process = process});
  }
  // A run of `task` that leaves its process warm.
  void run(const std::string& task = "1") {
    const Grant granted = grant(task);
    allow(granted.token);
    release(granted.token);
    CHECK(only<RunEnded>(effects).outcome == Outcome::succeeded);
    tell(EndSeen{last_job(), 1});
  }
  JobId last_job() const { return JobId{jobs_}; }

 private:
  std::uint64_t jobs_ = 0;
};

}  // namespace

TEST_CASE("A lease of an external app is granted at once, with slot, device and a token") {
  ExternalNode node;
  const Grant granted = node.grant();
  CHECK(granted.slot == SlotIndex{0});
  CHECK(granted.device == "cpu-0");
  CHECK(granted.token.size() == 48);
  CHECK_FALSE(granted.idle);
  CHECK(none<RunBegan>(node.effects));
  CHECK(none<StartExecutor>(node.effects));
  CHECK(node.slot().state == SlotState::starting);
}

TEST_CASE("A GPU's slots are granted by what CUDA calls it, and each lease has its own index") {
  Config config = external_config();
  config.worker.devices = {{.kind = DeviceKind::cuda, .slots = 2, .device = "MIG-7"},
                           {.kind = DeviceKind::cuda, .device = "3"}};
  ExternalNode node(config);
  CHECK(node.grant().device == "MIG-7");
  Lease second = node.lease_of("1");
  second.slot = {1};
  second.more_slots = {{2}};
  node.take(second);
  const Grant granted = only<RunGranted>(node.effects).grant;
  CHECK(granted.slot == SlotIndex{1});
  CHECK(granted.device == "MIG-7,3");
}

TEST_CASE("Tokens differ from lease to lease and from secret to secret") {
  const std::string one(32, 'a');
  CHECK(lease_token(one, JobId{1}, 1) != lease_token(one, JobId{1}, 2));
  CHECK(lease_token(one, JobId{1}, 1) != lease_token(one, JobId{2}, 1));
  CHECK(lease_token(one, JobId{1}, 1) != lease_token(std::string(32, 'b'), JobId{1}, 1));
  CHECK(lease_token(one, JobId{1}, 1) == lease_token(one, JobId{1}, 1));
}

TEST_CASE("An external run is charged from allow to release") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.now = node.now + seconds(3);
  CHECK(node.allow(granted.token).error == Errc{});
  CHECK(only<RunBegan>(node.effects).job == node.last_job());
  CHECK(only<WatchProcess>(node.effects).process == ours);
  node.now = node.now + milliseconds(1'234);
  const LeaseAnswer answer = node.release(granted.token);
  CHECK(answer.error == Errc{});
  CHECK_FALSE(answer.unused);
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::succeeded);
  CHECK(ended.ran == milliseconds(1'234));
  CHECK(ended.slots_free);
  CHECK(none<KillProcess>(node.effects));
}

TEST_CASE(
    "A caller whose process does not come within the start limit is revoked and pays nothing") {
  ExternalNode node;
  const Grant granted = node.grant();
  CHECK(node.until<RunEnded>() == seconds(5));
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.pool_fault);
  CHECK(ended.cause == Errc::start_limit_missed);
  CHECK(ended.ran == Duration{});
  CHECK(node.allow(granted.token).error == Errc::job_unknown);
  CHECK(none<WatchProcess>(node.effects));
}

TEST_CASE("A lease that is given back before its process came is charged nothing") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.now = node.now + seconds(2);
  CHECK(node.release(granted.token).unused);
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::cancelled);
  CHECK(ended.ran == Duration{});
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A release that is repeated is answered as the first one was") {
  ExternalNode node;
  const Grant granted = node.grant();
  CHECK(node.release(granted.token).unused);
  const LeaseAnswer again = node.release(granted.token, true);
  CHECK(again.error == Errc{});
  CHECK(again.unused);
  CHECK(none<RunEnded>(node.effects));
}

TEST_CASE("A token that no lease has opens and ends nothing") {
  ExternalNode node;
  const Grant granted = node.grant();
  for (const std::string& guess : {std::string{}, std::string(48, '0'), granted.token + "0"}) {
    CHECK(node.allow(guess).error == Errc::job_unknown);
    CHECK(node.release(guess).error == Errc::job_unknown);
    CHECK(none<RunEnded>(node.effects));
  }
  CHECK(node.allow(granted.token).error == Errc{});
}

TEST_CASE("Only one process is let in by a token, however often it asks") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.allow(granted.token);
  node.now = node.now + seconds(1);
  CHECK(node.allow(granted.token).error == Errc{});
  CHECK(none<WatchProcess>(node.effects));
  CHECK(node.allow(granted.token, another).error == Errc::forbidden);
  node.release(granted.token);
  CHECK(only<RunEnded>(node.effects).ran == seconds(1));
}

TEST_CASE("The process is killed at its declared end, which is all that is charged") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.allow(granted.token);
  CHECK(node.until<KillProcess>() == seconds(20));
  CHECK(only<KillProcess>(node.effects).process == ours);
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::expired);
  CHECK(ended.ran == seconds(20));
  CHECK_FALSE(ended.slots_free);
  CHECK(node.slot().state == SlotState::checking);
  CHECK(node.release(granted.token, true).error == Errc::job_unknown);
  node.gone();
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A kill that does not end the process is repeated, and the slot is lent to nobody") {
  ExternalNode node;
  node.allow(node.grant().token);
  node.until<KillProcess>();
  node.tell(EndSeen{node.last_job(), 1});
  CHECK(node.until<KillProcess>() == seconds(1));
  CHECK(node.slot().state == SlotState::checking);
}

TEST_CASE("The same task finds its warm process again, and pays from the grant on") {
  ExternalNode node;
  node.run();
  CHECK(node.slot().state == SlotState::free);
  CHECK(node.slot().warm_app == "own");
  node.pass(seconds(30));
  const Grant again = node.grant();
  CHECK(again.idle);
  CHECK(only<RunBegan>(node.effects).job == node.last_job());
  node.pass(seconds(8));
  CHECK_FALSE(node.release(again.token).unused);
  CHECK(only<RunEnded>(node.effects).ran == seconds(8));
}

TEST_CASE("A process that comes although a warm one was granted starts the count again") {
  ExternalNode node;
  node.run();
  const Grant again = node.grant();
  REQUIRE(again.idle);
  node.now = node.now + seconds(3);
  CHECK(node.allow(again.token, another).error == Errc{});
  CHECK(only<KillProcess>(node.effects).process == ours);
  CHECK(none<RunBegan>(node.effects));
  node.gone();
  CHECK(none<RunEnded>(node.effects));
  node.now = node.now + seconds(2);
  node.release(again.token);
  CHECK(only<RunEnded>(node.effects).ran == seconds(2));
}

TEST_CASE("A warm process of another task is killed before the index is granted again") {
  for (const auto& [task, app] : {std::pair{"2", "own"}, {"1", "other"}}) {
    ExternalNode node;
    node.run("1");
    node.take(node.lease_of(task, app));
    CHECK(none<RunGranted>(node.effects));
    CHECK(only<KillProcess>(node.effects).process == ours);
    node.gone();
    CHECK_FALSE(only<RunGranted>(node.effects).grant->idle);
  }
}

TEST_CASE("What cannot be killed keeps the index, and its lease ends at no charge") {
  ExternalNode node;
  node.run("1");
  node.take(node.lease_of("2"));
  CHECK(node.until<RunEnded>() == node.config.worker.kill_grace);
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.pool_fault);
  CHECK(ended.ran == Duration{});
  CHECK(node.slot().state == SlotState::checking);
}

TEST_CASE("A process whose run failed is killed, and is not found warm") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.allow(granted.token);
  node.now = node.now + seconds(1);
  node.release(granted.token, true);
  CHECK(only<KillProcess>(node.effects).process == ours);
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::failed);
  CHECK(ended.cause == Errc::program_failed);
  CHECK(ended.ran == seconds(1));
  node.tell(EndSeen{node.last_job(), 1});
  node.gone();
  CHECK(node.slot().warm_app.empty());
  CHECK_FALSE(node.grant().idle);
}

TEST_CASE(
    "A process that ends in its run ends it, and its caller's release is too late to matter") {
  ExternalNode node;
  const Grant granted = node.grant();
  node.allow(granted.token);
  node.now = node.now + seconds(4);
  node.gone();
  const auto ended = only<RunEnded>(node.effects);
  CHECK(ended.outcome == Outcome::failed);
  CHECK(ended.cause == Errc::program_failed);
  CHECK(ended.ran == seconds(4));
  CHECK_FALSE(ended.pool_fault);
  CHECK(node.release(granted.token, true).error == Errc::job_unknown);
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A warm process that dies while it is idle is not granted any more") {
  ExternalNode node;
  node.run();
  node.gone();
  CHECK(node.slot().warm_app.empty());
  CHECK_FALSE(node.grant().idle);
}

TEST_CASE("A caller that finds its warm process dead has the start limit to bring another") {
  ExternalNode node;
  node.run();
  const Grant again = node.grant();
  node.now = node.now + seconds(1);
  node.gone();
  CHECK(none<RunEnded>(node.effects));
  SECTION("it does") {
    node.now = node.now + seconds(2);
    CHECK(node.allow(again.token, another).error == Errc{});
    node.now = node.now + seconds(6);
    node.tell(Tick{});
    CHECK(none<RunEnded>(node.effects));
    node.release(again.token);
    CHECK(only<RunEnded>(node.effects).ran == seconds(6));
  }
  SECTION("it does not, and pays until then") {
    CHECK(node.until<RunEnded>() == seconds(5));
    const auto ended = only<RunEnded>(node.effects);
    CHECK(ended.outcome == Outcome::failed);
    CHECK(ended.ran == seconds(1));
  }
}

TEST_CASE("A lease ends on the node's own clock though nobody calls and no broker answers") {
  ExternalNode node;
  node.run();
  REQUIRE(node.grant().idle);
  CHECK(node.until<RunEnded>() == seconds(20));
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::expired);
  CHECK(only<KillProcess>(node.effects).process == ours);
}

TEST_CASE(
    "A cancelled external run is killed and pays what it ran; one that did not run, nothing") {
  ExternalNode node;
  const Grant granted = node.grant();
  SECTION("before its process came") {
    node.tell(CancelRun{node.epoch, node.last_job(), 1});
    const auto ended = only<RunEnded>(node.effects);
    CHECK(ended.outcome == Outcome::cancelled);
    CHECK(ended.ran == Duration{});
    CHECK(node.allow(granted.token).error == Errc::job_unknown);
  }
  SECTION("while it ran") {
    node.allow(granted.token);
    node.now = node.now + seconds(2);
    node.tell(CancelRun{node.epoch, node.last_job(), 1});
    const auto ended = only<RunEnded>(node.effects);
    CHECK(ended.outcome == Outcome::cancelled);
    CHECK(ended.ran == seconds(2));
    CHECK(only<KillProcess>(node.effects).process == ours);
  }
}

TEST_CASE("A job of another kind waits until the warm process on its slot has gone") {
  ExternalNode node;
  node.run();
  Lease noop = node.lease_of("1", "nothing");
  node.take(noop);
  // A noop app touches nothing.
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::succeeded);
  CHECK(none<KillProcess>(node.effects));
}

TEST_CASE("A grant is told with every heartbeat until the process has come") {
  ExternalNode node;
  const Grant granted = node.grant();
  const auto again = all<RunGranted>(node.pass(milliseconds(600)));
  REQUIRE(again.size() == 1);
  CHECK(again.front().grant->token == granted.token);
  node.allow(granted.token);
  CHECK(all<RunGranted>(node.pass(seconds(2))).empty());
}

TEST_CASE("The slots beside the one that runs lose their warm processes, too") {
  ExternalNode node(external_config(2));
  Lease on_second = node.lease_of("1");
  on_second.slot = {1};
  node.take(on_second);
  const Grant granted = only<RunGranted>(node.effects).grant;
  node.allow(granted.token);
  node.release(granted.token);
  Lease both = node.lease_of("2");
  both.more_slots = {{1}};
  node.take(both);
  CHECK(only<KillProcess>(node.effects).slot == SlotIndex{1});
  CHECK(all<RunGranted>(node.effects).size() == 1);
}

TEST_CASE("One process is on one slot: a warm one moves, one that runs stays") {
  ExternalNode node(external_config(2));
  const Grant first = node.grant();
  CHECK(node.allow(first.token).error == Errc{});
  Lease second = node.lease_of("2");
  second.slot = SlotIndex{1};
  node.take(second);
  const Grant other = only<RunGranted>(node.effects).grant;
  CHECK(node.allow(other.token).error == Errc::forbidden);  // it computes on slot 0
  node.release(first.token);
  CHECK(node.allow(other.token).error == Errc{});  // it waited there, warm
  // Slot 0 has nothing of it left to kill, whatever comes there next.
  node.tell(EndSeen{JobId{1}, 1});
  node.take(node.lease_of("3"));
  CHECK(none<KillProcess>(node.effects));
  CHECK(only<RunGranted>(node.effects).grant->slot == SlotIndex{});
  CHECK(only<RunEnded>((node.gone(ours, SlotIndex{1}), node.effects)).job == second.job);
}
