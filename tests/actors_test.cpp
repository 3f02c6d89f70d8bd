// The shells: what CAF adds to the cores. Everything runs on CAF's test scheduler, in virtual time.
#include <algorithm>
#include <atomic>
#include <caf/all.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>

#include "actors/broker/broker_actor.h"
#include "actors/console/console_actor.h"
#include "actors/ledger/history_actor.h"
#include "actors/ledger/history_memory.h"
#include "actors/ledger/journal_memory.h"
#include "actors/ledger/ledger_actor.h"
#include "actors/session/session_actor.h"
#include "base/pack.h"

namespace gpupool {
namespace {

const std::string build = "test build";
const NodeId node_id{7};
const Incarnation incarnation{1};

struct VirtualSystem : caf::actor_system_config {
  VirtualSystem() {
    announce_messages(*this);
    set("scheduler.policy", caf::atom("testing"));
  }
};

template <class Variant>
std::string caf_round_trip(caf::actor_system& system, Variant message) {
  std::vector<char> buffer;
  Envelope<Variant> sent{std::move(message)};
  caf::binary_serializer write{system, buffer};
  REQUIRE_FALSE(write(sent));
  Envelope<Variant> back;
  caf::binary_deserializer read{system, buffer};
  REQUIRE_FALSE(read(back));
  return pack(back.message);
}

template <class Variant, class Message>
void check_round_trip(caf::actor_system& system) {
  CHECK(caf_round_trip<Variant>(system, Message{}) == pack(Variant{Message{}}));
}

template <class... Messages>
void check_round_trips(caf::actor_system& system, std::variant<Messages...>*) {
  (check_round_trip<std::variant<Messages...>, Messages>(system), ...);
}

// Plays a worker's shell: remembers what the broker says, and says what the test tells it to.
class ScriptedWorker : public WorkerHandle::base {
 public:
  ScriptedWorker(caf::actor_config& config, std::vector<ToWorker>& heard, BrokerHandle broker)
      : WorkerHandle::base(config), heard_(heard), broker_(std::move(broker)) {}

 private:
  behavior_type make_behavior() override {
    send(broker_, Envelope<ToBroker>{Join{.node = node_id,
                                          .name = "node-7",
                                          .incarnation = incarnation,
                                          .build = build,
                                          .heartbeat = 1,
                                          .slots = {{.slot = {0}, .state = SlotState::free}}}});
    return {[this](const Envelope<ToWorker>& envelope) { heard_.push_back(envelope.message); }};
  }

  std::vector<ToWorker>& heard_;
  BrokerHandle broker_;
};

// Plays a device API's actor.
class ScriptedApi : public DeviceApiHandle::base {
 public:
  ScriptedApi(caf::actor_config& config, BrokerHandle broker, ToBroker message)
      : DeviceApiHandle::base(config), broker_(std::move(broker)), message_(std::move(message)) {}

 private:
  behavior_type make_behavior() override {
    send(broker_, Envelope<ToBroker>{message_});
    return {[](const Envelope<ToDeviceApi>&) {}};
  }

  BrokerHandle broker_;
  const ToBroker message_;
};

template <class Message, class Variant>
std::size_t count(const std::vector<Variant>& heard) {
  return static_cast<std::size_t>(std::count_if(heard.begin(), heard.end(), [](const auto& one) {
    return std::holds_alternative<Message>(one);
  }));
}

// Broker, ledger and one client's session as in gpupoold, without its sockets.
class ShellPool {
 public:
  ShellPool() {
    directory_->set_fence([this] { return !silent; });
    const Surroundings around{live_, [this] { return now(); }, directory_};
    auto commits = std::make_unique<GroupCommit>(live_.current(), journal_);
    REQUIRE(commits->recover());
    directory_->set_ledger(spawn_ledger(
        system_, around,
        {.stamp = [this] { return ClockStamp{.wall = now(), .boot = now(), .boot_id = "boot"}; },
         .refused = [this](const Error&) { ++refused_batches; },
         .in_doubt = [this](const Error&) { ++doubtful_batches; }},
        std::move(commits), LedgerThread::shared));
    spawn_history(system_, around, {.trouble = [](const Error&) {}, .rebuilt = [] {}},
                  std::make_unique<HistoryMemory>(), HistoryThread::shared);
    directory_->set_client([this](SessionId, ToClient message) { told.push_back(message); });
    directory_->set_broker(spawn_broker(
        system_, around,
        {.ready = [this] { ++ready; }, .deposed = nullptr, .stopped = [this] { ++stopped; }},
        build));
    directory_->set_gateway([this](const ToGateway& message) { announced.push_back(message); });
    directory_->set_visitors([this](const ToBroker& message, const DeviceApiHandle& api) {
      visited.emplace_back(message, api);
    });
    spawn_console(system_, around);
    directory_->set_session(session, spawn_session(system_, around, session, in_flight));
    run();
  }

