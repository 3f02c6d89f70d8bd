// What people see, word for word, on 80 columns without colours.
#include "cli/views.h"

#include <catch2/catch.hpp>
#include <sstream>

#include "actors/describe.h"
#include "net/json_output.h"
#include "tests/cli/samples.h"

using namespace gpupool;

namespace {

std::size_t widest_line(const std::string& text) {
  std::istringstream stream(text);
  std::size_t widest = 0;
  for (std::string line; std::getline(stream, line);) widest = std::max(widest, width_of(line));
  return widest;
}

}  // namespace

TEST_CASE("The quota shows used, held and left in seconds, the reset, and what fits now") {
  CHECK(quota_view({}, {.caller = samples::ada(), .balance = samples::balance()}) ==
        R"(user:ada (tier free), recognised by token for ada, key k1

  #=================..........................................
  # 3.3 s used   = 60.0 s held   . 146.7 s left   of 210.0 s

  the window resets in 23:59:49 (h:mm:ss), at 2026-11-23T12:00:00Z
  1 of at most 4 jobs admitted; held until 2026-11-22T12:01:37Z at the latest
  (in 0:01:26): what it declared, and the longest that its start and end may
  take
  one request may cost up to 180.0 s

  what fits now
    large   factor 1  up to 146.7 s
    xlarge  factor 2  not offered by this pool
)");
}

