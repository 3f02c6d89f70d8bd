#pragma once
// A broker between the real ledger core and nodes that a test plays. Time stands still until a test
// moves it. The ledger answers at once, unless the test holds its answers back or has it replaced.

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/broker/broker.h"
#include "actors/ledger/ledger.h"
#include "tests/actors/ledger/ledger_bench.h"

namespace gpupool {

inline constexpr const char* test_build = "build 1";

// What a worker would be to the broker: its reports, as the test sets them.
struct TestNode {
  NodeId id;
  Incarnation incarnation{1};
  std::uint64_t heartbeat = 0;
  std::vector<SlotReport> slots;
  bool draining = false;
};

inline Config broker_test_config() {
  Config config = default_config();
  config.broker.worker_address = "127.0.0.1:7401";
  config.apps = {{.name = "nothing", .executor = ExecutorKind::noop},
                 {.name = "secret", .executor = ExecutorKind::noop, .tiers = {"pro"}},
                 {.name = "emoji", .executor = ExecutorKind::diffusion}};
  return config;
}

class Harness {
 public:
  explicit Harness(Config config = broker_test_config())
      : config_(std::move(config)), ledger(config_) {}

  // A broker process starts; whatever an earlier one knew is gone, the ledger is not.
  void start() {
    unanswered.clear();
    core = std::make_unique<Broker>(config_, test_build);
    carry_out(core->start(now));
  }

  void tell(const ToBroker& message) { carry_out(core->step(now, message)); }

  // Time passes in pieces of 250 ms, as the broker's own rounds do, and every node beats.
  void pass(Duration time) {
    for (const Instant end = now + time; now < end;) {
      now = std::min(end, now + milliseconds(250));
      for (auto& [id, node] : nodes)
        if (beating.contains(id)) beat(node);
      tell(Tick{});
    }
  }

  // ---- Nodes
  TestNode& add_node(std::uint64_t id, std::uint32_t slots) {
    return add_node(id, std::vector<std::uint32_t>(slots, 0));
  }
  // With a slot for each entry, on the device that it names.
  TestNode& add_node(std::uint64_t id, const std::vector<std::uint32_t>& devices) {
    TestNode& node = nodes[NodeId{id}];
    node.id = NodeId{id};
    for (std::uint32_t i = 0; i < devices.size(); ++i)
      node.slots.push_back({.slot = {i}, .device = devices[i], .state = SlotState::free});
    beating.insert(node.id);
    join(node);
    return node;
  }
  void join(TestNode& node) {
    tell(Join{.node = node.id,
              .name = "node-" + std::to_string(node.id.value),
              .incarnation = node.incarnation,
              .build = test_build,
              .heartbeat = ++node.heartbeat,
              .slots = node.slots,
              .draining = node.draining});
  }
  void beat(TestNode& node) {
    tell(Heartbeat{.node = node.id,
                   .incarnation = node.incarnation,
                   .number = ++node.heartbeat,
                   .slots = node.slots,
                   .draining = node.draining});
  }
  void silence(const TestNode& node) { beating.erase(node.id); }

  SlotReport& slot_of(const Lease& lease) { return nodes.at(lease.node).slots[lease.slot.value]; }
  // The worker took the lease and the model is resident: the run begins.
  void begin(const Lease& lease) {
    occupy(lease, SlotState::running);
    tell(RunBegan{lease.node, lease.job, lease.attempt});
  }
  // As its worker reports all slots of the lease from now on.
  void occupy(const Lease& lease, SlotState state) {
    std::vector<SlotIndex> held{lease.slot};
    held.insert(held.end(), lease.more_slots.begin(), lease.more_slots.end());
    for (const SlotIndex index : held) {
      SlotReport& slot = nodes.at(lease.node).slots[index.value];
      slot.state = state;
      slot.job = lease.job;
      slot.attempt = lease.attempt;
    }
  }
  static RunEnded success(const Lease& lease, Duration ran) {
    return {.node = lease.node,
            .job = lease.job,
            .attempt = lease.attempt,
            .epoch = lease.epoch,
            .outcome = Outcome::succeeded,
            .ran = ran,
            .result = {.hash = "abc", .bytes = 3, .media_type = "image/png", .node = lease.node}};
  }
  static RunEnded crash(const Lease& lease) {
    return {.node = lease.node,
            .job = lease.job,
            .attempt = lease.attempt,
            .epoch = lease.epoch,
            .outcome = Outcome::failed,
            .cause = Errc::executor_crashed,
            .pool_fault = true,
            .detail = "the executor was ended by signal 11"};
  }
  // The run ended, and its slot is free from the next heartbeat on.
  void end(const RunEnded& ended) {
    for (SlotReport& slot : nodes.at(ended.node).slots)
      if (slot.job == ended.job)
        slot = {.slot = slot.slot,
                .device = slot.device,
                .state = SlotState::free,
                .warm_app = slot.warm_app};
    tell(ended);
  }

