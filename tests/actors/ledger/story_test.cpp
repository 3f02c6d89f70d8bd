// The words of a story: what is told of a job's end and of a refusal, with the rule behind it.
#include "actors/ledger/story.h"

#include <catch2/catch.hpp>

#include "actors/describe.h"
#include "base/pack.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

Receipt ended(Outcome outcome) {
  return {.job = {17},
          .account = {"user:ada"},
          .tier = "free",
          .app = "train",
          .size = "xlarge",
          .factor = 2,
          .declared = seconds(60),
          .admitted_at = noon,
          .leased_at = noon + milliseconds(40),
          .ended_at = noon + seconds(4),
          .ran = {3'217},
          .held = {120'000},
          .charged = {6'434},
          .given_back = {113'566},
          .left = {203'566},
          .outcome = outcome};
}

Receipt uncharged(Outcome outcome) {
  Receipt receipt = ended(outcome);
  receipt.ran = {};
  receipt.charged = {};
  receipt.given_back = receipt.held;
  receipt.left = {210'000};
  return receipt;
}

std::vector<Moment> admitted(DeclaredBy by = DeclaredBy::app) {
  return {{.at = noon,
           .kind = MomentKind::admitted,
           .declared_by = by,
           .promise = noon + seconds(60),
           .held = {120'000},
           .amount = {120'000},
           .words = "token for ada"}};
}

std::string last_of(const Receipt& receipt, DeclaredBy by = DeclaredBy::app) {
  return tell(receipt, admitted(by)).back().text;
}

bool contains(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

Refusal refused(Errc code, std::int64_t want, std::int64_t have) {
  Refusal refusal{.code = code, .want = want, .have = have};
  refusal.app = "train";
  refusal.size = "xlarge";
  refusal.factor = 2;
  refusal.declared = seconds(60);
  refusal.cost = {120'000};
  refusal.recognised_by = "token for ada";
  refusal.balance = {.account = {"user:ada"},
                     .tier = "free",
                     .allowance = {210'000},
                     .held = {180'000},
                     .left = {30'000},
                     .longest = {180'000},
                     .resets_at = noon + hours(24),
                     .held_until = noon + milliseconds(97'004),
                     .open_jobs = 3,
                     .jobs_max = 4,
                     .fits = {{.size = "large", .longest = seconds(30)}},
                     .at = noon};
  return refusal;
}

std::vector<std::string> texts_of(const Refusal& refusal) {
  std::vector<std::string> texts;
  for (const Happening& one : tell(refusal)) texts.push_back(one.text);
  return texts;
}

}  // namespace

TEST_CASE("An admission says who declared its duration") {
  const auto first = [](DeclaredBy by) { return tell(ended({}), admitted(by)).front().text; };
  CHECK(contains(first(DeclaredBy::app),
                 "declared 60.0 s x 2 = 120.0 s held; declared by [[apps]] "
                 "train.default_duration_s; this window"));
  CHECK(contains(first(DeclaredBy::request), "held; declared by --duration; this window"));
  CHECK(contains(first(DeclaredBy::learned),
                 "held; [[apps]] train.duration = \"auto\" holds what such runs took so far "
                 "(default_duration_s until that is known), and more step by step while it runs"));
  CHECK(contains(first(DeclaredBy::unknown), "= 120.0 s held; this window"));
}

TEST_CASE("A run's beginning has its place in the story, with what came before it for nothing") {
  std::vector<Moment> story = admitted();
  story.push_back(
      {.at = noon + milliseconds(40), .kind = MomentKind::leased, .attempt = 1, .words = "node-1"});
  story.push_back({.at = noon + seconds(3), .kind = MomentKind::extended, .attempt = 1});
  const auto told = tell(ended(Outcome::succeeded), story);
  REQUIRE(told.size() == 5);
  CHECK(told[1].text == "leased to node-1 as attempt 1, 0.04 s after its admission");
  CHECK(told[2].at == noon + milliseconds(783));
  CHECK(told[2].text ==
        "its run had begun; what came before costs nothing: 0.04 s until its lease, at most 0.743 "
        "s to start");
  CHECK(told[3].at == noon + seconds(3));
  CHECK(tell(uncharged(Outcome::cancelled), story).size() == 4);
}

TEST_CASE("A charge is what ran by the factor of its size") {
  CHECK(last_of(ended(Outcome::succeeded)) ==
        "settled as succeeded: declared 60.0 s, held 120.0 s; charged = ran x [[sizes]] "
        "xlarge.factor = 3.217 s x 2 = 6.434 s, 113.566 s given back; 203.566 s left");
  Receipt cut = ended(Outcome::expired);
  cut.ran = seconds(61);
  cut.charged = cut.held;
  cut.given_back = {};
  CHECK(contains(last_of(cut),
                 "ran x [[sizes]] xlarge.factor = 61.0 s x 2 = 122.0 s, charged 120.0 s, no more "
                 "than was held, 0.0 s given back"));
}

TEST_CASE("A job that was stopped says where its end was, and who set it there") {
  CHECK(contains(last_of(ended(Outcome::expired), DeclaredBy::request),
                 "settled as expired: stopped at its declared end of 60.0 s (--duration): declared "
                 "60.0 s"));
  CHECK(contains(last_of(ended(Outcome::expired)),
                 "declared end of 60.0 s ([[apps]] train.default_duration_s): "));
  Receipt unpaid = ended(Outcome::expired);
  unpaid.cause = Errc::quota_exceeded;
  unpaid.detail = "its hold of 8.0 s was not extended in time";
  CHECK(contains(last_of(unpaid),
                 "expired because of quota_exceeded (its hold of 8.0 s was not extended in time)"));
}

TEST_CASE("A job that the pool failed says that it is the pool's fault, and why it ended so") {
  Receipt receipt = uncharged(Outcome::failed);
  receipt.cause = Errc::executor_crashed;
  receipt.detail = "ended by signal 9; not run again: [[apps]] train.retries = 0";
  CHECK(last_of(receipt) ==
        "settled as failed because of executor_crashed (ended by signal 9; not run again: [[apps]] "
        "train.retries = 0): declared 60.0 s, held 120.0 s; the pool's fault: nothing is charged, "
        "120.0 s given back; 210.0 s left");
  receipt = ended(Outcome::failed);
  receipt.cause = Errc::program_failed;
  CHECK(contains(last_of(receipt), "3.217 s x 2 = 6.434 s"));
}

TEST_CASE("A job that was cancelled says by whom, and that waiting costs nothing") {
  Receipt receipt = uncharged(Outcome::cancelled);
  CHECK(
      contains(last_of(receipt),
               "settled as cancelled by user:ada: declared 60.0 s, held 120.0 s; it had not begun "
               "to run: nothing is charged, 120.0 s given back"));
  receipt.detail = "cancelled by operator user:root";
  CHECK(contains(last_of(receipt), "settled as cancelled by operator user:root: declared"));
  receipt.detail = "its client was gone for 30.0 s while it was queued, [broker] client_grace_s";
  CHECK(contains(last_of(receipt), "settled as cancelled (its client was gone for 30.0 s while"));
}

TEST_CASE("A promise that moved says how much later it is") {
  std::vector<Moment> story = admitted();
  story.push_back({.at = noon + seconds(1),
                   .kind = MomentKind::requeued,
                   .attempt = 1,
                   .cause = Errc::node_lost,
                   .promise = noon + seconds(90)});
  story.push_back({.at = noon + seconds(2),
                   .kind = MomentKind::restated,
                   .promise = noon + seconds(100),
                   .words = "node-1 was lost"});
  const auto told = tell(ended({}), story);
  CHECK(contains(told[1].text,
                 "attempt 1 was lost because of node_lost, by the pool's fault: it costs nothing"));
  CHECK(contains(told[1].text, "2026-11-22T12:01:30.000Z, 30.0 s later than before"));
  CHECK(told[2].text ==
        "promise restated (node-1 was lost); promised to start by 2026-11-22T12:01:40.000Z, 10.0 s "
        "later than before");
}

TEST_CASE("A refusal's story has its sentence, its rule, the account's numbers and its hint") {
  Refusal refusal = refused(Errc::quota_exceeded, 120'000, 30'000);
  refusal.detail = "60.0 s declared by [[apps]] train.default_duration_s";
  const auto told = texts_of(refusal);
  REQUIRE(told.size() == 6);
  CHECK(told[0] ==
        "asked by user:ada (recognised by token for ada) for train at size xlarge, 60.0 s x 2 = "
        "120.0 s");
  CHECK(told[1] ==
        "refused, quota_exceeded: " + sentence_of(refusal) + "; nothing was held or charged");
  CHECK(told[2] ==
        "the rule: [[tiers]] free.allowance_s = 210; 60.0 s declared by [[apps]] "
        "train.default_duration_s");
  // The amounts are in the sentence already.
  CHECK(told[3] ==
        "at that moment: tier free; 3 of 4 jobs open; the earliest open hold is closed by "
        "2026-11-22T12:01:37.004Z; the window resets at 2026-11-23T12:00:00.000Z");
  CHECK(told[4] == "the longest that would have been admitted: large 30.0 s");
  CHECK(told[5] == "the hint: " + hint_of(refusal));
}

TEST_CASE("A refusal that is about no time tells no sum of times, nor what would have fitted") {
  Refusal unknown = refused(Errc::unknown_app, 0, 0);
  unknown.declared = {};
  unknown.cost = {};
  CHECK(texts_of(unknown)[0] ==
        "asked by user:ada (recognised by token for ada) for train at size xlarge");
  const auto told = texts_of(refused(Errc::too_many_jobs, 5, 4));
  CHECK(contains(told[1], "this would be admitted job 5 of the account"));
  CHECK(told[2] == "the rule: [[tiers]] free.jobs_max = 4");
  CHECK(contains(told[3], "allowance 210.0 s, 0.0 s used, 180.0 s held, 30.0 s left; 3 of 4"));
  for (const std::string& text : told) CHECK_FALSE(contains(text, "would have been admitted"));
  CHECK(contains(texts_of(refused(Errc::pool_unavailable, 1, 0))[1],
                 "no node that can run app train is connected (0 of at least 1)"));
}

TEST_CASE("A refusal of a learned duration tells what was to be held at first") {
  Refusal refusal = refused(Errc::quota_exceeded, 22'000, 10'000);
  refusal.first_held = seconds(11);
  refusal.cost = {22'000};
  CHECK(texts_of(refusal)[0].ends_with(", up to 60.0 s, of it at first 11.0 s x 2 = 22.0 s"));
}

TEST_CASE("A moment that was kept before it said who declared is read without that") {
  const auto old = unpack<Moment>("\x91\x91\x07");  // the first of its fields
  REQUIRE(old);
  CHECK(old->at == Instant{7});
  CHECK(old->declared_by == DeclaredBy::unknown);
}
