#pragma once
// The pool's end of the client protocol: one thread that owns a ZeroMQ ROUTER socket and turns
// connections into sessions. It answers Hello and ping by itself, hands everything else to
// `receive`, and sends what other threads give it. A session begins with a Hello whose caller was
// recognised, and ends once: by Bye, by five heartbeats of silence, by a lost connection, by a
// client that does not read (its queue is bounded, and it never delays the others), or by end().
// The callbacks run on the socket's thread; send() and end() may be called from any.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "actors/messages.h"
#include "base/result.h"
#include "config/limits.h"
#include "net/token.h"

namespace gpupool {

struct GatewayOptions {
  std::string endpoint;  // "tcp://127.0.0.1:*" binds any free port
  std::string pool;      // told to every client, as is the build
  std::string build;
  Duration heartbeat = seconds(2);
  Duration handshake = seconds(5);  // from accept to the end of ZeroMQ's own greeting
  std::int64_t sessions_max = limits::sessions_max;
  std::int64_t queue_max = limits::client_queue_max;  // messages waiting for one client
  std::int64_t queue_bytes_max = limits::client_queue_bytes_max;
  std::int64_t socket_queue_max = 100;  // messages that ZeroMQ itself keeps for one client
};

struct GatewayCallbacks {
  // Who says hello. Any error becomes `unauthenticated` with its detail.
  std::function<Result<Caller>(const Introduction&)> recognise;
  // SessionOpened (again for every Hello of a live session), Client..., SessionClosed (the last).
  std::function<void(SessionId, ToSession)> receive;
  std::function<Instant()> steady_now;  // any clock that never goes back
  // While true, nothing is read from clients: the sessions behind have enough to do. May be empty.
  std::function<bool()> congested;
};

class GatewaySocket {
 public:
  // Binds, then starts the thread. Error: system_failed with the endpoint.
  static Result<std::unique_ptr<GatewaySocket>> open(GatewayOptions options,
                                                     GatewayCallbacks callbacks);
  ~GatewaySocket();  // sends what is waiting, as far as clients take it at once, and stops
  GatewaySocket(const GatewaySocket&) = delete;
  GatewaySocket& operator=(const GatewaySocket&) = delete;

  const std::string& endpoint() const;  // as bound, with its port
  void send(SessionId session, ToClient message);
  void end(SessionId session);  // after what was sent to it

 private:
  class Loop;
  explicit GatewaySocket(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace gpupool
