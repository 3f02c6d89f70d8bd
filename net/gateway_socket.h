#pragma once
// The pool's end of the client protocol: one thread that owns a ZeroMQ ROUTER socket and turns
// connections into sessions. It answers Hello and ping by itself, hands everything else to
// `receive`, and sends what other threads give it. A session begins with a Hello whose caller was
// admitted, and ends once: by Bye, by five heartbeats of silence, by a lost connection, by a client
// that does not read (its queue is bounded, and it never delays the others), because its caller is
// admitted no longer, or by end(). Connections are bounded too, and those without a session are
// closed. The callbacks run on the socket's thread; the other members may be called from any.

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
  std::string curve_secret{};         // Z85; empty: nothing is encrypted
  std::string announcement{};         // told to every client, until announce()
  Duration handshake = seconds(5);    // from accept to the end of ZeroMQ's own greeting
  Duration hello_limit = seconds(5);  // of a connection without a session
  std::int64_t connections_max = limits::sessions_max + 1'000;
  std::int64_t sessions_max = limits::sessions_max;
  std::int64_t queue_max = limits::client_queue_max;  // messages waiting for one client
  std::int64_t queue_bytes_max = limits::client_queue_bytes_max;
  std::int64_t socket_queue_max = 100;  // messages that ZeroMQ itself keeps for one client
};

struct GatewayCallbacks {
  // What a hello proves, and who the caller is to the pool as it is now; asked again by
  // reconsider(). Any error becomes `unauthenticated` with its detail. No `admit`: as proved.
  std::function<Result<Credentials>(const Introduction&)> read_credentials;
  std::function<Result<Caller>(const Credentials&)> admit;
  // SessionOpened (again for every Hello of a live session), Client..., Announcement, SessionClosed
  // (the last).
  std::function<void(SessionId, ToSession)> receive;
  std::function<Instant()> steady_now;  // any clock that never goes back
  // While true, nothing is read from clients: the sessions behind have enough to do. May be empty.
  std::function<bool()> congested;
  // While false, clients are told nothing at all, not even a pong. May be empty.
  std::function<bool()> may_speak{};
  // rate_limited: a greeting from this address, or a question of this account, is one too many for
  // now. Of what comes in pieces every sixteenth is asked about, pings and cancels never. May be
  // empty.
  std::function<Status(const std::string& address)> may_come{};
  std::function<Status(const AccountId&)> may_ask{};
};

// Whether other machines may reach the endpoint, so that what is not encrypted can be read there.
bool is_on_a_network(std::string_view endpoint);

// Whether an endpoint of TCP is at an address of this machine. Its port is left out: a pool that
// runs with the same configuration has it.
Status can_listen_at(const std::string& endpoint);

class GatewaySocket {
 public:
  // Binds, then starts the thread. Error: system_failed with the endpoint.
  static Result<std::unique_ptr<GatewaySocket>> open(GatewayOptions options,
                                                     GatewayCallbacks callbacks);
  ~GatewaySocket();  // sends what is waiting, as far as clients take it at once, and stops
  GatewaySocket(const GatewaySocket&) = delete;
  GatewaySocket& operator=(const GatewaySocket&) = delete;

  const std::string& endpoint() const;    // as bound, with its port
  const std::string& server_key() const;  // what clients name to encrypt; empty: not encrypted
  void send(SessionId session, ToClient message);
  void end(SessionId session);  // after what was sent to it
  // Admits every live session anew: ends those that are refused now, with an error that says why,
  // and greets again those whose caller changed.
  void reconsider();
  // A new announcement, for every live session and every later welcome.
  void announce(std::string text);

 private:
  class Loop;
  explicit GatewaySocket(std::unique_ptr<Loop> loop);

  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace gpupool
