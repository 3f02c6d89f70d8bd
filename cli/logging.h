#pragma once
// Log: where the daemon's lines go, on standard error, as text or as one JSON object a line. A
// thread of its own writes them, behind a bounded queue that drops its oldest lines when nobody
// reads them, so a log that is not read never stops the pool. Warnings that repeat themselves word
// for word are told once a minute. Usable from any thread; spdlog's default logger goes here too.

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "actors/log_line.h"
#include "config/config.h"

namespace spdlog {
class logger;
namespace details {
class thread_pool;
}
}  // namespace spdlog

namespace gpupool {

class Log {
 public:
  explicit Log(const LogConfig& config);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  LogLevel least() const { return least_; }
  void write(const LogLine& line);
  void say(LogLevel level, std::string_view event, std::string text);
  // Waits until everything said has been written; what is said later is lost.
  void end();

 private:
  // Warnings of the last minute, the oldest first; bounded.
  struct Warned {
    std::string text;
    Instant at{};
  };
  bool was_said_lately(const LogLine& line);

  const bool json_;
  const LogLevel least_;
  std::shared_ptr<spdlog::details::thread_pool> writer_;
  std::shared_ptr<spdlog::logger> lines_;
  std::mutex mutex_;
  std::deque<Warned> warned_;  // guarded by mutex_
};

// How a line looks behind its time and level: "held job=5 account=user:ada: 60.0 s held".
std::string text_of(const LogLine& line);
// The members of its JSON object behind "at" and "level": "event":"held","text":"...","job":5
std::string json_members_of(const LogLine& line);

}  // namespace gpupool
