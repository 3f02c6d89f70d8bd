#pragma once
// Between the client socket and the sessions: spawns one session actor per greeting, hands it what
// its client says, and gives the socket what the sessions answer. Stops reading from clients while
// too many of their messages wait in the sessions' mailboxes. Holds what operators have set about
// callers, as the console last told it, and applies it to hellos and to live sessions.

#include <memory>

#include "actors/perform.h"
#include "net/gateway_socket.h"

namespace gpupool {

// Binds config.broker.client_endpoint and serves clients until the socket is destroyed. The
// directory shares it, as the way to clients and for the console's word. `standing` holds until the
// console's first one. Warns if the endpoint can be reached from other machines unencrypted.
Result<std::shared_ptr<GatewaySocket>> open_gateway(caf::actor_system& system, Surroundings around,
                                                    const std::string& build,
                                                    const Standing& standing = {});

}  // namespace gpupool
