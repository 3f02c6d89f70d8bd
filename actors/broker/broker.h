#pragma once
// The broker: admits requests against the ledger, queues them, leases slots of healthy nodes, and
// sees every admitted job to its receipt. A pure state machine: messages and time in, effects out.
// It keeps nothing on disk: after a restart the ledger's open holds are its queue and the workers'
// reports are its leases. Always holds: a job is in exactly one phase (job.h); a slot carries at
// most one lease; a lease has all the slots of its job, on one node, or none; every job that holds
// quota is either queued, on its slots, or being written by the ledger. One thread (broker_actor).

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/broker/admission.h"
#include "actors/broker/dispatcher.h"
#include "actors/broker/forecast.h"
#include "actors/broker/job.h"
#include "actors/broker/observed.h"
#include "actors/broker/placement.h"
#include "actors/broker/promise.h"
#include "actors/effects.h"

namespace gpupool {

class Broker {
 public:
  // `config` outlives the broker. A worker of another `build` is refused.
  Broker(const Config& config, std::string build);
  // From now on this configuration holds, whose apps have other terms; it outlives the broker too.
  void use(const Config& config);

  // Asks the ledger for the lead. Nothing is leased before the ledger has answered.
  Effects start(Instant now);
  Effects step(Instant now, const ToBroker& message);

  bool leading() const { return bool{epoch_}; }
  // Another broker took the lead: this one does nothing any more and its process should end.
  bool deposed() const { return deposed_; }
  // It was told to stop, and nothing that it leased runs any more and every answer of the ledger
  // has come; or it has waited as long as it may. Queued jobs keep their holds.
  bool stopped() const;
  // The pool can run a job now: it leads and some slot is free or busy, not down.
  bool ready() const { return leading() && placement_.has_healthy_slot(); }
  const std::unordered_map<JobId, Job, IdHash>& jobs() const { return jobs_; }
  const Placement& placement() const { return placement_; }

  // Aborts if a slot, a lease or a queue entry contradicts another. For simulations.
  void check_invariants() const;

 private:
  // A request that the ledger has been asked about.
  struct Pending {
    SessionId session;
    std::uint64_t query = 0;
    bool starts_at_once = false;  // free slots are meant for it
    Waiting waiting;              // as it will wait, but for its number
  };

  // Clients (broker_admission.cpp)
  void on(const Submit& submit);
  void on(const Cancel& cancel);
  void on(const Watch& watch);
  void on(const JobsQuery& query);
  void on(const ClientGone& gone);
  void on(const Stop& stop);
  void on(const Held& held);
  void on(const NotHeld& refused);
  void on(const AlreadyHeld& known);
  void examine_pool(const Submit& submit, Reserve& reserve, Pending& pending);
  bool fits_at_once(const Shape& shape, const std::string& app) const;
  std::optional<Pending> take_pending(std::uint64_t ticket);
  void attach(Job& job, SessionId session, std::uint64_t query);
  void cancel_job(Job& job);

  // Operators, through the console (broker_views.cpp)
  void on(const NodesQuery& query);
  void on(const QueueQuery& query);
  void on(const OperatorCancel& cancel);
  void on(const DrainNodes& drain);
  NodeView view_of(const Node& node) const;
  Instant latest_end(const Job& job) const;
  static QueueEntry entry_of(const Job& job);
  void add_positions(std::vector<QueueEntry>& entries) const;

  // The ledger's answers (broker_jobs.cpp)
  void on(const Leading& leading);
  void on(const Requeued& requeued);
  void on(const Restated& restated);
  void on(const Settled& settled);
  void on(const SettledBefore& settled);
  void on(const LedgerRefused& refused);
  // This broker holds all of the declared time at once and asks for no extensions.
  void on(const Extended&) {}
  void on(const NotExtended&) {}

  // Workers (broker_nodes.cpp)
  void on(const Join& join);
  void on(const Heartbeat& heartbeat);
  void on(const LeaseRefused& refused);
  void on(const RunBegan& began);
  void on(const RunStep& step);
  void on(const RunEnded& ended);
  void on(const Tick& tick);
  void lose_missing_slots(Node& node, const Join& join);
  void reconcile(Node& node);
  void reconcile_slot(Node& node, const PoolSlot& slot);
  void meet_unknown_run(Node& node, const SlotReport& report);
  void resend_lease(Job& job, Node& node);
  void lose_node(Node& node);
  Job* run_of(NodeId node, JobId job, std::uint32_t attempt);
  static bool ended_unseen(const Job& job, std::uint32_t attempt);

