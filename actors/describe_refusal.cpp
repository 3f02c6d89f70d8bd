// The sentence and the hint of a refusal, code by code, in the order of base/errors.def.
#include <algorithm>

#include "actors/describe.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

// Less than this is not worth a hint: no job does anything useful in it.
constexpr Duration useful_least = milliseconds(100);

std::string with_detail(std::string text, const Refusal& refusal) {
  return refusal.detail.empty() ? text : text + ": " + refusal.detail;
}

std::string app_of(const Refusal& refusal) {
  return refusal.app.empty() ? "the app" : "app " + refusal.app;
}

std::string tier_of(const Refusal& refusal) {
  return refusal.balance.tier.empty() ? "the tier" : "tier " + refusal.balance.tier;
}

std::string size_of(const Refusal& refusal) {
  return refusal.size.empty() ? "this size" : "size " + refusal.size;
}

// "60.0 s requested (large, factor 1)", "120.0 s requested (60.0 s at xlarge, factor 2)".
std::string requested(const Refusal& refusal) {
  const std::string factor = refusal.size + ", factor " + std::to_string(refusal.factor) + ")";
  if (refusal.first_held > Duration{})
    return seconds_text(refusal.cost) + " to hold at first, of up to " +
           seconds_text(refusal.declared) + " declared (" + factor;
  if (refusal.factor == 1) return seconds_text(refusal.declared) + " requested (" + factor;
  return seconds_text(refusal.cost) + " requested (" + seconds_text(refusal.declared) + " at " +
         factor;
}

// The time of day is enough within a day; a hold may outlive that.
std::string held_until_text(const Balance& balance) {
  const std::string text = utc_text(balance.held_until, Rounding::up);
  if (balance.held_until - balance.at >= hours(24)) return text;
  return text.substr(11, 8) + " UTC";
}

// An account's numbers and when they change.
std::string balance_and_times(const Balance& balance) {
  std::string text = balance_text(balance);
  if (const std::string credits = credits_text(balance); !credits.empty()) text += "; " + credits;
  if (balance.held_until)
    text += balance.open_jobs > 1
                ? "; the first of " + std::to_string(balance.open_jobs) + " holds frees by " +
                      held_until_text(balance) + " at the latest"
                : "; the hold frees by " + held_until_text(balance) + " at the latest";
  if (!balance.resets_at) return text + "; no window is open";
  return text + "; the window resets at " + utc_text(balance.resets_at, Rounding::up) + " (in " +
         countdown_text(balance.resets_at - balance.at) + ")";
}

std::string id_age(const Refusal& refusal) {
  const Duration age{refusal.want};
  if (age < Duration{})
    return "the request id is dated " + countdown_text(Duration{} - age) +
           " (h:mm:ss) in the future; at most " + countdown_text(Duration{std::abs(refusal.have)}) +
           " is accepted";
  return "the request id is " + countdown_text(age) + " (h:mm:ss) old; at most " +
         countdown_text(Duration{refusal.have}) + " is accepted";
}

// Which of the two caps was met: the app's duration, or the tier's cost of one request.
std::string illegal_duration(const Refusal& refusal) {
  if (refusal.want <= 0)
    return seconds_text(Duration{refusal.want}) + " requested; a duration is more than 0 s";
  const Duration cap{refusal.have};
  const Balance& balance = refusal.balance;
  std::string text = seconds_text(Duration{refusal.want}) + " requested (" + refusal.size +
                     ", factor " + std::to_string(refusal.factor) + "), " + seconds_text(cap) +
                     " is the longest allowed: ";
  if (!is_tiers_cap(refusal)) return text + "the cap of " + app_of(refusal);
  text += tier_of(refusal) + " may spend " + seconds_text(balance.longest) + " on one request";
  return refusal.factor == 1 ? text
                             : text + ", and " + size_of(refusal) + " counts " +
                                   std::to_string(refusal.factor) + "-fold";
}

std::string too_many_jobs(const Refusal& refusal) {
  return "this would be admitted job " + std::to_string(refusal.want) + " of the account; " +
         tier_of(refusal) + " may have " + std::to_string(refusal.have) +
         " queued or running at once";
}

std::string size_unavailable(const Refusal& refusal) {
  return with_detail(
      size_of(refusal) + " (factor " + std::to_string(refusal.factor) + ") needs " +
          std::to_string(refusal.want) + (refusal.want == 1 ? " slot" : " slots together") +
          "; the largest shape that this pool offers has " + std::to_string(refusal.have),
      refusal);
}

std::string promise_too_late(const Refusal& refusal) {
  return with_detail("a start within " + seconds_text(Duration{refusal.want}) +
                         " was asked for (max_wait); the pool can promise a start within " +
                         seconds_text(Duration{refusal.have}, Rounding::up),
                     refusal);
}

// The longest duration that would be admitted now at this size; 0: none that is useful.
Duration longest_now(const Balance& balance, const std::string& size) {
  for (const Fit& fit : balance.fits)
    if (fit.size == size && fit.offered && fit.longest >= useful_least) return fit.longest;
  return {};
}

std::string would_be_admitted(Duration longest, const std::string& option) {
  return "a request of up to " + seconds_text(longest, Rounding::down) +
         " would be admitted now: try " + option + "--duration " + duration_argument(longest);
}

