#include "actors/broker/queue.h"

#include <algorithm>

#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr std::uint64_t block_bits = 8;    // a block of 256 places is counted at once
constexpr std::size_t gone_spare = 4'096;  // places of jobs that are gone, beside as many as wait

}  // namespace

// ---- One shape ---------------------------------------------------------------------------------

// Smaller comes first: seconds rounded up, then the higher rank, then the fuller band.
WaitClass ShapeQueue::class_of(const Waiting& waiting) {
  const std::uint64_t rank = 0xffff'ffffU - waiting.tier_rank;
  return {.seconds = static_cast<std::uint64_t>((waiting.declared.ms + 999) / 1000),
          .rank = rank << 3U | (7U - std::min(waiting.quota_band, 7U))};
}

bool ShapeQueue::is_there(Serial serial) const { return serial >= begin_ && !place(serial).gone; }

// A place in front can be another job's by now, of another class.
bool ShapeQueue::is_in(const Class& members, Serial serial) const {
  return is_there(serial) && class_of(place(serial).waiting) == members.key;
}

std::size_t ShapeQueue::index_from(JobId job) const {
  const auto it =
      std::lower_bound(places_.begin(), places_.end(), job,
                       [](const Place& one, JobId wanted) { return one.waiting.job < wanted; });
  return static_cast<std::size_t>(it - places_.begin());
}

void ShapeQueue::count(Serial serial, const Waiting& waiting, std::int64_t sign) {
  Ahead one;
  one.add(waiting);
  const Ahead change{sign * one.jobs, sign * one.gangs, sign * one.work};
  all_ += change;
  live_ = static_cast<std::size_t>(all_.jobs);
  blocks_[(serial >> block_bits) - (begin_ >> block_bits)] += change;
}

void ShapeQueue::count_new(Serial serial) {
  const Serial blocks = (serial >> block_bits) - (begin_ >> block_bits) + 1;
  if (blocks > blocks_.size()) blocks_.resize(blocks);
  count(serial, place(serial).waiting, 1);
}

// Within its class too the order is arrival. All but those that come back are the last.
void ShapeQueue::enter_class(Serial serial) {
  const WaitClass key = class_of(place(serial).waiting);
  Class& members = classes_.at(key);
  members.key = key;
  auto& places = members.places;
  if (places.empty() || places.back() < serial) {
    places.push_back(serial);
  } else {
    const auto at = std::lower_bound(places.begin(), places.end(), serial);
    if (at == places.end() || *at != serial) places.insert(at, serial);
    members.first = 0;
  }
  if (++members.live == 1) classes_.filled(key);
}

// Places of those that left from the middle are dropped before they outnumber the others.
void ShapeQueue::leave_class(Serial serial) {
  const WaitClass key = class_of(place(serial).waiting);
  Class& members = classes_.at(key);
  auto& places = members.places;
  if (--members.live == 0) {
    members.clear();
    classes_.emptied(key);
    return;
  }
  if (places[members.first] == serial) ++members.first;
  if (places.size() < 2 * std::size_t{members.live} + 16) return;
  places.erase(places.begin(), places.begin() + members.first);
  members.first = 0;
  if (places.size() < 2 * std::size_t{members.live}) return;
  std::erase_if(places, [&](Serial one) { return one == serial || !is_in(members, one); });
}

void ShapeQueue::add_last(const Waiting& waiting) {
  const Serial serial = begin_ + places_.size();
  places_.push_back({waiting});
  enter_class(serial);
  count_new(serial);
}

void ShapeQueue::push(const Waiting& waiting) {
  if (places_.empty() || places_.back().waiting.job < waiting.job)
    add_last(waiting);
  else
    insert_older(waiting);
}

