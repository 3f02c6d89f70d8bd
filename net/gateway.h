#pragma once
// Between the client socket and the sessions: spawns one session actor per greeting, hands it what
// its client says, and gives the socket what the sessions answer. Stops reading from clients while
// too many of their messages wait in the sessions' mailboxes. Holds what operators have set about
// callers, as the console last told it, and applies it to hellos and to live sessions. The web
// front comes in through its door.

#include <memory>

#include "actors/perform.h"
#include "net/gateway_socket.h"
#include "net/web_door.h"

namespace gpupool {

struct Gateway {
  std::shared_ptr<GatewaySocket> socket;
  std::shared_ptr<WebDoor> web;  // for the web front
};

// Binds config.broker.client_endpoint and serves clients until the socket is destroyed. The
// directory shares it, as the way to clients and for the console's word. `standing` holds until the
// console's first one. Warns if the endpoint can be reached from other machines unencrypted.
Result<Gateway> open_gateway(caf::actor_system& system, Surroundings around,
                             const std::string& build, const Standing& standing = {});

}  // namespace gpupool
