#pragma once
// Signals: what the daemon's main thread waits for. SIGTERM, SIGINT and SIGHUP are blocked in this
// thread and all that it starts later, and arrive only here; other threads call() it. Made before
// any thread is; one thread waits.

#include <cstdint>
#include <string>

#include "actors/worker/process.h"
#include "base/time.h"

namespace gpupool {

enum class Wake : std::uint8_t { end = 1, reload, called, time };

class Signals {
 public:
  Signals();

  Wake wait(Duration limit);
  // Wakes the waiting thread once; calls before it wakes are one. Any thread.
  void call() const;
  // The name of the signal that ended the last wait.
  const std::string& last() const { return last_; }

 private:
  FileDescriptor signals_;
  FileDescriptor calls_;
  std::string last_;
};

}  // namespace gpupool
