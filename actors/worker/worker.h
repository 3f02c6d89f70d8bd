#pragma once
// The pure core of one node: its slots, the leases on them, their deadlines, and the life of the
// executor on each slot. Always: a slot carries at most one run, or is held for one on another
// slot, together with it and no longer; a run is started only for a lease whose echoed heartbeat is
// fresh by this node's own clock; every run ends in exactly one RunEnded, which is repeated until
// the broker has seen it. `now` is the node's CLOCK_BOOTTIME. It goes on without a broker: what
// runs, runs to its end; nothing new starts. One thread, the worker's shell.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "actors/effects.h"
#include "actors/messages.h"
#include "actors/worker/device_watch.h"
#include "actors/worker/slot.h"
#include "config/config.h"

namespace gpupool {

class Worker {
 public:
  // `config` outlives the worker. `build` names the program, for the broker to compare. `secret`:
  // 32 bytes that nobody can know, for the tokens of leases.
  Worker(const Config& config, NodeId node, Incarnation incarnation, std::string build,
         std::string secret);

  Effects start(Instant now);
  Effects step(Instant now, const ToWorker& message);
  // The shell has reached a broker, which is asked at once to take this node in.
  Effects meet_broker(Instant now);
  // The broker that was reached has answered no heartbeat for so long that it may be gone, though
  // its connection does not say so: the shell looks for another one until this one answers.
  bool seeks_broker() const;

  std::vector<SlotReport> slot_reports() const;
  // This attempt has a lease here, whether or not its run began.
  bool carries(JobId job, std::uint32_t attempt) const;
  // It was told to stop, nothing runs on its slots any more and the broker has seen every end; or
  // it has waited as long as it may.
  bool stopped() const;

 private:
  // A run's end until the broker has seen it.
  struct UnseenEnd {
    RunEnded report;
    Instant send_again{};
  };
  struct RunName {
    JobId job;
    std::uint32_t attempt = 0;
    friend auto operator<=>(const RunName&, const RunName&) = default;
  };

  void on(Instant now, const Tick&, Effects& out);
  void on(Instant now, const Joined&, Effects& out);
  void on(Instant now, const HeartbeatSeen&, Effects& out);
  void on(Instant now, const Lease&, Effects& out);
  void on(Instant now, const EndSeen&, Effects& out);
  void on(Instant now, const CancelRun&, Effects& out);
  void on(Instant now, const ExtendRun&, Effects& out);
  void on(Instant now, const FetchResult&, Effects& out);
  void on(Instant now, const FetchLog&, Effects& out);
  void on(Instant now, const Stop&, Effects& out);
  void on(Instant now, const ExecutorReady&, Effects& out);
  void on(Instant now, const ExecutorBegan&, Effects& out);
  void on(Instant now, const ExecutorStep&, Effects& out);
  void on(Instant now, const ExecutorDone&, Effects& out);
  void on(Instant now, const ExecutorExited&, Effects& out);
  void on(Instant now, const RankLeft&, Effects& out);
  void on(Instant now, const RankShared&, Effects& out);
  void on(Instant now, const FetchFiles&, Effects& out);
  void on(Instant now, const FilesPiece&, Effects& out);
  void on(Instant now, const DeviceHealth&, Effects& out);
  void on(Instant now, const ResumeSlots&, Effects& out);
  // Callers' own processes (worker_external.cpp)
  void on(Instant now, const AllowProcess&, Effects& out);
  void on(Instant now, const ReleaseLease&, Effects& out);
  void on(Instant now, const ProcessGone&, Effects& out);
  void take_external(Instant now, const Lease& lease, Effects& out);
  std::optional<SlotIndex> slot_of(const std::string& token) const;
  bool may_come(const LocalProcess& process, SlotIndex to);

  // Does everything that is due at `now`.
  void advance(Instant now, Effects& out);
  void beat(Instant now, Effects& out);
  void join(Instant now, Effects& out);
  std::uint64_t new_heartbeat(Instant now);
  bool broker_is_lost(Instant now) const;

