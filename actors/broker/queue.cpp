#include "actors/broker/queue.h"

#include <algorithm>

#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr std::uint64_t block_bits = 8;  // a block of 256 places is counted at once
constexpr std::size_t spare = 4'096;     // places and rows that nobody has, beside the others'

}  // namespace

// ---- One shape ---------------------------------------------------------------------------------

// Smaller comes first: seconds rounded up, then the higher rank, then the fuller band.
WaitClass ShapeQueue::class_of(const Waiting& waiting) {
  const std::uint64_t rank = 0xffff'ffffU - waiting.tier_rank;
  return {.seconds = static_cast<std::uint64_t>((waiting.declared.ms + 999) / 1000),
          .rank = rank << 3U | (7U - std::min(waiting.quota_band, 7U))};
}

std::size_t ShapeQueue::index_from(JobId job) const {
  const auto it = std::lower_bound(places_.begin(), places_.end(), job,
                                   [](const Place& one, JobId wanted) { return one.job < wanted; });
  return static_cast<std::size_t>(it - places_.begin());
}

void ShapeQueue::count(const Row& row, std::int64_t sign) {
  Ahead one;
  one.add(row.waiting);
  const Ahead change{sign * one.jobs, sign * one.gangs, sign * one.work};
  const std::size_t block = (row.serial >> block_bits) - (begin_ >> block_bits);
  if (block >= blocks_.size()) blocks_.resize(block + 1);
  blocks_[block] += change;
  all_ += change;
}

// The row that was freed last is in the cache still.
ShapeQueue::RowNumber ShapeQueue::add_row(const Waiting& waiting) {
  RowNumber row = free_;
  if (row == none) {
    row = static_cast<RowNumber>(rows_.size());
    rows_.emplace_back();
  } else {
    free_ = rows_[row].after;
  }
  rows_[row].waiting = waiting;
  return row;
}

void ShapeQueue::free_row(RowNumber row) {
  rows_[row].waiting.job = {};
  rows_[row].after = free_;
  free_ = row;
}

// ---- The old lane

void ShapeQueue::stand(std::size_t index, RowNumber row) {
  places_[index].row = row;
  rows_[row].serial = begin_ + index;
  count(rows_[row], 1);
}

void ShapeQueue::push(const Waiting& waiting) {
  if (!places_.empty() && places_.back().job >= waiting.job) return push_older(waiting);
  const RowNumber row = add_row(waiting);
  places_.push_back({waiting.job, row});
  stand(places_.size() - 1, row);
  enter_class(row, none);
}

// It was here before, so its place is there still or was the first; or it comes from elsewhere, and
// the places behind it move.
void ShapeQueue::push_older(const Waiting& waiting) {
  const std::size_t index = index_from(waiting.job);
  const bool had_place = places_[index].job == waiting.job;
  GPUPOOL_ENSURE(!had_place || !is_there(places_[index]), waiting.job);
  const RowNumber row = add_row(waiting);
  enter_class(row, next_in_class(waiting));
  if (!had_place && index > 0) {
    places_.insert(places_.begin() + static_cast<std::ptrdiff_t>(index), {waiting.job, row});
    return close_up();
  }
  if (!had_place) {
    places_.push_front({waiting.job, row});
    if ((begin_ - 1) >> block_bits != begin_ >> block_bits) blocks_.emplace_front();
    --begin_;
  }
  stand(index, row);
}

bool ShapeQueue::remove(JobId job) {
  const std::size_t index = index_from(job);
  if (index == places_.size()) return false;
  if (const Place& found = places_[index]; found.job != job || !is_there(found)) return false;
  remove_row(places_[index].row);
  return true;
}

void ShapeQueue::remove_row(RowNumber row) {
  leave_class(row);
  count(rows_[row], -1);
  free_row(row);
  while (!places_.empty() && !is_there(places_.front())) {
    places_.pop_front();
    if ((begin_ + 1) >> block_bits != begin_ >> block_bits) blocks_.pop_front();
    ++begin_;
  }
  if (places_.size() > 3 * size() + spare) close_up();
  if (rows_.size() > 4 * size() + spare) start_anew();
}

// Without the places of those that left.
void ShapeQueue::close_up() {
  std::erase_if(places_, [this](const Place& one) { return !is_there(one); });
  blocks_.clear();
  all_ = {};
  for (std::size_t i = 0; i < places_.size(); ++i) stand(i, places_[i].row);
}

// Gives back the rows of a queue that was much longer.
void ShapeQueue::start_anew() {
  ShapeQueue shorter;
  walk([&shorter](const Waiting& waiting) { shorter.push(waiting); });
  *this = std::move(shorter);
}

// ---- Classes

// Who comes back had been among the first of its class, so its place is near.
ShapeQueue::RowNumber ShapeQueue::next_in_class(const Waiting& waiting) {
  RowNumber row = classes_.at(class_of(waiting)).first;
  while (row != none && rows_[row].waiting.job < waiting.job) row = rows_[row].after;
  return row;
}

// Before the row `after`; none: as the last one.
void ShapeQueue::enter_class(RowNumber row, RowNumber after) {
  Row& entering = rows_[row];
  const WaitClass key = class_of(entering.waiting);
  Class& members = classes_.at(key);
  if (members.empty()) classes_.filled(key);
  entering.after = after;
  entering.before = after == none ? members.last : rows_[after].before;
  (entering.before == none ? members.first : rows_[entering.before].after) = row;
  (after == none ? members.last : rows_[after].before) = row;
}

