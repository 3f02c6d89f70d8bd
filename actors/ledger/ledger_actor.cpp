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
  behavior_type make_behavior() override { return accept(static_cast<ToLedger*>(nullptr)); }

  template <class... Messages>
  behavior_type accept(std::variant<Messages...>*) {
    return behavior_type{[this](const Messages& message) { on(message); }...};
  }

  // A Tick to itself stands behind all that was in the mailbox when the batch began, so that
  // everything which waited for the last commit goes into the next one.
  template <class Message>
  void on(const Message& message) {
    if constexpr (std::is_same_v<Message, Tick>) {
      commit();
    } else {
      const bool first = !commits_->waiting();
      commits_->take(around_.now(), message);
      if (commits_->full())
        commit();
      else if (first)
        send(this, Tick{});
    }
  }

  void commit() {
    if (!commits_->waiting()) return;
    const auto effects = commits_->commit(around_.now(), events_.stamp());
    if (!effects) {
      events_.in_doubt(effects.error());
      return;
    }
    if (commits_->refusal()) events_.refused(*commits_->refusal());
    perform(*this, *around_.directory, effects->send);
  }

  const Surroundings around_;
  const LedgerEvents events_;
  std::unique_ptr<GroupCommit> commits_;
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
