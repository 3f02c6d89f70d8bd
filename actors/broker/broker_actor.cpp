#include "actors/broker/broker_actor.h"

#include <map>

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
      : CoreActor(config, std::move(around), std::move(core)), events_(std::move(events)) {
    set_down_handler([this](const caf::down_msg& down) { forget_api(down.source); });
  }

 private:
  behavior_type make_behavior() override {
    carry_out(core().start(around().now()));
    return CoreActor::make_behavior();
  }

  void take(const ToBroker& message) override {
    if (is_of_visitor(message)) return hand_on(message);
    std::visit([this](const auto& one) { learn_sender(one); }, message);
    CoreActor::take(message);
    if (events_.ready && core().ready()) std::exchange(events_.ready, nullptr)();
    if (core().deposed() && events_.deposed) std::exchange(events_.deposed, nullptr)();
    if (events_.stopped && core().stopped()) std::exchange(events_.stopped, nullptr)();
  }

  static bool is_of_visitor(const ToBroker& message) {
    return std::holds_alternative<VisitorSubmits>(message) ||
           std::holds_alternative<VisitorAsks>(message) ||
           std::holds_alternative<VisitorLeaves>(message);
  }

  // A device API is on any node, and this actor is whom nodes know.
  void hand_on(const ToBroker& message) {
    const auto visitors = around().directory->visitors();
    if (!visitors || !current_sender()) return;
    const auto api = caf::actor_cast<DeviceApiHandle>(current_sender());
    if (apis_.emplace(api.address(), api).second) monitor(api);
    visitors(message, api);
  }

  // Its process is gone, or the connection to it.
  void forget_api(const caf::actor_addr& source) {
    const auto gone = apis_.extract(source);
    if (const auto visitors = around().directory->visitors(); gone && visitors)
      visitors(VisitorLeaves{}, gone.mapped());
  }

  template <class Message>
  void learn_sender(const Message& message) {
    if constexpr (FromWorker<Message>)
      if (current_sender())
        around().directory->set_worker(message.node,
                                       caf::actor_cast<WorkerHandle>(current_sender()));
  }

  BrokerEvents events_;
  std::map<caf::actor_addr, DeviceApiHandle> apis_;  // of nodes that have one, one each
};

}  // namespace

BrokerHandle spawn_broker(caf::actor_system& system, Surroundings around, BrokerEvents events,
                          const std::string& build) {
  auto core = std::make_unique<Broker>(around.config.current(), build);
  return system.spawn<BrokerActor>(std::move(around), std::move(events), std::move(core));
}

}  // namespace gpupool