  // The life of a job (broker_jobs.cpp)
  void enqueue(Job& job);
  void dispatch();
  void lease(Job& job, const Place& place);
  void lose_attempt(Job& job, Errc cause, const std::string& detail);
  void settle(Job& job, Settle how);
  void end_grace();
  bool leaves_room() const;
  void restate_for(const Waiting& older, const std::string& reason);
  void restate_promises(const std::string& reason);
  void restate(Job& job, Instant promise, const std::string& reason);
  void end(JobId job, const Shared<JobDone>& done);
  void forget(JobId job);
  void acknowledge(Job& job);
  void write_again();
  void cancel_the_abandoned();
  Job& admit(const Hold& hold);
  void adopt(Job& job, const Node& node, const SlotReport& report, const Place& place);
  Waiting waiting_of(const Hold& hold) const;
  Ahead all_waiting() const;
  Ahead older_than(JobId job) const;
  Instant bound_of(const Job& job) const;

  // Sizes and the shapes that the pool has for them (broker_shapes.cpp)
  Shape shape_of(const Hold& hold) const;
  Capacity capacity() const;
  bool knows_nodes(Duration patience) const;
  bool lacks(const Shape& shape) const { return placement_.largest(shape.spread) < shape.slots; }
  bool offers(const SizeConfig& size) const;
  void tell_sizes();
  void slots_changed(const std::string& reason);
  void end_the_impossible();

  // Events to those who follow a job (broker_events.cpp)
  JobEvent event_of(const Job& job) const;
  void tell(const Job& job);
  void tell_positions();
  Forecast forecast() const;
  std::uint32_t position_of(JobId job, const Forecast& likely) const;

  void ask_ledger(ToLedger message) { out_.to(to_ledger(), std::move(message)); }
  void tell_worker(NodeId node, ToWorker message) { out_.to(to_worker(node), std::move(message)); }
  void tell_session(SessionId session, ToSession message) {
    out_.to(to_session(session), std::move(message));
  }
  void tell_console(ToConsole message) { out_.to(to_console(), std::move(message)); }
  bool in_grace() const { return bool{grace_ends_}; }
  bool stopping() const { return stop_by_.has_value(); }
  Job* find(JobId id);
  Effects take_effects();

  const Config* config_;
  const std::string build_;
  Instant now_{};
  Effects out_;

  Epoch epoch_;
  Instant started_{};
  Instant down_since_{};  // before this leadership
  Instant grace_ends_{};  // 0: over; until then workers report what they run and nothing is leased
  std::uint64_t last_ticket_ = 0;
  Instant lead_again_{};  // not leading yet: when to ask again
  Duration lead_retry_ = seconds(1);
  std::map<std::uint64_t, Pending> pending_;
  Ahead pending_work_;                // what these ask for in all
  std::deque<ToBroker> before_lead_;  // what clients asked before the ledger answered
  std::unordered_map<JobId, Job, IdHash> jobs_;
  std::unordered_map<AccountId, std::set<JobId>, IdHash> by_account_;
  Dispatcher dispatcher_;
  Placement placement_;
  ObservedDurations observed_;
  Duration longest_open_{};  // occupancy of any job since there was last none
  std::set<Shape> away_;     // shapes that some job waited for in vain: others went past it
  std::optional<std::vector<std::string>> told_sizes_;  // to the ledger
  std::map<JobId, Instant> unwatched_;                  // not detached, nobody follows it since
  std::map<JobId, Instant> writing_;    // settle or requeue sent; when to send it again
  std::map<JobId, Waiting> returning_;  // of these the requeues: they will wait again
  std::map<JobId, Restate> restating_;  // sent and not answered yet
  Instant restate_again_{};
  std::unordered_map<SessionId, std::vector<JobId>, IdHash> followed_;
  Instant next_round_{};  // of the housekeeping that Tick does
  Instant positions_due_{};
  bool deposed_ = false;
  std::optional<Instant> stop_by_;  // told to stop: nothing is admitted or leased any more
};

}  // namespace gpupool
