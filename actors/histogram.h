#pragma once
// Taking measures into a Histogram (actors/messages/overview.h), whose bounds its owner knows, and
// reading what most of them were. Pure.

#include <algorithm>
#include <numeric>
#include <span>

#include "actors/messages/overview.h"

namespace gpupool {

inline void note(Histogram& into, std::span<const std::int64_t> bounds, std::int64_t us) {
  into.counts.resize(bounds.size() + 1);
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), us) - bounds.begin();
  ++into.counts[static_cast<std::size_t>(bucket)];
  into.sum_us += us;
}

inline std::uint64_t count_of(const Histogram& of) {
  return std::accumulate(of.counts.begin(), of.counts.end(), std::uint64_t{0});
}

// What came after `before`, which is an earlier state of `now`.
inline Histogram since(const Histogram& before, const Histogram& now) {
  Histogram fresh = now;
  for (std::size_t i = 0; i < fresh.counts.size() && i < before.counts.size(); ++i)
    fresh.counts[i] -= before.counts[i];
  fresh.sum_us -= before.sum_us;
  return fresh;
}

inline void add(Histogram& to, const Histogram& more) {
  to.counts.resize(std::max(to.counts.size(), more.counts.size()));
  for (std::size_t i = 0; i < more.counts.size(); ++i) to.counts[i] += more.counts[i];
  to.sum_us += more.sum_us;
}

// The upper bound of the bucket in which `permille` of 1,000 measures are, or the last bound for
// what is beyond it; 0: there is no measure.
inline std::int64_t quantile_us(const Histogram& of, std::span<const std::int64_t> bounds,
                                std::uint64_t permille) {
  const std::uint64_t all = count_of(of);
  if (all == 0) return 0;
  const std::uint64_t wanted = (all * permille + 999) / 1000;
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    seen += of.counts[i];
    if (seen >= std::max<std::uint64_t>(wanted, 1)) return bounds[i];
  }
  return bounds.back();
}

}  // namespace gpupool
