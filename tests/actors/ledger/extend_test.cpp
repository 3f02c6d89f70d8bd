// Extensions of a hold: in the window in which it was made, quota first, each once.

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "base/pack.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");

LedgerBench bench_of_70_s() { return LedgerBench(config_with_allowance(seconds(70))); }

// Declared 150 s; 20 s are held at first.
Hold hold_little(LedgerBench& bench, std::uint64_t number = 900) {
  Reserve learned = wish(ada, bench.now, number, seconds(150));
  learned.learned = seconds(20);
  return reply<Held>(bench.step(learned)).hold;
}

Extend extend(JobId job, std::uint32_t number, Duration by) {
  return {.epoch = {1}, .job = job, .number = number, .by = {by.ms}};
}

void grant(LedgerBench& bench, Duration amount) {
  bench.changed(GrantCredits{.who = "operator user:root",
                             .id = id_at(noon, 700),
                             .account = ada.account,
                             .amount = {amount.ms},
                             .why = "w"});
}

}  // namespace

TEST_CASE("A learned duration is held at first, and the declared one stays what it is") {
  LedgerBench bench = bench_of_70_s();
  const Hold hold = hold_little(bench);
  CHECK(hold.quota_part == GpuTime{20'000});
  CHECK(hold.declared == seconds(150));
  CHECK(hold.learned == seconds(20));
  const std::string told = bench.explain(ada.account, hold.job).front().text;
  INFO(told);
  CHECK(told.find("declared 150.0 s x 1, at first 20.0 s held") != std::string::npos);
}

TEST_CASE("An extension holds more, quota first, and the answer says what is held in all") {
  LedgerBench bench = bench_of_70_s();
  grant(bench, seconds(30));
  const JobId job = hold_little(bench).job;
  const auto first = reply<Extended>(bench.step(extend(job, 1, seconds(40))));
  CHECK(first.number == 1);
  CHECK(first.held == GpuTime{60'000});
  CHECK(first.held_credits == GpuTime{});
  const auto second = reply<Extended>(bench.step(extend(job, 2, seconds(40))));
  CHECK(second.held == GpuTime{100'000});
  CHECK(second.held_credits == GpuTime{30'000});
  const Balance balance = bench.quota(ada);
  CHECK(balance.held == GpuTime{70'000});
  CHECK(balance.credits_held == GpuTime{30'000});
  CHECK(balance.open_jobs == 1);
  const std::string told = bench.explain(ada.account, job).back().text;
  CHECK(told == "extension 2: 40.0 s more held, 30.0 s of it credits, 100.0 s in all");
  const JobDone done = bench.settle(job, seconds(90));
  CHECK(done.receipt.held == GpuTime{100'000});
  CHECK(done.receipt.charged == GpuTime{90'000});
  CHECK(done.receipt.charged_credits == GpuTime{20'000});
  CHECK(done.receipt.left == GpuTime{});
  CHECK(done.balance.credits == GpuTime{10'000});
}

TEST_CASE("A job that outran what was extended pays what was held, no more") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  bench.step(extend(job, 1, seconds(10)));
  CHECK(bench.settle(job, seconds(150)).receipt.charged == GpuTime{30'000});
}

TEST_CASE("An extension takes effect once, by its number") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  bench.step(extend(job, 1, seconds(10)));
  const std::size_t written = bench.records.size();
  const auto again = reply<Extended>(bench.step(extend(job, 1, seconds(10))));
  CHECK(again.number == 1);
  CHECK(again.held == GpuTime{30'000});
  CHECK(bench.records.size() == written);
  for (const std::uint32_t number : {0U, 3U}) {
    const auto refused = reply<NotExtended>(bench.step(extend(job, number, seconds(10))));
    CHECK(refused.code == Errc::bad_request);
    CHECK(refused.detail ==
          "the next extension of this job is number 2, not " + std::to_string(number));
  }
  CHECK(bench.records.size() == written);
}

TEST_CASE("An extension that does not fit is refused with the numbers, and the hold stays") {
  LedgerBench bench = bench_of_70_s();
  grant(bench, seconds(5));
  const JobId job = hold_little(bench).job;
  const auto refused = reply<NotExtended>(bench.step(extend(job, 1, seconds(56))));
  CHECK(refused.job == job);
  CHECK(refused.number == 1);
  CHECK(refused.code == Errc::quota_exceeded);
  CHECK(refused.want == 56'000);
  CHECK(refused.have == 55'000);
  CHECK(bench.quota(ada).held == GpuTime{20'000});
  CHECK(reply<Extended>(bench.step(extend(job, 1, seconds(55)))).held == GpuTime{75'000});
}

TEST_CASE("Nothing is held beyond the declared duration, whatever is left") {
  LedgerBench bench(config_with_allowance(seconds(1'000)));
  const JobId job = hold_little(bench).job;
  const auto refused = reply<NotExtended>(bench.step(extend(job, 1, seconds(131))));
  CHECK(refused.code == Errc::illegal_duration);
  CHECK(refused.want == 131'000);
  CHECK(refused.have == 130'000);
  CHECK(reply<Extended>(bench.step(extend(job, 1, seconds(130)))).held == GpuTime{150'000});
  CHECK(reply<NotExtended>(bench.step(extend(job, 2, milliseconds(1)))).code ==
        Errc::illegal_duration);
  CHECK(reply<NotExtended>(bench.step(extend(job, 2, {}))).code == Errc::bad_request);
  const JobId whole = bench.hold(ada, seconds(60)).job;
  CHECK(reply<NotExtended>(bench.step(extend(whole, 1, seconds(1)))).code ==
        Errc::illegal_duration);
}

TEST_CASE("An extension belongs to the window of its hold, also when that has ended") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  bench.now = noon + hours(24);
  const JobId next = bench.hold(ada, seconds(60)).job;
  CHECK(reply<Extended>(bench.step(extend(job, 1, seconds(50)))).held == GpuTime{70'000});
  CHECK(reply<NotExtended>(bench.step(extend(job, 2, milliseconds(1)))).have == 0);
  CHECK(bench.quota(ada).held == GpuTime{60'000});  // the new window's left ignores it
  CHECK(bench.quota(ada).left == GpuTime{10'000});
  CHECK(bench.settle(job, seconds(65)).balance.left == GpuTime{10'000});
  bench.settle(next, seconds(60));
}

TEST_CASE("A tier change counts for an extension and never for what is held already") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  bench.step(extend(job, 1, seconds(40)));
  Config less = config_with_allowance(seconds(50));
  bench.step(terms_of(less));
  CHECK(bench.quota(ada).held == GpuTime{60'000});
  CHECK(reply<NotExtended>(bench.step(extend(job, 2, seconds(1)))).have == 0);
  bench.changed(SetAccountTier{.who = "operator user:root", .account = ada.account, .tier = "pro"});
  CHECK(reply<Extended>(bench.step(extend(job, 2, seconds(90)))).held == GpuTime{150'000});
}

TEST_CASE("An extension of a job that is over, or by another epoch, is refused") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  Extend old = extend(job, 1, seconds(1));
  old.epoch = {7};
  CHECK(reply<LedgerRefused>(bench.step(old)).code == Errc::stale_epoch);
  bench.settle(job, seconds(1));
  CHECK(reply<LedgerRefused>(bench.step(extend(job, 1, seconds(1)))).code == Errc::job_unknown);
}

TEST_CASE("A restart knows the extensions, and tells a broker that takes the lead") {
  LedgerBench bench = bench_of_70_s();
  const JobId job = hold_little(bench).job;
  bench.step(extend(job, 1, seconds(10)));
  bench.step(extend(job, 2, seconds(15)));
  Ledger again = bench.replayed(bench.config);
  CHECK(again.state_digest() == bench.ledger.state_digest());
  const Effects leading = again.step(bench.now, Lead{.ticket = 2});
  const OpenHold open = find_reply<Leading>(leading)->open.front();
  CHECK(open.extensions == 2);
  CHECK(open.extended_by == GpuTime{25'000});
}

TEST_CASE("An extension that the journal refuses is unavailable, and nothing more is held") {
  const Config config = config_with_allowance(seconds(70));
  JournalMemory journal;
  GroupCommit commit(config, journal);
  const auto send = [&](const ToLedger& message) { return committed(commit, {message}); };
  send(Lead{.ticket = 1});
  Reserve learned = wish(ada, noon, 1, seconds(60));
  learned.learned = seconds(20);
  const JobId job = find_reply<Held>(send(learned))->hold->job;
  const std::uint64_t digest = commit.ledger().state_digest();
  journal.set_fault(JournalFault::refused);
  const Effects answers = send(extend(job, 1, seconds(10)));
  REQUIRE(find_reply<NotExtended>(answers) != nullptr);
  CHECK(find_reply<NotExtended>(answers)->code == Errc::ledger_unavailable);
  CHECK(commit.ledger().state_digest() == digest);
}
