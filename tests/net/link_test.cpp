#include "net/link.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

namespace gpupool {
namespace {

// A TCP port of this machine that accepts connections and says nothing.
class SilentPort {
 public:
  SilentPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(socket_, any, size) == 0);
    REQUIRE(::listen(socket_, 8) == 0);
    REQUIRE(::getsockname(socket_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentPort() { ::close(socket_); }
  SilentPort(const SilentPort&) = delete;
  SilentPort& operator=(const SilentPort&) = delete;

  std::string endpoint() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
  // Takes a connection; whether one came within five seconds.
  bool accept() {
    pollfd waiting{socket_, POLLIN, 0};
    if (::poll(&waiting, 1, 5'000) != 1) return false;
    connection_ = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
    return connection_ >= 0;
  }
  void hang_up() { ::close(connection_); }

 private:
  int socket_;
  int connection_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace

TEST_CASE("A link that is dropped before its handshake leaves the next one able to connect") {
  SilentPort port;
  const ZmqContext context{zmq_ctx_new()};
  WakeUp wake_up;
  REQUIRE(wake_up.open());
  for (int i = 0; i < 20; ++i) {
    auto link = Link::open(context, {.endpoint = port.endpoint(), .server_key = ""});
    REQUIRE(link);
    REQUIRE((*link)->send("hello"));  // the socket lingers for it
    REQUIRE(port.accept());
    link->reset();
    port.hang_up();  // an event for nobody
  }
  auto last = Link::open(context, {.endpoint = port.endpoint(), .server_key = ""});
  REQUIRE(last);
  REQUIRE(port.accept());
  port.hang_up();
  for (int i = 0; i < 50 && !(*last)->lost(); ++i) (*last)->wait(wake_up, milliseconds(100));
  CHECK((*last)->lost());
}

}  // namespace gpupool
