// What `gpupool doctor` makes of its evidence.
#include "cli/diagnosis.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "net/token.h"
#include "net/token_parts.h"

namespace gpupool {
namespace {

const Instant now{1'796'112'000'000};  // 2026-12-01T08:00:00Z

std::string token(Duration until = hours(1), const std::string& tier = "pro") {
  const auto made =
      mint({.kid = "k", .secret = std::string(32, 's')},
           {.subject = "ada", .tier = tier, .issued = now - hours(2), .expires = now + until});
  REQUIRE(made);
  return *made;
}

Balance balance(Duration longest = seconds(60)) {
  return {.account = {"user:ada"},
          .tier = "pro",
          .allowance = {210'000},
          .left = {longest.ms},
          .jobs_max = 4,
          .fits = {{.size = "large", .factor = 1, .longest = longest, .offered = true}},
          .at = now};
}

// A pool that has nothing against anybody.
Evidence healthy() {
  const Caller ada{.account = {"user:ada"}, .tier = "pro", .recognised_by = "token for ada, key k"};
  return {.endpoint = "tcp://127.0.0.1:7400",
          .endpoint_from = "the default",
          .token_from = "the file ada.token",
          .token = token(),
          .build = "1.0",
          .now = now,
          .welcome = SessionWelcome{.caller = ada, .pool = "lab", .build = "1.0"},
          .quota = QuotaAnswer{.caller = ada, .balance = balance()},
          .app = "emoji",
          .quote = QuoteAnswer{.caller = ada, .app = "emoji", .cost = {60'000}}};
}

Finding finding(const Evidence& evidence, const std::string& name) {
  for (const Finding& one : diagnose(evidence))
    if (one.name == name) return one;
  FAIL("no finding about " << name);
  return {};
}

bool says(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("Where nothing is wrong every step says so, in the order in which they matter") {
  const auto findings = diagnose(healthy());
  std::vector<std::string> names;
  for (const Finding& one : findings) {
    names.push_back(one.name);
    INFO(one.name << ": " << one.text);
    CHECK(one.health == Health::good);
    CHECK(one.next.empty());
  }
  CHECK(names == std::vector<std::string>{"endpoint", "token", "pool", "version", "clock",
                                          "identity", "tier", "jobs", "quota", "app"});
  CHECK(problem_of(findings) == nullptr);
  CHECK(summary_of(findings) == "Nothing is wrong.");
}

TEST_CASE("An expired token is the problem, with the moment and how long ago that was") {
  Evidence evidence = healthy();
  evidence.token = token(Duration{} - seconds(600));
  evidence.unreachable = Error{.code = Errc::unauthenticated, .detail = "the token expired"};
  evidence.welcome.reset();
  const auto findings = diagnose(evidence);
  REQUIRE(problem_of(findings) != nullptr);
  CHECK(problem_of(findings)->name == "token");
  CHECK(says(problem_of(findings)->text, "expired at 2026-12-01T07:50:00Z, 0:10:00 ago"));
  CHECK(finding(evidence, "quota").health == Health::skipped);
  CHECK(finding(evidence, "quota").text == "the pool does not take the token");
  // It answered: it is not another problem.
  CHECK(finding(evidence, "pool").health == Health::good);
  CHECK(summary_of(findings) == "The problem is the token.");
}

TEST_CASE("A token that only the pool knows to be bad is the problem, in the pool's words") {
  Evidence evidence = healthy();
  evidence.unreachable = Error{.code = Errc::unauthenticated, .detail = "the token was revoked"};
  evidence.welcome.reset();
  CHECK(problem_of(diagnose(evidence))->name == "token");
  CHECK(says(finding(evidence, "token").text, "the pool does not take it"));
  CHECK(says(finding(evidence, "token").text, "the token was revoked"));
  evidence.token = std::string{};
  CHECK(says(finding(evidence, "token").text, "there is none, and the pool wants one"));
  CHECK(problem_of(diagnose(evidence))->name == "token");
}

TEST_CASE("What is no token, and a file that cannot be read, are told before anything is asked") {
  Evidence evidence = healthy();
  evidence.token = std::string("hello");
  CHECK(says(finding(evidence, "token").text, "is no JSON Web Token"));
  evidence.token = Error{.code = Errc::file_unreadable, .detail = "the token file x is not there"};
  evidence.welcome.reset();
  const auto findings = diagnose(evidence);
  CHECK(problem_of(findings)->name == "token");
  CHECK(findings.back().health == Health::skipped);
}

TEST_CASE("Without a token the caller is an address, and is told what that means") {
  Evidence evidence = healthy();
  evidence.token = std::string{};
  evidence.welcome->caller = {.account = {"address:192.0.2.7/32"},
                              .tier = "anonymous",
                              .recognised_by = "network address 192.0.2.7"};
  evidence.quota = QuotaAnswer{.caller = evidence.welcome->caller, .balance = balance()};
  CHECK(finding(evidence, "token").health == Health::note);
  CHECK(finding(evidence, "identity").health == Health::note);
  CHECK(says(finding(evidence, "identity").next, "shares one quota"));
  CHECK(finding(evidence, "tier").text == "anonymous: [identity] anonymous_tier");
  CHECK(problem_of(diagnose(evidence)) == nullptr);
  const std::string summary = summary_of(diagnose(evidence));
  CHECK(summary.starts_with("Nothing is wrong, but look at: token, identity. The next step: "));
  CHECK(summary.ends_with("name a token with --token-file or GPUPOOL_TOKEN."));
}

TEST_CASE("A tier says where it comes from") {
  Evidence evidence = healthy();
  const auto tier = [&] { return finding(evidence, "tier").text; };
  CHECK(tier() == "pro: the token says so");
  evidence.token = token(hours(1), "");
  CHECK(tier() == "pro: [identity] default_tier, as the token names none");
  Caller ada = evidence.welcome->caller;
  ada.recognised_by += "; tier pro set by an operator";
  evidence.quota = QuotaAnswer{.caller = ada, .balance = balance()};
  CHECK(tier() == "pro: an operator set it");
  ada = {.account = {"user:ada@uni"}, .tier = "pro", .recognised_by = "token for ada, issuer uni"};
  evidence.quota = QuotaAnswer{.caller = ada, .balance = balance()};
  CHECK(tier() == "pro: [[identity.issuers]] tiers, or [identity] default_tier");
}

TEST_CASE("A tier that is not the token's is told with who set it") {
  Evidence evidence = healthy();
  Caller ada = evidence.welcome->caller;
  ada.tier = "free";
  ada.recognised_by += "; tier free set by an operator";
  evidence.quota = QuotaAnswer{.caller = ada, .balance = balance()};
  const Finding tier = finding(evidence, "tier");
  CHECK(tier.health == Health::note);
  CHECK(says(tier.text, "free, though the token says pro"));
  CHECK(says(tier.text, "set by an operator"));
}

TEST_CASE("A clock that makes requests too new or too old is the problem") {
  Evidence evidence = healthy();
  evidence.now = now + seconds(360);
  CHECK(finding(evidence, "clock").health == Health::bad);
  CHECK(says(finding(evidence, "clock").text, "360.0 s ahead of the pool's"));
  evidence.now = now - seconds(360);
  CHECK(finding(evidence, "clock").health == Health::note);
  evidence.now = now - hours(49);
  CHECK(finding(evidence, "clock").health == Health::bad);
}

TEST_CASE("An endpoint where nobody answers is told with where its name came from") {
  Evidence evidence = healthy();
  evidence.unreachable =
      Error{.code = Errc::not_connected, .detail = "no pool answers at tcp://127.0.0.1:7400"};
  evidence.welcome.reset();
  const Finding pool = finding(evidence, "pool");
  CHECK(pool.health == Health::bad);
  CHECK(says(pool.next, "(the default)"));
}

TEST_CASE("A quota that pays for nothing says from when on it does") {
  Evidence evidence = healthy();
  Balance none = balance({});
  none.resets_at = now + hours(3);
  evidence.quota = QuotaAnswer{.balance = none};
  CHECK(says(finding(evidence, "quota").next, "resets at 2026-12-01T11:00:00Z"));
  none.held_until = now + seconds(90);
  evidence.quota = QuotaAnswer{.balance = none};
  CHECK(says(finding(evidence, "quota").next, "2026-12-01T08:01:30Z"));
  none.fits[0].offered = false;
  evidence.quota = QuotaAnswer{.balance = none};
  CHECK(says(finding(evidence, "quota").next, "it is the pool, not you"));
}

TEST_CASE("An app that would be refused says why, in the refusal's own words") {
  Evidence evidence = healthy();
  evidence.quote = QuoteAnswer{.refusal = {.code = Errc::unknown_app,
                                           .sentence = "this pool does not know emoji",
                                           .hint = "ask"}};
  const auto findings = diagnose(evidence);
  CHECK(problem_of(findings)->name == "app");
  CHECK(problem_of(findings)->text == "emoji: this pool does not know emoji");
  CHECK(problem_of(findings)->next == "ask");
  evidence.app.clear();
  CHECK(finding(evidence, "app").health == Health::skipped);
}

TEST_CASE("As many jobs as may be are the problem, and not the quota that is left") {
  Evidence evidence = healthy();
  Balance full = balance({});
  full.left = {90'000};
  full.open_jobs = 4;
  evidence.quota = QuotaAnswer{.balance = full};
  evidence.quote = QuoteAnswer{.refusal = {.code = Errc::too_many_jobs, .sentence = "one more"}};
  const auto findings = diagnose(evidence);
  CHECK(summary_of(findings) == "The problem is the jobs.");
  CHECK(problem_of(findings)->text == "4 of at most 4 are admitted, [[tiers]] pro.jobs_max = 4");
  CHECK(finding(evidence, "quota").health == Health::good);
  CHECK(finding(evidence, "app").text == "emoji would be refused because of the jobs");
  full.left = {};
  evidence.quota = QuotaAnswer{.balance = full};
  CHECK(finding(evidence, "quota").health == Health::bad);
}

TEST_CASE("A pool that takes no jobs is the problem, whichever app was asked about") {
  Evidence evidence = healthy();
  for (const Errc code : {Errc::pool_unavailable, Errc::overloaded, Errc::ledger_unavailable})
    for (const bool is_last : {false, true}) {
      evidence.is_last = is_last;
      evidence.quote = QuoteAnswer{.refusal = {.code = code,
                                               .sentence = "an operator is draining them",
                                               .hint = "try again later"}};
      const auto findings = diagnose(evidence);
      CHECK(summary_of(findings) == "The problem is the pool.");
      CHECK(problem_of(findings)->text ==
            "lab answers at tcp://127.0.0.1:7400, and refuses jobs: an operator is draining them");
      CHECK(problem_of(findings)->next == "it is the pool, not you: try again later");
      CHECK(finding(evidence, "app").health == Health::skipped);
      CHECK(finding(evidence, "quota").health == Health::good);
    }
}

TEST_CASE("A job that was asked about and is more than what is left makes the quota the problem") {
  Evidence evidence = healthy();
  (**evidence.quota).balance = balance(seconds(30));
  evidence.quote = QuoteAnswer{.refusal = {.code = Errc::quota_exceeded,
                                           .cost = {60'000},
                                           .sentence = "60.0 s requested",
                                           .hint = "try --duration 30"}};
  CHECK(problem_of(diagnose(evidence))->name == "quota");
  CHECK(says(finding(evidence, "quota").text, "for emoji 60.0 s would have to be held"));
  CHECK(finding(evidence, "quota").next == "try --duration 30");
  // Nobody asked for that one.
  evidence.is_last = true;
  CHECK(problem_of(diagnose(evidence)) == nullptr);
  CHECK(finding(evidence, "app").health == Health::note);
  CHECK(
      says(finding(evidence, "app").text, "emoji, which you used last, would be refused: 60.0 s"));
  CHECK(says(summary_of(diagnose(evidence)), "look at: app. The next step: try --duration 30."));
}

TEST_CASE("What was not looked at is said, and no pool is called well for it") {
  Evidence evidence = healthy();
  evidence.app.clear();
  evidence.quote.reset();
  CHECK(says(finding(evidence, "app").text, "whether any node takes jobs"));
  CHECK(summary_of(diagnose(evidence)) ==
        "Nothing is wrong in what was looked at; not looked at: app.");
}

}  // namespace gpupool
