#pragma once
// One slot of a node: the executor that lives on it and the run that it carries, if any, or the run
// of another slot, here or on another node, that it is held for. It decides what its executor is
// told and how a run ended; the worker decides which leases it gets. Always: a run ends exactly
// once; a slot is free only while its executor is known to be well, or while it keeps none warm and
// a lease starts what it needs. Pure, owned by Worker.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/messages.h"
#include "config/config.h"

namespace gpupool {

// So long before its declared end a command that may run for longer than this is sent SIGUSR1.
inline constexpr Duration command_warning = seconds(5);

// What a slot wants done, in order: its executor's commands, the broker's news, a run's end.
struct SlotActions {
  std::vector<ToExecutors> executors;
  std::vector<ToBroker> broker;
  std::optional<RunEnded> ended;
  std::optional<RunEnded> rank_ended;  // of a rank above 0: the worker's own affair
};

class Slot {
 public:
  struct Place {
    NodeId node;
    SlotIndex slot;
    std::uint32_t device = 0;
    std::string partition = "default";
    std::int64_t memory = 0;  // for executors that stay warm; 0: one at a time
    std::string visible;      // of its device, as CUDA_VISIBLE_DEVICES names it
  };

  // What only a lease of an external app has: what its caller shows, and on which devices it is.
  struct Admission {
    std::string token;
    std::string devices;
  };

  // A run on another slot whose job holds this one too.
  struct Companion {
    JobId job;
    std::uint32_t attempt = 0;
    std::optional<SlotIndex> runs_on;  // nothing: another node's
    Instant until = Instant::never();  // then that must be over, whatever its node does
    bool is_over = false;              // it is, or counts as if: left once nothing runs here
    std::optional<Error> lost;         // another node's: why its rank here is gone
  };

  // Which of the ranks of a run this is, and which devices all of them are on; empty: not all are
  // on this node.
  struct Rank {
    std::uint32_t number = 0;
    std::uint32_t of = 1;
    std::string devices;
  };

  // `config` outlives the slot.
  Slot(const Config& config, Place place);

  // Makes the warm executor resident; the slot is free once it is ready.
  void start(Instant now, SlotActions& out);
  // A noop run is over at once, and leaves a warm executor where it is.
  // Precondition: the slot is free, and the lease's app is configured.
  void take(Instant now, const Lease& lease, SlotActions& out) { take(now, lease, {}, out); }
  void take(Instant now, const Lease& lease, Rank rank, SlotActions& out);
  // Of an external app, with the same precondition: its caller gets a grant as soon as the slot is
  // clear for its process.
  void admit(Instant now, const Lease& lease, Admission admission, SlotActions& out);
  void cancel(Instant now, SlotActions& out);
  // The run may last so long from when it began, and never longer than it declared. Too late once
  // it is ending.
  void extend(Instant now, Duration held, SlotActions& out);
  // Held for the lease's run on another slot, until leave(); the executor here stays as it is. One
  // that dies meanwhile is started again only then, so that it can't take anything from that run.
  // Precondition: the slot is free.
  void accompany(const Lease& lease, Instant until = Instant::never());
  // A companion that works too: it runs this rank of the lease, and is held on when that has ended.
  void help(Instant now, const Lease& lease, Rank rank, Instant until, SlotActions& out);
  // The run on another node is over, or counts as if: what is left of its rank here is stopped.
  void call_off(Instant now, SlotActions& out);
  // Precondition: no run is on.
  void leave(Instant now, SlotActions& out);
  // The run can't go on: the pool's fault. Too late once it is ending.
  void fail(Instant now, Error why, SlotActions& out);
  // The run on the first slot has its result: what is left here is over in a moment, or killed.
  void finish_soon(Instant now, SlotActions& out);
  // Another rank of the run left this. A second copy changes nothing.
  void find(const RankLeft& left, SlotActions& out);
  // The rank here left this: for other nodes, if the run has ranks there.
  void share(const RankLeft& left, SlotActions& out);
  // What may not have reached another node yet, once more.
  void tell_again(SlotActions& out) const;
  // Its device may run no job for now, for this reason; empty: it may again. What runs goes on.
  void take_out(Instant now, const std::string& why, SlotActions& out);
  // An operator wants it tried again at once.
  void resume(Instant now);
  // Does everything that is due at `now`.
  void advance(Instant now, SlotActions& out);

