#include "net/gateway_socket.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "net/connections.h"
#include "net/curve.h"
#include "net/outbox.h"
#include "net/sockets.h"
#include "net/wire.h"

namespace gpupool {
namespace {

constexpr int requests_per_round = 256;      // then what is waiting goes out first
constexpr std::uint64_t pieces_as_one = 16;  // of a file: so many count as one question
constexpr int unread_max = 32;               // requests of one client that ZeroMQ keeps unread
constexpr std::size_t outbox_max = 100'000;  // messages of all sessions on their way to the thread
constexpr std::int64_t silent_heartbeats_max = 5;
constexpr int retry_ms = 10;    // while a client's connection is full
constexpr int linger_ms = 200;  // for the last words of a pool that stops
constexpr int poll_ms_max = 500;
constexpr std::size_t generated_identity_bytes = 5;
// With a domain, and no one behind it, ZeroMQ 4.3 serves peers of ZMTP 3 alone. Older ones, or
// bytes taken for them, could abort the process at the moment in which the socket closes.
constexpr std::string_view zap_domain = "gpupool";

// One connection that said hello.
struct Peer {
  SessionId session;
  std::string identity;
  std::string address;
  Credentials credentials;
  Caller caller;
  Connections::Name connection;
  Instant heard{};
  std::deque<std::string> waiting;  // frames that the connection had no room for
  std::int64_t waiting_bytes = 0;
  std::uint64_t pieces = 0;  // of files and logs that it asked for or sent
};

enum class Sent { yes, full, unreachable };

// A client that names itself could claim the name, and so the session, of one that just left. The
// names that ROUTER makes up begin with a zero byte, which no client can set in the ordinary way.
bool generated(std::string_view identity) {
  return identity.size() == generated_identity_bytes && identity.front() == '\0';
}

Status configure(const ZmqSocket& socket, const GatewayOptions& options) {
  const auto heartbeat_ms = static_cast<int>(options.heartbeat.ms);
  const std::int64_t frame_bytes_max = limits::frame_bytes_max;
  const bool set =
      set_option(socket, ZMQ_ROUTER_MANDATORY, 1) &&
      set_option(socket, ZMQ_IPV6, speaks_ipv6(options.endpoint) ? 1 : 0) &&
      set_option(socket, ZMQ_LINGER, linger_ms) && set_option(socket, ZMQ_BACKLOG, 1024) &&
      set_option(socket, ZMQ_HANDSHAKE_IVL, static_cast<int>(options.handshake.ms)) &&
      set_option(socket, ZMQ_SNDHWM, static_cast<int>(options.socket_queue_max)) &&
      set_option(socket, ZMQ_RCVHWM, unread_max) &&
      zmq_setsockopt(socket.get(), ZMQ_ZAP_DOMAIN, zap_domain.data(), zap_domain.size()) == 0 &&
      // ZeroMQ's own heartbeat closes connections whose machine is gone, session or not.
      set_option(socket, ZMQ_HEARTBEAT_IVL, 2 * heartbeat_ms) &&
      set_option(socket, ZMQ_HEARTBEAT_TIMEOUT, 5 * heartbeat_ms) &&
      zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof frame_bytes_max) == 0;
  if (!set) return last_system_error("setting up the client socket");
  if (options.curve_secret.empty()) return ok();
  if (!set_option(socket, ZMQ_CURVE_SERVER, 1) ||
      !set_option(socket, ZMQ_CURVE_SECRETKEY, options.curve_secret))
    return last_system_error("encrypting the client socket");
  return ok();
}

}  // namespace

// Everything that the thread owns. Only `outbox_`, `stop_` and `endpoint_` are touched by others.
class GatewaySocket::Loop {
 public:
  Loop(GatewayOptions options, GatewayCallbacks callbacks)
      : options_(std::move(options)),
        callbacks_(std::move(callbacks)),
        outbox_(outbox_max),
        connections_({options_.connections_max, options_.hello_limit}),
        announcement_(options_.announcement) {}

