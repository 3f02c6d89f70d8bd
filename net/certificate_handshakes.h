#pragma once
// HandshakeGuard: stands beside CAF's TLS, which it cannot change, by OpenSSL's own callbacks. It
// tells who came in and who was refused and why, it bounds how many peers may be without a finished
// handshake, and it empties the thread's queue of OpenSSL errors after a failure: CAF 0.17 as
// Debian builds it never does, and takes what one refused peer left there for an error of every
// other connection. One for a process, from before CAF's system until after it; CAF's threads.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/time.h"

struct ssl_st;

namespace gpupool {

struct HandshakeNews {
  enum class Kind : std::uint8_t { member = 1, refused = 2, cut_off = 3 };
  enum class Side : std::uint8_t { dialled_here = 1, dialled_there = 2 };
  Kind kind{};
  Side side{};        // it dialled this machine, or this machine dialled it
  std::string peer;   // its network address
  std::string words;  // whose certificate it showed, or why it came to nothing
};

class HandshakeGuard {
 public:
  // A thousand nodes that come at once have milliseconds of handshake each, and dial again.
  static constexpr std::size_t handshakes_max = 512;
  // On a slow network a handshake takes a second; nobody who means well needs longer.
  static constexpr Duration handshake_limit = seconds(10);

  using Tell = std::function<void(const HandshakeNews&)>;  // thread-safe

  explicit HandshakeGuard(Tell tell);
  ~HandshakeGuard();
  HandshakeGuard(const HandshakeGuard&) = delete;
  HandshakeGuard& operator=(const HandshakeGuard&) = delete;

  // What OpenSSL calls back for.
  void began(const ssl_st* session);
  void done(const ssl_st* session);
  void failed(const ssl_st* session);
  void told_off(const ssl_st* session, int alert);
  void gone(const ssl_st* session);

 private:
  struct Pending {
    int socket = -1;
    Instant since{};
    std::string peer;  // whose address is not known any more once it has gone
  };
  std::optional<Pending> take(const ssl_st* session);
  // Peers that take too long, or are too many: the oldest first. Called with the lock held.
  void cut_off_late(Instant now);

  const Tell tell_;
  int index_ = -1;
  std::mutex mutex_;
  std::map<const ssl_st*, Pending> pending_;  // guarded by mutex_; bounded
};

}  // namespace gpupool
