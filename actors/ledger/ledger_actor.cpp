#include "actors/ledger/ledger_actor.h"

#include <chrono>
#include <future>

#include "actors/histogram.h"

namespace gpupool {
namespace {

constexpr Duration pulse_interval = seconds(1);

class LedgerActor : public LedgerHandle::base {
 public:
  LedgerActor(caf::actor_config& config, Surroundings around, LedgerEvents events,
              std::unique_ptr<GroupCommit> commits)
      : LedgerHandle::base(config),
        around_(std::move(around)),
        events_(std::move(events)),
        commits_(std::move(commits)) {}

 private:
  // A Tick to itself stands behind all that was in the mailbox when the batch began, so that
  // everything which waited for the last commit goes into the next one.
  behavior_type make_behavior() override {
    return {[this](Envelope<ToLedger>& envelope) {
      if (std::holds_alternative<Tick>(envelope.message))
        commit();
      else
        take(std::move(envelope.message));
    }};
  }

  void take(ToLedger message) {
    if (const auto version = around_.config.version();
        std::exchange(config_version_, version) != version)
      commits_->use(around_.config.current());
    const bool first = !commits_->waiting();
    commits_->take(around_.now(), std::move(message));
    if (commits_->full())
      commit();
    else if (first)
      send(this, Envelope<ToLedger>{Tick{}});
  }

  void commit() {
    if (!commits_->waiting()) return;
    const std::int64_t began_us = events_.steady_us ? events_.steady_us() : 0;
    auto effects = commits_->commit(around_.now(), events_.stamp());
    if (!effects) {
      events_.in_doubt(effects.error());
      return;
    }
    if (commits_->refusal()) events_.refused(*commits_->refusal());
    if (events_.steady_us) count(events_.steady_us() - began_us);
    perform(*this, *around_.directory, std::move(effects->send));
    if (events_.snapshot_records > 0 &&
        commits_->records_since_snapshot() >= events_.snapshot_records)
      keep_snapshot();
  }

  // Rounds that wrote nothing are no commits. The console hears of them at most once a second.
  void count(std::int64_t taken_us) {
    const std::uint64_t sequence = commits_->ledger().last_sequence();
    if (sequence == pulse_.sequence) return;
    ++pulse_.commits;
    pulse_.records += sequence - std::exchange(pulse_.sequence, sequence);
    note(pulse_.commit_times, commit_bounds_us, taken_us);
    const Instant now = around_.now();
    const ConsoleHandle console = around_.directory->console();
    if (!console || now - pulse_.at < pulse_interval) return;
    pulse_.at = now;
    send(console, Envelope<ToConsole>{pulse_});
  }

  // One at a time: while the last one is still being written, the next has to wait.
  void keep_snapshot() {
    using namespace std::chrono_literals;
    if (keeping_.valid() && keeping_.wait_for(0s) != std::future_status::ready) return;
    if (auto frozen = commits_->freeze())
      keeping_ = std::async(std::launch::async, events_.keep, std::move(*frozen));
  }

  void on_exit() override {
    if (keeping_.valid()) keeping_.wait();
    if (events_.snapshot_records == 0 || !commits_->idle()) return;
    if (commits_->records_since_snapshot() == 0) return;
    if (const auto frozen = commits_->freeze()) events_.keep(*frozen);
  }

  const Surroundings around_;
  const LedgerEvents events_;
  std::unique_ptr<GroupCommit> commits_;
  std::future<void> keeping_;  // of the last snapshot
  LedgerPulse pulse_{.sequence = commits_->ledger().last_sequence()};
  std::uint64_t config_version_ = around_.config.version();
};

}  // namespace

LedgerHandle spawn_ledger(caf::actor_system& system, Surroundings around, LedgerEvents events,
                          std::unique_ptr<GroupCommit> commits, LedgerThread thread) {
  if (thread == LedgerThread::shared)
    return system.spawn<LedgerActor>(std::move(around), std::move(events), std::move(commits));
  return system.spawn<LedgerActor, caf::detached>(std::move(around), std::move(events),
                                                  std::move(commits));
}

}  // namespace gpupool
