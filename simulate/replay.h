#pragma once
// Replay: what a pool of so many slots would have done with a trace. The dispatcher, the placement
// and the promise are the broker's own, the quota rules the ledger's own accounts; time is virtual,
// nothing else comes between. Pure: the same trace and options give the same result.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "actors/broker/dispatcher.h"
#include "base/result.h"
#include "config/config.h"
#include "simulate/trace.h"

namespace gpupool {

struct ReplayOptions {
  DispatchRules rules;
  std::uint32_t slots = 8;
  // Requests are refused (overloaded) while more declared work than this waits for every slot; 0:
  // none.
  Duration queue_cap{};
  // What a job occupies its slots for beside its own run. The first and the last always pass, the
  // second only if its declared time was up.
  Duration start{};
  Duration kill_grace{};
  Duration slot_check{};
  std::optional<TierConfig> tier;  // of everybody; none: no quotas
  // The likely start is foreseen for every so manieth request that has to wait, as the broker would
  // when it is admitted; 0: for none.
  std::uint32_t foresee_every = 0;
};

struct ReplayedRequest {
  Duration wait{};       // until its lease; of one that was admitted
  Errc refused{};        // 0: admitted
  Duration bound{};      // its promise, from its arrival on; with the policy `floor`
  bool at_once = false;  // it started in the step that admitted it
  // Foreseen when it was admitted, from then on; 0 and 0: it was not.
  Duration likely{};
  Duration likely_latest{};
};

struct Replayed {
  std::vector<ReplayedRequest> requests;  // as in the trace
  std::int64_t work = 0;                  // slot-milliseconds that jobs ran
  Duration span{};                        // from the first arrival to the last end
  // Slot-milliseconds that were occupied in each hundredth of the span.
  std::vector<double> occupied;
};

// A trace with a job of more slots than there are is refused: size_unavailable, with the numbers.
Result<Replayed> replay(const Trace& trace, const ReplayOptions& options);

}  // namespace gpupool
