#include "actors/broker/foresight.h"

#include <algorithm>

namespace gpupool {
namespace {

constexpr std::size_t enough = 10;
constexpr std::int64_t share_most = 100'000;  // a hundred times as long
// Of shorter waits the share says nothing.
constexpr Duration least = seconds(1);

}  // namespace

void Foresight::note(Duration foreseen, Duration waited) {
  const std::int64_t share = waited.ms * 1'000 / std::max(foreseen, least).ms;
  shares_.note(static_cast<std::uint32_t>(std::clamp<std::int64_t>(share, 0, share_most)));
}

Duration Foresight::later_end(Duration foreseen) const {
  if (shares_.size() < enough) return foreseen;
  const std::int64_t share = shares_.quantile(90);
  return std::max(foreseen, Duration{std::max(foreseen, least).ms * share / 1'000});
}

}  // namespace gpupool
