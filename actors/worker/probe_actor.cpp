#include "actors/worker/probe_actor.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>

#include "actors/worker/process.h"
#include "base/clock.h"

namespace gpupool {
namespace {

bool connects(const addrinfo& address, Instant give_up) {
  const FileDescriptor socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return false;
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd item{.fd = socket.get(), .events = POLLOUT, .revents = 0};
  const Duration left = std::max(Duration{}, give_up - boot_time());
  if (::poll(&item, 1, static_cast<int>(left.ms)) != 1) return false;
  int error = 0;
  socklen_t size = sizeof error;
  return ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

bool is_reachable(const std::string& host, std::uint16_t port) {
  const Instant give_up = boot_time() + probe_limit;
  const addrinfo wanted{
      .ai_flags = AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found) != 0) return false;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, ::freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next)
    if (connects(*one, give_up)) return true;
  return false;
}

ProbeHandle::behavior_type probe(ProbeHandle::pointer self) {
  return {[self](caf::connect_atom, const std::string& host, std::uint16_t port) {
    self->quit();
    return is_reachable(host, port);
  }};
}

}  // namespace

ProbeHandle spawn_probe(caf::actor_system& system) { return system.spawn<caf::detached>(probe); }

}  // namespace gpupool
