#pragma once
// The device API of this node on its own thread: HTTP in front, and behind it an actor through
// which the broker's process, wherever it is, and this node's worker answer.

#include <memory>
#include <string>

#include "actors/perform.h"
#include "net/device_api.h"
#include "net/http.h"

namespace gpupool {

class DeviceApiServer {
 public:
  // Listens at config.http.endpoint. Error: system_failed with it.
  static Result<std::unique_ptr<DeviceApiServer>> open(caf::actor_system& system,
                                                       Surroundings around, WorkerHandle worker);
  ~DeviceApiServer();

  const std::string& endpoint() const { return server_->endpoint(); }

 private:
  DeviceApiServer(Surroundings around, WorkerHandle worker);
  // Where actors of other threads find it for as long as it is there.
  struct Ear;

  std::uint64_t pool() const;
  void to_pool(ToBroker message);
  void hear(ToDeviceApi message);

  const Surroundings around_;
  const WorkerHandle worker_;
  const std::shared_ptr<Ear> ear_;
  DeviceApiHandle actor_;
  DeviceApi api_;
  std::unique_ptr<HttpServer> server_;  // last: its thread uses everything above
};

}  // namespace gpupool