  Status bind() {
    context_.reset(zmq_ctx_new());
    if (!context_ || !outbox_.wake_up().open()) return last_system_error("the client socket");
    zmq_ctx_set(context_.get(), ZMQ_MAX_SOCKETS, 8);
    router_.reset(zmq_socket(context_.get(), ZMQ_ROUTER));
    if (!router_) return last_system_error("the client socket");
    if (Status set = configure(router_, options_); !set) return set;
    if (!options_.curve_secret.empty()) {
      Result<std::string> key = curve_public_key(options_.curve_secret);
      if (!key) return key.error();
      server_key_ = std::move(*key);
    }
    if (Status watched = connections_.watch(context_, router_); !watched) return watched;
    if (zmq_bind(router_.get(), options_.endpoint.c_str()) != 0)
      return last_system_error("binding " + options_.endpoint);
    std::array<char, 256> bound{};
    std::size_t size = bound.size();
    if (zmq_getsockopt(router_.get(), ZMQ_LAST_ENDPOINT, bound.data(), &size) != 0)
      return last_system_error("binding " + options_.endpoint);
    endpoint_ = bound.data();
    return ok();
  }

  void run() {
    while (!stop_) {
      wait();
      connections_.take_events(callbacks_.steady_now());
      deliver_outbox();
      retry_waiting();
      const bool drained = receive_round();
      deliver_outbox();
      // Silence counts only once everything that had arrived has been read.
      if (drained) reap();
    }
    deliver_outbox();
    zmq_socket_monitor(router_.get(), nullptr, 0);
    router_.reset();
  }

  void stop() {
    stop_ = true;
    outbox_.wake_up().wake();
  }
  Outbox& outbox() { return outbox_; }
  const std::string& endpoint() const { return endpoint_; }
  const std::string& server_key() const { return server_key_; }

 private:
  bool congested() const { return callbacks_.congested && callbacks_.congested(); }

  void wait() {
    std::array<zmq_pollitem_t, 3> items{
        zmq_pollitem_t{nullptr, outbox_.wake_up().fd(), ZMQ_POLLIN, 0},
        zmq_pollitem_t{connections_.events(), 0, ZMQ_POLLIN, 0},
        zmq_pollitem_t{router_.get(), 0, ZMQ_POLLIN, 0}};
    const bool pause = congested();
    const auto beat = static_cast<int>(options_.heartbeat.ms / 2);
    const int timeout = pause || !blocked_.empty() ? retry_ms : std::clamp(beat, 1, poll_ms_max);
    zmq_poll(items.data(), pause ? 2 : 3, timeout);
  }

  // True if nothing more is there to read.
  bool receive_round() {
    for (int i = 0; i < requests_per_round; ++i) {
      if (congested()) return false;
      ZmqMessage identity;
      if (!identity.receive(router_)) return true;
      ZmqMessage body;
      int parts = 1;
      // Of a message with more parts than the protocol has, the last is kept and none is used.
      for (bool more = identity.more(); more; more = body.more(), ++parts)
        if (!body.receive(router_)) break;
      if (parts == 2)
        take_message(identity.bytes(), body);
      else
        complain(identity.bytes(), body.connection(), wrong("a message has one frame"));
    }
    return false;
  }

  void take_message(std::string_view identity, ZmqMessage& body) {
    const int connection = body.connection();
    if (!generated(identity))
      return complain(identity, connection, wrong("clients set no routing id"));
    Result<FromClient> message = decode_from_client(body.bytes());
    if (!message) return complain(identity, connection, message.error());
    const std::string address = body.property("Peer-Address");
    if (const Hello* hello = std::get_if<Hello>(&*message))
      return welcome(identity, connection, {.token = hello->token, .peer_address = address});
    Peer* peer = peer_of(identity);
    if (!peer || peer->address != address)
      return complain(identity, connection,
                      {.code = Errc::not_connected, .detail = "say hello first"});
    peer->heard = callbacks_.steady_now();
    std::visit([&](auto& content) { take_content(*peer, std::move(content)); }, *message);
  }

