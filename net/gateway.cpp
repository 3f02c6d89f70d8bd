#include "net/gateway.h"

#include <atomic>

#include "actors/session/session_actor.h"
#include "base/clock.h"
#include "net/token.h"

namespace gpupool {
namespace {

// Client messages that may wait in all sessions together before the socket is read again.
constexpr std::int64_t in_flight_max = 10'000;

class Bridge {
 public:
  Bridge(caf::actor_system& system, Surroundings around)
      : system_(system), around_(std::move(around)) {}

  void receive(SessionId id, const ToSession& message) {
    SessionHandle session = around_.directory->session(id);
    if (!session) {
      if (!std::holds_alternative<SessionOpened>(message)) return;
      session = spawn_session(system_, around_, id, in_flight_);
      around_.directory->set_session(id, session);
    }
    in_flight_->fetch_add(1, std::memory_order_relaxed);
    std::visit([&](const auto& one) { caf::anon_send(session, one); }, message);
  }

  // From here on answers find their way back to the clients.
  void open() { open_.store(true, std::memory_order_release); }
  bool congested() const {
    return !open_.load(std::memory_order_acquire) ||
           in_flight_->load(std::memory_order_relaxed) > in_flight_max;
  }

 private:
  caf::actor_system& system_;
  const Surroundings around_;
  std::atomic<bool> open_ = false;
  std::shared_ptr<std::atomic<std::int64_t>> in_flight_ =
      std::make_shared<std::atomic<std::int64_t>>(0);
};

}  // namespace

Result<std::shared_ptr<GatewaySocket>> open_gateway(caf::actor_system& system, Surroundings around,
                                                    const std::string& build) {
  const auto bridge = std::make_shared<Bridge>(system, around);
  auto opened = GatewaySocket::open(
      {.endpoint = around.config.broker.client_endpoint,
       .pool = around.config.pool,
       .build = build},
      {.recognise =
           [around](const Introduction& introduction) {
             return recognise(around.config, introduction, around.now());
           },
       .receive = [bridge](SessionId id,
                           const ToSession& message) { bridge->receive(id, message); },
       .steady_now = boot_time,
       .congested = [bridge] { return bridge->congested(); }});
  if (!opened) return opened.error();
  const std::shared_ptr<GatewaySocket> socket = std::move(*opened);
  around.directory->set_client(
      [socket](SessionId id, ToClient message) { socket->send(id, std::move(message)); });
  bridge->open();
  return socket;
}

}  // namespace gpupool
