#include "cli/diagnosis.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "actors/describe.h"
#include "actors/rules.h"
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

// The pool answered, and takes no such token: its own words, or null.
const Error* not_taken(const Evidence& evidence) {
  const bool is_token = evidence.unreachable && evidence.unreachable->code == Errc::unauthenticated;
  return is_token ? &*evidence.unreachable : nullptr;
}

Finding look_at_no_token(const Evidence& evidence) {
  const std::string how = "name a token with --token-file or GPUPOOL_TOKEN";
  if (not_taken(evidence)) return bad("token", "there is none, and the pool wants one", how);
  return note("token", "there is none",
              "the pool may know you by your network address, with the least quota; to come as "
              "yourself " +
                  how);
}

Finding look_at_token(const Evidence& evidence) {
  const std::string from = evidence.token_from;
  if (!evidence.token)
    return bad("token", describe(evidence.token.error()),
               "name a file that holds a token with --token-file, or put it in GPUPOOL_TOKEN");
  if (evidence.token->empty()) return look_at_no_token(evidence);
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
  if (const Error* why = not_taken(evidence))
    return bad("token", text + "; the pool does not take it: " + describe(*why),
               "ask the pool's operator for a new one; `gpupool token inspect` shows what is in "
               "the one you have");
  return good("token", text);
}

// Which check is about what a refusal is about.
std::string_view check_of(Errc code) {
  switch (code) {
    case Errc::pool_unavailable:
    case Errc::overloaded:
    case Errc::ledger_unavailable:
      return "pool";
    case Errc::too_many_jobs:
      return "jobs";
    case Errc::quota_exceeded:
      return "quota";
    default:
      return "app";
  }
}

// Why what was asked about would be refused, or null.
const Refusal* refusal_in(const Evidence& evidence) {
  if (!evidence.quote || !*evidence.quote) return nullptr;
  const Refusal& refusal = (*evidence.quote)->refusal;
  return refusal.code == Errc{} ? nullptr : &refusal;
}

Finding look_at_reached_pool(const Evidence& evidence) {
  const std::string text = evidence.welcome->pool + " answers at " + evidence.endpoint;
  const Refusal* refusal = refusal_in(evidence);
  if (!refusal || check_of(refusal->code) != "pool") return good("pool", text);
  return bad("pool", text + ", and refuses jobs: " + refusal->sentence,
             "it is the pool, not you: " + refusal->hint);
}

