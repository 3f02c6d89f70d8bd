#include "net/link.h"

#include <array>
#include <cstring>
#include <utility>

#include "config/limits.h"
#include "net/curve.h"

namespace gpupool {
namespace {

constexpr int linger_ms = 200;  // for a goodbye
constexpr int handshake_ms = 5'000;
constexpr int watched = ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;

// The client's own key is made for one connection: the pool knows callers by their tokens.
bool encrypt(const ZmqSocket& dealer, const std::string& server_key) {
  if (server_key.empty()) return true;
  const Result<CurvePair> own = make_curve_pair();
  return own && set_option(dealer, ZMQ_CURVE_SERVERKEY, server_key) &&
         set_option(dealer, ZMQ_CURVE_PUBLICKEY, own->public_key) &&
         set_option(dealer, ZMQ_CURVE_SECRETKEY, own->secret_key);
}

bool configure(const ZmqSocket& dealer, const std::string& endpoint) {
  const std::int64_t frame_bytes_max = limits::frame_bytes_max;
  return set_option(dealer, ZMQ_LINGER, linger_ms) &&
         set_option(dealer, ZMQ_IPV6, speaks_ipv6(endpoint) ? 1 : 0) &&
         set_option(dealer, ZMQ_RECONNECT_IVL, -1) &&
         set_option(dealer, ZMQ_HANDSHAKE_IVL, handshake_ms) &&
         zmq_setsockopt(dealer.get(), ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) ==
             0;
}

}  // namespace

Result<std::unique_ptr<Link>> Link::open(const ZmqContext& context, const Target& target) {
  const std::string& endpoint = target.endpoint;
  if (!target.server_key.empty() && !is_curve_key(target.server_key))
    return Error{.code = Errc::not_connected,
                 .detail =
                     "the server key is not 40 characters of Z85, as the pool's operator "
                     "has it in a file NAME.public"};
  ZmqSocket dealer{zmq_socket(context.get(), ZMQ_DEALER)};
  ZmqSocket monitor{zmq_socket(context.get(), ZMQ_PAIR)};
  if (!dealer || !monitor || !configure(dealer, endpoint) || !encrypt(dealer, target.server_key) ||
      !set_option(monitor, ZMQ_LINGER, 0))
    return last_system_error("a client socket");
  // Two links of one context may live for a moment at a time; the address tells them apart.
  const std::string events =
      "inproc://link-" + std::to_string(reinterpret_cast<std::uintptr_t>(dealer.get()));
  if (zmq_socket_monitor(dealer.get(), events.c_str(), watched) != 0 ||
      zmq_connect(monitor.get(), events.c_str()) != 0)
    return last_system_error("watching a client socket");
  std::unique_ptr<Link> link{new Link{std::move(dealer), std::move(monitor)}};
  if (zmq_connect(link->dealer_.get(), endpoint.c_str()) != 0)
    return Error{.code = Errc::not_connected,
                 .detail = "cannot connect to " + endpoint + ": " + zmq_strerror(zmq_errno()) +
                           "; an endpoint is such as tcp://127.0.0.1:7400 or "
                           "ipc:///run/gpupool/pool.sock"};
  return link;
}

// The dealer lingers for its last frames, and so do its events. One that nobody is there to take
// stops ZeroMQ's thread for good, and with it every later link of the context.
Link::~Link() { zmq_socket_monitor(dealer_.get(), nullptr, 0); }

bool Link::send(const std::string& frame) {
  return !lost_ && zmq_send(dealer_.get(), frame.data(), frame.size(), ZMQ_DONTWAIT) >= 0;
}

std::optional<std::string> Link::receive() {
  ZmqMessage message;
  if (!message.receive(dealer_)) return std::nullopt;
  std::string frame{message.bytes()};
  // The protocol has one frame a message; what follows in a longer one is passed over.
  for (bool more = message.more(); more; more = message.more())
    if (!message.receive(dealer_)) break;
  return frame;
}

bool Link::lost() {
  ZmqMessage event;
  while (!lost_ && event.receive(monitor_)) {
    take_end(event.bytes());
    for (bool more = event.more(); more; more = event.more())
      if (!event.receive(monitor_)) break;  // the endpoint
  }
  return lost_;
}

// The first end counts: others only follow from it.
void Link::take_end(std::string_view event) {
  std::uint16_t kind = 0;
  std::uint32_t value = 0;
  if (event.size() < sizeof kind + sizeof value) return;
  std::memcpy(&kind, event.data(), sizeof kind);
  std::memcpy(&value, event.data() + sizeof kind, sizeof value);
  lost_ = true;
  if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) end_ = Endpoints::Failure::no_handshake;
  if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
      value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
    end_ = Endpoints::Failure::other_language;
}

void Link::wait(WakeUp& wake_up, Duration timeout) {
  std::array<zmq_pollitem_t, 3> items{zmq_pollitem_t{nullptr, wake_up.fd(), ZMQ_POLLIN, 0},
                                      zmq_pollitem_t{dealer_.get(), 0, ZMQ_POLLIN, 0},
                                      zmq_pollitem_t{monitor_.get(), 0, ZMQ_POLLIN, 0}};
  // A lost link's monitor still has something to read and would make this spin.
  zmq_poll(items.data(), lost_ ? 1 : 3, static_cast<long>(timeout.ms));
}

}  // namespace gpupool
