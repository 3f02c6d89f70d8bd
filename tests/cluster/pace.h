#pragma once
// How slow this machine is just now: every 50 ms a thread sleeps, writes a page to a file and waits
// until that is on the disk. What this takes beyond the sleep is what anything here may be late by
// that is told from thread to thread and made durable on the way. Starts with the object and ends
// with it.

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/time.h"

namespace gpupool::test {

class Pace {
 public:
  // The file is made in `folder`, on the disk of what is tested.
  explicit Pace(const std::filesystem::path& folder);
  ~Pace();
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;

  // The longest so far.
  Duration longest() const { return Duration{longest_ms_}; }

 private:
  void measure(const std::filesystem::path& file);

  std::atomic<std::int64_t> longest_ms_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace gpupool::test
