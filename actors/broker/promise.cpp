#include "actors/broker/promise.h"

#include <algorithm>
#include <functional>

namespace gpupool {

Duration longest_occupancy(const Config& config, const std::string& partition) {
  Duration longest{};
  for (const auto& app : config.apps)
    if (app.partition == partition)
      longest = std::max(longest, occupancy_of(config, app, app.longest));
  return longest;
}

LikelyStarts::LikelyStarts(Instant now, std::vector<Instant> ends) : ends_(std::move(ends)) {
  for (auto& end : ends_) end = std::max(end, now);
  std::make_heap(ends_.begin(), ends_.end(), std::greater<>{});
}

Instant LikelyStarts::next(Duration declared) {
  if (ends_.empty()) return Instant::never();
  std::pop_heap(ends_.begin(), ends_.end(), std::greater<>{});
  const Instant start = ends_.back();
  ends_.back() = start + declared;
  std::push_heap(ends_.begin(), ends_.end(), std::greater<>{});
  return start;
}

}  // namespace gpupool
