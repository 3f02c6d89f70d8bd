#pragma once
// Queue: the waiting jobs of a partition, each in two lanes at once (scheduling.md): the short
// lane, by declared seconds, then tier rank, then quota band, then arrival; and the old lane, by
// arrival. It orders and counts; which lane comes next is the dispatcher's business (dispatcher.h).
// What always holds: a job is in both lanes or in neither, once. A job that comes back returns to
// its old place. Taking the first of a lane and adding the newest job cost the same however many
// wait; counting what is older costs a block. Plain value, no thread of its own.
//
// Class FIFOs: durations in whole seconds x tier ranks x quota bands make some thousand classes at
// most, and within a class the order is arrival, so no job is ever compared with another.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "actors/broker/class_index.h"
#include "actors/broker/placement.h"
#include "base/ids.h"
#include "base/time.h"

namespace gpupool {

struct Waiting {
  JobId job;  // also its arrival: the journal sequence of its hold
  Shape shape;
  Duration declared{};
  Duration occupancy{};
  std::uint32_t tier_rank = 0;   // highest first
  std::uint32_t quota_band = 0;  // 0 to 7, fuller first

  // What it can keep its slots busy for, in slot-milliseconds.
  std::int64_t work() const { return occupancy.ms * std::int64_t{shape.slots}; }
};

enum class Lane : std::uint8_t { shortest, oldest };

// Jobs that stand before another one.
struct Ahead {
  std::int64_t jobs = 0;
  std::int64_t gangs = 0;  // of them, jobs of several slots
  std::int64_t work = 0;   // slot-milliseconds

  void add(const Waiting& waiting) {
    ++jobs;
    gangs += waiting.shape.slots > 1 ? 1 : 0;
    work += waiting.work();
  }
  Ahead& operator+=(const Ahead& other) {
    jobs += other.jobs;
    gangs += other.gangs;
    work += other.work;
    return *this;
  }
  Ahead& operator-=(const Ahead& other) {
    return *this += Ahead{-other.jobs, -other.gangs, -other.work};
  }
  friend bool operator==(const Ahead&, const Ahead&) = default;
};

// The waiting jobs of one shape.
class ShapeQueue {
 public:
  bool empty() const { return live_ == 0; }
  std::size_t size() const { return live_; }
  // A job that is not there.
  void push(const Waiting& waiting);
  bool remove(JobId job);
  // What is given is valid until the queue changes.
  const Waiting& first(Lane lane) const;  // not empty
  Waiting take_first(Lane lane);          // likewise
  // The first in the order of the short lane for which `fits` holds, of at most so many.
  const Waiting* first_that(const std::function<bool(const Waiting&)>& fits,
                            std::size_t looked_at_max) const;
  Ahead older_than(JobId job) const;
  const Ahead& all() const { return all_; }
  void walk(const std::function<void(const Waiting&)>& visit) const;  // by arrival

  // What comes first in the short lane is the smaller one.
  using Rank = std::pair<WaitClass, JobId>;
  static Rank rank_of(const Waiting& waiting) { return {class_of(waiting), waiting.job}; }

 private:
  using Serial = std::uint64_t;  // of a place; the places are in order of arrival

  struct Place {
    Waiting waiting;
    bool gone = false;         // it left: passed over, unless the job comes back to its place
    std::uint32_t closer = 0;  // while places are closed up: how many go before this one
  };
  struct Class {
    WaitClass key;
    std::vector<Serial> places;  // by arrival; those whose jobs are gone as well
    std::uint32_t first = 0;     // before it, all are gone
    std::uint32_t live = 0;
    bool empty() const { return live == 0; }
    void clear() {
      places.clear();
      first = live = 0;
    }
  };

  static WaitClass class_of(const Waiting& waiting);
  bool is_there(Serial serial) const;
  bool is_in(const Class& members, Serial serial) const;
  Serial first_serial(Lane lane) const;
  void remove_at(Serial serial);
  Place& place(Serial serial) { return places_[serial - begin_]; }
  const Place& place(Serial serial) const { return places_[serial - begin_]; }
  std::size_t index_from(JobId job) const;  // of the first place whose job is not older
  void count(Serial serial, const Waiting& waiting, std::int64_t sign);
  void count_new(Serial serial);
  void enter_class(Serial serial);
  void add_last(const Waiting& waiting);
  void insert_older(const Waiting& waiting);
  void rebuild_with(const Waiting& added);
  void close_up();
  void leave_class(Serial serial);

  std::deque<Place> places_;
  Serial begin_ = Serial{1} << 40U;  // of the first place; in the middle, so that it can go down
  std::size_t live_ = 0;
  Ahead all_;
  std::deque<Ahead> blocks_;  // what waits in each block of places, from that of the first place
  ClassIndex<Class> classes_;
};

class Queue {
 public:
  // Replaces what it says of this job, if that waits already.
  void push(const Waiting& waiting);
  bool remove(JobId job);

  // The first of the lane, of those whose shape `counts`; nullptr: none.
  template <class Counts>
  const Waiting* first(Lane lane, const Counts& counts) const {
    const Waiting* first = nullptr;
    for (const auto& [shape, jobs] : by_shape_)
      if (counts(shape)) first = earlier(lane, first, &jobs.first(lane));
    return first;
  }
  // Of the jobs of one slot, the first of the short lane for which `fits` holds, of at most so
  // many.
  const Waiting* first_single_that(const std::function<bool(const Waiting&)>& fits,
                                   std::size_t looked_at_max) const;
  // Takes out the first of the lane among the jobs of this shape, of which there is one.
  Waiting take_first(Lane lane, const Shape& shape);
  JobId oldest() const;  // 0: nobody waits

  const std::map<Shape, ShapeQueue>& by_shape() const { return by_shape_; }
  std::size_t size() const { return static_cast<std::size_t>(all().jobs); }
  Ahead all() const;
  Ahead older_than(JobId job) const;
  // Every waiting job by arrival, with what is older than it.
  void walk(const std::function<void(const Ahead&, const Waiting&)>& visit) const;

 private:
  static const Waiting* earlier(Lane lane, const Waiting* one, const Waiting* other);

  std::map<Shape, ShapeQueue> by_shape_;  // no shape without a job
  JobId newest_;                          // that ever waited
};

}  // namespace gpupool
