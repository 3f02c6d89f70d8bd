#include "cli/diagnosis.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "actors/describe.h"
#include "config/limits.h"
#include "net/token_parts.h"

namespace gpupool {
namespace {

// A clock that is further off than this loses request ids (design 2.8).
constexpr Duration ahead_max{limits::id_future_ms_max};
constexpr Duration noticeable = seconds(5);

Finding good(std::string name, std::string text) {
  return {.name = std::move(name), .health = Health::good, .text = std::move(text), .next = {}};
}
Finding note(std::string name, std::string text, std::string next) {
  return {std::move(name), Health::note, std::move(text), std::move(next)};
}
Finding bad(std::string name, std::string text, std::string next) {
  return {std::move(name), Health::bad, std::move(text), std::move(next)};
}
Finding skipped(std::string name, std::string why) {
  return {.name = std::move(name), .health = Health::skipped, .text = std::move(why), .next = {}};
}

// What a token says of itself, checked by nobody.
struct Said {
  std::string subject;
  std::string tier;
  Instant expires{};
};

std::optional<Said> said_by(const std::string& token) {
  const Result<JwsParts> parts = split_token(token);
  if (!parts || !read_header(*parts)) return std::nullopt;
  const Result<nlohmann::json> claims = read_claims(*parts);
  if (!claims) return std::nullopt;
  Said said{.subject = text_claim(*claims, "sub").value_or(""),
            .tier = text_claim(*claims, "tier").value_or("")};
  if (const auto end = claims->find("exp"); end != claims->end() && end->is_number_integer())
    if (const auto s = end->get<std::int64_t>(); s > 0 && s < 253'402'300'799)
      said.expires = Instant{s * 1000};
  return said;
}

Finding look_at_token(const Evidence& evidence) {
  const std::string from = evidence.token_from;
  if (!evidence.token)
    return bad("token", describe(evidence.token.error()),
               "name a file that holds a token with --token-file, or put it in GPUPOOL_TOKEN");
  if (evidence.token->empty())
    return note("token", "there is none",
                "the pool may know you by your network address, with the least quota; to come as "
                "yourself name a token with --token-file or GPUPOOL_TOKEN");
  const std::optional<Said> said = said_by(*evidence.token);
  if (!said)
    return bad("token", "what is in " + from + " is no JSON Web Token",
               "ask for a new one; three parts with dots between them are a token");
  if (said->expires && said->expires <= evidence.now)
    return bad("token",
               "the one in " + from + " expired at " + utc_text(said->expires) + ", " +
                   countdown_text(evidence.now - said->expires) + " ago",
               "ask for a new one; an expired token is never taken for anonymous");
  std::string text =
      "one for " + (said->subject.empty() ? "somebody" : said->subject) + ", from " + from;
  if (said->expires) text += ", good until " + utc_text(said->expires);
  return good("token", text);
}

Finding look_at_pool(const Evidence& evidence) {
  if (!evidence.unreachable)
    return good("pool", evidence.welcome->pool + " answers at " + evidence.endpoint);
  const Error& why = *evidence.unreachable;
  const std::string text = describe(why);
  switch (why.code) {
    case Errc::unauthenticated:
      return bad("pool", "it does not take this token: " + text,
                 "ask the pool's operator for a new one; `gpupool token inspect` shows what is in "
                 "the one you have");
    case Errc::version_mismatch:
      return bad("pool", text, "install the version of gpupool that the pool has");
    case Errc::rate_limited:
    case Errc::overloaded:
      return bad("pool", text, "it is the pool, not you: try again later");
    default:
      return bad("pool", text,
                 "is " + evidence.endpoint + " (" + evidence.endpoint_from +
                     ") the right endpoint? ask the pool's operator; if it is, the pool is down or "
                     "a network between you and it closes the way");
  }
}

Finding look_at_version(const Evidence& evidence) {
  const std::string& theirs = evidence.welcome->build;
  if (theirs == evidence.build) return good("version", evidence.build + " here and there");
  return note("version", evidence.build + " here, " + theirs + " there",
              "they speak with each other; what is new in one of them the other may not know");
}

Finding look_at_clock(const Evidence& evidence) {
  if (!evidence.quota || !*evidence.quota) return skipped("clock", "the pool's is not known");
  const Instant theirs = (*evidence.quota)->balance.at;
  const bool is_ahead = evidence.now > theirs;
  const Duration off = is_ahead ? evidence.now - theirs : theirs - evidence.now;
  const std::string text = "this machine's is " + seconds_text(off) +
                           (is_ahead ? " ahead of" : " behind") + " the pool's";
  if (is_ahead ? off > ahead_max : off > Duration{limits::id_age_ms_max})
    return bad("clock", text, "set it: requests made by such a clock are refused (id_expired)");
  if (off > noticeable)
    return note("clock", text, "set it, so that the times you are told mean what you read");
  return good("clock", "within " + seconds_text(noticeable) + " of the pool's");
}

Finding look_at_identity(const Evidence& evidence) {
  const Caller& caller = evidence.welcome->caller;
  const std::string text = caller.account.text + ", recognised by " + caller.recognised_by;
  const bool is_user = caller.account.text.starts_with("user:");
  if (is_user) return good("identity", text);
  return note("identity", text,
              "everybody at this address shares one quota; with a token you have your own");
}

Finding look_at_tier(const Evidence& evidence) {
  // The ledger knows what an operator set; the welcome may be of before that.
  const bool knows = evidence.quota && *evidence.quota;
  const Caller& caller = knows ? (*evidence.quota)->caller : evidence.welcome->caller;
  const std::optional<Said> said =
      evidence.token && !evidence.token->empty() ? said_by(*evidence.token) : std::optional<Said>{};
  if (said && !said->tier.empty() && said->tier != caller.tier)
    return note("tier",
                caller.tier + ", though the token says " + said->tier + ": " + caller.recognised_by,
                "an operator chose the tier of this account; `gpupool changes` says who and when");
  return good("tier", caller.tier);
}

Finding look_at_quota(const Evidence& evidence) {
  if (!evidence.quota) return skipped("quota", "it was not asked for");
  if (!*evidence.quota)
    return bad("quota", describe(evidence.quota->error()),
               "it is the pool, not you: try again, or ask its operator");
  const Balance& balance = (*evidence.quota)->balance;
  std::string text = balance_text(balance);
  if (const std::string credits = credits_text(balance); !credits.empty()) text += "; " + credits;
  const bool fits = std::any_of(balance.fits.begin(), balance.fits.end(),
                                [](const Fit& one) { return one.longest >= seconds(1); });
  if (fits) return good("quota", text);
  if (balance.open_jobs >= balance.jobs_max)
    return bad("quota",
               std::to_string(balance.open_jobs) + " of at most " +
                   std::to_string(balance.jobs_max) + " jobs are admitted",
               "wait for one to end, or cancel one; `gpupool jobs` lists them");
  if (std::none_of(balance.fits.begin(), balance.fits.end(),
                   [](const Fit& one) { return one.offered; }))
    return bad("quota", text + "; and no node offers a slot",
               "it is the pool, not you: its operator has to look at the nodes");
  if (balance.held_until)
    return bad("quota", text,
               "what is held may come back from " + utc_text(balance.held_until, Rounding::up) +
                   " on, or earlier");
  if (balance.resets_at)
    return bad("quota", text, "the window resets at " + utc_text(balance.resets_at, Rounding::up));
  return bad("quota", text, "tier " + balance.tier + " has no allowance: ask the operator");
}

Finding look_at_app(const Evidence& evidence) {
  if (evidence.app.empty())
    return skipped("app",
                   "none was named; with --app NAME it is asked whether it would be admitted");
  if (!evidence.quote) return skipped("app", "it was not asked for");
  if (!*evidence.quote)
    return bad("app", describe(evidence.quote->error()), "try again, or ask the pool's operator");
  const QuoteAnswer& quote = **evidence.quote;
  if (quote.refusal.code != Errc{})
    return bad("app", evidence.app + ": " + quote.refusal.sentence, quote.refusal.hint);
  std::string text =
      evidence.app + " would be admitted, for " + seconds_text(quote.cost) + " at most";
  if (quote.promise)
    text += ", with a start by " + utc_text(quote.promise, Rounding::up) + " at the latest";
  return good("app", text);
}

}  // namespace

std::string_view word_of(Health health) {
  switch (health) {
    case Health::good:
      return "ok";
    case Health::note:
      return "note";
    case Health::bad:
      return "problem";
    case Health::skipped:
      return "skipped";
  }
  return "unknown";
}

std::vector<Finding> diagnose(const Evidence& evidence) {
  std::vector<Finding> found{
      good("endpoint", evidence.endpoint + ", from " + evidence.endpoint_from),
      look_at_token(evidence)};
  if (!evidence.unreachable && !evidence.welcome) {  // not even tried
    for (const char* name : {"pool", "version", "clock", "identity", "tier", "quota", "app"})
      found.push_back(skipped(name, "there is no token to come with"));
    return found;
  }
  found.push_back(look_at_pool(evidence));
  if (evidence.unreachable) {
    for (const char* name : {"version", "clock", "identity", "tier", "quota", "app"})
      found.push_back(skipped(name, "the pool was not reached"));
    return found;
  }
  found.push_back(look_at_version(evidence));
  found.push_back(look_at_clock(evidence));
  found.push_back(look_at_identity(evidence));
  found.push_back(look_at_tier(evidence));
  found.push_back(look_at_quota(evidence));
  found.push_back(look_at_app(evidence));
  return found;
}

const Finding* problem_of(const std::vector<Finding>& findings) {
  const auto found = std::find_if(findings.begin(), findings.end(),
                                  [](const Finding& one) { return one.health == Health::bad; });
  return found == findings.end() ? nullptr : &*found;
}

}  // namespace gpupool
