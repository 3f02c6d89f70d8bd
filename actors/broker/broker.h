#pragma once
// The broker: admits requests against the ledger, queues them, leases slots of healthy nodes, and
// sees every admitted job to its receipt. A pure state machine: messages and time in, effects out.
// It keeps nothing on disk: after a restart the ledger's open holds are its queue and the workers'
// reports are its leases. Always holds: a job is in exactly one phase (job.h); a slot carries at
// most one lease; a job has all its slots leased, or none; every job that holds
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
#include "actors/broker/partition.h"
#include "actors/broker/placement.h"
#include "actors/broker/promise.h"
#include "actors/broker/pulse.h"
#include "actors/effects.h"
#include "actors/learned.h"

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
  // An account's open jobs, by arrival. Most have one or a few.
  using AccountJobs = boost::container::small_vector<JobId, 4>;

  // A request that the ledger has been asked about.
  struct Pending {
    SessionId session;
    std::uint64_t query = 0;
    bool starts_at_once = false;  // free slots are meant for it
    PartitionId partition;
    Waiting waiting;  // as it will wait, but for its number
  };
  // The hold of a job with duration = "auto" (broker_extend.cpp).
  struct GrowingHold {
    Duration held{};           // how long it may run by what is held
    std::uint32_t number = 1;  // of its next extension
    Instant due{};             // when to ask for that, or to ask again; 0: not now
    bool asked = false;        // and not answered
    bool refused = false;      // its account cannot pay for more, by the last answer
  };

  // Clients (broker_admission.cpp)
  void on(const Submit& submit);
  void on(const Cancel& cancel);
  void on(const Watch& watch);
  void on(const JobsQuery& query);
  void on(const ClientGone& gone);
  void on(const Quote& quote);
  void on(const Stop& stop);
  void on(const Held& held);
  void on(const NotHeld& refused);
  void on(const AlreadyHeld& known);
  Reserve reserve_for(const Caller& caller, const JobRequest& request, Asking asking,
                      Pending& pending);
  void examine_pool(const JobRequest& body, Reserve& reserve, Pending& pending);
  void choose_queue(const std::vector<PartitionId>& queues, Reserve& reserve, Pending& pending);
  std::vector<PartitionId> queues_for(const AccountId& account, PartitionId home,
                                      const Shape& shape) const;
  bool fits_at_once(const Partition& partition, const Waiting& waiting,
                    const std::string& app) const;
  std::optional<Pending> take_pending(std::uint64_t ticket);
  void attach(Job& job, SessionId session, std::uint64_t query);
  void cancel_job(Job& job);

  // Operators, through the console (broker_views.cpp)
  void on(const NodesQuery& query);
  void on(const QueueQuery& query);
  void on(const OperatorCancel& cancel);
  void on(const DrainNodes& drain);
  void on(const ResumeNode& resume);
  void on(const SlotChanged& changed);
  void on(const RemoveNode& remove);
  // The shell hands these on to the gateway.
  void on(const VisitorSubmits&) {}
  void on(const VisitorAsks&) {}
  void on(const VisitorLeaves&) {}
  NodeView view_of(const Node& node) const;
  Instant latest_end(const Job& job) const;
  QueueEntry entry_of(const Job& job) const;
  void add_positions(std::vector<QueueEntry>& entries) const;

  // The ledger's answers (broker_jobs.cpp)
  void on(const Leading& leading);
  void on(const Requeued& requeued);
  void on(const Restated& restated);
  void on(const Settled& settled);
  void on(const SettledBefore& settled);
  void on(const LedgerRefused& refused);

  // Holds that grow: duration = "auto" (broker_extend.cpp)
  void on(const Extended& extended);
  void on(const NotExtended& refused);
  void hold_grows(const Hold& hold, const OpenHold& so_far);
  Duration held_of(const Job& job) const;
  void plan_extension(const Job& job);
  void plan_extension(JobId job, GrowingHold& hold, Instant due);
  void ask_for_extensions();
  void ask_for_extension(Job& job, GrowingHold& hold, Duration by);
  void catch_up(Job& job, const SlotReport& report);
  bool pool_missed_extension(const RunEnded& ended) const;

  // Workers (broker_nodes.cpp)
  void on(const Join& join);
  void on(const Heartbeat& heartbeat);
  void on(const LeaseRefused& refused);
  void on(const RunBegan& began);
  void on(const RunGranted& granted);
  void on(const RunStep& step);
  void on(const RunEnded& ended);
  void on(const RankShared& shared);
  void on(const RankLost& lost);
  void on(const RunWarned& warned);
  void on(const FetchFiles& wanted);
  void on(const FilesPiece& piece);
  std::string ranks_text(const Job& job) const;
  void on(const Tick& tick);
  void tell_pulse();
  void expect_silence(Instant at) { silence_due_ = std::min(silence_due_, at); }
  void find_the_silent();
  void lose_missing_slots(Node& node, const Join& join);
  std::string external_elsewhere(const Join& join) const;
  void reconcile(Node& node);
  void reconcile_slot(Node& node, const PoolSlot& slot);
  void meet_unknown_run(Node& node, const SlotReport& report);
  void resend_lease(const Job& job, Node& node);
  void leave_slots(Job& job, NodeId ended_on);
  void lose_node(Node& node);
  Job* run_of(NodeId node, JobId job, std::uint32_t attempt);
  std::optional<Place> place_of_run(const Node& node, const SlotReport& report, bool across) const;
  static bool may_have_run(const Job& job, NodeId node, std::uint32_t attempt);
  static bool ended_unseen(const Job& job, std::uint32_t attempt);

  // The life of a job (broker_jobs.cpp)
  void enqueue(Job& job);
  void dispatch();
  void dispatch(Partition& partition);
  void lease(Job& job, const Place& place);
  void lose_attempt(Job& job, Errc cause, const std::string& detail);
  bool may_run_again(const Job& job, Errc cause) const;
  void settle(Job& job, Settle how);
  void end_grace();
  bool leaves_room(const Partition& partition) const;
  void restate_for(const Job& older, const std::string& reason);
  void restate_promises(const Partition& partition, const std::string& reason);
  void restate(Job& job, Instant promise, const std::string& reason);
  void end(JobId job, const Shared<JobDone>& done);
  void forget(JobId job);
  void acknowledge(Job& job);
  void write_again();
  void cancel_the_abandoned();
  Job& admit(const Shared<Hold>& hold);
  void adopt(Job& job, const Place& place);
  Waiting waiting_of(const Hold& hold) const;
  Instant bound_of(const Job& job) const;

  // Sizes and the shapes that the pool has for them (broker_shapes.cpp)
  Shape shape_of(const Hold& hold) const;
  Capacity capacity(const Partition& partition) const;
  bool knows_nodes(Duration patience) const;
  bool lacks(PartitionId partition, const Shape& shape) const {
    return placement_.largest(partition, shape.spread) < shape.slots;
  }
  bool offers(const SizeConfig& size) const;
  void tell_sizes();
  void slots_changed(const std::string& reason);
  void see_capacity(Partition& partition, const Capacity& before, const std::string& reason);
  void end_the_impossible();

  // Partitions, and slots that are for some users alone (broker_partitions.cpp)
  Partition& partition(PartitionId id);
  const Partition& partition_of(const Job& job) const { return partitions_[job.partition.value]; }
  Partition& partition_of(const Job& job) { return partition(job.partition); }
  PartitionId partition_of(const Hold& hold);
  PartitionId home_of(const Hold& hold);
  bool may_wait(const ReservedFor& reserved, const Hold& hold, Instant starts_by);
  std::size_t waiting_jobs() const;
  void read_reservations();
  void mind_reservations();
  void leave_what_is_over();
  bool leave_what_is_over(Job& job);
  Job* first_for(const ReservedFor& reserved);
  void move(Job& job, PartitionId to);

  // Events to those who follow a job (broker_events.cpp)
  JobEvent event_of(Job& job);
  void tell(Job& job);
  void foresee(Job& job, JobEvent& event, Instant likely, Instant latest);
  void tell_positions();
  void tell_positions(Partition& partition);
  using Runs = LearnedDurations::Runs;
  Forecast forecast(const Partition& partition, Runs runs) const {
    return forecast(partition.dispatcher, runs);
  }
  Forecast forecast(const Dispatcher& waiting, Runs runs) const;
  bool is_soon_foreseen(const Partition& partition) const;
  bool may_foresee(const Partition& partition);
  std::uint32_t position_of(JobId job, const Forecast& likely) const;

  void ask_ledger(ToLedger message) { out_.to(to_ledger(), std::move(message)); }
  void tell_worker(NodeId node, ToWorker message) { out_.to(to_worker(node), std::move(message)); }
  void tell_session(SessionId session, ToSession message) {
    out_.to(to_session(session), std::move(message));
  }
  void tell_console(ToConsole message) { out_.to(to_console(), std::move(message)); }
  bool in_grace() const { return bool{grace_ends_}; }
  bool grace_is_over() const;
  bool stopping() const { return stop_by_.has_value(); }
  Job* find(JobId id);
  Effects take_effects();

  const Config* config_;
  const std::string build_;
  Instant now_{};
  Effects out_;

  Epoch epoch_;
  Instant started_{};
  Instant down_since_{};   // before this leadership
  Instant grace_ends_{};   // 0: over; until then workers report what they run and nothing is leased
  Instant grace_least_{};  // it is not over before
  std::set<NodeId> awaited_;  // that have leases of earlier epochs and did not join in this one
  Instant silence_due_ = Instant::never();  // no node is suspected or lost before
  std::uint64_t last_ticket_ = 0;
  Instant lead_again_{};  // not leading yet: when to ask again
  Duration lead_retry_ = seconds(1);
  std::map<std::uint64_t, Pending> pending_;
  std::deque<ToBroker> before_lead_;  // what clients asked before the ledger answered
  std::unordered_map<JobId, Job, IdHash> jobs_;
  std::unordered_map<AccountId, AccountJobs, IdHash> by_account_;
  Placement placement_;
  std::deque<Partition> partitions_{Partition{{}}};  // by their numbers
  std::vector<ReservedFor> reserved_;
  Instant reservations_due_ = Instant::never();  // the next one begins or ends
  LearnedDurations learned_;
  std::map<JobId, GrowingHold> growing_;
  std::set<std::pair<Instant, JobId>> extensions_;      // by when they are due
  std::optional<std::vector<std::string>> told_sizes_;  // to the ledger
  std::map<JobId, Instant> unwatched_;                  // not detached, nobody follows it since
  std::map<JobId, Instant> writing_;    // settle or requeue sent; when to send it again
  std::map<JobId, Restate> restating_;  // sent and not answered yet
  Instant restate_again_{};
  std::unordered_map<SessionId, std::vector<JobId>, IdHash> followed_;
  Instant next_round_{};  // of the housekeeping that Tick does
  Instant positions_due_{};
  PulseBook pulse_;
  std::uint32_t quotes_left_ = 0;  // that may still look into a long queue in this round
  bool deposed_ = false;
  std::optional<Instant> stop_by_;  // told to stop: nothing is admitted or leased any more
};

}  // namespace gpupool