  ~ShellPool() {
    caf::anon_send_exit(directory_->broker(), caf::exit_reason::kill);
    caf::anon_send_exit(directory_->ledger(), caf::exit_reason::kill);
    caf::anon_send_exit(directory_->console(), caf::exit_reason::kill);
    caf::anon_send_exit(directory_->history(), caf::exit_reason::kill);
    if (const auto open = directory_->session(session))
      caf::anon_send_exit(open, caf::exit_reason::kill);
    if (worker_) caf::anon_send_exit(worker_, caf::exit_reason::kill);
    directory_->clear();
    worker_ = WorkerHandle{};
    scheduler_.clock().cancel_all();
    run();
  }

  void add_worker() {
    worker_ = system_.spawn<ScriptedWorker>(std::ref(heard), directory_->broker());
    run();
  }

  // From a device API on some node, whose actor it gives back.
  DeviceApiHandle add_device_api(const ToBroker& message) {
    const auto api = system_.spawn<ScriptedApi>(directory_->broker(), message);
    run();
    return api;
  }

  void end(const DeviceApiHandle& api) {
    caf::anon_send_exit(api, caf::exit_reason::kill);
    run();
  }

  template <class Message>
  void client_says(const Message& message) {
    in_flight->fetch_add(1);
    post<ToSession>(directory_->session(session), message);
    run();
  }

  // Timer by timer: a jump at once would fire a periodic timer only once.
  void pass(Duration duration) {
    const Instant end = now() + duration;
    while (!scheduler_.clock().schedule().empty()) {
      const auto next = scheduler_.clock().schedule().begin()->first;
      if (instant_of(next) > end) break;
      scheduler_.advance_time(next - scheduler_.clock().now());
      run();
    }
  }

  void kill_broker() {
    caf::anon_send_exit(directory_->broker(), caf::exit_reason::kill);
    run();
  }
  void stop_broker() {
    post<ToBroker>(directory_->broker(), Stop{.by = now() + seconds(30)});
    run();
  }
  bool knows_session() const { return bool{directory_->session(session)}; }
  caf::actor_system& system() { return system_; }

  static constexpr SessionId session{1};
  std::shared_ptr<std::atomic<std::int64_t>> in_flight =
      std::make_shared<std::atomic<std::int64_t>>(0);
  std::vector<ToClient> told;
  std::vector<ToWorker> heard;
  std::vector<ToGateway> announced;
  std::vector<std::pair<ToBroker, DeviceApiHandle>> visited;  // of the gateway's part for visitors
  bool silent = false;  // as a pool whose lead is not sure any more
  int ready = 0;
  int stopped = 0;
  int refused_batches = 0;
  int doubtful_batches = 0;

  JournalMemory& journal() { return journal_; }
  Instant now() const { return instant_of(scheduler_.clock().now()); }

 private:
  static Instant instant_of(caf::actor_clock::time_point at) {
    const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch());
    return Instant{1'800'000'000'000 + since.count()};
  }
  void run() { scheduler_.run(); }

  static Config test_config() {
    Config config = default_config();
    config.broker.rejoin_grace = {};
    config.apps = {{.name = "nothing", .executor = ExecutorKind::noop}};
    return config;
  }

  const LiveConfig live_{test_config()};
  JournalMemory journal_;
  VirtualSystem system_config_;
  caf::actor_system system_{system_config_};
  caf::scheduler::test_coordinator& scheduler_ =
      dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler());
  std::shared_ptr<Directory> directory_ = std::make_shared<Directory>();
  WorkerHandle worker_;
};

RequestId request_at(Instant now) {
  return {.high = (static_cast<std::uint64_t>(now.ms) << 16U) | 0x7001U, .low = 1ULL << 63U};
}

void greet(ShellPool& pool) {
  pool.client_says(SessionOpened{
      .session = ShellPool::session,
      .caller = {
          .account = {"user:ada"}, .tier = "free", .recognised_by = "token for ada, key k1"}});
}

}  // namespace

