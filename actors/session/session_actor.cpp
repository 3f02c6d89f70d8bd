#include "actors/session/session_actor.h"

#include "actors/core_actor.h"
#include "actors/session/session.h"

namespace gpupool {
namespace {

using InFlight = std::shared_ptr<std::atomic<std::int64_t>>;

class SessionActor : public CoreActor<Session, ToSession> {
 public:
  SessionActor(caf::actor_config& config, Surroundings around, SessionId id, InFlight in_flight)
      : CoreActor(config, around, std::make_unique<Session>(around.config.current(), id)),
        id_(id),
        in_flight_(std::move(in_flight)) {}

 private:
  void take(const ToSession& message) override {
    // Only the gateway sends without a sender.
    if (!current_sender() && !std::holds_alternative<Tick>(message))
      in_flight_->fetch_sub(1, std::memory_order_relaxed);
    CoreActor::take(message);
    if (!core().finished()) return;
    around().directory->forget_session(id_);
    quit();
  }

  const SessionId id_;
  const InFlight in_flight_;
};

}  // namespace

SessionHandle spawn_session(caf::actor_system& system, Surroundings around, SessionId id,
                            InFlight in_flight) {
  return system.spawn<SessionActor>(std::move(around), id, std::move(in_flight));
}

}  // namespace gpupool
