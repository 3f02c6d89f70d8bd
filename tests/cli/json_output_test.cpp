// The keys of --json: programs depend on every one of them.
#include "net/json_output.h"

#include <catch2/catch.hpp>

#include "tests/cli/samples.h"

using namespace gpupool;

namespace {

std::vector<std::string> keys_of(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

using Keys = std::vector<std::string>;

}  // namespace

TEST_CASE("A quota in JSON has its keys, milliseconds and RFC 3339 times") {
  const Json json = json_of(QuotaAnswer{.caller = samples::ada(), .balance = samples::balance()});
  CHECK(keys_of(json) == Keys{"caller", "balance"});
  CHECK(keys_of(json["caller"]) ==
        Keys{"account", "tier", "recognised_by", "operator", "token_expires_at", "token_id"});
  CHECK(keys_of(json["balance"]) == Keys{"account", "tier", "allowance_ms", "used_ms", "held_ms",
                                         "left_ms", "longest_cost_ms", "window_opened_at",
                                         "resets_at", "held_until", "open_jobs", "jobs_max", "fits",
                                         "at", "credits_ms", "credits_held_ms", "group", "advice"});
  CHECK(json["balance"]["left_ms"] == 146'783);
  CHECK(json["balance"]["resets_at"] == "2026-11-23T12:00:00.000Z");
  CHECK(json["balance"]["fits"][1] ==
        Json{{"size", "xlarge"}, {"factor", 2}, {"offered", false}, {"longest_ms", 0}});
  CHECK(json["caller"]["token_expires_at"].is_null());
}

TEST_CASE("A receipt in JSON adds up and names its result") {
  const Json json = json_of(samples::done())["receipt"];
  CHECK(keys_of(json) == Keys{"job",
                              "request",
                              "account",
                              "tier",
                              "app",
                              "size",
                              "factor",
                              "outcome",
                              "cause",
                              "detail",
                              "declared_ms",
                              "waited_ms",
                              "ran_ms",
                              "held_ms",
                              "charged_ms",
                              "given_back_ms",
                              "left_ms",
                              "admitted_at",
                              "promised_start",
                              "leased_at",
                              "ended_at",
                              "attempts",
                              "node",
                              "result",
                              "log",
                              "held_credits_ms",
                              "charged_credits_ms",
                              "credits_from",
                              "exit_code",
                              "signal"});
  CHECK(json["job"] == 17);
  CHECK(json["request"] == "0190a6c1-2f3a-7b10-8c4d-5e6f70819293");
  CHECK(json["outcome"] == "succeeded");
  CHECK(json["cause"].is_null());
  CHECK(json["waited_ms"] == 40);
  CHECK(json["charged_ms"].get<int>() + json["given_back_ms"].get<int>() == json["held_ms"]);
  CHECK(json["ended_at"] == "2026-11-22T12:00:04.000Z");
  CHECK(json["result"] ==
        Json{{"sha256", "c0ffee"}, {"bytes", 3'412}, {"media_type", "image/png"}});
}

TEST_CASE("A job that never started has no times of a start in JSON") {
  JobDone done = samples::done();
  done.receipt.leased_at = {};
  done.receipt.result = {};
  done.receipt.outcome = Outcome::cancelled;
  const Json json = json_of(done.receipt);
  CHECK(json["waited_ms"].is_null());
  CHECK(json["leased_at"].is_null());
  CHECK(json["result"].is_null());
  CHECK(json["outcome"] == "cancelled");
}

TEST_CASE("A refusal in JSON has its code, numbers with their unit, and the account's balance") {
  Refusal refusal{.code = Errc::too_many_jobs, .want = 5, .have = 4};
  refusal.balance = samples::balance();
  refusal.sentence = "a sentence";
  const Json json = json_of(refusal);
  CHECK(keys_of(json) == Keys{"code",          "number",  "sentence", "hint",          "rule",
                              "detail",        "want",    "have",     "unit",          "request",
                              "app",           "size",    "factor",   "declared_ms",   "cost_ms",
                              "first_held_ms", "account", "tier",     "recognised_by", "balance"});
  CHECK(json["code"] == "too_many_jobs");
  CHECK(json["number"] == 107);
  CHECK(json["want"] == 5);
  CHECK(json["unit"] == "jobs");
  CHECK(json["hint"].is_null());
  CHECK(json["rule"] == "[[tiers]] free.jobs_max = 4");
  CHECK(json["balance"]["used_ms"] == 3'217);
}

TEST_CASE("A refusal without an account's numbers has none in JSON, rather than zeros") {
  const Json json = json_of(Refusal{.code = Errc::unauthenticated});
  CHECK(json["balance"].is_null());
  CHECK(json["account"].is_null());
  CHECK(json["want"].is_null());
  CHECK(json["unit"].is_null());
}

TEST_CASE("Jobs, receipts and stories in JSON are lists under their name") {
  const Json jobs = json_of(JobsAnswer{.jobs = {samples::running(), samples::queued()}});
  REQUIRE(jobs["jobs"].size() == 2);
  CHECK(keys_of(jobs["jobs"][0]) == Keys{"job",
                                         "request",
                                         "state",
                                         "attempt",
                                         "position",
                                         "likely_start",
                                         "likely_latest_start",
                                         "promised_start",
                                         "step",
                                         "of_steps",
                                         "node",
                                         "notice",
                                         "app",
                                         "size",
                                         "factor",
                                         "declared_ms",
                                         "held_ms",
                                         "admitted_at",
                                         "at",
                                         "held_until"});
  CHECK(jobs["jobs"][0]["position"].is_null());
  CHECK(jobs["jobs"][1]["position"] == 2);
  CHECK(jobs["jobs"][1]["likely_start"] == "2026-11-22T12:00:40.500Z");
  const Json receipts = json_of(ReceiptsAnswer{.receipts = {}, .more = true});
  CHECK(receipts == Json{{"receipts", Json::array()}, {"more", true}});
  const Json story = json_of(ExplainAnswer{.story = {{samples::noon, "admitted"}}});
  CHECK(story["story"][0] == Json{{"at", "2026-11-22T12:00:00.000Z"}, {"text", "admitted"}});
}

TEST_CASE("A quote in JSON is under its name, or why it would be refused is") {
  QuoteAnswer answer = samples::quote();
  answer.factor = 2;
  answer.first_held = seconds(11);
  answer.likely_latest = Instant::never();
  const Json quote = json_of(answer)["quote"];
  CHECK(quote["cost_ms"] == 60'000);
  CHECK(quote["first_held_ms"] == 11'000);
  CHECK(quote["first_held_cost_ms"] == 22'000);
  CHECK(quote["left_ms"] == 86'783);
  CHECK(quote["likely_start"] == "2026-11-22T12:00:23.000Z");
  CHECK(quote["likely_latest_start"].is_null());
  CHECK(quote["jobs_ahead"] == 2);
  QuoteAnswer refused;
  refused.refusal.code = Errc::unknown_app;
  CHECK(json_of(refused)["refused"]["code"] == "unknown_app");
}

TEST_CASE("What past runs say is in the balance in JSON, in numbers and in words") {
  Balance balance = samples::balance();
  CHECK(json_of(balance)["advice"].is_null());
  balance.advice = samples::advice();
  const Json advice = json_of(balance)["advice"];
  CHECK(advice["longest_ms"] == 7'900);
  CHECK(advice["declare_ms"] == 10'000);
  CHECK(advice["first_held_ms"].is_null());
  CHECK(advice["fits"] == 14);
  CHECK(advice["text"] ==
        "your last 20 runs of emoji took 7.9 s at most: declare 10 s and 14 more fit");
}

TEST_CASE("An error in JSON is an object with its sentence") {
  const Json json = json_of(Error{.code = Errc::job_unknown});
  CHECK(keys_of(json) == Keys{"code", "number", "sentence", "detail", "want", "have", "unit"});
  CHECK(json["code"] == "job_unknown");
}

TEST_CASE("Text that is not UTF-8 is repaired on its way into JSON") {
  CHECK(text_of({{"text", "caf\xc3"}}) == "{\n  \"text\": \"caf\xef\xbf\xbd\"\n}\n");
}