TEST_CASE("Every message between nodes survives CAF's own bytes") {
  VirtualSystem config;
  caf::actor_system system{config};
  check_round_trips(system, static_cast<ToBroker*>(nullptr));
  check_round_trips(system, static_cast<ToWorker*>(nullptr));
  check_round_trips(system, static_cast<ToSession*>(nullptr));
  check_round_trips(system, static_cast<ToConsole*>(nullptr));
  check_round_trips(system, static_cast<ToDeviceApi*>(nullptr));
  const Lease lease{
      .job = {9},
      .attempt = 2,
      .slot = {3},
      .app = "emoji",
      .body = JobRequest{.app = "emoji", .arguments = {{"prompt", "ein rotes Herz \u2764"}}},
      .declared = seconds(8)};
  CHECK(caf_round_trip(system, ToWorker{lease}) == pack(ToWorker{lease}));
}

TEST_CASE("Bytes between nodes that are no message are refused, not guessed") {
  VirtualSystem config;
  caf::actor_system system{config};
  std::vector<char> buffer;
  std::string garbage = "\x92\x63\x90";
  caf::binary_serializer write{system, buffer};
  REQUIRE_FALSE(write(garbage));
  Envelope<ToBroker> back;
  caf::binary_deserializer read{system, buffer};
  CHECK(read(back));
}

TEST_CASE("A request goes through session, broker and ledger to a lease and back as events") {
  ShellPool pool;
  CHECK(pool.ready == 0);
  pool.add_worker();
  CHECK(pool.ready == 1);
  greet(pool);
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  CHECK(count<Lease>(pool.heard) == 1);
  REQUIRE(count<JobEvent>(pool.told) == 1);
  const auto& event = std::get<JobEvent>(pool.told.front());
  CHECK(event.state == JobState::starting);
  CHECK(event.hold->job == event.job);
  CHECK(pool.in_flight->load() == 0);
}

TEST_CASE("A broker whose lead is not sure any more tells no worker anything") {
  ShellPool pool;
  pool.add_worker();
  greet(pool);
  pool.silent = true;
  const std::size_t told = pool.heard.size();
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  pool.pass(seconds(10));
  CHECK(pool.heard.size() == told);
}

TEST_CASE(
    "Timers go on by themselves: a worker that falls silent is lost and its job waits again") {
  ShellPool pool;
  pool.add_worker();
  greet(pool);
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  pool.told.clear();
  pool.pass(seconds(6));
  REQUIRE(count<JobEvent>(pool.told) >= 1);
  const auto& event = std::get<JobEvent>(pool.told.back());
  CHECK(event.state == JobState::queued);
  CHECK(event.notice.find("node-7 was lost") != std::string::npos);
}

TEST_CASE("A broker that was told to stop says once that it has, not before its runs are over") {
  ShellPool pool;
  pool.add_worker();
  greet(pool);
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  pool.stop_broker();
  CHECK(pool.stopped == 0);
  pool.pass(seconds(6));  // the scripted worker never beats: it is lost, and its run with it
  CHECK(pool.stopped == 1);
  pool.pass(seconds(40));
  CHECK(pool.stopped == 1);
}

TEST_CASE("A batch that the disk refuses becomes refusals, and the shell says so") {
  ShellPool pool;
  pool.add_worker();
  greet(pool);
  pool.journal().set_fault(JournalFault::refused);
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  CHECK(pool.refused_batches == 1);
  REQUIRE(count<SessionRefused>(pool.told) == 1);
  CHECK(std::get<SessionRefused>(pool.told.back()).refusal.code == Errc::ledger_unavailable);
}

TEST_CASE("Nothing leaves a batch in doubt: the process is told to end") {
  ShellPool pool;
  pool.add_worker();
  greet(pool);
  pool.journal().set_fault(JournalFault::in_doubt_written);
  pool.client_says(ClientSubmit{.query = 5,
                                .request = request_at(pool.now()),
                                .body = JobRequest{.app = "nothing", .declared = seconds(9)}});
  CHECK(pool.doubtful_batches == 1);
  CHECK(count<Lease>(pool.heard) == 0);
  CHECK(pool.told.empty());
}

TEST_CASE("An operator's words go through session and console to the broker and back as a table") {
  ShellPool pool;
  pool.add_worker();
  pool.client_says(SessionOpened{.session = ShellPool::session,
                                 .caller = {.account = {"user:root"}, .is_operator = true}});
  pool.client_says(ClientOperate{.query = 5, .words = {"nodes"}});
  REQUIRE(count<OperateAnswer>(pool.told) == 1);
  const auto& answer = std::get<OperateAnswer>(pool.told.back());
  CHECK(answer.query == 5);
  REQUIRE(answer.table.rows.size() == 1);
  CHECK(answer.table.rows[0][0] == "node-7");
}

