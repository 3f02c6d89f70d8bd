#include "net/connections.h"

#include <cstring>
#include <string>
#include <utility>

namespace gpupool {
namespace {

constexpr int watched = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED;
// A client that comes back after a long silence may have some dozens of frames on their way.
constexpr int complaints_max = 64;

// All zero for a descriptor that is closed or no longer connected.
sockaddr_storage peer_of(int descriptor) {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return {};
  return peer;
}

// What the monitor's first frame says (zmq_socket_monitor(3)).
struct Event {
  std::uint16_t kind = 0;
  std::uint32_t value = 0;
};

Event event_in(std::string_view bytes) {
  Event event;
  if (bytes.size() < sizeof event.kind + sizeof event.value) return event;
  std::memcpy(&event.kind, bytes.data(), sizeof event.kind);
  std::memcpy(&event.value, bytes.data() + sizeof event.kind, sizeof event.value);
  return event;
}

}  // namespace

Status Connections::watch(const ZmqContext& context, const ZmqSocket& socket) {
  const std::string address =
      "inproc://connections-" + std::to_string(reinterpret_cast<std::uintptr_t>(socket.get()));
  monitor_.reset(zmq_socket(context.get(), ZMQ_PAIR));
  // Without a high-water mark: at one, ZeroMQ's own thread would wait for this one.
  if (!monitor_ || !set_option(monitor_, ZMQ_LINGER, 0) || !set_option(monitor_, ZMQ_RCVHWM, 0) ||
      zmq_socket_monitor(socket.get(), address.c_str(), watched) != 0 ||
      zmq_connect(monitor_.get(), address.c_str()) != 0)
    return last_system_error("watching the client socket");
  return ok();
}

void Connections::take_events(Instant now) {
  for (;;) {
    ZmqMessage head;
    if (!head.receive(monitor_)) return;
    const Event event = event_in(head.bytes());
    ZmqMessage rest;  // the endpoint, which is always the same
    for (bool more = head.more(); more; more = rest.more())
      if (!rest.receive(monitor_)) break;
    const auto descriptor = static_cast<int>(event.value);
    if (event.kind == ZMQ_EVENT_ACCEPTED) accepted(descriptor, now);
    if (event.kind == ZMQ_EVENT_DISCONNECTED) open_.erase(descriptor);
  }
}

void Connections::accepted(int descriptor, Instant now) {
  Connection& one = open_[descriptor];
  one = Connection{
      .peer = peer_of(descriptor), .number = ++last_number_, .hello_by = now + bounds_.hello_limit};
  if (std::cmp_greater(open_.size(), bounds_.connections_max)) end(descriptor, one);
}

Connections::Name Connections::session_began(int descriptor, Instant now) {
  // ZeroMQ told of the connection before it handed out the connection's first message.
  take_events(now);
  const auto found = open_.find(descriptor);
  if (found == open_.end()) return {};
  found->second.has_session = true;
  found->second.complaints = 0;
  return {.descriptor = descriptor, .number = found->second.number};
}

void Connections::session_ended(const Name& name, Instant now) {
  const auto found = open_.find(name.descriptor);
  if (found == open_.end() || found->second.number != name.number) return;
  found->second.has_session = false;
  found->second.hello_by = now + bounds_.hello_limit;
}

void Connections::note_complaint(int descriptor) {
  const auto found = open_.find(descriptor);
  if (found == open_.end() || found->second.has_session) return;
  if (++found->second.complaints >= complaints_max) end(descriptor, found->second);
}

void Connections::reap(Instant now) {
  for (const auto& [descriptor, one] : open_)
    if (!one.has_session && now >= one.hello_by) end(descriptor, one);
}

// ZeroMQ may have closed the descriptor a moment ago and accepted another connection under the same
// number: only the one that was meant is shut down.
void Connections::end(int descriptor, const Connection& connection) {
  const sockaddr_storage peer = peer_of(descriptor);
  if (peer.ss_family == AF_UNSPEC || std::memcmp(&peer, &connection.peer, sizeof peer) != 0) return;
  shutdown(descriptor, SHUT_RDWR);
}

}  // namespace gpupool
