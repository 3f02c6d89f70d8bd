#pragma once
// The waiting jobs of a partition in the order in which they will be tried. Today that order is
// arrival, first come first served; the callers ask only for the next job, a job's position and a
// walk in order, so the policy can change behind this door. Owned by the broker, one thread.

#include <cstdint>
#include <functional>
#include <map>

#include "base/ids.h"
#include "base/time.h"

namespace gpupool {

struct Waiting {
  JobId job;  // also its arrival: the journal sequence of its hold
  std::uint32_t slots = 1;
  Duration declared{};
};

class Queue {
 public:
  // A job that is queued again after the pool's fault returns to its old place by its arrival.
  void push(const Waiting& waiting) { by_arrival_[waiting.job] = waiting; }
  bool remove(JobId job) { return by_arrival_.erase(job) > 0; }

  // The job to start next, or nullptr. Valid until the queue changes.
  const Waiting* front() const {
    return by_arrival_.empty() ? nullptr : &by_arrival_.begin()->second;
  }

  std::size_t size() const { return by_arrival_.size(); }

  // How many waiting jobs arrived before `job`, whether or not it waits itself. O(n).
  std::uint32_t older_than(JobId job) const {
    return static_cast<std::uint32_t>(
        std::distance(by_arrival_.begin(), by_arrival_.lower_bound(job)));
  }

  // Every waiting job in order, with its position from 1.
  void walk(const std::function<void(std::uint32_t position, const Waiting&)>& visit) const {
    std::uint32_t position = 0;
    for (const auto& [job, waiting] : by_arrival_) visit(++position, waiting);
  }

 private:
  std::map<JobId, Waiting> by_arrival_;
};

}  // namespace gpupool
