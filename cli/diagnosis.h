#pragma once
// What stands between a person and their job, found out step by step: what this machine has (an
// endpoint, a token, a clock), what the pool says (who the caller is, what is left, whether an app
// would be admitted), and what to do about the first thing that is wrong. Pure: `gpupool doctor`
// (cli/doctor.h) collects the evidence. Any thread.

#include <optional>
#include <string>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

// What was found; each is absent if it was not come to.
struct Evidence {
  std::string endpoint;
  std::string endpoint_from;  // "--endpoint", "GPUPOOL_ENDPOINT" or "the default"
  std::string token_from;     // "the file ada.token" or "GPUPOOL_TOKEN"; empty: there is none
  Result<std::string> token{std::string{}};
  std::string build;  // of this program
  Instant now{};      // by this machine's clock, when the pool answered
  std::optional<Error> unreachable;
  std::optional<SessionWelcome> welcome;
  std::optional<Result<QuotaAnswer>> quota;
  std::string app;       // that was asked about; empty: none
  bool is_last = false;  // nobody named it: the account used it last
  std::optional<Result<QuoteAnswer>> quote;
};

enum class Health : std::uint8_t { good = 1, note = 2, bad = 3, skipped = 4 };
std::string_view word_of(Health health);

struct Finding {
  std::string name;  // "token"
  Health health{};
  std::string text;
  std::string next;  // what to do; empty: nothing
};

// In the order in which they matter: endpoint, token, pool, version, clock, identity, tier, jobs,
// quota, app. After a bad one the rest may be skipped. What would be refused because of an earlier
// one is that one's problem.
std::vector<Finding> diagnose(const Evidence& evidence);

// The first bad one, or null.
const Finding* problem_of(const std::vector<Finding>& findings);

// One line: which is the problem; or what to look at all the same, and the next step.
std::string summary_of(const std::vector<Finding>& findings);

}  // namespace gpupool
