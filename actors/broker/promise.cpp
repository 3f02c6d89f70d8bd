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

Instant LikelyStarts::next(Duration declared, std::uint32_t slots) {
  if (ends_.size() < slots) return Instant::never();
  const auto first = ends_.end() - slots;
  for (auto end = ends_.end(); end != first; --end)
    std::pop_heap(ends_.begin(), end, std::greater<>{});
  const Instant start = std::max(last_, *first);  // the latest of those taken out lies first
  for (auto end = first; end != ends_.end();) {
    *end = start + declared;
    std::push_heap(ends_.begin(), ++end, std::greater<>{});
  }
  last_ = start;
  return start;
}

}  // namespace gpupool