Finding look_at_pool(const Evidence& evidence) {
  if (!evidence.unreachable) return look_at_reached_pool(evidence);
  const Error& why = *evidence.unreachable;
  const std::string text = describe(why);
  switch (why.code) {
    case Errc::unauthenticated:
      return good("pool", "one answers at " + evidence.endpoint);
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

bool is_of_an_issuer(const Caller& caller) {
  return caller.account.text.find('@') != std::string::npos;
}

// Where a tier comes from, as far as anybody here can know.
std::string why_tier(const Caller& caller, const std::optional<Said>& said) {
  if (caller.recognised_by.ends_with(" set by an operator")) return ": an operator set it";
  if (!caller.account.text.starts_with("user:")) return ": [identity] anonymous_tier";
  if (is_of_an_issuer(caller)) return ": [[identity.issuers]] tiers, or [identity] default_tier";
  if (!said) return "";
  return said->tier.empty() ? ": [identity] default_tier, as the token names none"
                            : ": the token says so";
}

Finding look_at_tier(const Evidence& evidence) {
  // The ledger knows what an operator set; the welcome may be of before that.
  const bool knows = evidence.quota && *evidence.quota;
  const Caller& caller = knows ? (*evidence.quota)->caller : evidence.welcome->caller;
  const std::optional<Said> said =
      evidence.token && !evidence.token->empty() ? said_by(*evidence.token) : std::optional<Said>{};
  const bool may_differ = !is_of_an_issuer(caller);
  if (said && may_differ && !said->tier.empty() && said->tier != caller.tier)
    return note("tier",
                caller.tier + ", though the token says " + said->tier + ": " + caller.recognised_by,
                "an operator chose the tier of this account; `gpupool changes` says who and when");
  return good("tier", caller.tier + why_tier(caller, said));
}

bool is_full(const Balance& balance) { return balance.open_jobs >= balance.jobs_max; }

Finding look_at_jobs(const Evidence& evidence) {
  if (!evidence.quota || !*evidence.quota)
    return skipped("jobs", "how many there are is not known");
  const Balance& balance = (*evidence.quota)->balance;
  const std::string text = std::to_string(balance.open_jobs) + " of at most " +
                           std::to_string(balance.jobs_max) + " are admitted";
  if (!is_full(balance)) return good("jobs", text);
  return bad("jobs",
             text + ", " +
                 Setting{"tiers", balance.tier, "jobs_max"}.equals(std::int64_t{balance.jobs_max}),
             "wait for one to end, or cancel one; `gpupool jobs` lists them");
}

// Whether anything of use can be paid for; where as many jobs as may be are open, nothing fits.
bool pays(const Balance& balance) {
  const GpuTime beyond =
      balance.credits - balance.credits_held + balance.group.credits - balance.group.held;
  if (is_full(balance)) return balance.left + beyond >= GpuTime{1000};
  return std::any_of(balance.fits.begin(), balance.fits.end(),
                     [](const Fit& one) { return one.longest >= seconds(1); });
}

Finding look_at_quota(const Evidence& evidence) {
  if (!evidence.quota) return skipped("quota", "it was not asked for");
  if (!*evidence.quota)
    return bad("quota", describe(evidence.quota->error()),
               "it is the pool, not you: try again, or ask its operator");
  const Balance& balance = (*evidence.quota)->balance;
  std::string text = balance_text(balance);
  if (const std::string credits = credits_text(balance); !credits.empty()) text += "; " + credits;
  if (pays(balance)) {
    const Refusal* refusal = evidence.is_last ? nullptr : refusal_in(evidence);
    if (!refusal || refusal->code != Errc::quota_exceeded) return good("quota", text);
    return bad("quota",
               text + "; for " + evidence.app + " " + seconds_text(refusal->cost) +
                   " would have to be held",
               refusal->hint);
  }
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
    return skipped(
        "app",
        "none was named, and you have used none yet; with --app NAME it is asked whether "
        "a job of it would be admitted, and so whether any node takes jobs");
  if (!evidence.quote) return skipped("app", "it was not asked for");
  if (!*evidence.quote)
    return bad("app", describe(evidence.quote->error()), "try again, or ask the pool's operator");
  const std::string app = evidence.app + (evidence.is_last ? ", which you used last," : "");
  if (const Refusal* refusal = refusal_in(evidence)) {
    const std::string_view check = check_of(refusal->code);
    if (check == "pool" || (check != "app" && !evidence.is_last))
      return skipped("app", app + " would be refused because of the " + std::string(check));
    if (evidence.is_last)
      return note("app", app + " would be refused: " + refusal->sentence, refusal->hint);
    return bad("app", app + ": " + refusal->sentence, refusal->hint);
  }
  const QuoteAnswer& quote = **evidence.quote;
  std::string text = app + " would be admitted, for " + seconds_text(quote.cost) + " at most";
  if (quote.promise)
    text += ", with a start by " + utc_text(quote.promise, Rounding::up) + " at the latest";
  return good("app", text);
}

// The names of the findings that are so.
std::string names_of(const std::vector<Finding>& findings, Health health) {
  std::string names;
  for (const Finding& one : findings)
    if (one.health == health) names += (names.empty() ? "" : ", ") + one.name;
  return names;
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
    for (const char* name :
         {"pool", "version", "clock", "identity", "tier", "jobs", "quota", "app"})
      found.push_back(skipped(name, "there is no token to come with"));
    return found;
  }
  found.push_back(look_at_pool(evidence));
  if (evidence.unreachable) {
    const char* why =
        not_taken(evidence) ? "the pool does not take the token" : "the pool was not reached";
    for (const char* name : {"version", "clock", "identity", "tier", "jobs", "quota", "app"})
      found.push_back(skipped(name, why));
    return found;
  }
  found.push_back(look_at_version(evidence));
  found.push_back(look_at_clock(evidence));
  found.push_back(look_at_identity(evidence));
  found.push_back(look_at_tier(evidence));
  found.push_back(look_at_jobs(evidence));
  found.push_back(look_at_quota(evidence));
  found.push_back(look_at_app(evidence));
  return found;
}

const Finding* problem_of(const std::vector<Finding>& findings) {
  const auto found = std::find_if(findings.begin(), findings.end(),
                                  [](const Finding& one) { return one.health == Health::bad; });
  return found == findings.end() ? nullptr : &*found;
}

std::string summary_of(const std::vector<Finding>& findings) {
  if (const Finding* problem = problem_of(findings))
    return "The problem is the " + problem->name + ".";
  if (const std::string notes = names_of(findings, Health::note); !notes.empty()) {
    std::string text = "Nothing is wrong, but look at: " + notes + ".";
    const auto step = std::find_if(findings.begin(), findings.end(), [](const Finding& one) {
      return one.health == Health::note && !one.next.empty();
    });
    return step == findings.end() ? text : text + " The next step: " + step->next + ".";
  }
  const std::string unseen = names_of(findings, Health::skipped);
  return unseen.empty() ? "Nothing is wrong."
                        : "Nothing is wrong in what was looked at; not looked at: " + unseen + ".";
}

}  // namespace gpupool
