#include "actors/network.h"

#include <caf/openssl/all.hpp>
#include <chrono>

namespace gpupool {

NetworkConfig::NetworkConfig(const ClusterConfig& files) {
  load<caf::io::middleman>();
  if (files.has_tls()) {
    load<caf::openssl::manager>();
    openssl_cafile = files.ca_file;
    openssl_certificate = files.certificate_file;
    openssl_key = files.key_file;
  }
  announce_messages(*this);
  // Work stealing sleeps 50 us between polls of an idle pool; sharing blocks.
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-throughput", std::size_t{100});
  set("middleman.workers", std::size_t{0});
  set("middleman.heartbeat-interval", caf::timespan{std::chrono::seconds(1)});
  set("middleman.connection-timeout", caf::timespan{std::chrono::seconds(5)});
}

Result<std::uint16_t> publish(caf::actor_system& system, const BrokerHandle& broker,
                              const HostAndPort& address) {
  const char* host = address.host.c_str();
  const auto port = system.has_openssl_manager()
                        ? caf::openssl::publish(broker, address.port, host, true)
                        : system.middleman().publish(broker, address.port, host, true);
  if (!port)
    return Error{.code = Errc::system_failed,
                 .detail = "cannot listen for workers on " + address.host + ":" +
                           std::to_string(address.port)};
  return *port;
}

caf::io::middleman_actor network_of(caf::actor_system& system) {
  return system.has_openssl_manager() ? system.openssl_manager().actor_handle()
                                      : system.middleman().actor_handle();
}

}  // namespace gpupool
