#pragma once
// One queue of the broker and all that stands in it: of a partition, or of a reservation, which is
// one for a time. Its promises are made from its own slots. Plain value, owned by the broker.

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "actors/broker/dispatcher.h"
#include "actors/broker/foresight.h"

namespace gpupool {

struct Partition {
  explicit Partition(PartitionId number) : id(number), dispatcher({}, number) {}

  PartitionId id;
  Dispatcher dispatcher;
  std::map<JobId, Waiting> returning;  // requeues that the ledger writes: they will wait again
  Ahead pending;                       // asked of the ledger, and not yet held
  std::set<Shape> away;                // shapes that some job waited for in vain: others went past
  bool is_reservation = false;
  Foresight foresight;
  std::int64_t jobs = 0;    // open ones
  Duration longest_open{};  // occupancy of any job since there was last none

  // One more open job.
  void take(const Hold& hold) {
    if (jobs++ == 0) longest_open = {};
    longest_open = std::max(longest_open, hold.occupancy);
  }
  // All that stand before a newcomer and are not on a slot: queued, between two attempts, or their
  // hold not yet answered.
  Ahead waiting() const {
    Ahead all = dispatcher.all();
    for (const auto& [job, one] : returning) all.add(one);
    all += pending;
    return all;
  }
  // Those that arrived before this one and wait for a slot, or for the ledger to let them.
  Ahead older_than(JobId job) const {
    Ahead older = dispatcher.older_than(job);
    for (auto it = returning.begin(); it != returning.lower_bound(job); ++it) older.add(it->second);
    return older;
  }
};

// Slots for some users alone, as the configuration says it.
struct ReservedFor {
  Reservation reservation;
  std::vector<std::string> accounts;

  bool is_on(Instant now) const { return reservation.from <= now && now < reservation.until; }
  bool is_for(const AccountId& account) const {
    return std::find(accounts.begin(), accounts.end(), account.text) != accounts.end();
  }
};

}  // namespace gpupool