  // ---- External apps (slot_external.cpp) ----
  bool shows(const std::string& token) const;
  // Its caller's process has come: it runs, and is charged, from now on; a second time changes
  // nothing. forbidden: another one has come already.
  Errc allow(Instant now, const LocalProcess& process, SlotActions& out);
  // Forgets this process, which waits here warm, as another slot has it now. False: a run has it,
  // or it is being killed.
  bool let_go(const LocalProcess& process);
  // The caller is done: the run ends, and its process stays warm unless it `failed`. Returns
  // whether none ever came. Precondition: shows(token).
  enum class Released : std::uint8_t { used = 1, unused };
  enum class Verdict : std::uint8_t { well = 1, failed };
  Released release(Instant now, Verdict verdict, SlotActions& out);
  // What stays warm here, if anything, has to leave the device.
  void evict(Instant now, SlotActions& out);
  void on(Instant now, const ProcessGone& gone, SlotActions& out);

  void on(Instant now, const ExecutorReady& ready, SlotActions& out);
  void on(Instant now, const ExecutorBegan& began, SlotActions& out);
  void on(Instant now, const ExecutorStep& step, SlotActions& out);
  void on(Instant now, const ExecutorDone& done, SlotActions& out);
  void on(Instant now, const ExecutorExited& exited, SlotActions& out);

  SlotState state() const;
  SlotReport report(Instant now) const;
  bool carries(JobId job, std::uint32_t attempt) const;
  const std::optional<Companion>& companion() const { return companion_; }
  // No run is on, and nothing of one is being killed.
  bool is_clear() const { return !run_ && life_ != Life::ending && !is_evicting(); }
  Instant next_deadline() const;
  std::uint32_t device() const { return place_.device; }
  const std::string& visible() const { return place_.visible; }
  // Why it takes no jobs; empty: it does, or will in a moment.
  const std::string& why() const { return out_.empty() ? down_ : out_; }

 private:
  enum class Life : std::uint8_t {
    absent,    // nothing is there; a lease or the check starts it
    starting,  // asked to become resident
    clearing,  // it starts when those that were set aside and must go have gone
    ready,     // resident and well
    ending,    // told to die; ExecutorExited comes when nothing of it is left
    broken,    // it could not be started, or its device failed; tried again at retry_at_
  };

  // An executor that was set aside, warm, or told to die since.
  struct Aside {
    std::string app;
    std::int64_t memory = 0;
    Instant kill_again = Instant::never();
    bool is_leaving() const { return kill_again != Instant::never(); }
  };

  // A caller's process that was let in, during its run and, warm, after it.
  struct Process {
    LocalProcess name;
    std::string app;
    std::vector<Argument> task;  // whose runs may use it again: what their requests say of it
    Instant kill_again = Instant::never();
    bool is_leaving() const { return kill_again != Instant::never(); }
  };

  // What a run has of an external app.
  struct Guest {
    Admission admission;
    bool granted = false;
    bool idle = false;     // granted with the warm process: charged from then on
    bool allowed = false;  // its process has come in this run
    Instant lost{};        // when the warm process went, before another one came; 0: it did not
  };

  struct Run {
    Lease lease;
    Rank rank;
    std::vector<RankLeft> found;  // of other ranks; handed over with it, or later
    std::vector<RankLeft> left;   // for ranks on other nodes, until all have met
    Instant start_by{};
    bool handed_over = false;  // the executor has been told to run it
    Instant began{};           // 0: not yet
    Duration held{};           // how long it may last: all that it declared, or less
    Instant end_at{};          // its end by that; known once it began
    Instant kill_at = Instant::never();
    Instant warn_at = Instant::never();  // when a command is told that its end is near
    Instant last_step{};
    Instant last_told{};                 // when the broker heard of a step; 0: never
    bool cancelled = false;              // by the broker, before the declared end
    std::optional<Error> doom;           // why the worker killed it: always the pool's fault
    Instant give_up = Instant::never();  // killed, and to be ended without the executor's word
    std::optional<Guest> guest;
  };