TEST_CASE("Credits have a bar and a line of their own, where there are any") {
  Balance balance = samples::balance();
  balance.credits = {600'000};
  balance.credits_held = {60'000};
  const std::string view = quota_view({}, {.caller = samples::ada(), .balance = balance});
  CHECK(view.find("  ======......................................................\n"
                  "  beyond the quota: 600.0 s of credits, 60.0 s of them held\n\n"
                  "  the window resets") != std::string::npos);
  balance.credits_held = {};
  CHECK(quota_view({}, {.caller = samples::ada(), .balance = balance})
            .find("beyond the quota: 600.0 s of credits\n") != std::string::npos);
  JobDone done = samples::done();
  done.balance.credits = {1};
  CHECK(receipt_view({}, done, samples::ada()).find("\n  beyond the quota: 0.001 s of credits\n") !=
        std::string::npos);
}

TEST_CASE("A receipt that was paid from credits says which part") {
  JobDone done = samples::done();
  done.receipt.held_credits = {57'000};
  done.receipt.charged_credits = {217};
  CHECK(arithmetic_of(done.receipt)
            .find("given back; of credits were held 57.0 s and charged 0.3 s") !=
        std::string::npos);
  const Json json = json_of(done.receipt);
  CHECK(json["held_credits_ms"] == 57'000);
  CHECK(json["charged_credits_ms"] == 217);
}

TEST_CASE("Usage is a line a day, in the style of receipts, and its sum") {
  UsageAnswer answer{.days = {{.day = {1'770'076'800'000},
                               .jobs = 12,
                               .succeeded = 11,
                               .ran = {40'100},
                               .held = {720'000},
                               .charged = {40'050}},
                              {.day = {1'769'990'400'000}, .jobs = 1, .held = {60'000}}},
                     .more = true};
  CHECK(usage_view({}, answer) ==
        R"(  DAY (UTC)    JOBS  SUCCEEDED           RAN       CHARGED    GIVEN BACK
  2026-02-03     12         11        40.1 s       40.05 s      679.95 s
  2026-02-02      1          0         0.0 s         0.0 s        60.0 s
charged on these days: 40.05 s
there are older ones: ask with a greater --limit
)");
  CHECK(usage_view({}, {}) == "nothing was used in this time\n");
  const Json json = json_of(answer);
  CHECK(json["days"][0]["charged_ms"] == 40'050);
  CHECK(json["days"][0]["given_back_ms"] == 679'950);
  CHECK(json["more"] == true);
}

TEST_CASE("The quota of an account that has used nothing says when its window opens") {
  Balance balance = samples::balance();
  balance.used = balance.held = {};
  balance.left = balance.allowance;
  balance.window_opened = balance.resets_at = balance.held_until = {};
  const std::string view = quota_view({}, {.caller = samples::ada(), .balance = balance});
  CHECK(view.find("  no window is open; it opens with your next job\n") != std::string::npos);
  CHECK(view.find("resets") == std::string::npos);
  CHECK(view.find("held until") == std::string::npos);
}

TEST_CASE("A size that fits nothing now says so") {
  Balance balance = samples::balance();
  balance.fits[0].longest = Duration{99};
  const std::string view = quota_view({}, {.caller = samples::ada(), .balance = balance});
  CHECK(view.find("large   factor 1  nothing now\n") != std::string::npos);
}

TEST_CASE("Where nothing fits because of the number of jobs, the quota says so") {
  Balance balance = samples::balance();
  balance.open_jobs = balance.jobs_max;
  const std::string view = quota_view({}, {.caller = samples::ada(), .balance = balance});
  CHECK(view.find("large   factor 1  nothing now: as many jobs as may be are admitted\n") !=
        std::string::npos);
}

TEST_CASE("A receipt shows its arithmetic, who was charged and what is left") {
  CHECK(receipt_view({}, samples::done(), samples::ada()) ==
        R"(job 17 succeeded
  waited 0.1 s
  declared 60.0 s, ran 3.3 s x 1, held 60.0 s, charged 3.3 s, 56.7 s given back
  charged to user:ada (tier free), recognised by token for ada, key k1
  206.7 s left of 210.0 s, the window resets in 23:59:49 (h:mm:ss), at
  2026-11-23T12:00:00Z
)");
}

TEST_CASE("A receipt of a failed job says why, and that lost attempts cost nothing") {
  JobDone done = samples::done();
  done.receipt.outcome = Outcome::failed;
  done.receipt.cause = Errc::executor_crashed;
  done.receipt.detail = "signal 9";
  done.receipt.attempts = 3;
  CHECK(receipt_view({}, done, samples::ada())
            .rfind("job 17 failed\n  the executor crashed: signal 9; 3 attempts, the lost ones at "
                   "the pool's cost\n",
                   0) == 0);
  done.receipt.ran = {};
  done.receipt.charged = {};
  CHECK(receipt_view({}, done, samples::ada())
            .rfind("job 17 failed\n  the executor crashed: signal 9; the pool's fault: nothing is "
                   "charged; 3\n  attempts\n",
                   0) == 0);
}

TEST_CASE("A receipt of a job that was stopped says where its declared end was") {
  JobDone done = samples::done();
  done.receipt.outcome = Outcome::expired;
  done.receipt.declared = seconds(1);
  const std::string words = "stopped at its declared end of 1.0 s\n";
  CHECK(receipt_view({}, done, samples::ada()).rfind("job 17 expired\n  " + words, 0) == 0);
  CHECK(receipts_view({}, {.receipts = {done.receipt}}).find("        " + words) !=
        std::string::npos);
  done.receipt.cause = Errc::quota_exceeded;
  done.receipt.detail = "its hold of 8.0 s was not extended in time";
  CHECK(receipt_view({}, done, samples::ada()).find("declared end") == std::string::npos);
}

TEST_CASE("A receipt of a job that never started says how long it waited") {
  JobDone done = samples::done();
  done.receipt.outcome = Outcome::cancelled;
  done.receipt.leased_at = {};
  done.receipt.ran = {};
  done.receipt.charged = {};
  done.receipt.given_back = done.receipt.held;
  CHECK(receipt_view({}, done, samples::ada()).find("  waited 4.0 s and never started\n") !=
        std::string::npos);
}

TEST_CASE("Receipts are a table with the arithmetic and an exact sum") {
  ReceiptsAnswer answer{.receipts = {samples::done().receipt, samples::done().receipt}};
  answer.receipts[1].job = {16};
  answer.receipts[1].charged = {3'200};
  answer.receipts[1].ran = {3'200};
  answer.receipts[1].given_back = {56'800};
  answer.more = true;
  CHECK(receipts_view({}, answer) ==
        R"(   JOB  ENDED                 APP           SIZE      OUTCOME        CHARGED
    17  2026-11-22T12:00:04Z  emoji         large     succeeded      3.217 s
        declared 60.0 s, ran 3.217 s x 1, held 60.0 s, charged 3.217 s, 56.783 s
        given back; waited 0.1 s
    16  2026-11-22T12:00:04Z  emoji         large     succeeded        3.2 s
        declared 60.0 s, ran 3.2 s x 1, held 60.0 s, charged 3.2 s, 56.8 s given
        back; waited 0.1 s
charged by these 2 receipts: 6.417 s
older ones: gpupool receipts --before 16
)");
  CHECK(receipts_view({}, {}) == "no receipts yet\n");
}

TEST_CASE("Jobs show where each one is") {
  CHECK(jobs_view({}, {.jobs = {samples::running(), samples::queued()}}) ==
        R"(   JOB  STATE     APP           SIZE        DECLARED        HELD
    18  running   emoji         large         60.0 s      60.0 s
        step 12 of 30 on node-1
    18  queued    emoji         large         60.0 s      60.0 s
        position 2, likely start in 0:00:41, promised by 2026-11-22T12:03:14Z
)");
  CHECK(jobs_view({}, {}) == "no job is queued or running\n");
  JobEvent event = samples::running();
  Hold hold = event.hold;
  hold.factor = 2;
  hold.quota_part = {100'000};
  hold.credits_part = {20'000};
  event.hold = hold;
  CHECK(jobs_view({}, {.jobs = {event}}).find("    60.0 s     120.0 s\n") != std::string::npos);
  hold.learned = seconds(11);
  event.hold = hold;
  CHECK(jobs_view({}, {.jobs = {event}}).find("; so much is held at first, and") !=
        std::string::npos);
}

TEST_CASE("A quote tells cost, rest, likely and promised start, and what is advised") {
  QuoteAnswer answer = samples::quote();
  answer.balance.advice = samples::advice();
  CHECK(quote_view({}, answer) ==
        R"(user:ada (tier free), recognised by token for ada, key k1

  cost      60.0 s at most: emoji for up to 60.0 s at large, factor 1; only what
            it really runs is charged
  left      86.7 s of 210.0 s while it is held
  likely    a start in 0:00:12 to 0:00:31; 2 jobs wait before it
  promised  a start by 2026-11-22T12:03:25Z, in 0:03:14 (h:mm:ss), whatever
            comes meanwhile

  your last 20 runs of emoji took 7.9 s at most: declare 10 s and 14 more fit
)");
  answer.ahead = 0;
  answer.likely_start = answer.likely_latest = samples::noon;
  CHECK(quote_view({}, answer).find("  likely    at once; nobody waits before it\n") !=
        std::string::npos);
  answer.first_held = seconds(11);
  answer.declared = seconds(180);
  answer.cost = {180'000};
  CHECK(quote_view({}, answer)
            .find("180.0 s at most: emoji for up to 180.0 s at large, factor 1; "
                  "11.0 s") != std::string::npos);
  answer.likely_start = Instant::never();
  CHECK(quote_view({}, answer).find("  likely    not foreseen; nobody waits before it\n") !=
        std::string::npos);
}

TEST_CASE("A quote that would be refused shows the refusal") {
  QuoteAnswer answer{.caller = samples::ada()};
  answer.refusal = {.code = Errc::unknown_app, .sentence = "this pool does not know app x"};
  CHECK(quote_view({}, answer).find("refused: unknown_app") == 0);
}

TEST_CASE("Quota, receipts and a receipt end with what past runs say about the next") {
  const std::string words =
      "your last 20 runs of emoji took 7.9 s at most: declare 10 s and 14 more fit\n";
  JobDone done = samples::done();
  done.balance.advice = samples::advice();
  const auto ends_so = [&words](const std::string& view) { return view.ends_with(words); };
  CHECK(ends_so(quota_view({}, {.caller = samples::ada(), .balance = done.balance})));
  CHECK(ends_so(receipts_view({}, {.receipts = {done.receipt}}, done.balance.advice)));
  CHECK(ends_so(receipt_view({}, done, samples::ada())));
}

TEST_CASE("A job whose likely start is a range shows both ends, and one that grows its hold") {
  JobEvent event = samples::queued();
  event.likely_latest = event.likely_start + seconds(19);
  CHECK(progress_text({}, event).find("likely start in 0:00:41 to 0:01:00,") != std::string::npos);
  event.likely_latest = event.likely_start + milliseconds(300);  // the same second
  CHECK(progress_text({}, event).find("likely start in 0:00:41,") != std::string::npos);
  event.likely_start = event.likely_latest = Instant::never();
  CHECK(progress_text({}, event).find("likely") == std::string::npos);
  JobEvent running = samples::running();
  running.held_until = samples::noon + seconds(11);
  CHECK(progress_text({}, running).find("held until 12:00:11 UTC so far") != std::string::npos);
}

TEST_CASE("Progress is one line that fits its terminal") {
  CHECK(progress_text({}, samples::queued()) ==
        "job 18 queued: position 2, likely start in 0:00:41, promised by 2026-11-22T12:03:14Z");
  CHECK(progress_text({}, samples::running()) == "job 18 running: step 12 of 30 on node-1");
  CHECK(progress_text({.is_terminal = true}, samples::running()) ==
        "job 18 ################........................ step 12 of 30 on node-1");
  for (std::int32_t columns = 45; columns <= 120; ++columns)
    CHECK(width_of(progress_text({.columns = columns, .is_terminal = true}, samples::running())) <=
          static_cast<std::size_t>(columns));
}

TEST_CASE("A start that is due is likely now, and a run without a step yet says so") {
  JobEvent event = samples::queued();
  event.likely_start = event.at;
  CHECK(progress_text({}, event).find("position 2, likely to start now, promised by") !=
        std::string::npos);
  event = samples::running();
  event.of_steps = 0;
  CHECK(progress_text({}, event) == "job 18 running: under way on node-1");
}

TEST_CASE("A job that waits again says why") {
  JobEvent event = samples::queued();
  event.notice = "node-1 was lost; nothing is charged for that attempt";
  CHECK(progress_text({}, event).find("; node-1 was lost; nothing is charged") !=
        std::string::npos);
}

TEST_CASE("A refusal shows its code, sentence, hint and who asked") {
  Refusal refusal{.code = Errc::quota_exceeded};
  refusal.size = "large";
  refusal.declared = seconds(180);
  refusal.cost = {180'000};
  refusal.recognised_by = "token for ada, key k1";
  refusal.balance = samples::balance();
  refusal.sentence = sentence_of(refusal);
  refusal.hint = hint_of(refusal);
  CHECK(refusal_view({}, refusal) ==
        R"(refused: quota_exceeded
  180.0 s requested (large, factor 1), 146.7 s left, 60.0 s held and 3.3 s used
  of 210.0 s; the hold frees by 12:01:37 UTC at the latest; the window resets at
  2026-11-23T12:00:00Z (in 23:59:49)
  rule: [[tiers]] free.allowance_s = 210
  hint: a request of up to 146.7 s would be admitted now: try --duration 146
  asked as user:ada (tier free), recognised by token for ada, key k1
)");
}

TEST_CASE("A refusal ends with how to ask for its story, where there is one") {
  Refusal refusal{.code = Errc::too_many_jobs, .want = 5, .have = 4};
  refusal.request = {0x0190a6c12f3a7b10U, 0x8c4d5e6f70819293U};
  refusal.sentence = sentence_of(refusal);
  const std::string line = "  `gpupool explain 0190a6c1-2f3a-7b10-8c4d-5e6f70819293` tells more\n";
  CHECK(refusal_view({}, refusal).ends_with(line));
  refusal.code = Errc::bad_request;
  CHECK(refusal_view({}, refusal).find("explain") == std::string::npos);
  refusal.code = Errc::unauthenticated;
  CHECK(refusal_view({}, refusal).find("explain") == std::string::npos);
  refusal.code = Errc::too_many_jobs;
  refusal.request = {};  // of a quote
  CHECK(refusal_view({}, refusal).find("explain") == std::string::npos);
}

TEST_CASE("A story is told line by line with its times") {
  CHECK(explain_view({}, {.story = {{samples::noon, "admitted: 60.0 s held"},
                                    {samples::noon + seconds(4), "succeeded"}}}) ==
        "2026-11-22T12:00:00Z  admitted: 60.0 s held\n2026-11-22T12:00:04Z  succeeded\n");
  CHECK(explain_view({}, {}) == "nothing is known\n");
}

TEST_CASE("No view is wider than 80 columns") {
  CHECK(widest_line(quota_view({}, {.caller = samples::ada(), .balance = samples::balance()})) <=
        80);
  CHECK(widest_line(receipt_view({}, samples::done(), samples::ada())) <= 80);
  CHECK(widest_line(receipts_view({}, {.receipts = {samples::done().receipt}})) <= 80);
  CHECK(widest_line(jobs_view({}, {.jobs = {samples::queued()}})) <= 80);
}
