#pragma once
// One attempt at a connection from a client to a pool: a ZeroMQ DEALER socket that never reconnects
// by itself, and its monitor, which tells at once that the connection was refused or closed. Used
// by one thread. A lost link stays lost; the client opens another one.

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "net/endpoints.h"
#include "net/sockets.h"

namespace gpupool {

class Link {
 public:
  // Where to, and the pool's public CURVE key; empty: not encrypted.
  struct Target {
    std::string endpoint;
    std::string server_key;
  };
  // Starts to connect. Errors: not_connected for an endpoint that ZeroMQ cannot read,
  // system_failed.
  static Result<std::unique_ptr<Link>> open(const ZmqContext& context, const Target& target);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // False if the connection has no room or is gone.
  bool send(const std::string& frame);
  // The next frame that has arrived, if any.
  std::optional<std::string> receive();
  // True once the connection was refused or closed.
  bool lost();
  Endpoints::Failure end() const { return end_; }  // of a lost link
  // Returns when something arrived, the link was lost, `wake_up` was woken, a signal came or the
  // time is over.
  void wait(WakeUp& wake_up, Duration timeout);

 private:
  Link(ZmqSocket dealer, ZmqSocket monitor)
      : dealer_(std::move(dealer)), monitor_(std::move(monitor)) {}
  void take_end(std::string_view event);

  ZmqSocket dealer_;
  ZmqSocket monitor_;
  bool lost_ = false;
  Endpoints::Failure end_ = Endpoints::Failure::silent;
};

}  // namespace gpupool