// A request that would be admitted now: at the size asked for, unless the pool has no such shape,
// else at another one.
std::string fitting_request(const Refusal& refusal) {
  const bool is_there = refusal.code != Errc::size_unavailable;
  const Duration same = longest_now(refusal.balance, refusal.size);
  if (is_there && same > Duration{}) return would_be_admitted(same, "");
  for (const Fit& fit : refusal.balance.fits) {
    if (fit.size == refusal.size) continue;
    const Duration other = longest_now(refusal.balance, fit.size);
    if (other > Duration{})
      return "at size " + fit.size + ", " + would_be_admitted(other, "--size " + fit.size + " ");
  }
  return "";
}

std::string quota_hint(const Refusal& refusal) {
  if (std::string fits = fitting_request(refusal); !fits.empty()) return fits;
  const Balance& balance = refusal.balance;
  if (balance.held_until)
    return "no request would be admitted now; ask again after " + held_until_text(balance) +
           ", when a hold is sure to be closed";
  // A fixed window is there unused as well, and then its end changes nothing.
  if (balance.resets_at && balance.used > GpuTime{})
    return "no request would be admitted now; ask again after " +
           utc_text(balance.resets_at, Rounding::up);
  return "no request would be admitted now: " + tier_of(refusal) + " has an allowance of " +
         seconds_text(balance.allowance);
}

// What past runs say, where it is less than what was asked for.
std::string with_advice(std::string hint, const Refusal& refusal) {
  const Advice& advice = refusal.balance.advice;
  if (advice.app != refusal.app || advice.first_held > Duration{} ||
      advice.declare >= refusal.declared)
    return hint;
  const std::string text = advice_text(advice);
  if (text.empty()) return hint;
  return text + (hint.empty() ? "" : "; " + hint);
}

std::string illegal_duration_hint(const Refusal& refusal) {
  // With a balance at hand the hint keeps within it: a shorter request may still be too much.
  if (refusal.balance.at) return quota_hint(refusal);
  const Duration cap{refusal.have};
  if (cap < useful_least) return "";
  return "declare at most " + duration_argument(cap) + " s: --duration " + duration_argument(cap);
}

std::string promise_hint(const Refusal& refusal) {
  const std::int64_t whole_s = (refusal.have + 999) / 1000;
  return "--max-wait " + std::to_string(whole_s) +
         " would be accepted now; without --max-wait any wait is";
}

}  // namespace

std::string sentence_of(const Refusal& refusal) {
  switch (refusal.code) {
    case Errc::bad_request:
      return with_detail("the request is malformed", refusal);
    case Errc::unauthenticated:
      return with_detail("the caller is not recognised", refusal);
    case Errc::id_expired:
      return id_age(refusal);
    case Errc::id_reused:
      return "the request id was used already, with another request";
    case Errc::unknown_app:
      return "this pool does not know " + app_of(refusal) +
             (refusal.detail.empty() ? "" : "; " + refusal.detail);
    case Errc::forbidden:
      return with_detail(tier_of(refusal) + " may not use " + app_of(refusal), refusal);
    case Errc::illegal_duration:
      return illegal_duration(refusal);
    case Errc::too_many_jobs:
      return too_many_jobs(refusal);
    case Errc::size_unavailable:
      return size_unavailable(refusal);
    case Errc::pool_unavailable:
      // A detail says that it is for another reason.
      if (!refusal.detail.empty()) return refusal.detail;
      return "no node that can run " + app_of(refusal) + " is connected (" +
             std::to_string(refusal.have) + " of at least " +
             std::to_string(std::max<std::int64_t>(1, refusal.want)) + ")";
    case Errc::overloaded:
      return with_detail("the pool is full: this would be job " + std::to_string(refusal.want) +
                             " of at most " + std::to_string(refusal.have),
                         refusal);
    case Errc::promise_too_late:
      return promise_too_late(refusal);
    case Errc::quota_exceeded:
      return requested(refusal) + ", " + balance_and_times(refusal.balance);
    case Errc::ledger_unavailable:
      return with_detail("the pool's ledger cannot write now", refusal);
    default:
      return describe(Error{refusal.code, refusal.want, refusal.have, refusal.detail});
  }
}

std::string hint_of(const Refusal& refusal) {
  switch (refusal.code) {
    case Errc::unauthenticated:
      return "get a new token and name its file with --token-file, or put it in GPUPOOL_TOKEN; a "
             "bad token is never taken for anonymous";
    case Errc::id_expired:
      return "submit again under a new request id; check this machine's clock";
    case Errc::id_reused:
      return "to ask again for the same job, give the same arguments and options, --detach among "
             "them; another request needs another id";
    case Errc::illegal_duration:
      return illegal_duration_hint(refusal);
    case Errc::too_many_jobs:
      return "wait for a job to end, or cancel one; `gpupool jobs` lists them";
    case Errc::size_unavailable:
      return fitting_request(refusal);
    case Errc::pool_unavailable:
    case Errc::overloaded:
      return "nothing was held or charged; try again later";
    case Errc::promise_too_late:
      return promise_hint(refusal);
    case Errc::quota_exceeded:
      return with_advice(quota_hint(refusal), refusal);
    case Errc::ledger_unavailable:
      return "nothing was held or charged; the operator has to look at the disk of the broker's "
             "machine";
    default:
      return "";
  }
}

}  // namespace gpupool
