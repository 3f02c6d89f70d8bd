#pragma once
// SureUntil: until when a process is sure that nobody else leads what it leads, for all of its
// threads (Leadership::sure_until() of actors/ledger/leadership.h). Whatever leaves the process is
// checked against it at the door, after it was made: what it says was true when it was made, since
// nobody else had led by then. Without that, a leader that stood still and goes on would answer
// from what it knew before, until it finds out. Thread-safe.

#include <atomic>
#include <cstdint>

#include "base/time.h"

namespace gpupool {

class SureUntil {
 public:
  bool holds(Instant now) const { return now.ms < ms_.load(std::memory_order_acquire); }
  void set(Instant until) { ms_.store(until.ms, std::memory_order_release); }
  void end() { set({}); }

 private:
  std::atomic<std::int64_t> ms_ = 0;
};

}  // namespace gpupool
