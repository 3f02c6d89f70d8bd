// The rules of quota, sentence by sentence: holds, settles, windows, tiers, what the answers say.

#include "base/pack.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {
const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob");
const Caller visitor = caller("address:192.0.2.7/32", "anonymous");
}  // namespace

TEST_CASE("A hold sets its cost aside and the settle gives the rest back") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  CHECK(hold.quota_part == GpuTime{60'000});
  CHECK(hold.credits_part == GpuTime{0});
  CHECK(hold.job == JobId{2});  // the sequence of its record, after the epoch's
  CHECK(hold.admitted_at == noon);
  CHECK(hold.window_opened == noon);
  CHECK(hold.tier_rank == 1);

  Balance balance = bench.quota(ada);
  CHECK(balance.used == GpuTime{0});
  CHECK(balance.held == GpuTime{60'000});
  CHECK(balance.left == GpuTime{150'000});
  CHECK(balance.open_jobs == 1);

  bench.now = noon + seconds(10);
  const JobDone done = bench.settle(hold.job, milliseconds(3'247));
  CHECK(done.receipt.charged == GpuTime{3'247});
  CHECK(done.receipt.given_back == GpuTime{56'753});
  CHECK(done.receipt.held == GpuTime{60'000});
  CHECK(done.receipt.left == GpuTime{206'753});
  CHECK(done.receipt.ended_at == noon + seconds(10));
  CHECK(done.balance.used == GpuTime{3'247});
  CHECK(done.balance.held == GpuTime{0});
  CHECK(done.balance.left == GpuTime{206'753});
  CHECK(done.balance.open_jobs == 0);
}

TEST_CASE("Three pictures of a few seconds cost only the seconds really used") {
  LedgerBench bench;
  for (const auto ran : {milliseconds(2'500), milliseconds(3'100), milliseconds(4'400)})
    bench.settle(bench.hold(ada).job, ran);
  const Balance balance = bench.quota(ada);
  CHECK(balance.used == GpuTime{10'000});
  CHECK(balance.left == GpuTime{200'000});
}

TEST_CASE("Nobody is charged more than was held") {
  LedgerBench bench;
  CHECK(bench.settle(bench.hold(ada, seconds(5)).job, milliseconds(5'001)).receipt.charged ==
        GpuTime{5'000});
  CHECK(bench.settle(bench.hold(bob, seconds(5)).job, Duration{INT64_MAX}).receipt.charged ==
        GpuTime{5'000});
}

TEST_CASE("A negative run time charges nothing") {
  LedgerBench bench;
  const Receipt receipt = bench.settle(bench.hold(ada).job, milliseconds(-5)).receipt;
  CHECK(receipt.charged == GpuTime{0});
  CHECK(receipt.ran == Duration{0});
}

TEST_CASE("A job of factor 2 holds and costs twice its time") {
  LedgerBench bench;
  Reserve big = wish(ada, bench.now, 900, seconds(45));
  big.size = "xlarge";
  big.body = JobRequest{.app = "emoji", .size = "xlarge", .declared = seconds(45)};
  big.slots = 2;
  big.factor = 2;
  const Hold hold = reply<Held>(bench.step(big)).hold;
  CHECK(hold.quota_part == GpuTime{90'000});
  CHECK(hold.body->size == "xlarge");
  const Receipt receipt = bench.settle(hold.job, milliseconds(10'001)).receipt;
  CHECK(receipt.charged == GpuTime{20'002});
  CHECK(receipt.given_back == GpuTime{69'998});
  CHECK(receipt.size == "xlarge");
  CHECK(receipt.factor == 2);
}

TEST_CASE("The longest duration of factor 2 is half the tier's longest cost, rounded down") {
  Config config = config_with_allowance(seconds(210));
  config.tiers[1].longest = {90'001};
  LedgerBench bench(config);
  Reserve big = wish(ada, bench.now, 1, milliseconds(45'001));
  big.factor = 2;
  const Refusal refusal = reply<NotHeld>(bench.step(big)).refusal;
  CHECK(refusal.code == Errc::illegal_duration);
  CHECK(refusal.want == 45'001);
  CHECK(refusal.have == 45'000);
  CHECK(refusal.cost == GpuTime{90'002});
  big.declared = milliseconds(45'000);
  CHECK(find_reply<Held>(bench.step(big)) != nullptr);
}

TEST_CASE("A request that costs exactly what is left is admitted, one millisecond more is not") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  bench.hold(ada);
  const Refusal refusal = bench.refused(ada, milliseconds(10'001));
  CHECK(refusal.code == Errc::quota_exceeded);
  CHECK(refusal.want == 10'001);
  CHECK(refusal.have == 10'000);
  CHECK(bench.hold(ada, seconds(10)).quota_part == GpuTime{10'000});
  CHECK(bench.quota(ada).left == GpuTime{0});
}

TEST_CASE("A refusal for quota carries every number that the asker needs") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  const Hold first = bench.hold(ada);
  bench.now = noon + seconds(1);
  const Refusal refusal = bench.refused(ada);
  CHECK(refusal.code == Errc::quota_exceeded);
  CHECK(refusal.cost == GpuTime{60'000});
  CHECK(refusal.declared == seconds(60));
  CHECK(refusal.factor == 1);
  CHECK(refusal.app == "emoji");
  CHECK(refusal.size == "large");
  CHECK(refusal.recognised_by == "token for user:ada");
  const Balance& balance = refusal.balance;
  CHECK(balance.account == ada.account);
  CHECK(balance.tier == "free");
  CHECK(balance.allowance == GpuTime{70'000});
  CHECK(balance.used == GpuTime{0});
  CHECK(balance.held == GpuTime{60'000});
  CHECK(balance.left == GpuTime{10'000});
  CHECK(balance.window_opened == noon);
  CHECK(balance.resets_at == noon + hours(24));
  CHECK(balance.held_until == first.promise + first.occupancy);
  CHECK(balance.open_jobs == 1);
  CHECK(balance.jobs_max == 4);
  CHECK(balance.at == noon + seconds(1));
  REQUIRE(balance.fits.size() == 2);
  CHECK(balance.fits[0].size == "large");
  CHECK(balance.fits[0].longest == seconds(10));
  CHECK(balance.fits[0].offered);
  CHECK(balance.fits[1].longest == seconds(5));
  CHECK_FALSE(balance.fits[1].offered);
  CHECK(refusal.sentence.empty());  // made at the edge
}

TEST_CASE("What a refusal says would fit is admitted") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  bench.hold(ada, milliseconds(61'234));
  const Duration fits = bench.refused(ada).balance.fits[0].longest;
  CHECK(bench.refused(ada, fits + milliseconds(1)).code == Errc::quota_exceeded);
  CHECK(bench.hold(ada, fits).declared == fits);
}

TEST_CASE("What fits is limited by the app, the tier's longest cost and what is left") {
  LedgerBench bench(config_with_allowance(seconds(1'000)));
  CHECK(bench.quota(ada).fits[0].longest == seconds(180));
  Reserve request = wish(ada, bench.now, 1, seconds(4'000));
  request.app_longest = seconds(90);
  const Refusal refusal = reply<NotHeld>(bench.step(request)).refusal;
  CHECK(refusal.balance.fits[0].longest == seconds(90));
  CHECK(refusal.balance.fits[1].longest == seconds(90));
}

TEST_CASE("Nothing fits an account that has as many jobs as its tier admits") {
  LedgerBench bench;
  for (int i = 0; i < 4; ++i) bench.hold(ada, seconds(1));
  const Refusal refusal = bench.refused(ada, seconds(1));
  CHECK(refusal.code == Errc::too_many_jobs);
  CHECK(refusal.want == 5);
  CHECK(refusal.have == 4);
  for (const Fit& fit : refusal.balance.fits) CHECK(fit.longest == Duration{0});
}

TEST_CASE("A closed job makes room for another one at once") {
  LedgerBench bench;
  const Hold first = bench.hold(ada, seconds(1));
  for (int i = 0; i < 3; ++i) bench.hold(ada, seconds(1));
  CHECK(bench.refused(ada, seconds(1)).code == Errc::too_many_jobs);
  bench.settle(first.job, seconds(1));
  CHECK(bench.hold(ada, seconds(1)).declared == seconds(1));
}

TEST_CASE("Quota frees when the earliest open hold is sure to be closed") {
  LedgerBench bench;
  const Hold first = bench.hold(ada, seconds(10));
  bench.now = noon + seconds(5);
  const Hold second = bench.hold(ada, seconds(20));
  CHECK(bench.quota(ada).held_until == first.promise + first.occupancy);
  // Once leased, a job occupies its slots for its occupancy at most.
  bench.step(Leased{.epoch = {1}, .job = second.job, .attempt = 1, .node = {9}, .node_name = "n"});
  CHECK(bench.quota(ada).held_until == noon + seconds(5) + second.occupancy);
  // Queued again, its new promise counts.
  const Instant later = noon + seconds(500);
  bench.step(Requeue{.epoch = {1}, .job = second.job, .attempt = 1, .promise = later});
  CHECK(bench.quota(ada).held_until == first.promise + first.occupancy);
  bench.settle(first.job, seconds(1));
  CHECK(bench.quota(ada).held_until == later + second.occupancy);
  bench.settle(second.job, seconds(1));
  CHECK(bench.quota(ada).held_until == Instant{});
}

TEST_CASE("A window ends 24 hours after its first hold, to the millisecond") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  bench.settle(bench.hold(ada).job, seconds(60));
  bench.now = noon + hours(24) - milliseconds(1);
  CHECK(bench.quota(ada).left == GpuTime{10'000});
  CHECK(bench.refused(ada).code == Errc::quota_exceeded);
  const Hold last = bench.hold(ada, seconds(10));
  CHECK(last.window_opened == noon);
  bench.now = noon + hours(24);
  CHECK(bench.quota(ada).left == GpuTime{70'000});
  CHECK(bench.quota(ada).resets_at == Instant{});
  CHECK(bench.hold(ada).window_opened == noon + hours(24));
}

TEST_CASE("A hold of an ended window is charged there, and the new window ignores it") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  bench.now = noon;
  bench.settle(bench.hold(ada, seconds(5)).job, seconds(5));
  bench.now = noon + hours(24) - milliseconds(1);
  const Hold old = bench.hold(ada, seconds(60));
  bench.now = noon + hours(24);
  Balance balance = bench.quota(ada);
  CHECK(balance.left == GpuTime{70'000});
  CHECK(balance.held == GpuTime{0});
  CHECK(balance.open_jobs == 1);
  const Hold fresh = bench.hold(ada, seconds(70));
  CHECK(fresh.window_opened == noon + hours(24));
  CHECK(bench.quota(ada).left == GpuTime{0});

  bench.now = noon + hours(24) + seconds(30);
  const JobDone done = bench.settle(old.job, seconds(60));
  CHECK(done.receipt.charged == GpuTime{60'000});
  CHECK(done.balance.used == GpuTime{0});
  CHECK(done.balance.held == GpuTime{70'000});
  CHECK(done.balance.window_opened == noon + hours(24));
  CHECK(bench.settle(fresh.job, seconds(1)).balance.left == GpuTime{69'000});
}

TEST_CASE("A window lives on after its end until its holds close, even without a new one") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  const Hold old = bench.hold(ada);
  bench.now = noon + hours(25);
  const JobDone done = bench.settle(old.job, seconds(60));
  CHECK(done.receipt.charged == GpuTime{60'000});
  CHECK(done.receipt.left == GpuTime{70'000});
  CHECK(done.balance.used == GpuTime{0});
  CHECK(bench.hold(ada, seconds(70)).window_opened == noon + hours(25));
}

TEST_CASE("A window is forgotten when its last hold closes and nothing was charged in it") {
  LedgerBench bench;
  const Hold first = bench.hold(ada);
  bench.now = noon + seconds(10);
  const Hold second = bench.hold(ada);
  CHECK(second.window_opened == noon);
  bench.settle(first.job, Duration{0}, Outcome::cancelled);
  CHECK(bench.quota(ada).resets_at == noon + hours(24));  // one hold is still open
  bench.settle(second.job, Duration{0}, Outcome::cancelled);
  CHECK(bench.quota(ada).resets_at == Instant{});
  bench.now = noon + hours(3);
  CHECK(bench.hold(ada).window_opened == noon + hours(3));
}

TEST_CASE("A window in which one millisecond was charged is kept") {
  LedgerBench bench;
  bench.settle(bench.hold(ada).job, milliseconds(1));
  CHECK(bench.quota(ada).resets_at == noon + hours(24));
}

TEST_CASE("Midnight means nothing to a window") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  const Instant midnight{1'770'076'800'000};  // 2026-02-03T00:00:00Z
  bench.now = midnight - milliseconds(1);
  bench.settle(bench.hold(ada).job, seconds(60));
  bench.now = midnight;
  CHECK(bench.quota(ada).left == GpuTime{10'000});
  CHECK(bench.quota(ada).resets_at == midnight + hours(24) - milliseconds(1));
}

TEST_CASE("A change of tier applies at once to what is left and never to open holds") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  bench.settle(bench.hold(ada).job, seconds(50));
  const Hold open = bench.hold(ada, seconds(100));
  const Config smaller = config_with_allowance(seconds(70));
  Ledger restarted = bench.replayed(smaller);
  CHECK(restarted.check_invariants().empty());
  const Balance balance = restarted.balance(bench.now, ada.account, "free");
  CHECK(balance.allowance == GpuTime{70'000});
  CHECK(balance.held == GpuTime{100'000});
  CHECK(balance.left == GpuTime{0});  // never negative
  const Effects settled =
      restarted.step(bench.now, Settle{.epoch = {1}, .job = open.job, .ran = seconds(90)});
  CHECK(reply<Settled>(settled).settled.charged_quota == GpuTime{90'000});
  CHECK(restarted.balance(bench.now, ada.account, "pro").left == GpuTime{1'360'000});
}

TEST_CASE("A receipt stays the same under another configuration") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  const Receipt receipt = bench.settle(bench.hold(ada).job, seconds(10)).receipt;
  const Config smaller = config_with_allowance(seconds(70));
  bench.ledger.use(smaller);
  const ReceiptQuery query{.account = ada.account, .job = receipt.job};
  const JobDone again = *reply<ReceiptFound>(bench.step(query)).done;
  CHECK(pack(again.receipt) == pack(receipt));
  CHECK(again.receipt.left == GpuTime{200'000});
  CHECK(again.balance.left == GpuTime{60'000});
}

TEST_CASE("The quota band of a hold is what is left after it, in eighths of the allowance") {
  LedgerBench bench(config_with_allowance(seconds(80)));
  CHECK(bench.hold(ada, milliseconds(9'999)).quota_band == 7);
  CHECK(bench.hold(ada, milliseconds(1)).quota_band == 7);  // 70 s of 80 s: 7 eighths
  CHECK(bench.hold(ada, milliseconds(1)).quota_band == 6);
  CHECK(bench.hold(ada, milliseconds(69'999)).quota_band == 0);  // nothing left
  CHECK(quota_band(GpuTime{0}, GpuTime{0}) == 0);
  CHECK(quota_band(GpuTime{80'000}, GpuTime{80'000}) == 7);
  CHECK(quota_band(GpuTime{3}, GpuTime{7}) == 3);  // 24/7 eighths
  CHECK(quota_band(GpuTime{INT64_MAX}, GpuTime{INT64_MAX}) == 7);
}

TEST_CASE("Accounts do not share quota") {
  LedgerBench bench(config_with_allowance(seconds(70)));
  bench.hold(ada);
  CHECK(bench.quota(bob).left == GpuTime{70'000});
  CHECK(bench.hold(bob).quota_part == GpuTime{60'000});
}

TEST_CASE("A tier with an allowance of zero holds nothing") {
  LedgerBench bench(config_with_allowance(seconds(0)));
  const Refusal refusal = bench.refused(ada, milliseconds(1));
  CHECK(refusal.code == Errc::quota_exceeded);
  CHECK(refusal.have == 0);
}

TEST_CASE("An anonymous account is dropped once its window ended and nothing is open") {
  LedgerBench bench;
  const Hold closed = bench.hold(visitor);
  bench.settle(closed.job, seconds(10));
  bench.hold(ada);
  CHECK(bench.ledger.account_count() == 2);
  bench.now = noon + hours(24) - milliseconds(1);
  bench.hold(ada, seconds(1));  // any record lets time pass
  CHECK(bench.ledger.account_count() == 2);
  bench.now = noon + hours(24);
  bench.hold(ada, seconds(1));
  CHECK(bench.ledger.account_count() == 1);
  CHECK(bench.quota(visitor).left == GpuTime{120'000});
}

TEST_CASE("An anonymous account with an open hold stays until that is closed") {
  LedgerBench bench;
  const Hold open = bench.hold(visitor);
  bench.now = noon + hours(30);
  bench.hold(ada);
  CHECK(bench.ledger.account_count() == 2);
  const JobDone done = bench.settle(open.job, seconds(7));
  CHECK(done.receipt.charged == GpuTime{7'000});
  CHECK(bench.ledger.account_count() == 1);
}

TEST_CASE("A user's account stays when its window ended") {
  LedgerBench bench;
  bench.settle(bench.hold(ada).job, seconds(7));
  bench.now = noon + hours(100);
  bench.hold(bob);
  CHECK(bench.ledger.account_count() == 2);
}

TEST_CASE("Time never goes back below the last record") {
  LedgerBench bench;
  bench.hold(ada);
  bench.now = noon - hours(1);
  const Balance balance = bench.quota(ada);
  CHECK(balance.at == noon);
  bench.ask(ada, seconds(1));
  CHECK(bench.records.back().at == noon);
}
