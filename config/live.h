#pragma once
// The configuration that holds now, in a process that can reload it. Every version lives as long as
// the process, so a reference to one never dangles; the number of reloads is bounded. Readers take
// no lock: an actor compares version() with the one it has and asks for current() when it differs.

#include <atomic>
#include <cstdint>
#include <deque>
#include <utility>

#include "config/config.h"

namespace gpupool {

class LiveConfig {
 public:
  static constexpr std::size_t versions_max = 1'000;

  explicit LiveConfig(Config first) {
    versions_.push_back(std::move(first));
    current_ = &versions_.back();
  }
  LiveConfig(const LiveConfig&) = delete;
  LiveConfig& operator=(const LiveConfig&) = delete;

  const Config& current() const { return *current_.load(std::memory_order_acquire); }
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

  // One thread replaces. False: too many versions already; the process has to be restarted.
  bool replace(Config next) {
    if (versions_.size() >= versions_max) return false;
    versions_.push_back(std::move(next));
    current_.store(&versions_.back(), std::memory_order_release);
    version_.fetch_add(1, std::memory_order_release);
    return true;
  }

 private:
  std::deque<Config> versions_;  // a deque never moves what it holds
  std::atomic<const Config*> current_{nullptr};
  std::atomic<std::uint64_t> version_{1};
};

}  // namespace gpupool
