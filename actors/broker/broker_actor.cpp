#include "actors/broker/broker_actor.h"

#include "actors/broker/broker.h"
#include "actors/core_actor.h"

namespace gpupool {
namespace {

template <class Message>
concept FromWorker = requires(const Message& message) {
  message.node;
}
&&(std::is_same_v<Message, Join> || std::is_same_v<Message, Heartbeat>);

class BrokerActor : public CoreActor<Broker, ToBroker> {
 public:
  BrokerActor(caf::actor_config& config, Surroundings around, BrokerEvents events,
              std::unique_ptr<Broker> core)
      : CoreActor(config, std::move(around), std::move(core)), events_(std::move(events)) {}

 private:
  behavior_type make_behavior() override {
    carry_out(core().start(around().now()));
    return CoreActor::make_behavior();
  }

  void take(const ToBroker& message) override {
    std::visit([this](const auto& one) { learn_sender(one); }, message);
    CoreActor::take(message);
    if (events_.ready && core().ready()) std::exchange(events_.ready, nullptr)();
    if (core().deposed() && events_.deposed) std::exchange(events_.deposed, nullptr)();
    if (events_.stopped && core().stopped()) std::exchange(events_.stopped, nullptr)();
  }

  template <class Message>
  void learn_sender(const Message& message) {
    if constexpr (FromWorker<Message>)
      if (current_sender())
        around().directory->set_worker(message.node,
                                       caf::actor_cast<WorkerHandle>(current_sender()));
  }

  BrokerEvents events_;
};

}  // namespace

BrokerHandle spawn_broker(caf::actor_system& system, Surroundings around, BrokerEvents events,
                          const std::string& build) {
  auto core = std::make_unique<Broker>(around.config.current(), build);
  return system.spawn<BrokerActor>(std::move(around), std::move(events), std::move(core));
}

}  // namespace gpupool