  const AppConfig& app_of(const Run& run) const;
  void start_executor(Instant now, const std::string& app, SlotActions& out);
  void kill_executor(Instant now, SlotActions& out);
  void make_room(Instant now, const std::string& app, SlotActions& out);
  // An executor that is to be resident, with what is to stay beside it.
  struct Newcomer {
    const std::string& app;
    std::int64_t memory = 0;   // of both
    std::int64_t joining = 0;  // how many will be set aside for it
  };
  void make_room_beside(Instant now, const Newcomer& who, SlotActions& out);
  void kill_aside(Instant now, Aside& aside, SlotActions& out);
  bool is_clearing() const;
  void begin_run(Instant now, const Lease& lease, Rank rank, SlotActions& out);
  void place_run(Instant now, SlotActions& out);
  void tell_found(const RankLeft& left, SlotActions& out) const;
  RankShared shared(const RankLeft& left) const;
  bool helps_elsewhere() const { return companion_ && !companion_->runs_on; }
  void hand_over(SlotActions& out);
  void set_end(SlotActions& out);
  void warn(Instant now, SlotActions& out);
  void run_nothing(Instant now, SlotActions& out);
  void restore(Instant now, SlotActions& out);
  void advance_run(Instant now, SlotActions& out);
  void advance_executor(Instant now, SlotActions& out);
  void clear_for_guest(Instant now, SlotActions& out);
  void grant(Instant now, SlotActions& out);
  RunGranted granted() const;
  void begin_guest(Instant now, SlotActions& out);
  void end_guest(Instant now, RunEnded how, SlotActions& out);
  void advance_guest(Instant now, SlotActions& out);
  Instant guest_deadline() const;
  void kill_process(Instant now, SlotActions& out);
  bool is_evicting() const { return process_ && process_->is_leaving(); }
  Instant run_deadline() const;
  Instant stalls_at() const;

  void break_down(Instant now, const ExecutorExited& exited);
  void suspect(Instant now, const std::string& why, SlotActions& out);
  bool exited_aside(Instant now, const ExecutorExited& exited, SlotActions& out);
  std::int64_t memory_of(const std::string& app) const;

  static std::string in_seconds(Duration duration);
  static RunEnded pool_fault(Errc cause, std::string detail);
  Duration ran(Instant now) const;
  std::string remark() const;
  RunEnded verdict_of(Instant now, const ExecutorDone& done) const;
  RunEnded expired(Instant now) const;
  RunEnded verdict_without_answer(Instant now, Error what_happened) const;
  void end(Instant now, RunEnded how, SlotActions& out);

  const Config& config_;
  Place place_;
  std::string warm_app_;  // kept resident while the slot is idle; empty: none

  Life life_ = Life::absent;
  std::string app_;         // the executor's, unless absent
  bool was_ready_ = false;  // this executor was ready once; its exit is then no failed start
  Instant asked_{};         // when it was asked to start
  Instant kill_again_{};    // ending: the order to kill is repeated then
  Instant retry_at_{};      // broken: started again then
  std::uint32_t failed_starts_ = 0;         // in a row
  Instant check_until_ = Instant::never();  // idle and not well by then: down
  std::string down_;      // why, until its executor is well; empty: nothing is known against it
  std::string out_;       // why its device may run nothing
  bool suspect_ = false;  // its device failed a run: the executor is killed, and started later
  std::uint32_t device_faults_ = 0;  // since a run succeeded
  std::vector<Aside> aside_;         // the least recently used first
  std::optional<Process> process_;
  std::optional<Run> run_;
  std::optional<Companion> companion_;  // then a run here is a rank of the other slot's
};

}  // namespace gpupool
