#include "net/web_door.h"

#include <utility>

#include "config/limits.h"

namespace gpupool {

Status WebDoor::open(SessionId session, const Caller& caller) {
  {
    const std::scoped_lock lock{mutex_};
    const bool is_full = std::cmp_greater_equal(open_.size(), limits::sessions_max);
    if (is_full || !is_web(session) || !open_.insert(session).second)
      return Error{.code = Errc::overloaded, .detail = "this pool has its most sessions"};
  }
  ports_.receive(session, SessionOpened{.session = session, .caller = caller});
  return ok();
}

void WebDoor::say(SessionId session, ToSession message) {
  {
    const std::scoped_lock lock{mutex_};
    if (!open_.contains(session)) return;
  }
  ports_.receive(session, std::move(message));
}

void WebDoor::close(SessionId session) {
  {
    const std::scoped_lock lock{mutex_};
    if (open_.erase(session) == 0) return;
  }
  ports_.receive(session, SessionClosed{session});
}

void WebDoor::listen(WebEars ears) {
  const std::scoped_lock lock{mutex_};
  ears_ = std::move(ears);
}

void WebDoor::tell(SessionId session, const ToClient& message) {
  const std::scoped_lock lock{mutex_};
  if (ears_.hear && open_.contains(session)) ears_.hear(session, message);
}

void WebDoor::changed() {
  const std::scoped_lock lock{mutex_};
  if (ears_.reconsider) ears_.reconsider();
}

}  // namespace gpupool
