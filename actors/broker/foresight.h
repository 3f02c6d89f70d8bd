#pragma once
// Foresight: how far starts were from what was foreseen, so that the later end of a likely start is
// an honest one. A forecast knows those who wait, not those who will come and go first; how much
// that is, the last ones who waited tell. Plain value, bounded, owned by the broker.

#include "base/recent_values.h"
#include "base/time.h"

namespace gpupool {

class Foresight {
 public:
  // One that was foreseen to wait so long at most, from when it was, has started.
  void note(Duration foreseen, Duration waited);
  // By when, of the last ones that were foreseen so, nine in ten had started; never less than what
  // is foreseen, nor more until some have started.
  Duration later_end(Duration foreseen) const;

 private:
  RecentValues shares_{200};  // waited of foreseen, in thousandths
};

}  // namespace gpupool
