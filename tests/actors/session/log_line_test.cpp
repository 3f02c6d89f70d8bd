#include "actors/log_line.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

const Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z
const RequestId request{0x0190a6c12f3a7b10U, 0x8c4d5e6f70819293U};

LogLine line_of(const Message& message) {
  const auto line = log_line(message, LogLevel::debug);
  REQUIRE(line);
  return *line;
}

Settled settled() {
  return {.hold = Hold{.job = {17},
                       .request = request,
                       .account = {"user:ada"},
                       .declared = seconds(60),
                       .quota_part = {60'000}},
          .settled = {.job = {17},
                      .outcome = Outcome::succeeded,
                      .ran = seconds(3),
                      .charged_quota = {3'000},
                      .node = "node-1"},
          .held = {60'000}};
}

}  // namespace

TEST_CASE("A hold is told with its job, account and request, and without the prompt") {
  Hold hold{.job = {17}, .request = request, .account = {"user:ada"}};
  hold.body = JobRequest{.app = "emoji", .arguments = {{"prompt", "a private thought"}}};
  hold.quota_part = {60'000};
  hold.promise = noon;
  const LogLine line = line_of(ToBroker{Held{.ticket = 1, .hold = hold}});
  CHECK(line.level == LogLevel::info);
  CHECK(line.event == "held");
  CHECK(line.job == JobId{17});
  CHECK(line.account.text == "user:ada");
  CHECK(line.request == request);
  CHECK(line.text == "60.0 s held for app emoji, start promised by 2026-11-22T12:00:00Z");
}

TEST_CASE("A refusal is told with its code and sentence where it leaves the pool, and only there") {
  Refusal refusal{.code = Errc::quota_exceeded, .request = request};
  refusal.balance.account = {"user:ada"};
  refusal.sentence = "60.0 s requested, 10.0 s left";
  const LogLine line = line_of(ToClient{SessionRefused{.query = 1, .refusal = refusal}});
  CHECK(line.event == "refused");
  CHECK(line.text == "quota_exceeded: 60.0 s requested, 10.0 s left");
  CHECK(line.account.text == "user:ada");
  CHECK_FALSE(log_line(ToBroker{NotHeld{.ticket = 1, .refusal = refusal}}, LogLevel::debug));
  CHECK_FALSE(log_line(ToSession{SubmitRefused{.refusal = refusal}}, LogLevel::debug));
}

TEST_CASE(
    "A slot that takes no jobs is a warning with its reason, and one that does again is told") {
  SlotChanged changed{.name = "node-1", .slot = {3}, .why = "GPU lost: GPU is lost"};
  const LogLine out = line_of(ToBroker{changed});
  CHECK(out.level == LogLevel::warn);
  CHECK(out.event == "slot_out");
  CHECK(out.node == "node-1");
  CHECK(out.text == "slot 3 takes no jobs: GPU lost: GPU is lost");
  changed.why.clear();
  const LogLine back = line_of(ToBroker{changed});
  CHECK(back.level == LogLevel::info);
  CHECK(back.event == "slot_back");
  CHECK(back.text == "slot 3 takes jobs again");
}

TEST_CASE("The end of a job is told by its arithmetic, and is a warning if the pool is to blame") {
  LogLine line = line_of(ToBroker{settled()});
  CHECK(line.level == LogLevel::info);
  CHECK(line.event == "settled");
  CHECK(line.node == "node-1");
  CHECK(line.text ==
        "succeeded: declared 60.0 s, ran 3.0 s x 1, held 60.0 s, charged 3.0 s, 57.0 s given back");
  Settled failed = settled();
  failed.settled.outcome = Outcome::failed;
  failed.settled.cause = Errc::node_lost;
  failed.settled.detail = "what a program wrote";
  line = line_of(ToBroker{failed});
  CHECK(line.level == LogLevel::warn);
  CHECK(line.text.starts_with("failed (node_lost): "));
  CHECK(line.text.find(failed.settled.detail) == std::string::npos);
}

TEST_CASE("Leases, lost attempts and moved promises are told with their job") {
  LogLine line = line_of(ToLedger{Leased{.job = {3}, .attempt = 2, .node_name = "node-1"}});
  CHECK(line.event == "leased");
  CHECK(line.text == "attempt 2 starts on node-1");
  line = line_of(
      ToLedger{Requeue{.job = {3}, .attempt = 2, .cause = Errc::node_lost, .promise = noon}});
  CHECK(line.level == LogLevel::warn);
  CHECK(line.event == "requeued");
  CHECK(line.job == JobId{3});
  CHECK(line.text.starts_with("attempt 2 was lost (node_lost) and is not charged"));
  line = line_of(ToLedger{Restate{.job = {3}, .promise = noon, .reason = "node a was lost"}});
  CHECK(line.event == "restated");
  CHECK(line.text == "start now promised by 2026-11-22T12:00:00Z: node a was lost");
}

TEST_CASE("A node that joins, is refused or is lost is told by name") {
  LogLine line = line_of(ToWorker{Joined{.epoch = {1}, .name = "node-1"}});
  CHECK(line.event == "node_joined");
  CHECK(line.level == LogLevel::info);
  CHECK(line.node == "node-1");
  line = line_of(ToWorker{
      Joined{.epoch = {1}, .refused = Errc::version_mismatch, .detail = "old", .name = "node-1"}});
  CHECK(line.event == "node_refused");
  CHECK(line.level == LogLevel::warn);
  line = line_of(ToWorker{
      Joined{.epoch = {1}, .refused = Errc::node_lost, .detail = "silent", .name = "node-1"}});
  CHECK(line.event == "node_lost");
  CHECK(line.text == "the node was lost: silent");
}

TEST_CASE("An operator's changes are one line, bounded, with what was and what is") {
  Changed changed{.ticket = 1};
  for (int i = 0; i < 10; ++i)
    changed.changes.push_back({.who = "operator user:root",
                               .kind = ChangeKind::tier,
                               .subject = "tier free",
                               .field = "rank",
                               .before = i == 0 ? "" : "1",
                               .after = "2"});
  const LogLine line = line_of(ToConsole{changed});
  CHECK(line.event == "changed");
  CHECK(line.text.starts_with("tier free rank from nothing to 2 by operator user:root; tier free"));
  CHECK(line.text.ends_with("; and 2 more"));
  CHECK_FALSE(log_line(ToConsole{Changed{.ticket = 1}}, LogLevel::debug));
  CHECK(line_of(ToConsole{Changed{.error = Errc::ledger_unavailable}}).event == "change_refused");
}

TEST_CASE("What is below the level asked for makes no line, and most messages never do") {
  CHECK(log_line(ToBroker{RunStep{.job = {3}, .step = 1, .of_steps = 9}}, LogLevel::debug));
  CHECK_FALSE(log_line(ToBroker{RunStep{.job = {3}}}, LogLevel::info));
  CHECK(log_line(ToBroker{Heartbeat{}}, LogLevel::debug));
  CHECK_FALSE(log_line(ToBroker{Heartbeat{}}, LogLevel::info));
  CHECK_FALSE(log_line(ToBroker{Held{}}, LogLevel::warn));
  CHECK_FALSE(log_line(ToBroker{Held{}}, LogLevel::off));
  CHECK_FALSE(log_line(ToBroker{Submit{}}, LogLevel::debug));
  CHECK_FALSE(log_line(ToClient{SessionPong{}}, LogLevel::debug));
}
