#pragma once
// What any thread wants said to clients, waiting for the gateway's thread: a queue with many
// writers and one reader, in order, at most `messages_max` long. The reader is woken only on the
// edge from empty to not empty, so a busy gateway costs its writers no system call. A session that
// finds the queue full is ended: it would otherwise miss a message.

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "actors/messages.h"
#include "net/sockets.h"

namespace gpupool {

class Outbox {
 public:
  struct Letter {
    SessionId session;
    ToClient message;
  };
  struct Content {
    std::vector<Letter> letters;
    std::unordered_set<SessionId, IdHash> ended;  // after their letters
    std::optional<std::string> announcement;      // to everybody, from now on
    bool reconsider = false;                      // who may go on, and as whom
  };

  explicit Outbox(std::size_t messages_max) : messages_max_(messages_max) {}

  void send(SessionId session, ToClient message) {
    const std::lock_guard lock{mutex_};
    if (content_.letters.size() < messages_max_)
      content_.letters.push_back({session, std::move(message)});
    else
      content_.ended.insert(session);
    announce();
  }

  void end(SessionId session) {
    const std::lock_guard lock{mutex_};
    content_.ended.insert(session);
    announce();
  }

  void announce_to_all(std::string text) {
    const std::lock_guard lock{mutex_};
    content_.announcement = std::move(text);
    announce();
  }

  void reconsider() {
    const std::lock_guard lock{mutex_};
    content_.reconsider = true;
    announce();
  }

  // The reader: clear the wake-up and the flag first, then take. A writer that comes between finds
  // the flag down and wakes the reader again, so nothing is left lying.
  Content take() {
    wake_up_.clear();
    const std::lock_guard lock{mutex_};
    announced_ = false;
    return std::exchange(content_, {});
  }

  WakeUp& wake_up() { return wake_up_; }

 private:
  void announce() {
    if (!std::exchange(announced_, true)) wake_up_.wake();
  }

  const std::size_t messages_max_;
  std::mutex mutex_;
  Content content_;
  bool announced_ = false;
  WakeUp wake_up_;
};

}  // namespace gpupool
