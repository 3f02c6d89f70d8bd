#include "net/device_api_server.h"

#include <sodium.h>

#include <mutex>

#include "actors/worker/process_caller.h"
#include "base/clock.h"
#include "net/descriptor_limit.h"

namespace gpupool {
namespace {

constexpr Duration tick_interval = milliseconds(500);

// Whom the broker's process and the worker answer to. It hands everything on.
class DeviceApiActor : public DeviceApiHandle::base {
 public:
  using Hear = std::function<void(ToDeviceApi)>;
  DeviceApiActor(caf::actor_config& config, Hear hear)
      : DeviceApiHandle::base(config), hear_(std::move(hear)) {}

 private:
  behavior_type make_behavior() override {
    return {[this](const Envelope<ToDeviceApi>& envelope) { hear_(envelope.message); }};
  }
  const Hear hear_;
};

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  randombytes_buf(&bits, sizeof bits);
  return bits;
}

Result<LocalProcess> find(const SpaceConfig& space, std::int32_t pid, const HttpPeer& peer) {
  return find_caller({.pid = pid,
                      .port = peer.port,
                      .here = peer.here,
                      .cgroup = space.cgroup,
                      .user = space.user});
}

}  // namespace

struct DeviceApiServer::Ear {
  explicit Ear(DeviceApiServer& whose) : server(&whose) {}
  void hear(ToDeviceApi message) {
    const std::lock_guard lock(mutex);
    if (server) server->hear(std::move(message));
  }
  void close() {
    const std::lock_guard lock(mutex);
    server = nullptr;
  }

  std::mutex mutex;
  DeviceApiServer* server;  // guarded by it
};

DeviceApiServer::DeviceApiServer(Surroundings around, WorkerHandle worker)
    : around_(std::move(around)),
      worker_(std::move(worker)),
      ear_(std::make_shared<Ear>(*this)),
      api_(around_.config.current(),
           {.to_pool = [this](ToBroker message) { to_pool(std::move(message)); },
            .to_worker =
                [this](ToWorker message) {
                  caf::anon_send(worker_, Envelope<ToWorker>{std::move(message)});
                },
            .find = find,
            .random = random_bits,
            .wall_now = wall_time,
            .pool = [this] { return pool(); }}) {}

Result<std::unique_ptr<DeviceApiServer>> DeviceApiServer::open(caf::actor_system& system,
                                                               Surroundings around,
                                                               WorkerHandle worker) {
  raise_descriptor_limit();
  const std::string endpoint = around.config.current().http.endpoint;
  std::unique_ptr<DeviceApiServer> self{new DeviceApiServer(std::move(around), std::move(worker))};
  DeviceApiServer& api = *self;
  auto server = HttpServer::open(endpoint, {}, [&api](HttpRequest request, auto reply) {
    api.api_.serve(boot_time(), request, std::move(reply));
  });
  if (!server) return server.error();
  api.server_ = std::move(*server);
  const auto hear = [ear = api.ear_](ToDeviceApi message) { ear->hear(std::move(message)); };
  api.actor_ = system.spawn<DeviceApiActor>(hear);
  api.around_.directory->set_device_api(hear);
  api.server_->every(tick_interval, [&api] { api.api_.tick(boot_time()); });
  return self;
}

// Nobody tells it anything from here on, so that its thread is the last to touch it.
DeviceApiServer::~DeviceApiServer() {
  around_.directory->set_device_api({});
  ear_->close();
  server_.reset();
}

void DeviceApiServer::hear(ToDeviceApi message) {
  server_->post([this, message = std::move(message)] { api_.hear(boot_time(), message); });
}

std::uint64_t DeviceApiServer::pool() const {
  const auto broker = caf::actor_cast<caf::strong_actor_ptr>(around_.directory->broker());
  return reinterpret_cast<std::uintptr_t>(broker.get());
}

// With the actor as its sender, which is how the other side knows where to answer.
void DeviceApiServer::to_pool(ToBroker message) {
  const BrokerHandle broker = around_.directory->broker();
  if (broker) {
    broker->eq_impl(caf::make_message_id(), caf::actor_cast<caf::strong_actor_ptr>(actor_), nullptr,
                    Envelope<ToBroker>{std::move(message)});
    return;
  }
  const auto fail = [this](SessionId session) {
    hear(VisitorFailed{.session = session, .code = Errc::pool_unavailable, .detail = {}});
  };
  if (const auto* submits = std::get_if<VisitorSubmits>(&message)) fail(submits->session);
  if (const auto* asks = std::get_if<VisitorAsks>(&message)) fail(asks->session);
}

}  // namespace gpupool