// The row behind the next one is fetched ahead: by the time that the next one leaves, the link from
// it is written without waiting for memory, and then it is read without.
void ShapeQueue::leave_class(RowNumber row) {
  const Row& leaving = rows_[row];
  const WaitClass key = class_of(leaving.waiting);
  Class& members = classes_.at(key);
  (leaving.before == none ? members.first : rows_[leaving.before].after) = leaving.after;
  (leaving.after == none ? members.last : rows_[leaving.after].before) = leaving.before;
  if (members.empty()) classes_.emptied(key);
  if (leaving.after == none) return;
  const RowNumber soon = rows_[leaving.after].after;
  if (soon != none) __builtin_prefetch(&rows_[soon]);
}

// ---- Questions

ShapeQueue::RowNumber ShapeQueue::first_row(Lane lane) const {
  if (lane == Lane::oldest) return places_.front().row;
  RowNumber first = none;
  classes_.each([&first](const Class& members) {
    first = members.first;
    return false;
  });
  return first;
}

const Waiting& ShapeQueue::first(Lane lane) const { return rows_[first_row(lane)].waiting; }

Waiting ShapeQueue::take_first(Lane lane) {
  const RowNumber row = first_row(lane);
  const Waiting taken = rows_[row].waiting;
  remove_row(row);
  return taken;
}

const Waiting* ShapeQueue::first_that(const std::function<bool(const Waiting&)>& fits,
                                      std::size_t looked_at_max) const {
  const Waiting* found = nullptr;
  std::size_t left = looked_at_max;
  classes_.each([&](const Class& members) {
    for (RowNumber row = members.first; row != none && left > 0; row = rows_[row].after) {
      if (fits(rows_[row].waiting)) found = &rows_[row].waiting;
      if (found != nullptr) return false;
      --left;
    }
    return left > 0;
  });
  return found;
}

Ahead ShapeQueue::older_than(JobId job) const {
  const Serial end = begin_ + index_from(job);
  const Serial block = end >> block_bits;
  Ahead ahead;
  const auto whole = static_cast<std::ptrdiff_t>(block - (begin_ >> block_bits));
  for (auto it = blocks_.begin(); it != blocks_.begin() + whole; ++it) ahead += *it;
  for (Serial serial = std::max(begin_, block << block_bits); serial < end; ++serial)
    if (const Place& one = places_[serial - begin_]; is_there(one))
      ahead.add(rows_[one.row].waiting);
  return ahead;
}

void ShapeQueue::walk(const std::function<void(const Waiting&)>& visit) const {
  for (const Place& one : places_)
    if (is_there(one)) visit(rows_[one.row].waiting);
}

// ---- All shapes --------------------------------------------------------------------------------

void Queue::push(const Waiting& waiting) {
  if (waiting.job <= newest_) remove(waiting.job);
  newest_ = std::max(newest_, waiting.job);
  by_shape_[waiting.shape].push(waiting);
}

bool Queue::remove(JobId job) {
  for (auto it = by_shape_.begin(); it != by_shape_.end(); ++it) {
    if (!it->second.remove(job)) continue;
    if (it->second.empty()) by_shape_.erase(it);
    return true;
  }
  return false;
}

const Waiting* Queue::earlier(Lane lane, const Waiting* one, const Waiting* other) {
  if (one == nullptr) return other;
  const bool is_other = lane == Lane::oldest
                            ? other->job < one->job
                            : ShapeQueue::rank_of(*other) < ShapeQueue::rank_of(*one);
  return is_other ? other : one;
}

const Waiting* Queue::first_single_that(const std::function<bool(const Waiting&)>& fits,
                                        std::size_t looked_at_max) const {
  const auto singles = by_shape_.find({});
  return singles == by_shape_.end() ? nullptr : singles->second.first_that(fits, looked_at_max);
}

Waiting Queue::take_first(Lane lane, const Shape& shape) {
  const auto jobs = by_shape_.find(shape);
  const Waiting taken = jobs->second.take_first(lane);
  if (jobs->second.empty()) by_shape_.erase(jobs);
  return taken;
}

JobId Queue::oldest() const {
  const Waiting* first = this->first(Lane::oldest, [](const Shape&) { return true; });
  return first == nullptr ? JobId{} : first->job;
}

Ahead Queue::all() const {
  Ahead all;
  for (const auto& [shape, jobs] : by_shape_) all += jobs.all();
  return all;
}

Ahead Queue::older_than(JobId job) const {
  Ahead ahead;
  for (const auto& [shape, jobs] : by_shape_) ahead += jobs.older_than(job);
  return ahead;
}

void Queue::walk(const std::function<void(const Ahead&, const Waiting&)>& visit) const {
  std::vector<const Waiting*> all;
  all.reserve(size());
  for (const auto& [shape, jobs] : by_shape_)
    jobs.walk([&all](const Waiting& waiting) { all.push_back(&waiting); });
  if (by_shape_.size() > 1)
    std::sort(all.begin(), all.end(),
              [](const Waiting* one, const Waiting* other) { return one->job < other->job; });
  Ahead ahead;
  for (const Waiting* waiting : all) {
    visit(ahead, *waiting);
    ahead.add(*waiting);
  }
}

}  // namespace gpupool
