#include "actors/broker/promise.h"

#include <algorithm>
#include <limits>

namespace gpupool {
namespace {

// Sums and products of waits, none of which can overflow. What is cut off here is still `wait_max`
// when it is shared by as many slots as a pool can have.
std::int64_t times(std::int64_t one, std::int64_t other) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 2;
  std::int64_t product = 0;
  return __builtin_mul_overflow(one, other, &product) ? most : std::min(product, most);
}

std::int64_t shared_by(std::int64_t work, std::int64_t slots) {
  return std::min((work + slots - 1) / slots, wait_max.ms);
}

Duration sum_of(std::initializer_list<std::int64_t> waits) {
  std::int64_t sum = 0;
  for (const std::int64_t wait : waits)
    sum = std::min(sum + std::min(wait, wait_max.ms), wait_max.ms);
  return {sum};
}

// A + S*D of the bound, with A = (1 + phi) * m * D / phi: what the lane debt can be behind, and
// what the slots are busy with at first.
std::int64_t behind_at_most(const Capacity& capacity) {
  const std::int64_t slots = (inverse_phi + 1) * capacity.largest + std::int64_t{capacity.slots};
  return times(slots, capacity.longest.ms);
}

// A job can wait for a shape that is not known yet.
Capacity with(const Capacity& capacity, std::uint32_t slots) {
  Capacity larger = capacity;
  larger.largest = std::max(capacity.largest, slots);
  return larger;
}

}  // namespace

// An eighth of the slots, and fewer where jobs are so large that their pins would leave none.
std::uint32_t Capacity::pins() const {
  return slots == 0 ? 1 : std::max(1U, std::min(slots / 8, (slots - 1) / largest));
}

Duration longest_wait(const Capacity& known, const Ahead& older, std::uint32_t slots) {
  const Capacity capacity = with(known, slots);
  const std::int64_t longest = capacity.longest.ms;
  if (capacity.is_tiny()) return sum_of({times(2 * longest, older.jobs + 1)});
  const std::int64_t unpinned = capacity.unpinned();
  const std::int64_t work = times(inverse_phi, older.work);
  if (slots == 1)
    return sum_of({shared_by(work, unpinned), shared_by(behind_at_most(capacity), unpinned)});
  const std::int64_t drain = shared_by(behind_at_most(capacity), unpinned);
  return sum_of({shared_by(work, unpinned), times(older.gangs + 1, drain),
                 shared_by(times(older.gangs, longest), capacity.pins()), longest});
}

Duration added_wait(const Capacity& known, const Waiting& older, std::uint32_t slots) {
  const Capacity capacity = with(known, std::max(slots, older.shape.slots));
  const std::int64_t longest = capacity.longest.ms;
  if (capacity.is_tiny()) return {times(2, longest)};
  const std::int64_t work = shared_by(times(inverse_phi, older.work()), capacity.unpinned());
  if (slots == 1 || older.shape.slots == 1) return {work};
  return sum_of({work, shared_by(behind_at_most(capacity), capacity.unpinned()),
                 shared_by(longest, capacity.pins())});
}

Duration longest_occupancy(const Config& config, const std::string& partition) {
  Duration longest{};
  for (const auto& app : config.apps)
    if (app.partition == partition)
      longest = std::max(longest, occupancy_of(config, app, app.longest));
  return longest;
}

}  // namespace gpupool