// It was here before, so its place is there still or was the first; or it comes from elsewhere.
void ShapeQueue::insert_older(const Waiting& waiting) {
  const std::size_t index = index_from(waiting.job);
  Place& found = places_[index];
  if (found.waiting.job == waiting.job) {
    GPUPOOL_ENSURE(found.gone, waiting.job);
    if (class_of(found.waiting) != class_of(waiting)) return rebuild_with(waiting);
    found = {waiting};
  } else if (index == 0) {
    places_.push_front({waiting});
    if ((begin_ - 1) >> block_bits != begin_ >> block_bits) blocks_.emplace_front();
    --begin_;
  } else {
    return rebuild_with(waiting);
  }
  enter_class(begin_ + index);
  count(begin_ + index, waiting, 1);
}

// Every job anew, for one that has no place between the others.
void ShapeQueue::rebuild_with(const Waiting& added) {
  std::vector<Waiting> waiting;
  waiting.reserve(live_ + 1);
  walk([&waiting](const Waiting& one) { waiting.push_back(one); });
  waiting.insert(std::lower_bound(waiting.begin(), waiting.end(), added.job,
                                  [](const Waiting& a, JobId job) { return a.job < job; }),
                 added);
  *this = {};
  for (const Waiting& one : waiting) add_last(one);
}

// Without the places of those that are gone.
void ShapeQueue::close_up() {
  std::uint32_t gone = 0;
  for (Place& one : places_) {
    one.closer = gone;
    gone += one.gone ? 1 : 0;
  }
  classes_.each_value([this](Class& members) {
    std::erase_if(members.places, [&](Serial one) { return !is_in(members, one); });
    for (Serial& one : members.places) one -= place(one).closer;
    members.first = 0;
  });
  std::erase_if(places_, [](const Place& one) { return one.gone; });
  blocks_.clear();
  all_ = {};
  for (Serial serial = begin_; serial < begin_ + places_.size(); ++serial) count_new(serial);
}

bool ShapeQueue::remove(JobId job) {
  const std::size_t index = index_from(job);
  if (index == places_.size()) return false;
  if (const Place& found = places_[index]; found.gone || found.waiting.job != job) return false;
  remove_at(begin_ + index);
  return true;
}

void ShapeQueue::remove_at(Serial serial) {
  Place& leaving = place(serial);
  count(serial, leaving.waiting, -1);
  leave_class(serial);
  leaving.gone = true;
  while (!places_.empty() && places_.front().gone) {
    places_.pop_front();
    if ((begin_ + 1) >> block_bits != begin_ >> block_bits) blocks_.pop_front();
    ++begin_;
  }
  if (places_.size() > 3 * live_ + gone_spare) close_up();
}

ShapeQueue::Serial ShapeQueue::first_serial(Lane lane) const {
  if (lane == Lane::oldest) return begin_;
  Serial first = 0;
  classes_.each([&](const Class& members) {
    std::size_t at = members.first;
    while (!is_in(members, members.places[at])) ++at;
    first = members.places[at];
    return false;
  });
  return first;
}

const Waiting& ShapeQueue::first(Lane lane) const { return place(first_serial(lane)).waiting; }

Waiting ShapeQueue::take_first(Lane lane) {
  const Serial serial = first_serial(lane);
  const Waiting taken = place(serial).waiting;
  remove_at(serial);
  return taken;
}

const Waiting* ShapeQueue::first_that(const std::function<bool(const Waiting&)>& fits,
                                      std::size_t looked_at_max) const {
  const Waiting* found = nullptr;
  std::size_t left = looked_at_max;
  classes_.each([&](const Class& members) {
    for (std::size_t i = members.first; i < members.places.size() && left > 0; ++i) {
      if (!is_in(members, members.places[i])) continue;
      const Waiting& waiting = place(members.places[i]).waiting;
      if (fits(waiting)) found = &waiting;
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
    if (is_there(serial)) ahead.add(place(serial).waiting);
  return ahead;
}

void ShapeQueue::walk(const std::function<void(const Waiting&)>& visit) const {
  for (const Place& one : places_)
    if (!one.gone) visit(one.waiting);
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
