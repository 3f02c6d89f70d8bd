#pragma once
// How often somebody may ask: the generic cell rate algorithm (ITU-T I.371), a leaky bucket that
// remembers one moment for each name. Time is an argument.

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "config/config.h"

namespace gpupool {

// Bounded: where more names than that ask at once, the newest of them are not limited, since quota
// and queues are. Not for two threads at once.
class RateLimiter {
 public:
  static constexpr std::int64_t names_max_default = 200'000;

  explicit RateLimiter(std::int64_t names_max = names_max_default) : names_max_(names_max) {}

  // Takes one of what `name` may ask now. Otherwise nothing is taken, and the answer is how long to
  // wait for the next: more than 0.
  Duration take(const std::string& name, const RateConfig& rate, Instant now);
  std::int64_t size() const { return static_cast<std::int64_t>(full_at_.size()); }

 private:
  bool has_room(Instant now);

  const std::int64_t names_max_;
  // When each name will be as if it had never asked, in microseconds.
  std::unordered_map<std::string, std::int64_t> full_at_;
  Instant next_sweep_{};
};

// Both limits of a pool. Any thread.
class Rates {
 public:
  // A connection from there greets the pool, or an account asks for something. rate_limited (want:
  // how long to wait): too often. An empty address is of no network, and not limited.
  Status may_come(const std::string& address, const RateConfig& rate, Instant now);
  Status may_ask(const AccountId& account, const RateConfig& rate, Instant now);

 private:
  std::mutex mutex_;
  RateLimiter addresses_;
  RateLimiter accounts_;
};

}  // namespace gpupool
