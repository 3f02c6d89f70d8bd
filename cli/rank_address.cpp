#include "cli/rank_address.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <optional>

#include "actors/worker/process.h"
#include "config/config.h"

namespace gpupool {
namespace {

constexpr const char* loopback = "127.0.0.1";

std::optional<std::string> text_of(const sockaddr* address, socklen_t length) {
  char text[NI_MAXHOST];
  if (::getnameinfo(address, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
    return std::nullopt;
  return text;
}

// A datagram socket that is connected has sent nothing yet, but knows which way it would.
std::optional<std::string> address_towards(const addrinfo& peer) {
  const FileDescriptor socket{::socket(peer.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  auto* const address = reinterpret_cast<sockaddr*>(&own);
  if (!socket || ::connect(socket.get(), peer.ai_addr, peer.ai_addrlen) != 0 ||
      ::getsockname(socket.get(), address, &length) != 0)
    return std::nullopt;
  return text_of(address, length);
}

std::optional<std::string> address_towards(const HostAndPort& peer) {
  const addrinfo wanted{.ai_socktype = SOCK_DGRAM};
  addrinfo* first = nullptr;
  if (::getaddrinfo(peer.host.c_str(), std::to_string(peer.port).c_str(), &wanted, &first) != 0)
    return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(first, ::freeaddrinfo);
  for (const addrinfo* one = first; one != nullptr; one = one->ai_next)
    if (auto address = address_towards(*one)) return address;
  return std::nullopt;
}

}  // namespace

std::string address_towards(std::string_view peers) {
  while (!peers.empty()) {
    const auto comma = std::min(peers.find(','), peers.size());
    const auto peer = parse_address(std::string(peers.substr(0, comma)));
    peers.remove_prefix(std::min(comma + 1, peers.size()));
    if (auto address = peer ? address_towards(*peer) : std::nullopt) return *std::move(address);
  }
  return loopback;
}

std::string interface_of(std::string_view address) {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, ::freeifaddrs);
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    const int family = one->ifa_addr == nullptr ? AF_UNSPEC : one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const auto length =
        static_cast<socklen_t>(family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    if (text_of(one->ifa_addr, length) == address) return one->ifa_name;
  }
  return {};
}

}  // namespace gpupool
