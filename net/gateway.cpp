#include "net/gateway.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>

#include "actors/describe.h"
#include "actors/session/session_actor.h"
#include "base/clock.h"
#include "net/descriptor_limit.h"
#include "net/rate_limit.h"
#include "net/token.h"

namespace gpupool {
namespace {

// Client messages that may wait in all sessions together before the socket is read again.
constexpr std::int64_t in_flight_max = 10'000;
// Descriptors that are not for clients: the ledger, workers, children and their pipes.
constexpr std::int64_t descriptors_kept = 512;
constexpr std::int64_t connections_min = 16;

// As many connections as the system lets this process have; its soft limit is raised to the hard.
// Without a bound of ours, ZeroMQ would spin on a connection that it cannot accept.
std::int64_t connections_allowed() {
  const auto most = static_cast<std::int64_t>(
      std::min<rlim_t>(raise_descriptor_limit(), static_cast<rlim_t>(limits::sessions_max * 2)));
  return std::clamp(most - descriptors_kept, connections_min, GatewayOptions{}.connections_max);
}

void warn_if_exposed(const BrokerConfig& broker) {
  const std::string& endpoint = broker.client_endpoint;
  if (!is_on_a_network(endpoint) || !broker.curve_secret.empty()) return;
  spdlog::warn(
      "CLIENTS REACH {} WITHOUT ENCRYPTION: whoever sits on the network reads their tokens and "
      "can use them. Make a key with \"gpupool keys curve --out pool\", set "
      "broker.curve_secret_file = \"pool.secret\", and give clients --server-key @pool.public",
      endpoint);
}

class Bridge {
 public:
  Bridge(caf::actor_system& system, Surroundings around)
      : system_(system), around_(std::move(around)) {}

  void receive(SessionId id, ToSession message) {
    SessionHandle session = around_.directory->session(id);
    if (!session) {
      if (!std::holds_alternative<SessionOpened>(message)) return;
      session = spawn_session(system_, around_, id, in_flight_);
      around_.directory->set_session(id, session);
    }
    in_flight_->fetch_add(1, std::memory_order_relaxed);
    post<ToSession>(session, std::move(message));
  }

  // What operators have set, from the console's thread to the socket's.
  void rule(const Standing& standing) {
    auto next = std::make_shared<const Rulings>(standing);
    const std::lock_guard lock(rulings_mutex_);
    rulings_ = std::move(next);
  }
  std::shared_ptr<const Rulings> rulings() const {
    const std::lock_guard lock(rulings_mutex_);
    return rulings_;
  }

  // Somebody was turned away at the door, where no session could tell of it.
  void note(Errc code) {
    if (const ConsoleHandle console = around_.directory->console())
      post<ToConsole>(console, RefusalNoted{code});
  }
  Status may_come(const std::string& address) {
    return rates_.may_come(address, around_.config.current().rates.address, boot_time());
  }
  Status may_ask(const AccountId& account) {
    return rates_.may_ask(account, around_.config.current().rates.account, boot_time());
  }

  // From here on answers find their way back to the clients.
  void open() { open_.store(true, std::memory_order_release); }
  bool congested() const {
    return !open_.load(std::memory_order_acquire) ||
           in_flight_->load(std::memory_order_relaxed) > in_flight_max;
  }

 private:
  caf::actor_system& system_;
  const Surroundings around_;
  mutable std::mutex rulings_mutex_;
  std::shared_ptr<const Rulings> rulings_ = std::make_shared<const Rulings>();
  Rates rates_;
  std::atomic<bool> open_ = false;
  std::shared_ptr<std::atomic<std::int64_t>> in_flight_ =
      std::make_shared<std::atomic<std::int64_t>>(0);
};

// Visitors of the device APIs of nodes: a session for each, as for a client, but for the way there
// and back. Called by the broker's shell and by the sessions.
class Visitors {
 public:
  Visitors(Surroundings around, std::shared_ptr<Bridge> bridge)
      : around_(std::move(around)), bridge_(std::move(bridge)) {}

