#pragma once
// RecentValues: the last ones of a stream of numbers, in the order in which they came, and their
// quantiles by nearest rank. A note costs a search and two moves within the values that are kept.
// Plain value.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/ensure.h"

namespace gpupool {

class RecentValues {
 public:
  explicit RecentValues(std::size_t most) : most_(most) {}

  void note(std::uint32_t value) {
    if (values_.size() < most_) {
      values_.push_back(value);
    } else {
      const std::uint32_t gone = std::exchange(values_[oldest_], value);
      sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), gone));
      oldest_ = (oldest_ + 1) % most_;
    }
    sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), value), value);
  }

  std::size_t size() const { return values_.size(); }

  // The smallest that so many of a hundred do not exceed. Precondition: there is one.
  std::uint32_t quantile(std::size_t percent) const {
    GPUPOOL_ENSURE(!sorted_.empty() && percent > 0 && percent <= 100, percent);
    return sorted_[(sorted_.size() * percent + 99) / 100 - 1];
  }

  std::vector<std::uint32_t> oldest_first() const {
    std::vector<std::uint32_t> values = values_;
    std::rotate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(oldest_),
                values.end());
    return values;
  }

 private:
  std::size_t most_;
  std::vector<std::uint32_t> values_;  // a ring once it is full
  std::vector<std::uint32_t> sorted_;  // the same ones
  std::size_t oldest_ = 0;
};

}  // namespace gpupool
