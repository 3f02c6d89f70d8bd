#pragma once
// A whole pool in one thread and in virtual time: the real cores of broker, ledger, workers and
// sessions, with simulated clients, executors, links and faults, all drawn from one seed. It stands
// in for the shells: it delivers messages, keeps alarms, batches the ledger's commits, and lets
// processes die. After every event the invariants are checked.

#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "actors/broker/broker.h"
#include "actors/console/console.h"
#include "actors/ledger/group_commit.h"
#include "actors/ledger/history.h"
#include "actors/ledger/history_memory.h"
#include "actors/ledger/journal_memory.h"
#include "actors/session/session.h"
#include "actors/worker/worker.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/executors.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"
#include "tests/sim/operators.h"
#include "tests/sim/trace.h"

namespace gpupool::sim {

class World {
 public:
  // Every message is printed to `trace`, if it is not null.
  World(std::uint64_t seed, std::ostream* trace);

  // To the end of everything. Throws Broken.
  void run();

  const Coverage& coverage() const { return coverage_; }
  const Checks& checks() const { return checks_; }
  Instant now() const { return schedule_.now(); }

 private:
  // An actor's next wake; a newer one replaces it. It rings only while its number still counts.
  struct Alarm {
    std::uint64_t number = 0;
    Instant at = Instant::never();
  };
  struct SessionActor {
    std::unique_ptr<Session> core;
    Client* client = nullptr;
    Mailbox from_client;
    Mailbox to_client;
    Alarm alarm;
  };
  // The broker's process; all of it dies at once.
  struct Pool {
    std::uint64_t generation = 0;
    std::unique_ptr<GroupCommit> ledger;
    std::unique_ptr<History> history;
    std::unique_ptr<Broker> broker;
    std::unique_ptr<Console> console;
    std::string announcement;  // the gateway's, told to every session
    std::map<SessionId, SessionActor> sessions;
    Mailbox to_broker;
    Mailbox to_ledger;
    Mailbox to_history;
    Mailbox to_sessions;
    Mailbox to_console;
    Alarm alarm;
    Alarm console_alarm;
  };
  struct NodeProcess {
    NodeId id;
    Config config;
    Instant boot{};  // when its own clock was 0
    std::uint64_t incarnation = 0;
    std::unique_ptr<Worker> core;
    std::unique_ptr<Executors> executors;
    Alarm alarm;
    Instant cut_off_until{};
    std::optional<Join> old_join;  // of an earlier incarnation

    Instant local(Instant now) const { return {(now - boot).ms}; }
  };
  // Every record that becomes durable is checked, whether or not its writer learns of it.
  class WatchedJournal : public Journal {
   public:
    explicit WatchedJournal(Checks& checks) : checks_(checks) {}
    Status append(std::span<const Record> batch, const ClockStamp& stamp) override;
    Status append_from_reserve(std::span<const Record> batch, const ClockStamp& stamp) override;
    Result<std::vector<std::string>> batches_after(std::uint64_t sequence,
                                                   std::size_t bytes_max) override {
      return memory_.batches_after(sequence, bytes_max);
    }
    Result<JournalTail> tail() override { return memory_.tail(); }
    Result<std::string> blob(JobId job) override { return memory_.blob(job); }
    Status add_to_uploads(std::span<const UploadPiece> pieces) override {
      return memory_.add_to_uploads(pieces);
    }
    Result<std::vector<UploadFound>> uploads() override { return memory_.uploads(); }
    Result<std::string> upload_piece(const UploadName& name, std::int64_t offset) override {
      return memory_.upload_piece(name, offset);
    }
    Status remove_upload(const UploadName& name) override { return memory_.remove_upload(name); }
    void set_fault(JournalFault fault) { memory_.set_fault(fault); }
    void tear_at(std::uint64_t bytes) { memory_.tear_at(bytes); }
    void restart() { memory_.restart(); }
    // The next batch arrives a second time, as when a connection repeats what it had sent.
    void double_next() { doubles_ = true; }
    void set_reserve(std::size_t batches) { memory_.set_reserve(batches); }

   private:
    template <class Append>
    Status watch(std::span<const Record> batch, const Append& append);

    Checks& checks_;
    JournalMemory memory_;
    bool doubles_ = false;
  };

  // world.cpp: processes and faults
  void start_pool();
  void pool_dies(Duration down);
  void start_worker(NodeProcess& node);
  void worker_dies(NodeProcess& node, Duration down);
  void strike(const Fault& fault);
  void ail(NodeProcess& node, Duration lasts);
  void heal();
  void run_until(Instant end, const std::function<bool()>& early);
  bool everything_ended() const;
  void extend_later();
  void check_everything();
  void audit();

  // world_delivery.cpp: messages and alarms
  void perform(const std::string& from, NodeProcess* node, const Effects& effects);
  void route(const std::string& from, NodeProcess* node, const Send& send);
  void deliver(const ToBroker& message);
  void deliver(const ToLedger& message);
  void deliver(const ToHistory& message);
  void deliver(const ToConsole& message);
  void deliver(const ToGateway& message);
  void deliver(SessionId session, const ToSession& message);
  void deliver(NodeProcess& node, const ToWorker& message);
  void from_console(const ToBroker& message);
  void from_console(const ToLedger& message);
  void broker_to_worker(NodeId node, const ToWorker& message);
  void worker_to_broker(NodeProcess& node, const ToBroker& message);
  void fetch(NodeProcess& node, const FetchResult& fetch);
  void fetch(NodeProcess& node, const FetchLog& fetch);
  void answer(NodeProcess& node, SessionId session, const ToSession& message);
  NodeProcess* node_of(NodeId id);
  void in_pool(Mailbox& mailbox, std::function<void()> what);
  void commit();
  void arm_broker(Instant at);
  void arm_console(Instant at);
  void arm_worker(NodeProcess& node, Instant at);
  void arm_session(SessionId id, Instant at);
  bool rearm(Alarm& alarm, Instant at);
  SessionId open_session(Client& client, const Caller& caller);
  bool cut_off(const NodeProcess& node) const { return now() < node.cut_off_until; }
  void happened(const std::string& what);
  template <class Variant>
  void note(const std::string& from, const std::string& to, const Variant& message);
  Duration jitter() { return milliseconds(rng_.between(0, 2)); }

  const Plan plan_;
  std::ostream* const trace_;
  Prng rng_;
  Schedule schedule_;
  Checks checks_;
  Coverage coverage_;
  WatchedJournal journal_;
  HistoryMemory history_store_;
  std::optional<Snapshot> snapshot_;
  Link link_;
  std::unique_ptr<Pool> pool_;
  std::uint64_t generation_ = 0;
  std::uint64_t sessions_ = 0;
  std::uint64_t alarms_ = 0;
  bool slow_journal_ = false;
  bool rival_ = false;     // another broker took the lead, and ours may not know yet
  bool calm_ = false;      // faults are over
  Instant quiet_since_{};  // the last message about a run's end
  std::vector<NodeProcess> nodes_;
  std::vector<std::unique_ptr<Client>> clients_;
  Operator operator_;
};

}  // namespace gpupool::sim
