#pragma once
// The gateway's door for the web front (net/web_api.h): opens a session for whoever it says it
// serves, and gives it what that session answers. Thread-safe.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "actors/messages.h"
#include "net/token.h"

namespace gpupool {

// Sessions that the web front made: the second highest bit is set, the highest is not.
inline constexpr std::uint64_t web_bit = std::uint64_t{1} << 62U;
constexpr bool is_web(SessionId session) {
  return (session.value & web_bit) != 0 && !is_visitor(session);
}

struct WebDoorPorts {
  std::function<Result<Caller>(const Introduction&)> welcome;
  std::function<Status(const Introduction&)> may_come;
  std::function<Result<Caller>(const Introduction&)> recognise;
  std::function<void(SessionId, ToSession)> receive;
  std::function<std::string()> announcement;
};

// What the front hears; called from any thread of the pool, and quick.
struct WebEars {
  std::function<void(SessionId, ToClient)> hear;
  std::function<void()> reconsider;  // what operators have set changed
};

class WebDoor {
 public:
  explicit WebDoor(WebDoorPorts ports) : ports_(std::move(ports)) {}

  // Who asks for something. Errors: unauthenticated, rate_limited.
  Result<Caller> welcome(const Introduction& introduction) const {
    return ports_.welcome(introduction);
  }
  // Who asks for what needs no name. rate_limited.
  Status may_come(const Introduction& introduction) const { return ports_.may_come(introduction); }
  // The same of one who was welcomed before, and asks for nothing.
  Result<Caller> recognise(const Introduction& introduction) const {
    return ports_.recognise(introduction);
  }
  std::string announcement() const { return ports_.announcement(); }
  // overloaded: there are too many sessions.
  Status open(SessionId session, const Caller& caller);
  void say(SessionId session, ToSession message);
  void close(SessionId session);

  // Whoever listens; none: nobody does any more, once this has returned.
  void listen(WebEars ears);
  void tell(SessionId session, const ToClient& message);
  void changed();

 private:
  const WebDoorPorts ports_;
  std::mutex mutex_;
  WebEars ears_;                                // guarded by it
  std::unordered_set<SessionId, IdHash> open_;  // likewise; bounded
};

}  // namespace gpupool
