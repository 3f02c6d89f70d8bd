#pragma once
// Forecast: when the jobs that wait are likely to start: what the dispatcher would do from now on
// if nobody else came and every job took its likely time. Never a promise. Pure function of copies.

#include <functional>
#include <unordered_map>

#include "actors/broker/dispatcher.h"

namespace gpupool {

class Forecast {
 public:
  // `likely`: how long this job will likely occupy its slots from its lease on. Looks ahead for so
  // many starts.
  using Likely = std::function<Duration(JobId)>;
  Forecast(Instant now, Dispatcher waiting, Placement slots, const Likely& likely,
           std::size_t starts_max);

  // never(): not foreseen, without the slots or too far behind.
  Instant start_of(JobId job) const {
    const auto it = starts_.find(job);
    return it == starts_.end() ? Instant::never() : it->second.at;
  }
  // In the order of the starts, from 1 on; 0: not foreseen.
  std::uint32_t position_of(JobId job) const {
    const auto it = starts_.find(job);
    return it == starts_.end() ? 0 : it->second.position;
  }

 private:
  struct Foreseen {
    Instant at{};
    std::uint32_t position = 0;
  };
  std::unordered_map<JobId, Foreseen, IdHash> starts_;
};

}  // namespace gpupool
