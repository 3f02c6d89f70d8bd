#include "actors/ledger/ledger_actor.h"

namespace gpupool {
namespace {

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
    auto effects = commits_->commit(around_.now(), events_.stamp());
    if (!effects) {
      events_.in_doubt(effects.error());
      return;
    }
    if (commits_->refusal()) events_.refused(*commits_->refusal());
    perform(*this, *around_.directory, std::move(effects->send));
  }

  const Surroundings around_;
  const LedgerEvents events_;
  std::unique_ptr<GroupCommit> commits_;
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