  void hear(const ToBroker& message, const DeviceApiHandle& api) {
    if (const auto* submits = std::get_if<VisitorSubmits>(&message)) {
      if (open(submits->session, {submits->token, submits->address}, api, space_of(submits->body)))
        bridge_->receive(submits->session, ClientSubmit{.query = submit_query,
                                                        .request = submits->request,
                                                        .body = submits->body});
    } else if (const auto* asks = std::get_if<VisitorAsks>(&message)) {
      if (open(asks->session, {asks->token, asks->address}, api, {}))
        bridge_->receive(asks->session, ClientQuota{.query = submit_query});
    } else if (const auto* leaves = std::get_if<VisitorLeaves>(&message)) {
      leaves->session ? close(*leaves) : close_all(api);
    }
  }

  // Whether the session is a visitor's, who then was told.
  bool tell(SessionId session, const ToClient& message) {
    if (!is_visitor(session)) return false;
    DeviceApiHandle api;
    {
      const std::lock_guard lock(mutex_);
      if (const auto it = visitors_.find(session); it != visitors_.end()) api = it->second;
    }
    if (api && around_.directory->may_speak())
      std::visit([&](const auto& one) { tell(api, session, one); }, message);
    return true;
  }

 private:
  static constexpr std::uint64_t submit_query = 1;
  static constexpr std::uint64_t cancel_query = 2;

  static std::string space_of(const JobRequest& body) {
    for (const Argument& one : body.arguments)
      if (one.key == space_argument) return one.value;
    return {};
  }

  // `space`: that the visitor comes through, which spends what the visitor has.
  bool open(SessionId session, const Introduction& introduction, const DeviceApiHandle& api,
            const std::string& space) {
    if (!is_visitor(session)) return false;
    auto caller =
        recognise(around_.config.current(), introduction, around_.now(), *bridge_->rulings());
    const auto fail = [&](Errc code, const std::string& detail) {
      post<ToDeviceApi>(api, VisitorFailed{.session = session, .code = code, .detail = detail});
      return false;
    };
    if (!caller) return fail(Errc::unauthenticated, caller.error().detail);
    if (const Status may = bridge_->may_ask(caller->account); !may)
      return fail(may.error().code, may.error().detail);
    {
      const std::lock_guard lock(mutex_);
      const bool is_full = std::cmp_greater_equal(visitors_.size(), limits::sessions_max);
      if (is_full || !visitors_.emplace(session, api).second) return fail(Errc::overloaded, {});
    }
    post<ToDeviceApi>(api, VisitorRecognised{.session = session, .caller = *caller});
    if (!space.empty()) caller->recognised_by += ", through Space " + space;
    // A token that is good now stays good for the one job of this session, however long it waits.
    caller->expires = Instant::never();
    bridge_->receive(session, SessionOpened{.session = session, .caller = *caller});
    return true;
  }

  void close(const VisitorLeaves& leaves) {
    {
      const std::lock_guard lock(mutex_);
      if (visitors_.erase(leaves.session) == 0) return;
    }
    if (leaves.job)
      bridge_->receive(leaves.session, ClientCancel{.query = cancel_query, .job = leaves.job});
    bridge_->receive(leaves.session, SessionClosed{leaves.session});
  }

  // Its node is gone. What its visitors had in the queue is cancelled when its time is up.
  void close_all(const DeviceApiHandle& api) {
    std::vector<SessionId> gone;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [session, handle] : visitors_)
        if (handle == api) gone.push_back(session);
    }
    for (const SessionId session : gone) close({.session = session, .job = {}});
  }

  template <class Other>
  void tell(const DeviceApiHandle&, SessionId, const Other&) const {}
  void tell(const DeviceApiHandle& api, SessionId session, const SessionRefused& refused) const {
    post<ToDeviceApi>(api, VisitorRefused{.session = session, .refusal = refused.refusal});
  }
  void tell(const DeviceApiHandle& api, SessionId session, const SessionError& error) const {
    post<ToDeviceApi>(
        api, VisitorFailed{.session = session, .code = error.code, .detail = error.detail});
  }
  void tell(const DeviceApiHandle& api, SessionId session, const JobEvent& event) const {
    post<ToDeviceApi>(api, VisitorMoved{.session = session, .event = event});
  }
  void tell(const DeviceApiHandle& api, SessionId session, const JobDone& done) const {
    post<ToDeviceApi>(api, VisitorSettled{.session = session, .done = done});
  }
  void tell(const DeviceApiHandle& api, SessionId session, const QuotaAnswer& answer) const {
    post<ToDeviceApi>(api, VisitorQuota{.session = session, .answer = answer});
  }

