#pragma once
// The processes of one simulated node, in place of executors: one a slot and some
// set aside, each under a supervisor with its own timer. They start late or never, crash, hang,
// ignore SIGTERM until they are killed, and give results. What they are told is checked: a slot
// never carries two runs. Virtual time.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "actors/messages.h"
#include "config/config.h"
#include "tests/sim/checks.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"

namespace gpupool::sim {

class Executors {
 public:
  using Report = std::function<void(ToWorker)>;

  // `config` is its node's, and outlives this; `boot` is the moment at which this node's own clock
  // was 0.
  Executors(Schedule& schedule, Checks& checks, ExecutorPlan plan, Prng rng, NodeId node,
            const Config& config, Instant boot, Report report);

  void perform(const ToExecutors& command);
  // The worker process died, and everything that it had started with it.
  void die();
  void heal() { plan_ = {}; }

  // The results that this node keeps, by hash.
  const std::map<std::string, std::string>& results() const { return results_; }

 private:
  enum class Life : std::uint8_t { absent, starting, ready, running };
  struct Executor {
    Life life = Life::absent;
    std::string app;
    std::uint64_t process = 0;  // its own number, for whoever wants to kill this one
    std::uint64_t serial = 0;  // of the process or its run; what an earlier one had planned is void
    StartRun run;
    std::uint32_t found = 0;  // of the other ranks
    Instant began{};
    bool is_fetching = false;  // files, without which it does not begin
    bool ignores_sigterm = false;
    std::uint64_t timer = 0;  // serial of the timer that counts
  };

  void on(const StartExecutor& start);
  void on(const StartRun& start);
  void on(const EndBy& end);
  void on(const Disarm& disarm);
  void on(const KillExecutor& kill);
  void on(const RankFound& found);
  void on(const SetAside& aside);
  void on(const FilesPiece& piece);
  void fetch_files(SlotIndex slot);
  void on(const WatchProcess& watch);
  void on(const KillProcess& kill);

  void begin(SlotIndex slot);
  void step(SlotIndex slot, std::uint32_t number, std::uint32_t of_steps, Duration each);
  void give_result(SlotIndex slot);
  ResultRef store_log(const StartRun& run);
  void done(SlotIndex slot, ExecutorDone how);
  void take_up(SlotIndex slot, Executor executor);
  void exit_aside(SlotIndex slot, const std::string& app);
  void check_memory(SlotIndex slot) const;
  void exit(SlotIndex slot, std::int32_t signal, std::int32_t code);
  void later(SlotIndex slot, Duration delay, std::function<void()> what);
  void say(ToWorker report);
  bool chance(std::uint64_t one_in) { return one_in > 0 && rng_.one_in(one_in); }
  Duration draw(std::int64_t low_ms, std::int64_t high_ms) {
    return milliseconds(rng_.between(low_ms, high_ms));
  }
  Instant now() const { return {(schedule_.now() - boot_).ms}; }  // the node's own clock

  Schedule& schedule_;
  Checks& checks_;
  ExecutorPlan plan_;
  Prng rng_;
  const NodeId node_;
  const Config& config_;
  const Instant boot_;
  const Report report_;
  Mailbox pipe_;
  std::uint64_t generation_ = 0;
  std::uint64_t serial_ = 0;
  std::map<SlotIndex, Executor> slots_;
  std::map<std::pair<SlotIndex, std::string>, Executor> aside_;  // by their apps
  std::map<std::string, std::string> results_;
  std::vector<WatchProcess> processes_;  // callers' own, that live
};

}  // namespace gpupool::sim
