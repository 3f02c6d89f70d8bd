#pragma once
// The connections of a listening ZeroMQ socket, as its monitor tells of them. Keeps their number
// under a maximum, and ends those on which nobody says hello in time or much is said without one:
// ZeroMQ itself would keep them for ever. It never owns a descriptor: a connection is ended by
// shutting it down, after which ZeroMQ closes it. Used by the socket's own thread.

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "base/result.h"
#include "base/time.h"
#include "net/sockets.h"

namespace gpupool {

class Connections {
 public:
  struct Bounds {
    std::int64_t connections_max = 0;
    Duration hello_limit{};  // without a session, from the accept or the end of the last session
  };

  // Which of all connections one is: its descriptor names another one once it was closed.
  struct Name {
    int descriptor = -1;
    std::uint64_t number = 0;
  };

  explicit Connections(Bounds bounds) : bounds_(bounds) {}

  // Before the socket is bound.
  Status watch(const ZmqContext& context, const ZmqSocket& socket);
  void* events() const { return monitor_.get(); }  // to be polled for input
  void take_events(Instant now);

  // A session began on the connection; later the one that began on the connection of this name
  // ended. A vanished client's session outlives its connection, whose descriptor may by then be
  // that of somebody else's.
  Name session_began(int descriptor, Instant now);
  void session_ended(const Name& name, Instant now);
  // A frame came that was worth nothing but a complaint.
  void note_complaint(int descriptor);
  // Ends every connection whose time for a hello is over.
  void reap(Instant now);

  std::size_t size() const { return open_.size(); }

 private:
  struct Connection {
    sockaddr_storage peer{};  // tells it from a later one that got the same descriptor
    std::uint64_t number = 0;
    Instant hello_by{};
    bool has_session = false;
    int complaints = 0;
  };

  void accepted(int descriptor, Instant now);
  static void end(int descriptor, const Connection& connection);

  const Bounds bounds_;
  ZmqSocket monitor_;
  std::unordered_map<int, Connection> open_;
  std::uint64_t last_number_ = 0;
};

}  // namespace gpupool