  // Whether this run is on, or was; if its end is unseen, it is told again.
  bool is_known(Instant now, const Lease& lease, Effects& out);
  // Its slots get jobs only while the device is well.
  void heed(Instant now, std::uint32_t device, Effects& out);
  void tell_if_changed(SlotIndex slot, Effects& out);
  // After every call of a slot: keeps the index of deadlines and the count of free slots.
  void note(SlotIndex slot);
  std::optional<Error> objection(Instant now, const Lease& lease) const;
  bool all_free(const Lease& lease) const;
  SlotReport report_of(const Slot& slot) const;
  // Slots that were held for a run are free again once nothing of it is left here, or, where
  // another node runs it, once it was said or must be over.
  void release_companions(Instant now, Effects& out);
  void call_off(Instant now, std::uint32_t companion, Effects& out);
  bool has_ranks(const Lease& lease) const;
  void start_ranks(Instant now, Lease lease, Instant until, Effects& out);
  void tell_again(Instant now, Effects& out);
  void rank_ended(Instant now, SlotIndex slot, const RunEnded& how, Effects& out);
  void end_ranks(Instant now, const RunEnded& first, Effects& out);
  bool holds(std::uint32_t companion, JobId job, std::uint32_t attempt) const;
  void release(Instant now, std::uint32_t companion, Effects& out);
  void remember(const RunName& ended);
  Duration age_of(Instant now, std::uint64_t heartbeat) const;
  // Sends what a slot decided, and remembers the end of its run until that is seen.
  void carry_out(Instant now, SlotIndex slot, SlotActions actions, Effects& out);
  void repeat_end(Instant now, UnseenEnd& end, Effects& out);
  void repeat_ends(Instant now, Effects& out);
  Instant next_deadline() const;
  template <class Command, class Act>
  void with_run(Instant now, const Command& command, Effects& out, const Act& act);
  // Hands an executor's report to its slot; one about a slot that doesn't exist is dropped.
  template <class Report>
  void tell_slot(Instant now, const Report& report, Effects& out);

  const Config& config_;
  NodeId node_;
  Incarnation incarnation_;
  std::string build_;
  const std::string secret_;
  std::vector<Slot> slots_;
  std::vector<Instant> deadline_of_;                            // of each slot, as last noted
  std::set<std::pair<Instant, std::uint32_t>> slot_deadlines_;  // the same ones, by time
  std::vector<bool> is_free_;                                   // likewise
  std::vector<std::string> told_why_;                           // likewise, and said to the broker
  std::map<std::uint32_t, DeviceWatch> watches_;                // of GPUs, by their devices
  std::set<std::uint32_t> companions_;  // slots that are held with another one, which runs the job
  std::int64_t freed_untold_ = 0;       // in this step: slots that fell free and no message says so

  Instant now_{};
  std::optional<Instant> stop_by_;  // told to stop: no lease is taken any more
  Epoch epoch_;                     // the highest seen
  bool joined_ = false;
  Instant broker_seen_{};   // when a heartbeat was last answered
  Instant broker_heard_{};  // the same, or a refusal, or when the broker was met
  Instant next_beat_{};
  std::uint64_t heartbeat_ = 0;          // the number sent last
  std::deque<Instant> sent_;             // when the last heartbeats left, up to heartbeat_; bounded
  std::map<RunName, UnseenEnd> unseen_;  // bounded: at the maximum no lease is taken
  Instant repeat_at_ = Instant::never();  // no end has to be sent again before
  // Tokens that were given back last, and whether unused, so that a repeated release is one;
  // bounded.
  std::deque<std::pair<std::string, bool>> released_;
  std::deque<RunName> recent_ends_;  // so that a doubled lease counts once; bounded
  std::set<RunName> recent_names_;   // the same ones
};

}  // namespace gpupool
