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
// The longest occupancy of the test's partition: 300 s + start limit 30 + grace 2 + check 5.
inline constexpr Duration longest = seconds(337);

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
  explicit Harness(Config config = broker_test_config());

  // A broker process starts; whatever an earlier one knew is gone, the ledger is not.
  void start();

  void tell(const ToBroker& message);

  // Time passes in pieces of 250 ms, as the broker's own rounds do, and every node beats.
  void pass(Duration time);

  // ---- Nodes
  TestNode& add_node(std::uint64_t id, std::uint32_t slots) {
    return add_node(id, std::vector<std::uint32_t>(slots, 0));
  }
  // With a slot for each entry, on the device that it names.
  TestNode& add_node(std::uint64_t id, const std::vector<std::uint32_t>& devices);
  void join(TestNode& node);
  void beat(TestNode& node);
  void silence(const TestNode& node) { beating.erase(node.id); }

  SlotReport& slot_of(const Lease& lease) { return nodes.at(lease.node).slots[lease.slot.value]; }
  // The worker took the lease and the model is resident: the run begins.
  void begin(const Lease& lease);
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
  void end(const RunEnded& ended);

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
  JobId admit(const Submit& submit);
  Refusal refuse(const Submit& submit);

  // ---- What the broker sent, oldest first; each asked for once
  template <class Message>
  std::vector<Message> workers_got() {
    return take<Message>(to_workers);
  }
  // The nodes that got a CancelRun.
  std::set<NodeId> called_off() { return std::exchange(called_off_, {}); }
  // The nodes that got what a rank on another one left.
  std::set<NodeId> shared_with() { return std::exchange(shared_with_, {}); }
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
  void answer_ledger();

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

  void ask(const ToLedger& message);

  void carry_out(const Effects& effects);

  std::vector<Record> records_;
  std::map<JobId, HistoryJob> jobs_;  // as the ledger's history tells of them
  std::vector<ToLedger> to_the_ledger;
  std::vector<ToWorker> to_workers;
  std::set<NodeId> called_off_;
  std::set<NodeId> shared_with_;
  std::vector<ToSession> to_sessions;
  std::vector<ToConsole> to_the_console;
};

}  // namespace gpupool
