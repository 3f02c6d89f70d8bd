#include "actors/broker/foresight.h"

#include <algorithm>
#include <utility>

namespace gpupool {
namespace {

constexpr std::size_t kept = 200;
constexpr std::size_t enough = 10;
constexpr std::int64_t share_most = 100'000;  // a hundred times as long
// Of shorter waits the share says nothing.
constexpr Duration least = seconds(1);

}  // namespace

void Foresight::note(Duration foreseen, Duration waited) {
  const std::int64_t exact = waited.ms * 1'000 / std::max(foreseen, least).ms;
  const auto share = static_cast<std::uint32_t>(std::clamp<std::int64_t>(exact, 0, share_most));
  if (shares_.size() < kept) {
    shares_.push_back(share);
  } else {
    const std::uint32_t gone = std::exchange(shares_[next_], share);
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), gone));
    next_ = (next_ + 1) % kept;
  }
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), share), share);
}

Duration Foresight::later_end(Duration foreseen) const {
  if (sorted_.size() < enough) return foreseen;
  const std::int64_t share = sorted_[(sorted_.size() * 9 + 9) / 10 - 1];
  return std::max(foreseen, Duration{std::max(foreseen, least).ms * share / 1'000});
}

}  // namespace gpupool
