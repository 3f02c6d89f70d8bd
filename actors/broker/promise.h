#pragma once
// The latest start that the pool commits to at admission, and the likely one shown beside it. First
// come, first served, with D the longest occupancy of the partition: the job at the head of the
// queue starts within D, for until it does nothing is leased, so that after D every slot that now
// is occupied is free, and with them any number of slots together that a node has. Then the next
// one is the head. So whoever waits starts within D * (older + 1), be the jobs of one slot or of
// several; the policy promises 2 * D * (older + 1) (scheduling.md, tiny pools). Pure functions.

#include <cstdint>
#include <vector>

#include "base/time.h"
#include "config/config.h"

namespace gpupool {

// The longest occupancy that any app of `partition` can ask for.
Duration longest_occupancy(const Config& config, const std::string& partition);

// The latest start of a job with `older` jobs before it that are not leased yet.
inline Instant promised_start(Instant now, Duration longest, std::int64_t older) {
  return now + longest * (2 * (older + 1));
}

// By when such a job surely starts, if no event beyond the policy's bound comes between.
inline Instant provable_start(Instant now, Duration longest, std::int64_t older) {
  return now + longest * (older + 1);
}

// Likely starts by declared durations: each waiting job in turn takes the slot that frees first.
// `ends` are the likely ends of what occupies the slots now (`now` for a free slot).
class LikelyStarts {
 public:
  LikelyStarts(Instant now, std::vector<Instant> ends);
  // The likely start of the next job in the queue; never() without so many slots.
  Instant next(Duration declared, std::uint32_t slots);

 private:
  std::vector<Instant> ends_;  // a heap, the earliest on top
  Instant last_{};             // nobody starts before the one ahead
};

}  // namespace gpupool