  // ---- Clients
  static RequestId request_id(Instant made, std::uint64_t number) {
    return {.high = static_cast<std::uint64_t>(made.ms) << 16U | 0x7000U, .low = number};
  }
  Submit request(const std::string& account = "user:ada", Duration declared = seconds(60)) {
    const std::uint64_t number = ++last_query;
    return {.session = SessionId{1},
            .query = number,
            .caller = {.account = {account}, .tier = "pro", .recognised_by = "a test's word"},
            .request = request_id(now, number),
            .body = {.app = "nothing", .declared = declared},
            .body_hash = 1};
  }
  // Admits a request of an account of its own; gives the job.
  JobId admit(Duration declared = seconds(60)) {
    const Submit submit = request("user:" + std::to_string(last_query), declared);
    return admit(submit);
  }
  JobId admit(const Submit& submit) {
    tell(submit);
    for (const auto& moved : sessions_got<JobMoved>())
      if (moved.query == submit.query) return moved.event.job;
    return {};
  }
  Refusal refuse(const Submit& submit) {
    tell(submit);
    for (const auto& refused : sessions_got<SubmitRefused>())
      if (refused.query == submit.query) return refused.refusal;
    return {};
  }

  // ---- What the broker sent, oldest first; each asked for once
  template <class Message>
  std::vector<Message> workers_got() {
    return take<Message>(to_workers);
  }
  template <class Message>
  std::vector<Message> sessions_got() {
    return take<Message>(to_sessions);
  }
  template <class Message>
  std::vector<Message> console_got() {
    return take<Message>(to_the_console);
  }
  Lease only_lease() {
    const auto leases = workers_got<Lease>();
    return leases.size() == 1 ? leases.front() : Lease{};
  }
  template <class Message>
  std::vector<Message> ledger_asked() {
    return take<Message>(to_the_ledger);
  }

  // What the ledger was asked while it did not answer.
  void answer_ledger() {
    ledger_answers = true;
    while (!unanswered.empty()) {
      const ToLedger message = unanswered.front();
      unanswered.pop_front();
      ask(message);
    }
  }

  // nullptr: the job is not settled.
  const Receipt* receipt(JobId id) const {
    const auto it = jobs_.find(id);
    const bool is_settled = it != jobs_.end() && it->second.receipt.outcome != Outcome{};
    return is_settled ? &it->second.receipt : nullptr;
  }
  const Job& job(JobId id) const { return core->jobs().at(id); }
  bool knows(JobId id) const { return core->jobs().contains(id); }
  const Config& config() const { return config_; }

 private:
  const Config config_;

 public:
  Ledger ledger;
  std::unique_ptr<Broker> core;
  Instant now{1'767'225'600'000};
  std::map<NodeId, TestNode> nodes;
  std::set<NodeId> beating;
  bool ledger_answers = true;
  std::uint64_t last_query = 0;
  std::deque<ToLedger> unanswered;

 private:
  template <class Message, class Sent>
  static std::vector<Message> take(std::vector<Sent>& sent) {
    std::vector<Message> found;
    std::erase_if(sent, [&](const Sent& one) {
      const auto* message = std::get_if<Message>(&one);
      if (message != nullptr) found.push_back(*message);
      return message != nullptr;
    });
    return found;
  }

  void ask(const ToLedger& message) {
    Effects effects = ledger.step(now, message);
    for (const Record& record : effects.journal) {
      records_.push_back(record);
      if (const auto* opened = std::get_if<HoldOpened>(&record.body))
        add_to(jobs_[opened->hold->job], record);
      if (const auto* settled = std::get_if<HoldSettled>(&record.body))
        add_to(jobs_[settled->job], record);
    }
    bench::ask_history(ledger, now, records_, effects);
    for (const Send& answer : effects.send) tell(std::get<ToBroker>(answer.message));
  }

  void carry_out(const Effects& effects) {
    core->check_invariants();
    for (const Send& send : effects.send) {
      if (const auto* asked = std::get_if<ToLedger>(&send.message)) {
        to_the_ledger.push_back(*asked);
        if (ledger_answers)
          ask(*asked);
        else
          unanswered.push_back(*asked);
      }
      if (const auto* told = std::get_if<ToWorker>(&send.message)) to_workers.push_back(*told);
      if (const auto* told = std::get_if<ToSession>(&send.message)) to_sessions.push_back(*told);
      if (const auto* told = std::get_if<ToConsole>(&send.message)) to_the_console.push_back(*told);
    }
  }

  std::vector<Record> records_;
  std::map<JobId, HistoryJob> jobs_;  // as the ledger's history tells of them
  std::vector<ToLedger> to_the_ledger;
  std::vector<ToWorker> to_workers;
  std::vector<ToSession> to_sessions;
  std::vector<ToConsole> to_the_console;
};

}  // namespace gpupool
