#pragma once
// The story of a job, as `gpupool explain` tells it: moments kept small while things happen, put
// into words with all their numbers when somebody asks. A job keeps its admission and its latest
// moments (limits::job_moments_max). Pure.

#include <string>
#include <vector>

#include "actors/messages.h"
#include "actors/rules.h"

namespace gpupool {

enum class MomentKind : std::uint8_t {
  admitted = 1,
  leased = 2,
  requeued = 3,
  restated = 4,
  extended = 5
};

struct Moment {
  Instant at{};
  MomentKind kind{};
  DeclaredBy declared_by{};   // admitted
  std::uint32_t attempt = 0;  // or the number of the extension
  Errc cause{};
  Instant promise{};
  GpuTime used;       // admitted: in its window at that moment
  GpuTime held;       // admitted: in its window, with this hold; extended: for the job, in all
  GpuTime amount;     // admitted, extended: what was held by it for the job
  GpuTime credits;    // how much of that are credits
  std::string words;  // the node, the detail, the reason, or how the caller was recognised

  auto fields() {
    return std::tie(at, kind, attempt, cause, promise, used, held, amount, credits, words,
                    declared_by);
  }
};

// Words of a worker, a broker or an operator, cut to what a record may carry; never inside a UTF-8
// character.
std::string clipped(const std::string& words);

// The story with one more moment; the oldest after the admission makes room.
std::vector<Moment> remember(std::vector<Moment> story, Moment moment);

// The moments of a job in words. The receipt has the job's numbers; an open job's has no outcome
// yet.
std::vector<Happening> tell(const Receipt& receipt, const std::vector<Moment>& story);

// Why a request was refused, in words.
std::vector<Happening> tell(const Refusal& refusal);

// "3.2 s", "0.125 s": seconds to the millisecond, with one decimal or as many as it takes.
std::string seconds_text(std::int64_t ms);
inline std::string text_of(GpuTime amount) { return seconds_text(amount.ms); }
inline std::string text_of(Duration duration) { return seconds_text(duration.ms); }

// Operators ask without an account, and may be told of anybody's jobs and refusals.
inline bool is_of_anybody(const ExplainQuery& query) { return query.account == AccountId{}; }

}  // namespace gpupool
