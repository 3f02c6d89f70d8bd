#pragma once
// The waiting jobs of a partition in the order in which they will be tried. Today that order is
// arrival, first come first served; the callers ask only for the next job, a job's position and a
// walk in order, so the policy can change behind this door. Owned by the broker, one thread.

#include <cstdint>
#include <functional>
#include <map>
#include <set>

#include "actors/broker/placement.h"
#include "base/ids.h"
#include "base/time.h"

namespace gpupool {

struct Waiting {
  JobId job;  // also its arrival: the journal sequence of its hold
  Shape shape;
  Duration declared{};
};

class Queue {
 public:
  // A job that is queued again after the pool's fault returns to its old place by its arrival.
  void push(const Waiting& waiting) {
    remove(waiting.job);
    by_arrival_[waiting.job] = waiting;
    by_shape_[waiting.shape].insert(waiting.job);
  }
  bool remove(JobId job) {
    const auto it = by_arrival_.find(job);
    if (it == by_arrival_.end()) return false;
    const auto same = by_shape_.find(it->second.shape);
    same->second.erase(job);
    if (same->second.empty()) by_shape_.erase(same);
    by_arrival_.erase(it);
    return true;
  }

  // The job to start next, or nullptr: the oldest of those whose shape `is_there`. Valid until the
  // queue changes.
  const Waiting* first(const std::function<bool(const Shape&)>& is_there) const {
    JobId oldest;
    for (const auto& [shape, jobs] : by_shape_)
      if ((!oldest || *jobs.begin() < oldest) && is_there(shape)) oldest = *jobs.begin();
    return oldest ? &by_arrival_.at(oldest) : nullptr;
  }
  // The waiting jobs of each shape, oldest first.
  const std::map<Shape, std::set<JobId>>& by_shape() const { return by_shape_; }

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
  std::map<Shape, std::set<JobId>> by_shape_;  // the same ones; no shape without a job
};

}  // namespace gpupool
