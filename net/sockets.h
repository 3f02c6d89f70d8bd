#pragma once
// Owners for what ZeroMQ and Linux lend us: a context, a socket, a received message, an eventfd.
// Each closes what it owns. Only net/ includes this; nothing of it is seen through net/client.h.

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gpupool {

struct ContextCloser {
  void operator()(void* context) const { zmq_ctx_term(context); }
};
using ZmqContext = std::unique_ptr<void, ContextCloser>;

struct SocketCloser {
  void operator()(void* socket) const { zmq_close(socket); }
};
using ZmqSocket = std::unique_ptr<void, SocketCloser>;

// The last failed call of ZeroMQ or the system on this thread, with what it was about.
inline Error last_system_error(std::string about) {
  const int number = zmq_errno();
  return Error{.code = Errc::system_failed,
               .want = number,
               .detail = std::move(about) + ": " + zmq_strerror(number)};
}

inline bool set_option(const ZmqSocket& socket, int option, int value) {
  return zmq_setsockopt(socket.get(), option, &value, sizeof value) == 0;
}

inline bool set_option(const ZmqSocket& socket, int option, const std::string& value) {
  return zmq_setsockopt(socket.get(), option, value.c_str(), value.size() + 1) == 0;
}

// IPv6 is on for endpoints that spell it out, "tcp://[::1]:7400". It is off for names: with it,
// ZeroMQ tries only the first address of "localhost", where an IPv4 pool is not.
inline bool speaks_ipv6(std::string_view endpoint) {
  return endpoint.find('[') != std::string_view::npos;
}

class ZmqMessage {
 public:
  ZmqMessage() { zmq_msg_init(&message_); }
  ~ZmqMessage() { zmq_msg_close(&message_); }
  ZmqMessage(const ZmqMessage&) = delete;
  ZmqMessage& operator=(const ZmqMessage&) = delete;

  // False if nothing is there or the socket failed; errno says which.
  bool receive(const ZmqSocket& socket) {
    return zmq_msg_recv(&message_, socket.get(), ZMQ_DONTWAIT) >= 0;
  }
  bool more() { return zmq_msg_more(&message_) != 0; }
  std::string_view bytes() {
    return {static_cast<const char*>(zmq_msg_data(&message_)), zmq_msg_size(&message_)};
  }
  // A property of the connection that it came by; empty if there is none.
  std::string property(const char* name) {
    const char* value = zmq_msg_gets(&message_, name);
    return value ? value : "";
  }
  // The descriptor of that connection; -1 if there is none.
  int connection() { return zmq_msg_get(&message_, ZMQ_SRCFD); }

 private:
  zmq_msg_t message_{};
};

// Wakes a thread that polls fd(). wake() is async-signal-safe.
class WakeUp {
 public:
  WakeUp() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~WakeUp() {
    if (fd_ >= 0) ::close(fd_);
  }
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;

  bool open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void wake() noexcept {
    const int saved = errno;
    const std::uint64_t one = 1;
    // A full counter is as good as a written one.
    [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
    errno = saved;
  }
  void clear() noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(fd_, &count, sizeof count);
  }

 private:
  int fd_ = -1;
};

}  // namespace gpupool