  const Surroundings around_;
  const std::shared_ptr<Bridge> bridge_;
  std::mutex mutex_;
  std::unordered_map<SessionId, DeviceApiHandle, IdHash> visitors_;  // bounded
};

// The console's word, on its thread: the threads of the socket and of the web front carry it out.
void obey(Bridge& bridge, GatewaySocket& socket, WebDoor& web, const Standing& standing) {
  const bool announces = bridge.rulings()->announcement() != standing.announcement;
  bridge.rule(standing);
  socket.reconsider();
  if (announces) socket.announce(standing.announcement);
  web.changed();
}

Result<Caller> recognise_web(const Surroundings& around, const Bridge& bridge,
                             const Introduction& introduction) {
  auto caller = recognise(around.config.current(), introduction, around.now(), *bridge.rulings());
  if (caller) return caller;
  return Error{.code = Errc::unauthenticated, .detail = describe(caller.error())};
}

// Who asks too often over HTTP is told so before there is a session.
Result<Caller> welcome_web(const Surroundings& around, Bridge& bridge,
                           const Introduction& introduction) {
  Status may = bridge.may_come(introduction.peer_address);
  if (may) {
    auto caller = recognise_web(around, bridge, introduction);
    may = caller ? bridge.may_ask(caller->account) : Status{caller.error()};
    if (may) return caller;
  }
  bridge.note(may.error().code);
  return may.error();
}

}  // namespace

Result<Gateway> open_gateway(caf::actor_system& system, Surroundings around,
                             const std::string& build, const Standing& standing) {
  const Config& config = around.config.current();
  warn_if_exposed(config.broker);
  const auto bridge = std::make_shared<Bridge>(system, around);
  bridge->rule(standing);
  auto opened = GatewaySocket::open(
      {.endpoint = config.broker.client_endpoint,
       .pool = config.pool,
       .build = build,
       .curve_secret = config.broker.curve_secret,
       .announcement = standing.announcement,
       .connections_max = connections_allowed()},
      {.read_credentials =
           [around, bridge](const Introduction& introduction) {
             auto read = read_credentials(around.config.current(), introduction, around.now());
             if (!read) bridge->note(Errc::unauthenticated);
             return read;
           },
       .admit =
           [around, bridge](const Credentials& credentials) {
             return admit(around.config.current(), *bridge->rulings(), credentials);
           },
       .receive = [bridge](SessionId id,
                           ToSession message) { bridge->receive(id, std::move(message)); },
       .steady_now = boot_time,
       .congested = [bridge] { return bridge->congested(); },
       .may_speak = [around] { return around.directory->may_speak(); },
       .may_come = [bridge](const std::string& address) { return bridge->may_come(address); },
       .may_ask = [bridge](const AccountId& account) { return bridge->may_ask(account); }});
  if (!opened) return opened.error();
  const std::shared_ptr<GatewaySocket> socket = std::move(*opened);
  const auto visitors = std::make_shared<Visitors>(around, bridge);
  around.directory->set_visitors([visitors](const ToBroker& message, const DeviceApiHandle& api) {
    visitors->hear(message, api);
  });
  const auto web = std::make_shared<WebDoor>(WebDoorPorts{
      .welcome = [around,
                  bridge](const Introduction& who) { return welcome_web(around, *bridge, who); },
      .may_come =
          [bridge](const Introduction& who) {
            return bridge->may_come(network_of(who.peer_address));
          },
      .recognise =
          [around, bridge](const Introduction& who) { return recognise_web(around, *bridge, who); },
      .receive = [bridge](SessionId id,
                          ToSession message) { bridge->receive(id, std::move(message)); },
      .announcement = [bridge] { return bridge->rulings()->announcement(); }});
  around.directory->set_client([around, socket, visitors, web](SessionId id, ToClient message) {
    if (is_web(id)) {
      if (around.directory->may_speak()) web->tell(id, message);
    } else if (!visitors->tell(id, message)) {
      socket->send(id, std::move(message));
    }
  });
  around.directory->set_gateway([bridge, socket, web](const ToGateway& message) {
    std::visit([&](const Standing& present) { obey(*bridge, *socket, *web, present); }, message);
  });
  bridge->open();
  return Gateway{socket, web};
}

}  // namespace gpupool