TEST_CASE("A drain is written by the ledger, heeded by the broker and remembered as a change") {
  ShellPool pool;
  pool.add_worker();
  pool.client_says(
      SessionOpened{.session = ShellPool::session,
                    .caller = {.account = {"user:root"}, .tier = "pro", .is_operator = true}});
  const ClientSubmit submit{.query = 6,
                            .request = request_at(pool.now()),
                            .body = JobRequest{.app = "nothing", .declared = seconds(9)}};
  pool.client_says(ClientOperate{.query = 5, .words = {"drain", "node-7"}});
  REQUIRE(count<OperateAnswer>(pool.told) == 1);
  CHECK(std::get<OperateAnswer>(pool.told.back()).table.note == "node-7 gets no new leases");
  CHECK(std::get<Standing>(pool.announced.back()).draining == std::vector<std::string>{"node-7"});
  pool.client_says(submit);
  CHECK(count<SessionRefused>(pool.told) == 1);  // no slot of the pool takes it
  pool.client_says(ClientOperate{.query = 7, .words = {"resume", "node-7"}});
  pool.client_says(submit);
  CHECK(count<Lease>(pool.heard) == 1);
  pool.client_says(ClientChanges{.query = 8, .limit = 2});
  REQUIRE(count<ChangesAnswer>(pool.told) == 1);
  const auto& changes = std::get<ChangesAnswer>(pool.told.back()).changes;
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].who == "operator user:root");
  CHECK(changes[0].subject == "node-7");
}

TEST_CASE("Every command that an operator can type is answered with a table by the whole pool") {
  ShellPool pool;
  pool.add_worker();
  pool.client_says(
      SessionOpened{.session = ShellPool::session,
                    .caller = {.account = {"user:root"}, .tier = "pro", .is_operator = true}});
  const std::vector<std::vector<std::string>> commands{{"accounts"},
                                                       {"accounts", "ada"},
                                                       {"tier"},
                                                       {"tier", "ada", "pro"},
                                                       {"tier", "ada", "--from-token"},
                                                       {"apps"},
                                                       {"nodes"},
                                                       {"queue"},
                                                       {"announce", "hello", "world"},
                                                       {"announce", "--clear"},
                                                       {"audit"},
                                                       {"revoke", "--user", "ada"},
                                                       {"revoke", "--token", "t-1"},
                                                       {"help"}};
  for (const auto& words : commands) {
    pool.told.clear();
    pool.client_says(ClientOperate{.query = 5, .words = words});
    INFO(words[0]);
    CHECK(count<OperateAnswer>(pool.told) == 1);
  }
  CHECK(std::get<Standing>(pool.announced.back()).revoked.size() == 2);
}

TEST_CASE("A console whose question nobody answers gives it up by itself") {
  ShellPool pool;
  pool.kill_broker();
  pool.client_says(SessionOpened{.session = ShellPool::session,
                                 .caller = {.account = {"user:root"}, .is_operator = true}});
  pool.client_says(ClientOperate{.query = 5, .words = {"nodes"}});
  CHECK(pool.told.empty());
  pool.pass(seconds(9));
  REQUIRE(count<SessionError>(pool.told) == 1);
  CHECK(std::get<SessionError>(pool.told.back()).code == Errc::timed_out);
}

TEST_CASE("A session ends with its client and leaves the directory") {
  ShellPool pool;
  greet(pool);
  CHECK(pool.knows_session());
  pool.client_says(SessionClosed{.session = ShellPool::session});
  CHECK_FALSE(pool.knows_session());
}

TEST_CASE("What a device API says is handed on with whom to answer, and so is its end") {
  ShellPool pool;
  const VisitorAsks asks{.session = SessionId{visitor_bit | 7}, .token = "ada's", .address = {}};
  DeviceApiHandle api = pool.add_device_api(asks);
  REQUIRE(pool.visited.size() == 1);
  CHECK(std::get<VisitorAsks>(pool.visited.back().first).token == "ada's");
  CHECK(pool.visited.back().second == api);
  pool.end(api);
  REQUIRE(pool.visited.size() == 2);
  CHECK_FALSE(std::get<VisitorLeaves>(pool.visited.back().first).session);
  CHECK(pool.visited.back().second == api);
}

TEST_CASE("An alarm is armed only for what comes earlier than the one under way") {
  Alarm alarm;
  CHECK(alarm.arm({1000}, {1500}) == milliseconds(500));
  CHECK(alarm.arm({1000}, {1600}) < Duration{});
  CHECK(alarm.arm({1000}, {1200}) == milliseconds(200));
  alarm.rang({1200});
  CHECK(alarm.arm({1200}, {1100}) == Duration{});
  CHECK(alarm.arm({1200}, Instant::never()) < Duration{});
}

}  // namespace gpupool
