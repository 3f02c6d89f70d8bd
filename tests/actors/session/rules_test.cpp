// The rule behind every refusal, and where it is set.
#include "actors/rules.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

// Of ada, who asks for a picture.
Refusal refused(Errc code, std::int64_t want = 0, std::int64_t have = 0) {
  Refusal refusal{.code = code, .want = want, .have = have};
  refusal.app = "emoji";
  refusal.size = "large";
  refusal.declared = seconds(60);
  refusal.balance = {.tier = "free",
                     .allowance = {210'000},
                     .longest = {180'000},
                     .jobs_max = 4,
                     .at = Instant{1'795'348'800'000}};
  return refusal;
}

Refusal with(Refusal refusal, const std::string& detail) {
  refusal.detail = detail;
  return refusal;
}

Refusal at_xlarge(Refusal refusal) {
  refusal.size = "xlarge";
  refusal.factor = 2;
  return refusal;
}

}  // namespace

TEST_CASE("The rule of a refusal is named with its table, its key and its value") {
  CHECK(rule_of(refused(Errc::quota_exceeded, 60'000, 30'000)) ==
        "[[tiers]] free.allowance_s = 210");
  CHECK(rule_of(with(refused(Errc::quota_exceeded, 60'000, 30'000),
                     "60.0 s declared by [[apps]] emoji.default_duration_s")) ==
        "[[tiers]] free.allowance_s = 210; 60.0 s declared by [[apps]] emoji.default_duration_s");
  CHECK(rule_of(refused(Errc::too_many_jobs, 5, 4)) == "[[tiers]] free.jobs_max = 4");
  CHECK(rule_of(at_xlarge(refused(Errc::size_unavailable, 2, 1))) ==
        "[[sizes]] xlarge.slots = 2; where they have to lie: [[apps]] emoji.partition and spread; "
        "the largest shape there: 1 slot");
  CHECK(rule_of(with(refused(Errc::forbidden), "it is open to pro")) == "[[apps]] emoji.tiers");
  CHECK(rule_of(with(refused(Errc::forbidden), "the app runs nothing until its secrets are set")) ==
        "[[apps]] emoji.secrets");
  CHECK(rule_of(refused(Errc::overloaded, 100'001, 100'000)) == "[broker] queue_max = 100000");
  CHECK(rule_of(refused(Errc::rate_limited, 116)) == "[rates] account_per_s and account_burst");
}

TEST_CASE(
    "The rule of an illegal duration is the app's longest, the tier's, or that and a factor") {
  CHECK(rule_of(refused(Errc::illegal_duration, 400'000, 300'000)) ==
        "[[apps]] emoji.longest_s = 300");
  CHECK(rule_of(refused(Errc::illegal_duration, 400'000, 180'000)) ==
        "[[tiers]] free.longest_s = 180");
  CHECK(rule_of(at_xlarge(refused(Errc::illegal_duration, 100'000, 90'000))) ==
        "[[tiers]] free.longest_s = 180 / [[sizes]] xlarge.factor = 2");
  CHECK(rule_of(refused(Errc::illegal_duration, 400'000, 7'250)) ==
        "[[apps]] emoji.longest_s = 7.25");
  CHECK(rule_of(refused(Errc::illegal_duration, -1, 180'000)) ==
        "fixed: a duration is more than 0 s");
}

TEST_CASE("A rule that nobody can configure says that it is fixed") {
  CHECK(rule_of(refused(Errc::id_expired, 172'800'001, 172'800'000)) ==
        "fixed: an id is good for 48:00:00 (h:mm:ss) and may be dated 0:05:00 ahead");
  CHECK(rule_of(refused(Errc::id_reused)) == "fixed: an id stands for one request");
  CHECK(rule_of(with(refused(Errc::overloaded, 65, 64), "too many unanswered questions")) ==
        "fixed: at most 64");
}

TEST_CASE("Every refusal of a request has a rule, and what is none of them has none") {
  for (int code = 100; code <= 113; ++code) {
    INFO(code);
    CHECK_FALSE(rule_of(refused(static_cast<Errc>(code), 1, 1)).empty());
  }
  CHECK(rule_of(refused(Errc::job_unknown)).empty());
  // An operator's command that is none, or that somebody else gave.
  for (const Errc code : {Errc::bad_request, Errc::forbidden}) {
    Refusal refusal = refused(code);
    refusal.app.clear();
    CHECK(rule_of(refusal).empty());
  }
}

TEST_CASE("A rule without an account's numbers names its key all the same") {
  Refusal refusal = refused(Errc::quota_exceeded, 60'000, 30'000);
  refusal.balance = {};
  CHECK(rule_of(refusal) == "[[tiers]] allowance_s");
}

TEST_CASE("Who declared a duration is told with the key that it came from") {
  const JobRequest silent{.app = "emoji"};
  const JobRequest said{.app = "emoji", .declared = seconds(8)};
  CHECK(text_of(declared_by(silent, {}), "emoji") == "[[apps]] emoji.default_duration_s");
  CHECK(text_of(declared_by(silent, seconds(11)), "emoji") == "[[apps]] emoji.duration = \"auto\"");
  CHECK(text_of(declared_by(said, {}), "emoji") == "--duration");
  CHECK(text_of(DeclaredBy::unknown, "emoji").empty());
}

TEST_CASE("What costs nothing says why, and what ran says nothing") {
  Receipt receipt{.held = {60'000}, .outcome = Outcome::failed, .cause = Errc::node_lost};
  CHECK(uncharged_text(receipt) == "the pool's fault: nothing is charged");
  receipt.cause = Errc::start_limit_missed;
  CHECK(uncharged_text(receipt) == "it had not begun to run: nothing is charged");
  receipt.cause = {};
  receipt.outcome = Outcome::cancelled;
  CHECK(uncharged_text(receipt) == "it had not begun to run: nothing is charged");
  receipt.ran = {3};
  receipt.charged = {3};
  CHECK(uncharged_text(receipt).empty());
  CHECK(uncharged_text({.outcome = Outcome::succeeded}).empty());
}
