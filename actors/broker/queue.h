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
//
// What a long queue costs is cache misses, so all about a job is one row, a row that was just freed
// is the next to be used, and the old lane and the classes hold numbers of rows.

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
  bool empty() const { return all_.jobs == 0; }
  std::size_t size() const { return static_cast<std::size_t>(all_.jobs); }
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
  using RowNumber = std::uint32_t;
  static constexpr RowNumber none = 0xffff'ffffU;

  struct alignas(64) Row {    // of one cache line
    Waiting waiting;          // job 0: the row is free
    Serial serial = 0;        // of its place
    RowNumber before = none;  // in its class
    RowNumber after = none;   // likewise; of a free row: the next free one
  };
  // It stays when its job leaves, in case that comes back; the row is another job's then.
  struct Place {
    JobId job;
    RowNumber row = none;
  };
  struct Class {  // by arrival
    RowNumber first = none;
    RowNumber last = none;
    bool empty() const { return first == none; }
  };

  static WaitClass class_of(const Waiting& waiting);
  bool is_there(const Place& place) const { return rows_[place.row].waiting.job == place.job; }
  std::size_t index_from(JobId job) const;  // of the first place whose job is not older
  RowNumber first_row(Lane lane) const;
  RowNumber add_row(const Waiting& waiting);
  void free_row(RowNumber row);
  void stand(std::size_t index, RowNumber row);
  void count(const Row& row, std::int64_t sign);
  void push_older(const Waiting& waiting);
  void remove_row(RowNumber row);
  void close_up();
  void start_anew();
  RowNumber next_in_class(const Waiting& waiting);
  void enter_class(RowNumber row, RowNumber after);
  void leave_class(RowNumber row);

  std::vector<Row> rows_;
  RowNumber free_ = none;  // the row that was freed last
  std::deque<Place> places_;
  Serial begin_ = Serial{1} << 40U;  // of the first place; in the middle, so that it can go down
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
