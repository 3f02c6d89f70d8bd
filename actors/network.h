#pragma once
// The way to other nodes, in CAF's words: the system's configuration, with TLS where there are
// certificates, how a broker is published, and whom a worker asks for a connection. Both sides then
// show a certificate of one authority; which node it is nobody can see (CAF 0.17 does not tell).

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <cstdint>

#include "actors/vocabulary.h"
#include "config/config.h"

namespace gpupool {

class NetworkConfig : public caf::actor_system_config {
 public:
  // CAF reads the files anew at every connection and ends the process over one that it cannot use:
  // they have been checked and do not change.
  explicit NetworkConfig(const ClusterConfig& files);
};

// The port; system_failed.
Result<std::uint16_t> publish(caf::actor_system& system, const BrokerHandle& broker,
                              const HostAndPort& address);

// Answers connect_atom, without blocking whoever asks.
caf::io::middleman_actor network_of(caf::actor_system& system);

}  // namespace gpupool
