// The exact sentence and hint of every refusal, and that what a hint says would be admitted.
#include <catch2/catch.hpp>

#include "actors/describe.h"
#include "base/prng.h"

using namespace gpupool;

namespace {

constexpr Instant noon = Instant{1'795'348'800'000};

// The case from the users' own words: 70 s a window, a first job of 60 s still runs.
Refusal over_quota() {
  Refusal refusal{.code = Errc::quota_exceeded, .want = 60'000, .have = 10'000};
  refusal.app = "emoji";
  refusal.size = "large";
  refusal.factor = 1;
  refusal.declared = seconds(60);
  refusal.cost = {60'000};
  refusal.recognised_by = "token for ada, key k1";
  refusal.balance = {.account = {"user:ada"},
                     .tier = "free",
                     .allowance = {70'000},
                     .used = {},
                     .held = {60'000},
                     .left = {10'000},
                     .longest = {180'000},
                     .window_opened = noon,
                     .resets_at = noon + hours(24),
                     .held_until = noon + seconds(97),
                     .open_jobs = 1,
                     .jobs_max = 4,
                     .fits = {{.size = "large", .factor = 1, .longest = seconds(10)},
                              {.size = "xlarge", .factor = 2, .longest = {}, .offered = false}},
                     .at = noon + seconds(11)};
  return refusal;
}

Advice declare_10_s() {
  return {.app = "emoji",
          .runs = 20,
          .own = true,
          .longest = milliseconds(7'900),
          .declare = seconds(10),
          .fits = 1};
}

Refusal of(Errc code, std::int64_t want, std::int64_t have) {
  Refusal refusal = over_quota();
  refusal.code = code;
  refusal.want = want;
  refusal.have = have;
  return refusal;
}

}  // namespace

TEST_CASE("A refusal over quota says what was asked, what is left, when it frees and what fits") {
  const Refusal refusal = over_quota();
  CHECK(sentence_of(refusal) ==
        "60.0 s requested (large, factor 1), 10.0 s left, 60.0 s held and 0.0 s used of 70.0 s; "
        "the hold frees by 12:01:37 UTC at the latest; the window resets at 2026-11-23T12:00:00Z "
        "(in 23:59:49)");
  CHECK(hint_of(refusal) == "a request of up to 10.0 s would be admitted now: try --duration 10");
}

TEST_CASE("A refusal over quota says what credits there are and how many of them are held") {
  Refusal refusal = over_quota();
  refusal.balance.credits = {20'000};
  refusal.balance.credits_held = {5'000};
  CHECK(sentence_of(refusal).find("used of 70.0 s; 20.0 s of credits, 5.0 s of them held; the "
                                  "hold frees by") != std::string::npos);
}

TEST_CASE("The end of a fixed window that nothing was used of is no hint") {
  Refusal refusal = over_quota();
  refusal.balance.held = refusal.balance.left = refusal.balance.allowance = {};
  refusal.balance.held_until = {};
  refusal.balance.fits.clear();
  CHECK(hint_of(refusal) ==
        "no request would be admitted now: tier free has an allowance of 0.0 s");
}

TEST_CASE("A refusal over quota of a bigger size shows the factor and the cost") {
  Refusal refusal = over_quota();
  refusal.size = "xlarge";
  refusal.factor = 2;
  refusal.cost = {120'000};
  CHECK(sentence_of(refusal).rfind("120.0 s requested (60.0 s at xlarge, factor 2), 10.0 s left",
                                   0) == 0);
  CHECK(hint_of(refusal) ==
        "at size large, a request of up to 10.0 s would be admitted now: try --size large "
        "--duration 10");
}

TEST_CASE("Amounts that differ by hundredths do not look equal in a refusal") {
  Refusal refusal = over_quota();
  refusal.cost = {112'000};
  refusal.declared = {112'000};
  refusal.balance.allowance = {210'000};
  refusal.balance.used = {98'040};
  refusal.balance.held = {};
  refusal.balance.held_until = {};
  refusal.balance.left = {111'960};
  refusal.balance.fits[0].longest = {111'960};
  CHECK(sentence_of(refusal) ==
        "112.0 s requested (large, factor 1), 111.9 s left, 0.0 s held and 98.1 s used of 210.0 s; "
        "the window resets at 2026-11-23T12:00:00Z (in 23:59:49)");
  CHECK(hint_of(refusal) == "a request of up to 111.9 s would be admitted now: try --duration 111");
}

TEST_CASE("A refusal over quota with several holds names the first that frees") {
  Refusal refusal = over_quota();
  refusal.balance.open_jobs = 3;
  CHECK(sentence_of(refusal).find("the first of 3 holds frees by 12:01:37 UTC at the latest") !=
        std::string::npos);
}

TEST_CASE("A hold that outlives the day is dated") {
  Refusal refusal = over_quota();
  refusal.balance.held_until = refusal.balance.at + hours(30);
  CHECK(sentence_of(refusal).find("frees by 2026-11-23T18:00:11Z at the latest") !=
        std::string::npos);
}

TEST_CASE("A refusal when nothing fits says when to ask again") {
  Refusal refusal = over_quota();
  refusal.balance.fits[0].longest = Duration{99};
  CHECK(hint_of(refusal) ==
        "no request would be admitted now; ask again after 12:01:37 UTC, when a hold is sure to be "
        "closed");
  refusal.balance.held_until = {};
  refusal.balance.used = GpuTime{60'000};
  CHECK(hint_of(refusal) ==
        "no request would be admitted now; ask again after 2026-11-23T12:00:00Z");
  refusal.balance.resets_at = {};
  CHECK(hint_of(refusal) ==
        "no request would be admitted now: tier free has an allowance of 70.0 s");
  CHECK(sentence_of(refusal).find("; no window is open") != std::string::npos);
}

TEST_CASE("An illegal duration names the cap, whose cap it is, and the factor") {
  Refusal refusal = of(Errc::illegal_duration, 4'000'000, 300'000);
  CHECK(sentence_of(refusal) ==
        "4000.0 s requested (large, factor 1), 300.0 s is the longest allowed: the cap of app "
        "emoji");
  CHECK(hint_of(refusal) == "a request of up to 10.0 s would be admitted now: try --duration 10");
  refusal.have = 180'000;
  CHECK(sentence_of(refusal) ==
        "4000.0 s requested (large, factor 1), 180.0 s is the longest allowed: tier free may spend "
        "180.0 s on one request");
  refusal.factor = 2;
  refusal.size = "xlarge";
  refusal.have = 90'000;
  CHECK(sentence_of(refusal) ==
        "4000.0 s requested (xlarge, factor 2), 90.0 s is the longest allowed: tier free may spend "
        "180.0 s on one request, and size xlarge counts 2-fold");
  refusal.want = -1'000;
  CHECK(sentence_of(refusal) == "-1.0 s requested; a duration is more than 0 s");
}

TEST_CASE("An illegal duration without a balance still names the cap in its hint") {
  Refusal refusal = of(Errc::illegal_duration, 4'000'000, 300'000);
  refusal.balance = {};
  CHECK(hint_of(refusal) == "declare at most 300 s: --duration 300");
}

TEST_CASE("Every other refusal has its sentence and its hint") {
  struct Expected {
    Refusal refusal;
    std::string sentence;
    std::string hint;
  };
  Refusal malformed = of(Errc::bad_request, 0, 0);
  malformed.detail = "an argument has no name";
  Refusal expired = of(Errc::unauthenticated, 0, 0);
  expired.detail = "the token expired at 2026-11-22T12:00:00Z, 0:00:11 (h:mm:ss) ago";
  Refusal unknown = of(Errc::unknown_app, 0, 0);
  unknown.app = "emojis";
  unknown.detail = "its apps: emoji";
  const std::vector<Expected> all{
      {malformed, "the request is malformed: an argument has no name", ""},
      {expired,
       "the caller is not recognised: the token expired at 2026-11-22T12:00:00Z, 0:00:11 (h:mm:ss) "
       "ago",
       "get a new token and name its file with --token-file, or put it in GPUPOOL_TOKEN; a bad "
       "token is never taken for anonymous"},
      {of(Errc::id_expired, 172'800'001, 172'800'000),
       "the request id is 48:00:01 (h:mm:ss) old; at most 48:00:00 is accepted",
       "submit again under a new request id; check this machine's clock"},
      {of(Errc::id_expired, -300'001, 300'000),
       "the request id is dated 0:05:01 (h:mm:ss) in the future; at most 0:05:00 is accepted",
       "submit again under a new request id; check this machine's clock"},
      {of(Errc::id_reused, 0, 0), "the request id was used already, with another request",
       "to ask again for the same job, give the same arguments and options, --detach among them; "
       "another request needs another id"},
      {unknown, "this pool does not know app emojis; its apps: emoji", ""},
      {of(Errc::forbidden, 0, 0), "tier free may not use app emoji", ""},
      {of(Errc::too_many_jobs, 5, 4),
       "this would be admitted job 5 of the account; tier free may have 4 queued or running at "
       "once",
       "wait for a job to end, or cancel one; `gpupool jobs` lists them"},
      {of(Errc::size_unavailable, 2, 1),
       "size large (factor 1) needs 2 slots together; the largest shape that this pool offers has "
       "1",
       ""},
      {of(Errc::pool_unavailable, 1, 0),
       "no node that can run app emoji is connected (0 of at least 1)",
       "nothing was held or charged; try again later"},
      {of(Errc::overloaded, 100'001, 100'000),
       "the pool is full: this would be job 100001 of at most 100000",
       "nothing was held or charged; try again later"},
      {of(Errc::promise_too_late, 120'000, 320'040),
       "a start within 120.0 s was asked for (max_wait); the pool can promise a start within "
       "320.1 s",
       "--max-wait 321 would be accepted now; without --max-wait any wait is"},
      {of(Errc::ledger_unavailable, 0, 0), "the pool's ledger cannot write now",
       "nothing was held or charged; the operator has to look at the disk of the broker's "
       "machine"},
  };
  for (const Expected& expected : all) {
    CHECK(sentence_of(expected.refusal) == expected.sentence);
    CHECK(hint_of(expected.refusal) == expected.hint);
  }
}

TEST_CASE("The hint of a size that the pool has no shape for names another one, never that size") {
  Refusal refusal = of(Errc::size_unavailable, 2, 1);
  refusal.size = "xlarge";
  refusal.factor = 2;
  // Of another partition, or of another spread, the pool may have the shape.
  refusal.balance.fits[1] = {.size = "xlarge", .factor = 2, .longest = seconds(5)};
  CHECK(hint_of(refusal) ==
        "at size large, a request of up to 10.0 s would be admitted now: try --size large "
        "--duration 10");
  refusal.balance.fits[0].longest = {};
  CHECK(hint_of(refusal).empty());
}

TEST_CASE("A promise that is too late says what it is made of") {
  Refusal refusal = of(Errc::promise_too_late, 60'000, 1'348'000);
  refusal.detail = "1 job waits before it, and a job there may take 337.0 s";
  CHECK(sentence_of(refusal) ==
        "a start within 60.0 s was asked for (max_wait); the pool can promise a start within "
        "1348.0 s: 1 job waits before it, and a job there may take 337.0 s");
}

TEST_CASE("A pool that stops says that, and not that its nodes are gone") {
  Refusal refusal = of(Errc::pool_unavailable, 0, 0);
  refusal.detail = "the pool is stopping; try again in a moment";
  CHECK(sentence_of(refusal) == refusal.detail);
}

TEST_CASE("A refusal with a code of another hundred is described as an error") {
  CHECK(sentence_of(of(Errc::job_unknown, 0, 0)) == "this account has no such job");
  CHECK(hint_of(of(Errc::job_unknown, 0, 0)).empty());
}

TEST_CASE("A hint's duration is really admissible") {
  Prng prng(7);
  for (int round = 0; round < 20'000; ++round) {
    Refusal refusal = over_quota();
    const Duration fits{prng.between(0, prng.one_in(4) ? 2'000 : 300'000)};
    refusal.balance.fits[0].longest = fits;
    refusal.code = prng.one_in(2) ? Errc::quota_exceeded : Errc::illegal_duration;
    const std::string hint = hint_of(refusal);
    INFO(hint << " of " << fits);
    const std::size_t option = hint.find("--duration ");
    REQUIRE((option == std::string::npos) == (fits < milliseconds(100)));
    if (option == std::string::npos) continue;
    const double wanted_s = std::stod(hint.substr(option + 11));
    REQUIRE(wanted_s > 0);
    REQUIRE(wanted_s * 1000 <= static_cast<double>(fits.ms));
    const double up_to_s = std::stod(hint.substr(hint.find("up to ") + 6));
    REQUIRE(up_to_s * 1000 <= static_cast<double>(fits.ms) + 1e-6);
  }
}

TEST_CASE("A hint over the quota begins with what past runs say, where that is less") {
  Refusal refusal = over_quota();
  refusal.balance.advice = declare_10_s();
  CHECK(hint_of(refusal).find("your last 20 runs of emoji took 7.9 s at most: declare 10 s and 1 "
                              "more fits; a request of up to 10.0 s would be admitted now") == 0);
  refusal.declared = seconds(10);
  CHECK(hint_of(refusal).find("your last") == std::string::npos);
  refusal.declared = seconds(60);
  refusal.balance.advice.app = "sketch";
  CHECK(hint_of(refusal).find("your last") == std::string::npos);
}

TEST_CASE("A refusal of a learned duration says what would be held at first, and of what") {
  Refusal refusal = over_quota();
  refusal.declared = seconds(180);
  refusal.first_held = seconds(11);
  refusal.cost = {11'000};
  CHECK(sentence_of(refusal).find("11.0 s to hold at first, of up to 180.0 s declared (large, "
                                  "factor 1), 10.0 s left") == 0);
}
