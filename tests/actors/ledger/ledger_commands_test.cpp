// Request ids, the order of refusals, epochs, repeats, questions and stories.

#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob");

Errc code_of(LedgerBench& bench, const Reserve& reserve) {
  return reply<NotHeld>(bench.step(reserve)).refusal.code;
}

bool contains(const std::vector<Happening>& story, const std::string& words) {
  for (const Happening& happening : story)
    if (happening.text.find(words) != std::string::npos) return true;
  return false;
}

ReceiptsAnswer receipts(LedgerBench& bench, JobId before, std::uint32_t limit) {
  const ReceiptsQuery query{.account = ada.account, .before = before, .limit = limit};
  return reply<ReceiptsFound>(bench.step(query)).answer;
}

}  // namespace

TEST_CASE("The same id with the same body gets the same answer, open or closed") {
  LedgerBench bench;
  const Reserve request = wish(ada, noon, 5);
  const Hold hold = reply<Held>(bench.step(request)).hold;
  const std::size_t written = bench.records.size();

  AlreadyHeld known = reply<AlreadyHeld>(bench.step(request));
  CHECK(known.job == hold.job);
  CHECK_FALSE(known.closed);
  CHECK(known.done->balance.held == GpuTime{60'000});

  const JobDone done = bench.settle(hold.job, seconds(3));
  known = reply<AlreadyHeld>(bench.step(request));
  CHECK(known.closed);
  CHECK(known.done->receipt.charged == done.receipt.charged);
  CHECK(known.done->receipt.job == hold.job);
  CHECK(bench.records.size() == written + 1);  // the settle
  CHECK(bench.quota(ada).used == GpuTime{3'000});
}

TEST_CASE("The same id with another body is refused") {
  LedgerBench bench;
  Reserve request = wish(ada, noon, 5);
  bench.step(request);
  request.body_hash = 8;
  CHECK(code_of(bench, request) == Errc::id_reused);
}

TEST_CASE("Request ids are scoped by account") {
  LedgerBench bench;
  bench.step(wish(ada, noon, 5));
  CHECK(find_reply<Held>(bench.step(wish(bob, noon, 5))) != nullptr);
}

TEST_CASE("A refused request is not remembered as an answer") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  const Hold first = bench.hold(ada);
  const Reserve request = wish(ada, noon, 50);
  CHECK(code_of(bench, request) == Errc::quota_exceeded);
  bench.settle(first.job, seconds(1));
  CHECK(find_reply<Held>(bench.step(request)) != nullptr);
}

TEST_CASE("An id is accepted up to 48 hours old and up to 5 minutes in the future") {
  LedgerBench bench;
  const auto answer = [&bench](Duration age, std::uint64_t number) {
    return bench.step(wish(ada, noon - age, number, seconds(1)));
  };
  CHECK(find_reply<Held>(answer(hours(48), 1)) != nullptr);
  CHECK(find_reply<Held>(answer(seconds(-300), 2)) != nullptr);
  const Refusal old = reply<NotHeld>(answer(hours(48) + milliseconds(1), 3)).refusal;
  CHECK(old.code == Errc::id_expired);
  CHECK(old.want == hours(48).ms + 1);
  CHECK(old.have == hours(48).ms);
  const Refusal future = reply<NotHeld>(answer(seconds(-300) - milliseconds(1), 4)).refusal;
  CHECK(future.code == Errc::id_expired);
  CHECK(future.want == -300'001);
  CHECK(future.have == -300'000);
}

TEST_CASE("An id is forgotten 48 hours after its own time once its job is closed") {
  LedgerBench bench;
  const Reserve request = wish(ada, noon, 5, seconds(1));
  const Hold hold = reply<Held>(bench.step(request)).hold;
  bench.settle(hold.job, seconds(1));
  bench.now = noon + hours(48);
  bench.hold(bob);
  CHECK(bench.ledger.request_count() == 2);
  CHECK(find_reply<AlreadyHeld>(bench.step(request)) != nullptr);
  bench.now = noon + hours(48) + milliseconds(1);
  bench.hold(bob);
  CHECK(bench.ledger.request_count() == 2);  // both of bob's
  CHECK(code_of(bench, request) == Errc::id_expired);
}

TEST_CASE("The id of an open job is remembered as long as the job is open") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada, seconds(1));
  bench.now = noon + hours(60);
  bench.hold(bob, seconds(1));
  CHECK(bench.ledger.request_count() == 2);
  bench.settle(hold.job, seconds(1));
  CHECK(bench.ledger.request_count() == 1);
}

TEST_CASE("A full table of ids refuses new ones and still knows the old ones") {
  LedgerBench bench(default_config(), {.requests_max = 2});
  const Reserve first = wish(ada, noon, 1, seconds(1));
  const Hold hold = reply<Held>(bench.step(first)).hold;
  bench.hold(bob);
  const Refusal refusal = bench.refused(bob, seconds(1));
  CHECK(refusal.code == Errc::overloaded);
  CHECK(refusal.want == 3);
  CHECK(refusal.have == 2);
  CHECK(find_reply<AlreadyHeld>(bench.step(first)) != nullptr);
  bench.settle(hold.job, seconds(1));
  CHECK(bench.refused(bob, seconds(1)).code == Errc::overloaded);
  // What the next record will forget no longer counts.
  bench.now = noon + hours(48) + milliseconds(1);
  CHECK(bench.hold(bob, seconds(1)).declared == seconds(1));
  CHECK(bench.refused(bob, seconds(1)).code == Errc::overloaded);
}

TEST_CASE("Refusals come in the order of their numbers") {
  Config config = config_with_allowance(seconds(10));
  config.tiers[1].jobs_max = 1;
  LedgerBench bench(config, {.requests_max = 1});
  const Reserve known = wish(ada, noon, 1, seconds(1));
  bench.step(known);
  // Everything is wrong with this request; its faults are mended one by one.
  Reserve request = wish(ada, noon - hours(49), 2, seconds(200));
  request.caller.tier = "gold";
  const auto code_with = [&](Errc verdict) {
    request.verdict = verdict;
    return code_of(bench, request);
  };
  CHECK(code_with(Errc::bad_request) == Errc::bad_request);
  CHECK(code_with(Errc::unauthenticated) == Errc::unauthenticated);
  CHECK(code_with(Errc::unknown_app) == Errc::unauthenticated);  // the tier is not configured
  request.caller.tier = "free";
  CHECK(code_with(Errc::unknown_app) == Errc::id_expired);
  request.request = known.request;
  request.body_hash = 8;
  CHECK(code_with(Errc::bad_request) == Errc::bad_request);
  CHECK(code_with(Errc::unknown_app) == Errc::id_reused);
  request.body_hash = known.body_hash;
  CHECK(find_reply<AlreadyHeld>(bench.step(request)) != nullptr);
  request.request = id_at(noon, 2);
  CHECK(code_with(Errc::unknown_app) == Errc::unknown_app);
  CHECK(code_with(Errc::forbidden) == Errc::forbidden);
  CHECK(code_with(Errc::size_unavailable) == Errc::illegal_duration);
  CHECK(code_with(Errc{}) == Errc::illegal_duration);
  request.declared = seconds(60);
  CHECK(code_with(Errc::illegal_duration) == Errc::illegal_duration);
  CHECK(code_with(Errc::size_unavailable) == Errc::too_many_jobs);
  bench.settle({2}, seconds(1));
  CHECK(code_with(Errc::size_unavailable) == Errc::size_unavailable);
  CHECK(code_with(Errc::pool_unavailable) == Errc::pool_unavailable);
  CHECK(code_with(Errc::overloaded) == Errc::overloaded);
  CHECK(code_with(Errc::promise_too_late) == Errc::overloaded);  // the table of ids is full
  bench.now = noon + hours(48) + milliseconds(1);
  request.request = id_at(bench.now, 3);
  CHECK(code_with(Errc::promise_too_late) == Errc::promise_too_late);
  CHECK(code_with(Errc{}) == Errc::quota_exceeded);
}

TEST_CASE("The broker's verdict keeps its numbers and words") {
  LedgerBench bench;
  Reserve request = wish(ada, noon, 1);
  request.verdict = Errc::promise_too_late;
  request.want = 5'000;
  request.have = 90'000;
  request.detail = "queue of 3";
  const Refusal refusal = reply<NotHeld>(bench.step(request)).refusal;
  CHECK(refusal.code == Errc::promise_too_late);
  CHECK(refusal.want == 5'000);
  CHECK(refusal.have == 90'000);
  CHECK(refusal.detail == "queue of 3");
  CHECK(bench.records.size() == 1);  // only the epoch
}

TEST_CASE("An illegal duration names the smaller cap, the app's or the tier's") {
  LedgerBench bench;
  Reserve request = wish(ada, noon, 1, seconds(4'000));
  request.verdict = Errc::illegal_duration;
  request.want = seconds(4'000).ms;
  request.have = seconds(300).ms;
  CHECK(reply<NotHeld>(bench.step(request)).refusal.have == seconds(180).ms);
  request.app_longest = seconds(100);
  request.verdict = {};
  CHECK(reply<NotHeld>(bench.step(request)).refusal.have == seconds(100).ms);
}

TEST_CASE("Durations that are no durations are refused, whatever their factor") {
  LedgerBench bench;
  for (const std::int64_t ms : {std::int64_t{0}, std::int64_t{-1}, INT64_MIN, INT64_MAX}) {
    Reserve request = wish(ada, noon, 1, Duration{1});
    request.declared = {ms};
    request.factor = 4'000'000'000;
    CHECK(code_of(bench, request) == Errc::illegal_duration);
  }
}

TEST_CASE("Taking the lead raises the epoch and hands over every open hold in order") {
  LedgerBench bench;
  const Hold first = bench.hold(ada);
  const Hold second = bench.hold(bob);
  const Hold third = bench.hold(ada);
  bench.step(Leased{.epoch = {1}, .job = third.job, .attempt = 1, .node = {9}, .node_name = "n"});
  bench.step(Leased{.epoch = {1}, .job = first.job, .attempt = 1, .node = {8}, .node_name = "m"});
  bench.step(Requeue{.epoch = {1}, .job = first.job, .attempt = 1, .promise = noon + hours(2)});
  bench.settle(second.job, seconds(1));
  bench.now = noon + seconds(9);
  const Leading leading = reply<Leading>(bench.step(Lead{.ticket = 77}));
  CHECK(leading.ticket == 77);
  CHECK(leading.epoch == Epoch{2});
  CHECK(leading.last_record == noon);
  REQUIRE(leading.open.size() == 2);
  CHECK(leading.open[0].hold->job == first.job);
  CHECK(leading.open[0].promise == noon + hours(2));
  CHECK(leading.open[0].attempt == 1);
  CHECK_FALSE(leading.open[0].leased);
  CHECK(leading.open[1].hold->job == third.job);
  CHECK(leading.open[1].leased);
  CHECK(leading.open[1].node == NodeId{9});
}

TEST_CASE("A broker of another epoch changes nothing") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  bench.step(Lead{.ticket = 2});
  const std::uint64_t digest = bench.ledger.state_digest();
  const JobId job = hold.job;
  const std::vector<ToLedger> stale{Leased{.epoch = {1}, .job = job, .attempt = 1},
                                    Requeue{.epoch = {1}, .job = job, .attempt = 1},
                                    Restate{.epoch = {1}, .job = job, .promise = noon},
                                    Settle{.epoch = {1}, .job = job}, wish(bob, noon, 99)};
  for (const ToLedger& command : stale) {
    const auto refused = reply<LedgerRefused>(bench.step(command));
    CHECK(refused.code == Errc::stale_epoch);
    CHECK(refused.job == (std::holds_alternative<Reserve>(command) ? JobId{} : job));
  }
  CHECK(bench.ledger.state_digest() == digest);
}

TEST_CASE("A command about a job that is not open is refused") {
  LedgerBench bench;
  const JobId none{99};
  for (const ToLedger& command :
       {ToLedger{Leased{.epoch = {1}, .job = none}}, ToLedger{Requeue{.epoch = {1}, .job = none}},
        ToLedger{Restate{.epoch = {1}, .job = none}}, ToLedger{Settle{.epoch = {1}, .job = none}}})
    CHECK(reply<LedgerRefused>(bench.step(command)).code == Errc::job_unknown);
}

TEST_CASE("Settling again gives the same receipt and charges nothing more") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  const Receipt first = bench.settle(hold.job, seconds(3)).receipt;
  const std::size_t written = bench.records.size();
  const Receipt again = bench.settle(hold.job, seconds(50), Outcome::failed).receipt;
  CHECK(again.charged == first.charged);
  CHECK(again.outcome == Outcome::succeeded);
  CHECK(bench.records.size() == written);
  CHECK(bench.quota(ada).used == GpuTime{3'000});
}

TEST_CASE("An attempt is requeued once") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  bench.step(Leased{.epoch = {1}, .job = hold.job, .attempt = 1});
  const Requeue lost{.epoch = {1},
                     .job = hold.job,
                     .attempt = 1,
                     .cause = Errc::node_lost,
                     .promise = noon + hours(1)};
  CHECK(reply<Requeued>(bench.step(lost)).attempt == 1);
  const std::size_t written = bench.records.size();
  CHECK(reply<Requeued>(bench.step(lost)).attempt == 1);
  CHECK(bench.records.size() == written);
  // After the next lease, the loss of the first attempt is old news.
  bench.step(Leased{.epoch = {1}, .job = hold.job, .attempt = 2});
  bench.step(lost);
  CHECK(bench.ledger.open_holds().front().leased);
  CHECK(bench.ledger.open_holds().front().attempt == 2);
  CHECK(bench.quota(ada).held == GpuTime{60'000});  // the hold goes on
}

TEST_CASE("A repeated or late note of a lease is passed over in silence") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  const Leased leased{.epoch = {1}, .job = hold.job, .attempt = 1, .node = {3}};
  CHECK(bench.step(leased).journal.size() == 1);
  const Effects again = bench.step(leased);
  CHECK(again.journal.empty());
  CHECK(again.send.empty());
}

TEST_CASE("A restated promise is recorded once and handed over at the next lead") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  const Restate restate{
      .epoch = {1}, .job = hold.job, .promise = noon + hours(5), .reason = "node lost"};
  CHECK(reply<Restated>(bench.step(restate)).promise == noon + hours(5));
  CHECK(bench.step(restate).journal.empty());
  CHECK(reply<Leading>(bench.step(Lead{})).open.at(0).promise == noon + hours(5));
}

TEST_CASE("Receipts come newest first, page by page") {
  LedgerBench bench;
  std::vector<JobId> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(bench.hold(ada, seconds(1)).job);
    bench.settle(jobs.back(), seconds(1));
  }
  ReceiptsAnswer page = receipts(bench, {}, 2);
  REQUIRE(page.receipts.size() == 2);
  CHECK(page.receipts[0].job == jobs[4]);
  CHECK(page.receipts[1].job == jobs[3]);
  CHECK(page.more);
  page = receipts(bench, jobs[3], 2);
  CHECK(page.receipts[0].job == jobs[2]);
  CHECK(page.more);
  page = receipts(bench, jobs[1], 2);
  REQUIRE(page.receipts.size() == 1);
  CHECK(page.receipts[0].job == jobs[0]);
  CHECK_FALSE(page.more);
  CHECK(receipts(bench, jobs[0], 2).receipts.empty());
  CHECK(receipts(bench, {}, 0).receipts.size() == 5);
}

TEST_CASE("A receipt answers its request id for 48 hours, and is listed for ever") {
  LedgerBench bench;
  const Reserve first = wish(ada, noon, 900, seconds(1));
  const JobId oldest = reply<Held>(bench.step(first)).hold->job;
  bench.settle(oldest, milliseconds(500));
  for (int i = 0; i < 2; ++i) bench.settle(bench.hold(ada, seconds(1)).job, seconds(1));
  CHECK(reply<AlreadyHeld>(bench.step(first)).done->receipt.charged == GpuTime{500});
  bench.now = noon + hours(48) + milliseconds(1);
  bench.hold(bob);
  CHECK(reply<NotHeld>(bench.step(first)).refusal.code == Errc::id_expired);
  CHECK(receipts(bench, {}, 50).receipts.size() == 3);
  CHECK(receipts(bench, {}, 50).receipts.back().job == oldest);
}

TEST_CASE("An account sees its own receipts and stories only") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  bench.settle(hold.job, seconds(2));
  ReceiptQuery query{.account = ada.account, .job = hold.job};
  CHECK(reply<ReceiptFound>(bench.step(query)).done->receipt.charged == GpuTime{2'000});
  query.account = bob.account;
  CHECK(reply<ReceiptFound>(bench.step(query)).error == Errc::job_unknown);
  ExplainQuery explain{.account = bob.account, .job = hold.job};
  CHECK(reply<Explained>(bench.step(explain)).error == Errc::job_unknown);
  explain = {.account = bob.account, .request = hold.request};
  CHECK(reply<Explained>(bench.step(explain)).error == Errc::job_unknown);
}

TEST_CASE("The story of a job tells every number of its life") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  bench.step(
      Leased{.epoch = {1}, .job = hold.job, .attempt = 1, .node = {3}, .node_name = "node-1"});
  bench.step(Requeue{.epoch = {1},
                     .job = hold.job,
                     .attempt = 1,
                     .cause = Errc::executor_crashed,
                     .detail = "signal 9",
                     .promise = noon + seconds(300)});
  bench.step(
      Restate{.epoch = {1}, .job = hold.job, .promise = noon + seconds(400), .reason = "restart"});
  bench.step(
      Leased{.epoch = {1}, .job = hold.job, .attempt = 2, .node = {3}, .node_name = "node-1"});
  const auto open = bench.explain(ada.account, hold.job);
  CHECK(open.size() == 5);
  bench.settle(hold.job, milliseconds(3'200));
  const auto story = bench.explain(ada.account, hold.job);
  REQUIRE(story.size() == 7);
  CHECK(
      story[0].text ==
      "admitted as job 2 of user:ada (tier free, recognised by token for user:ada): emoji at size "
      "large, declared 60.0 s x 1 = 60.0 s held; declared by --duration; this window has now 0.0 s "
      "used and 60.0 s held; promised to start by 2026-02-02T02:41:40.000Z");
  CHECK(story[1].text == "leased to node-1 as attempt 1, 0.0 s after its admission");
  CHECK(story[2].text ==
        "attempt 1 was lost because of executor_crashed (signal 9), by the pool's fault: it costs "
        "nothing, the job is queued again in its old place; promised to start by "
        "2026-02-02T02:45:00.000Z, 200.0 s later than before");
  CHECK(story[3].text ==
        "promise restated (restart); promised to start by 2026-02-02T02:46:40.000Z, 100.0 s later "
        "than before");
  CHECK(contains(story, "its run had begun; what came before costs nothing"));
  CHECK(story[6].text ==
        "settled as succeeded: declared 60.0 s, held 60.0 s; charged = ran x [[sizes]] "
        "large.factor = 3.2 s x 1 = 3.2 s, 56.8 s given back; 206.8 s left");
  const auto by_id = bench.explain(ada.account, {}, hold.request);
  CHECK(by_id.size() == 7);
}

TEST_CASE("The story of a refused request tells why, with the numbers") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  const Hold first = bench.hold(ada);
  const Reserve request = wish(ada, noon, 50);
  bench.step(request);
  const auto refused = bench.explain(ada.account, {}, request.request);
  CHECK(contains(refused,
                 "quota_exceeded: 60.0 s requested (large, factor 1), 10.0 s left, 60.0 s held and "
                 "0.0 s used of 70.0 s"));
  CHECK(contains(refused, "[[tiers]] free.allowance_s = 70; 60.0 s declared by --duration"));
  CHECK(contains(refused, "large 10.0 s, xlarge is not offered"));
  CHECK(contains(refused, "the window resets at 2026-02-03T02:40:00.000Z"));
  // Admitted later, the id has one story.
  bench.now = noon + seconds(20);
  bench.settle(first.job, seconds(1));
  bench.step(request);
  const auto both = bench.explain(ada.account, {}, request.request);
  CHECK(both.size() == refused.size() + 1);
  CHECK(both.back().text.rfind("admitted as job", 0) == 0);
}

TEST_CASE("A refusal over quota says who declared what is too much") {
  LedgerBench bench(config_with_allowance(seconds(30)));
  Reserve request = wish(ada, noon, 50);
  CHECK(reply<NotHeld>(bench.step(request)).refusal.detail == "60.0 s declared by --duration");
  request.request = id_at(noon, 51);
  request.body = JobRequest{.app = "emoji"};
  CHECK(reply<NotHeld>(bench.step(request)).refusal.detail ==
        "60.0 s declared by [[apps]] emoji.default_duration_s");
  request.request = id_at(noon, 52);
  request.learned = seconds(40);
  CHECK(reply<NotHeld>(bench.step(request)).refusal.detail ==
        "40.0 s to hold at first by [[apps]] emoji.duration = \"auto\"");
}

TEST_CASE("A size that has no shape where its app runs is offered in no refusal") {
  LedgerBench bench;
  bench.step(Shapes{.epoch = {1}, .sizes = {"large", "xlarge"}});  // in some other partition
  Reserve request = wish(ada, noon, 50);
  request.size = "xlarge";
  request.slots = request.factor = 2;
  request.verdict = Errc::size_unavailable;
  request.want = 2;
  request.have = 1;
  const Refusal refusal = reply<NotHeld>(bench.step(request)).refusal;
  CHECK(refusal.balance.fits[0].offered);
  CHECK_FALSE(refusal.balance.fits[1].offered);
  CHECK(refusal.balance.fits[1].longest == Duration{});
}

TEST_CASE("Only the latest refusals are remembered") {
  LedgerBench bench(default_config(), {.refusals_max = 2});
  for (std::uint64_t number = 1; number <= 3; ++number)
    CHECK(code_of(bench, wish(ada, noon, number, seconds(4'000))) == Errc::illegal_duration);
  CHECK(bench.explain(ada.account, {}, id_at(noon, 1)).empty());
  CHECK_FALSE(bench.explain(ada.account, {}, id_at(noon, 3)).empty());
}

TEST_CASE("The story of one job is bounded, its admission stays") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  for (int i = 1; i <= 100; ++i)
    bench.step(Restate{.epoch = {1}, .job = hold.job, .promise = noon + seconds(1000 + i)});
  const auto story = bench.explain(ada.account, hold.job);
  CHECK(story.size() == static_cast<std::size_t>(limits::job_moments_max));
  CHECK(story.front().text.rfind("admitted", 0) == 0);
}

TEST_CASE("Words of a worker are cut to their maximum, never inside a character") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  std::string words;
  while (words.size() <= 2'000) words += "\xe2\x82\xac";  // three bytes a character
  const Settle settle{.epoch = {1}, .job = hold.job, .outcome = Outcome::failed, .detail = words};
  const std::string kept = reply<Settled>(bench.step(settle)).settled.detail;
  CHECK(kept.size() == 510);
  CHECK(words.compare(0, kept.size(), kept) == 0);
}
