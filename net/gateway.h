#pragma once
// Between the client socket and the sessions: spawns one session actor per greeting, hands it what
// its client says, and gives the socket what the sessions answer. Stops reading from clients while
// too many of their messages wait in the sessions' mailboxes.

#include <memory>

#include "actors/perform.h"
#include "net/gateway_socket.h"

namespace gpupool {

// Binds config.broker.client_endpoint and serves clients until the socket is destroyed. The
// directory shares it, as the way to clients.
Result<std::shared_ptr<GatewaySocket>> open_gateway(caf::actor_system& system, Surroundings around,
                                                    const std::string& build);

}  // namespace gpupool
