#pragma once
// The event queue of a simulation and its links. Events are ordered by time and then by a seeded
// draw, so that whatever may happen in either order does, over the seeds. Mailboxes inside one
// process are ordered and reliable; links between processes lose, delay, double and reorder. One
// thread, virtual time.

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "base/prng.h"
#include "base/time.h"

namespace gpupool::sim {

class Schedule {
 public:
  Schedule(Instant start, Prng rng) : now_(start), rng_(rng) {}

  Instant now() const { return now_; }
  bool empty() const { return events_.empty(); }
  Instant next_at() const { return events_.begin()->first.at; }

  void at(Instant when, std::function<void()> what);
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  // Moves the clock to the next event and takes it out.
  std::function<void()> pop();

 private:
  friend class Mailbox;
  struct Key {
    Instant at{};
    std::uint64_t tie = 0;
    std::uint64_t serial = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  void insert(Key key, std::function<void()> what);

  Instant now_;
  Prng rng_;
  std::uint64_t serial_ = 0;
  std::map<Key, std::function<void()>> events_;
};

// An ordered, reliable way inside one process, or one connection that keeps its order.
class Mailbox {
 public:
  void deliver(Schedule& schedule, Duration delay, std::function<void()> what);

 private:
  Schedule::Key last_;
};

// How badly the links between processes behave; per mille of the messages.
struct LinkFaults {
  std::uint64_t lost = 0;
  std::uint64_t doubled = 0;
  std::uint64_t late = 0;
  Duration late_most = seconds(4);
};

// A link between two processes, in one direction or both.
class Link {
 public:
  Link(LinkFaults faults, Prng rng) : faults_(faults), rng_(rng) {}
  void heal() { faults_ = {}; }
  // Schedules the delivery: once, twice, late, or never.
  void deliver(Schedule& schedule, const std::function<void()>& what);

 private:
  LinkFaults faults_;
  Prng rng_;
};

}  // namespace gpupool::sim