  template <class Content>
  void take_content(Peer& peer, Content content) {
    if constexpr (std::is_same_v<Content, Bye>) {
      close(peer.session);
    } else if constexpr (std::is_same_v<Content, ClientPing>) {
      say(peer.session, SessionPong{.query = content.query});
    } else if constexpr (!std::is_same_v<Content, Hello>) {
      if (callbacks_.may_ask && is_counted(peer, content))
        if (const Status may = callbacks_.may_ask(peer.caller.account); !may)
          return say(peer.session, refusal(may.error(), content.query));
      callbacks_.receive(peer.session, std::move(content));
    }
  }

  // Of what comes in pieces every sixteenth; a cancel never, since a job goes on without it.
  template <class Content>
  static bool is_counted(Peer& peer, const Content& content) {
    if constexpr (std::is_same_v<Content, ClientCancel>) return false;
    if constexpr (requires { content.offset; }) return peer.pieces++ % pieces_as_one == 0;
    return true;
  }

  Result<Caller> admit(const Result<Credentials>& credentials) const {
    if (!credentials) return credentials.error();
    return callbacks_.admit ? callbacks_.admit(*credentials) : credentials->caller;
  }

  void welcome(std::string_view identity, int connection, const Introduction& introduction) {
    if (callbacks_.may_come)
      if (const Status may = callbacks_.may_come(network_of(introduction.peer_address)); !may)
        return complain(identity, connection, may.error());
    Result<Credentials> credentials = callbacks_.read_credentials(introduction);
    Result<Caller> caller = admit(credentials);
    if (Peer* old = peer_of(identity); old && !continues(*old, introduction, caller))
      close(old->session);
    if (!caller)
      return complain(identity, connection,
                      {.code = Errc::unauthenticated, .detail = caller.error().detail});
    Peer* peer = peer_of(identity);
    if (!peer && std::cmp_greater_equal(peers_.size(), options_.sessions_max))
      return complain(identity, connection,
                      {.code = Errc::overloaded,
                       .want = options_.sessions_max + 1,
                       .have = options_.sessions_max,
                       .detail = "the pool serves as many clients as it may"});
    if (!peer) peer = &add_peer(std::string{identity}, connection);
    peer->address = introduction.peer_address;
    peer->credentials = std::move(*credentials);
    peer->heard = callbacks_.steady_now();
    greet(*peer, std::move(*caller));
  }

  // The last thing done with the peer: what it is told may end it.
  void greet(Peer& peer, Caller caller) {
    peer.caller = caller;
    const SessionId session = peer.session;
    callbacks_.receive(session, SessionOpened{.session = session, .caller = caller});
    say(session, SessionWelcome{.caller = std::move(caller),
                                .pool = options_.pool,
                                .build = options_.build,
                                .heartbeat = options_.heartbeat,
                                .announcement = announcement_});
  }

  // A Hello on a live session opens it again, e.g. with a fresh token; but a session never passes
  // from one account or address to another, and a bad token ends the one that it came on.
  static bool continues(const Peer& peer, const Introduction& introduction,
                        const Result<Caller>& caller) {
    return caller && caller->account == peer.caller.account &&
           introduction.peer_address == peer.address;
  }

  std::vector<SessionId> sessions() const {
    std::vector<SessionId> all;
    all.reserve(peers_.size());
    for (const auto& [session, peer] : peers_) all.push_back(session);
    return all;
  }

  // Whom operators refuse now goes, and hears why; who is of another tier is greeted again.
  void reconsider() {
    for (const SessionId session : sessions()) {
      const auto found = peers_.find(session);
      if (found == peers_.end()) continue;
      Result<Caller> caller = admit(found->second.credentials);
      if (caller && caller->tier == found->second.caller.tier) continue;
      if (caller) {
        greet(found->second, std::move(*caller));
        continue;
      }
      say(session,
          SessionError{.code = Errc::unauthenticated, .detail = std::move(caller.error().detail)});
      close(session);
    }
  }

