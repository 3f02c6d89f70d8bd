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
                                          "identity", "tier", "quota", "app"});
  CHECK(problem_of(findings) == nullptr);
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
  CHECK(problem_of(diagnose(evidence)) == nullptr);
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
  none.open_jobs = 4;
  evidence.quota = QuotaAnswer{.balance = none};
  CHECK(says(finding(evidence, "quota").text, "4 of at most 4 jobs"));
  none.open_jobs = 0;
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

}  // namespace gpupool
