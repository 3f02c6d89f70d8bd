#pragma once
// A pool for tests of the client protocol: the real gateway socket on a free port, in front of a
// function that plays all its sessions. Also a bare DEALER that can break the protocol. Nothing
// here sleeps: every wait is for something that happens, and gives up after `patience`.

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/gateway_socket.h"
#include "net/sockets.h"
#include "net/wire.h"

namespace gpupool {

inline constexpr std::chrono::seconds patience{30};

// A closed one recognises nobody.
enum class Door { open, closed };

// Who may come or ask; empty: at will.
struct HowOften {
  std::function<Status(const std::string&)> may_come{};
  std::function<Status(const AccountId&)> may_ask{};
};

class TestPool {
 public:
  using Answer = std::function<void(TestPool&, SessionId, const ToSession&)>;

  explicit TestPool(Answer answer = {}, GatewayOptions options = {}, Door door = Door::open,
                    HowOften how_often = {})
      : answer_(std::move(answer)), door_(door) {
    if (options.endpoint.empty()) options.endpoint = "tcp://127.0.0.1:*";
    options.pool = "test pool";
    options.build = "0.0";
    // A client that waited for the endpoint may be there before the socket is: callbacks wait.
    const std::lock_guard lock{mutex_};
    auto socket = GatewaySocket::open(
        options,
        {.read_credentials = [this](const Introduction& who) { return recognise(who); },
         .admit = [this](const Credentials& credentials) { return admit(credentials); },
         .receive = [this](SessionId id, const ToSession& message) { receive(id, message); },
         .steady_now = [this] { return Instant{now_ms_}; },
         .congested = [this] { return congested_.load(); },
         .may_speak = [this] { return !silent_.load(); },
         .may_come = std::move(how_often.may_come),
         .may_ask = std::move(how_often.may_ask)});
    REQUIRE(socket);
    socket_ = std::move(*socket);
    endpoint_ = socket_->endpoint();
  }

  // Tokens are the names of their users; "bad" is no token.
  Result<Credentials> recognise(const Introduction& who) {
    const std::lock_guard lock{mutex_};
    last_introduction_ = who;
    if (who.token == "bad" || door_ == Door::closed)
      return Error{.code = Errc::token_expired, .want = 1, .detail = "the token expired"};
    return Credentials{.caller = {.account = {"user:" + who.token},
                                  .tier = "free",
                                  .recognised_by = "a test",
                                  .token_id = who.token}};
  }

  // By what `set_standing` said.
  Result<Caller> admit(const Credentials& credentials) {
    const std::lock_guard lock{mutex_};
    Caller caller = credentials.caller;
    if (auto why = rulings_.revocation_of(caller, credentials.issued))
      return Error{.code = Errc::unauthenticated, .detail = std::move(*why)};
    if (const std::string* tier = rulings_.tier_of(caller.account)) caller.tier = *tier;
    return caller;
  }
  void set_standing(const Standing& standing) {
    {
      const std::lock_guard lock{mutex_};
      rulings_ = Rulings{standing};
    }
    socket().reconsider();
  }
  void announce(std::string text) { socket().announce(std::move(text)); }
  std::string server_key() { return socket().server_key(); }

  const std::string& endpoint() const { return endpoint_; }
  void send(SessionId session, ToClient message) { socket().send(session, std::move(message)); }
  void end(SessionId session) { socket().end(session); }
  void let_time_pass(Duration time) { now_ms_ += time.ms; }
  void set_congested(bool value) { congested_ = value; }
  void set_silent(bool value) { silent_ = value; }
  Introduction last_introduction() {
    const std::lock_guard lock{mutex_};
    return last_introduction_;
  }

  // How many messages of type Message have arrived.
  template <class Message>
  std::size_t count() {
    const std::lock_guard lock{mutex_};
    return count_locked<Message>();
  }
  // True as soon as that many have.
  template <class Message>
  bool wait_for(std::size_t number) {
    std::unique_lock lock{mutex_};
    return arrived_.wait_for(lock, patience, [&] { return count_locked<Message>() >= number; });
  }
  template <class Message>
  std::vector<std::pair<SessionId, Message>> all() {
    const std::lock_guard lock{mutex_};
    std::vector<std::pair<SessionId, Message>> found;
    for (const auto& [session, message] : messages_)
      if (const Message* one = std::get_if<Message>(&message)) found.emplace_back(session, *one);
    return found;
  }

 private:
  GatewaySocket& socket() {
    const std::lock_guard lock{mutex_};
    return *socket_;
  }

  void receive(SessionId session, const ToSession& message) {
    {
      const std::lock_guard lock{mutex_};
      messages_.emplace_back(session, message);
    }
    if (answer_) answer_(*this, session, message);
    arrived_.notify_all();
  }

  template <class Message>
  std::size_t count_locked() const {
    std::size_t number = 0;
    for (const auto& [session, message] : messages_)
      if (std::holds_alternative<Message>(message)) ++number;
    return number;
  }

  const Answer answer_;
  const Door door_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::pair<SessionId, ToSession>> messages_;
  Introduction last_introduction_;
  Rulings rulings_;
  std::atomic<std::int64_t> now_ms_ = 1'000'000;
  std::atomic<bool> congested_ = false;
  std::atomic<bool> silent_ = false;
  std::string endpoint_;
  std::unique_ptr<GatewaySocket> socket_;  // last: its thread uses everything above
};

class RawClient {
 public:
  explicit RawClient(const std::string& endpoint, const std::string& routing_id = "")
      : context_(zmq_ctx_new()), dealer_(zmq_socket(context_.get(), ZMQ_DEALER)) {
    set_option(dealer_, ZMQ_LINGER, 0);
    set_option(dealer_, ZMQ_RCVHWM, 1);
    if (!routing_id.empty())
      zmq_setsockopt(dealer_.get(), ZMQ_ROUTING_ID, routing_id.data(), routing_id.size());
    REQUIRE(zmq_connect(dealer_.get(), endpoint.c_str()) == 0);
  }

  void send_bytes(const std::string& frame, int flags = 0) {
    REQUIRE(zmq_send(dealer_.get(), frame.data(), frame.size(), flags) >= 0);
  }
  // What the connection has no room for is dropped.
  void try_send(const std::string& frame) {
    zmq_send(dealer_.get(), frame.data(), frame.size(), ZMQ_DONTWAIT);
  }
  void send(const FromClient& message) { send_bytes(*encode(message)); }

  // The next message, or none if there is none within the time.
  std::optional<ToClient> receive(std::chrono::milliseconds time = patience) {
    zmq_pollitem_t item{dealer_.get(), 0, ZMQ_POLLIN, 0};
    if (zmq_poll(&item, 1, time.count()) < 1) return std::nullopt;
    ZmqMessage message;
    if (!message.receive(dealer_)) return std::nullopt;
    Result<ToClient> decoded = decode_from_pool(message.bytes());
    REQUIRE(decoded);
    return std::move(*decoded);
  }
  template <class Message>
  Message receive_one() {
    std::optional<ToClient> message = receive();
    REQUIRE(message);
    REQUIRE(std::holds_alternative<Message>(*message));
    return std::get<Message>(*message);
  }

 private:
  ZmqContext context_;
  ZmqSocket dealer_;
};

}  // namespace gpupool