  void announce(const std::string& text) {
    announcement_ = text;
    for (const SessionId session : sessions())
      callbacks_.receive(session, Announcement{.text = text});
  }

  Peer* peer_of(std::string_view identity) {
    const auto found = sessions_.find(std::string{identity});
    return found == sessions_.end() ? nullptr : &peers_.at(found->second);
  }

  Peer& add_peer(std::string identity, int connection) {
    const SessionId session{++last_session_};
    sessions_.emplace(identity, session);
    const Connections::Name name = connections_.session_began(connection, callbacks_.steady_now());
    return peers_
        .emplace(session,
                 Peer{.session = session, .identity = std::move(identity), .connection = name})
        .first->second;
  }

  void close(SessionId session) {
    const auto found = peers_.find(session);
    if (found == peers_.end()) return;
    sessions_.erase(found->second.identity);
    connections_.session_ended(found->second.connection, callbacks_.steady_now());
    blocked_.erase(session);
    peers_.erase(found);
    callbacks_.receive(session, SessionClosed{.session = session});
  }

  void deliver_outbox() {
    Outbox::Content content = outbox_.take();
    if (content.announcement) announce(*content.announcement);
    if (content.reconsider) reconsider();
    for (const Outbox::Letter& letter : content.letters) say(letter.session, letter.message);
    for (const SessionId session : content.ended) close(session);
  }

  // Sends, or puts at the end of the peer's queue; a session that cannot be reached or does not
  // read ends here, so no reference to a peer outlives a call of say().
  void say(SessionId session, const ToClient& message) {
    const auto found = peers_.find(session);
    if (found == peers_.end()) return;
    Peer& peer = found->second;
    Result<std::string> frame = encode(message);
    if (!frame) frame = encode(ToClient{refusal(frame.error(), query_of(message))});
    if (!frame) return;
    const Sent sent = peer.waiting.empty() ? put(peer.identity, *frame) : Sent::full;
    if (sent == Sent::unreachable) return close(session);
    if (sent == Sent::full) keep(peer, std::move(*frame));
  }

  void keep(Peer& peer, std::string frame) {
    peer.waiting_bytes += static_cast<std::int64_t>(frame.size());
    peer.waiting.push_back(std::move(frame));
    blocked_.insert(peer.session);
    if (std::cmp_greater(peer.waiting.size(), options_.queue_max) ||
        peer.waiting_bytes > options_.queue_bytes_max)
      close(peer.session);
  }

  void retry_waiting() {
    const std::vector<SessionId> sessions(blocked_.begin(), blocked_.end());
    for (const SessionId session : sessions)
      if (const auto found = peers_.find(session); found != peers_.end()) retry(found->second);
  }

  void retry(Peer& peer) {
    while (!peer.waiting.empty()) {
      const Sent sent = put(peer.identity, peer.waiting.front());
      if (sent == Sent::full) return;
      if (sent == Sent::unreachable) return close(peer.session);
      peer.waiting_bytes -= static_cast<std::int64_t>(peer.waiting.front().size());
      peer.waiting.pop_front();
    }
    blocked_.erase(peer.session);
  }

