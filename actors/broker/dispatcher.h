#pragma once
// Dispatcher: which waiting job of a partition starts next, and where (scheduling.md): short first,
// with an oldest-first floor kept by the lane debt; a job of several slots for which none are free
// together gets a pin from the old lane, and the slots of a pin run meanwhile only what ends in
// time. What always holds: every job is in the queue or has a pin, not both; the debt stays between
// its clamp and one job's share; nothing but a pin's own job is delayed by slots that stand free.
// The same code runs in the broker and in `gpupool simulate`. Plain value, no clock.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "actors/broker/placement.h"
#include "actors/broker/promise.h"
#include "actors/broker/queue.h"

namespace gpupool {

// floor: the pool's own. The others are what it is compared with, and have no promise: fifo, by
// arrival, and whoever is next blocks the others; short: by declared time likewise; easy: by
// arrival, with a pin for the first job that has to wait, and backfill (Lifka, 1995).
enum class Policy : std::uint8_t { floor = 1, fifo, shortest, easy };

struct DispatchRules {
  Policy policy = Policy::floor;
  bool clamps_debt = true;  // tests show what happens without
};

struct Start {
  Waiting waiting;
  Place place;
};

// Slots that are kept for a job until all of them are free.
struct Pin {
  Waiting waiting;
  Place place;
  Instant ready{};           // t*: by then they are free together; not known: when it was made
  std::int64_t charged = 0;  // to the debt, taken back if the pin has to go
};

class Dispatcher {
 public:
  explicit Dispatcher(DispatchRules rules = {}, PartitionId partition = {})
      : rules_(rules), partition_(partition) {}

  void use(const Capacity& capacity);
  const Capacity& capacity() const { return capacity_; }

  // A job that waits already is waiting as it is said now; one that comes back has its old place.
  void push(const Waiting& waiting);
  bool remove(JobId job, Placement& slots);

  // The next start; none: nothing can start now. The caller lends the slots before it asks again.
  // `app_of`: for slots on which it is warm.
  using AppOf = std::function<std::string(JobId)>;
  std::optional<Start> next(Instant now, Placement& slots, const AppOf& app_of);

  // All that wait, those with a pin included.
  std::size_t size() const { return queue_.size() + pins_.size(); }
  Ahead all() const;
  Ahead older_than(JobId job) const;
  void walk(const std::function<void(const Ahead&, const Waiting&)>& visit) const;  // by arrival
  const Queue& queue() const { return queue_; }

 private:
  Lane lane() const;
  bool can_pin() const;
  const Waiting* first_beside(Instant now, const Placement& slots) const;
  Need need_of(Instant now, const Waiting& waiting) const;
  std::optional<Start> start_pinned(Instant now, Placement& slots, const AppOf& app_of);
  void drop_broken_pins(Placement& slots);
  std::optional<Start> start_from_lane(Instant now, Placement& slots, const AppOf& app_of);
  std::optional<Start> backfill(Instant now, Placement& slots);
  Start take(Lane lane, const Waiting& waiting, Place place);
  std::int64_t charge(Lane lane, const Waiting& waiting);
  void clamp_debt();

  DispatchRules rules_;
  PartitionId partition_;
  Capacity capacity_;
  Queue queue_;
  std::vector<Pin> pins_;  // as they were made
  std::int64_t debt_ = 0;  // of the lanes: slot-milliseconds times inverse_phi
};

}  // namespace gpupool
