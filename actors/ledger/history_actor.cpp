#include "actors/ledger/history_actor.h"

#include <sys/resource.h>
#include <unistd.h>

namespace gpupool {
namespace {

constexpr int low_priority = 10;

class HistoryActor : public HistoryHandle::base {
 public:
  HistoryActor(caf::actor_config& config, Surroundings around, HistoryEvents events,
               std::unique_ptr<HistoryStore> store, HistoryThread thread)
      : HistoryHandle::base(config),
        around_(std::move(around)),
        events_(std::move(events)),
        store_(std::move(store)),
        thread_(thread) {}

 private:
  behavior_type make_behavior() override {
    // Of this thread alone, as Linux has it.
    if (thread_ == HistoryThread::own)
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), low_priority);
    return {[this](const Envelope<ToHistory>& envelope) {
      carry_out(history_.step(envelope.message));
    }};
  }

  void carry_out(Effects effects) {
    if (history_.trouble() && !std::exchange(in_trouble_, true))
      events_.trouble(*history_.trouble());
    if (!history_.trouble()) in_trouble_ = false;
    if (history_.rebuilds() != std::exchange(rebuilds_, history_.rebuilds())) events_.rebuilt();
    perform(*this, *around_.directory, std::move(effects.send));
  }

  const Surroundings around_;
  const HistoryEvents events_;
  const std::unique_ptr<HistoryStore> store_;
  const HistoryThread thread_;
  History history_{*store_};
  bool in_trouble_ = false;
  std::uint64_t rebuilds_ = 0;
};

}  // namespace

void spawn_history(caf::actor_system& system, Surroundings around, HistoryEvents events,
                   std::unique_ptr<HistoryStore> store, HistoryThread thread) {
  const auto directory = around.directory;
  const HistoryHandle history =
      thread == HistoryThread::shared
          ? system.spawn<HistoryActor>(std::move(around), std::move(events), std::move(store),
                                       thread)
          : system.spawn<HistoryActor, caf::detached>(std::move(around), std::move(events),
                                                      std::move(store), thread);
  directory->set_history(history);
  // Not earlier: the ledger's answer to its first question would find nobody.
  post<ToHistory>(history, Tick{});
}

}  // namespace gpupool