  // The last door: whatever was asked and answered before it is checked here, whoever answered.
  Sent put(std::string_view identity, const std::string& frame) {
    if (callbacks_.may_speak && !callbacks_.may_speak()) return Sent::yes;
    // When the identity is refused the body must not be sent: it would be taken for an identity.
    if (zmq_send(router_.get(), identity.data(), identity.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
      return zmq_errno() == EHOSTUNREACH ? Sent::unreachable : Sent::full;
    if (zmq_send(router_.get(), frame.data(), frame.size(), ZMQ_DONTWAIT) < 0)
      return Sent::unreachable;
    return Sent::yes;
  }

  static Error wrong(std::string detail) {
    return Error{.code = Errc::malformed_frame, .detail = std::move(detail)};
  }

  static SessionError refusal(const Error& error, std::uint64_t query) {
    return {.query = query,
            .code = error.code,
            .want = error.want,
            .have = error.have,
            .detail = error.detail};
  }

  // Tells a connection what was wrong, session or not; if it has no room it goes without.
  void complain(std::string_view identity, int connection, const Error& error) {
    const Result<std::string> frame = encode(ToClient{refusal(error, 0)});
    if (frame) put(identity, *frame);
    connections_.note_complaint(connection);
  }

  void reap() {
    const Instant now = callbacks_.steady_now();
    if (now < next_reap_) return;
    next_reap_ = now + Duration{std::max<std::int64_t>(options_.heartbeat.ms / 2, 1)};
    const Instant oldest = now - options_.heartbeat * silent_heartbeats_max;
    std::vector<SessionId> silent;
    for (const auto& [session, peer] : peers_)
      if (peer.heard < oldest) silent.push_back(session);
    for (const SessionId session : silent) close(session);
    connections_.reap(now);
  }

  const GatewayOptions options_;
  const GatewayCallbacks callbacks_;
  Outbox outbox_;
  std::atomic<bool> stop_ = false;
  std::string endpoint_;
  std::string server_key_;
  ZmqContext context_;
  ZmqSocket router_;
  Connections connections_;
  std::string announcement_;
  std::unordered_map<std::string, SessionId> sessions_;  // by the identity of the connection
  std::unordered_map<SessionId, Peer, IdHash> peers_;
  std::unordered_set<SessionId, IdHash> blocked_;  // peers with frames waiting
  std::uint64_t last_session_ = 0;
  Instant next_reap_{};
};

bool is_on_a_network(std::string_view endpoint) {
  return endpoint.starts_with("tcp://") && !endpoint.starts_with("tcp://127.") &&
         !endpoint.starts_with("tcp://[::1]:") && !endpoint.starts_with("tcp://localhost:");
}

Status can_listen_at(const std::string& endpoint) {
  if (!endpoint.starts_with("tcp://")) return ok();
  const ZmqContext context{zmq_ctx_new()};
  const ZmqSocket probe{zmq_socket(context.get(), ZMQ_ROUTER)};
  const std::string any_port = endpoint.substr(0, endpoint.rfind(':')) + ":*";
  if (!probe || !set_option(probe, ZMQ_LINGER, 0) ||
      !set_option(probe, ZMQ_IPV6, speaks_ipv6(endpoint) ? 1 : 0) ||
      zmq_bind(probe.get(), any_port.c_str()) != 0)
    return last_system_error("cannot listen at " + endpoint);
  return ok();
}

Result<std::unique_ptr<GatewaySocket>> GatewaySocket::open(GatewayOptions options,
                                                           GatewayCallbacks callbacks) {
  auto loop = std::make_unique<Loop>(std::move(options), std::move(callbacks));
  if (Status bound = loop->bind(); !bound) return bound.error();
  return std::unique_ptr<GatewaySocket>{new GatewaySocket{std::move(loop)}};
}

GatewaySocket::GatewaySocket(std::unique_ptr<Loop> loop)
    : loop_(std::move(loop)), thread_([this] { loop_->run(); }) {}

GatewaySocket::~GatewaySocket() {
  loop_->stop();
  thread_.join();
}

const std::string& GatewaySocket::endpoint() const { return loop_->endpoint(); }

const std::string& GatewaySocket::server_key() const { return loop_->server_key(); }

void GatewaySocket::reconsider() { loop_->outbox().reconsider(); }

void GatewaySocket::announce(std::string text) { loop_->outbox().announce_to_all(std::move(text)); }

void GatewaySocket::send(SessionId session, ToClient message) {
  loop_->outbox().send(session, std::move(message));
}

void GatewaySocket::end(SessionId session) { loop_->outbox().end(session); }

}  // namespace gpupool
