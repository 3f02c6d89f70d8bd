// What the ledger learns from settled runs, and the quotes and advice that come of it.

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");

// A finished job of this duration.
void run(LedgerBench& bench, std::uint64_t number, Duration ran) {
  const JobId job = reply<Held>(bench.step(wish(ada, bench.now, number))).hold->job;
  bench.settle(job, ran);
}

QuoteAnswer quote(LedgerBench& bench, const Reserve& reserve) {
  return reply<Quoted>(bench.step(QuoteQuery{.session = {1}, .reserve = reserve})).answer;
}

Reserve automatic(LedgerBench& bench, std::uint64_t number, Duration learned) {
  Reserve reserve = wish(ada, bench.now, number, seconds(300));
  reserve.learned = learned;
  return reserve;
}

}  // namespace

TEST_CASE("A balance advises by the account's own runs: what to declare and how many fit") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  CHECK(bench.quota(ada).advice.app.empty());
  for (std::uint64_t i = 1; i <= 4; ++i) run(bench, i, milliseconds(7'900));
  const Balance balance = bench.quota(ada);
  CHECK(balance.advice.app == "emoji");
  CHECK(balance.advice.runs == 4);
  CHECK(balance.advice.longest == milliseconds(7'900));
  CHECK(balance.advice.declare == seconds(10));
  CHECK(balance.left == GpuTime{178'400});
  CHECK(balance.advice.fits == 17);
}

TEST_CASE("Advice counts what a size costs, and is none where declaring less is no less") {
  LedgerBench bench(config_with_allowance(seconds(100)));
  for (std::uint64_t i = 1; i <= 3; ++i) run(bench, i, seconds(8));
  Reserve large = wish(ada, bench.now, 9, seconds(90));
  large.factor = 2;
  const NotHeld refused = reply<NotHeld>(bench.step(large));
  CHECK(refused.refusal.code == Errc::quota_exceeded);
  CHECK(refused.refusal.balance.advice.declare == seconds(10));
  CHECK(refused.refusal.balance.advice.fits == 3);  // of 76 s, at 20 s each
  LedgerBench other(config_with_allowance(seconds(210)));
  for (std::uint64_t i = 1; i <= 3; ++i) run(other, i, seconds(55));
  CHECK(other.quota(ada).advice.declare == Duration{});
}

TEST_CASE("Jobs that were cancelled or failed teach nothing") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  for (std::uint64_t i = 1; i <= 5; ++i) {
    const JobId job = reply<Held>(bench.step(wish(ada, bench.now, i))).hold->job;
    bench.step(Settle{.epoch = {1},
                      .job = job,
                      .outcome = i % 2 == 0 ? Outcome::cancelled : Outcome::failed,
                      .cause = i % 2 == 0 ? Errc{} : Errc::program_failed,
                      .ran = seconds(1)});
  }
  CHECK(bench.quota(ada).advice.app.empty());
}

TEST_CASE("A learned duration declares the longest that its tier allows, and is not refused") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  const Hold hold = reply<Held>(bench.step(automatic(bench, 1, seconds(11)))).hold;
  CHECK(hold.declared == seconds(180));  // the tier's longest cost
  CHECK(hold.occupancy == seconds(180 + 37));
  CHECK(hold.learned == seconds(11));
  CHECK(hold.quota_part == GpuTime{11'000});
}

TEST_CASE("A rest of 24 s does not refuse an 8 s picture whose duration is learned") {
  LedgerBench bench(config_with_allowance(seconds(84)));
  const JobId job = reply<Held>(bench.step(wish(ada, bench.now, 1))).hold->job;
  bench.settle(job, seconds(60));
  REQUIRE(bench.quota(ada).left == GpuTime{24'000});
  CHECK(reply<NotHeld>(bench.step(wish(ada, bench.now, 2))).refusal.code == Errc::quota_exceeded);
  const Hold hold = reply<Held>(bench.step(automatic(bench, 3, seconds(11)))).hold;
  CHECK(hold.quota_part == GpuTime{11'000});
  CHECK(bench.settle(hold.job, seconds(8)).receipt.charged == GpuTime{8'000});
}

TEST_CASE("A learned duration that cannot be paid is refused with what would be held at first") {
  LedgerBench bench(config_with_allowance(seconds(10)));
  const Refusal refusal = reply<NotHeld>(bench.step(automatic(bench, 1, seconds(11)))).refusal;
  CHECK(refusal.code == Errc::quota_exceeded);
  CHECK(refusal.want == 11'000);
  CHECK(refusal.have == 10'000);
  CHECK(refusal.first_held == seconds(11));
  CHECK(refusal.declared == seconds(180));
}

TEST_CASE("One long run does not refuse everybody: who cannot pay for it holds what is usual") {
  LedgerBench bench(config_with_allowance(seconds(150)));
  for (std::uint64_t i = 1; i <= 10; ++i) run(bench, i, seconds(8));
  const Caller eve = caller("user:eve");
  const JobId once = reply<Held>(bench.step(wish(eve, bench.now, 20, seconds(120)))).hold->job;
  bench.settle(once, seconds(100));
  REQUIRE(bench.quota(ada).left == GpuTime{70'000});
  // 99 of 100 took 100 s; 125 s of it are more than is left, what 9 of 10 took is not.
  CHECK(reply<Held>(bench.step(automatic(bench, 21, seconds(125)))).hold->learned == seconds(11));
  CHECK(reply<Held>(bench.step(automatic(bench, 22, seconds(60)))).hold->learned == seconds(11));
  CHECK(bench.quota(ada).left == GpuTime{48'000});
}

TEST_CASE("A quote says what a request would cost and leave, and changes nothing") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  const std::uint64_t before = bench.ledger.state_digest();
  Reserve asked = wish(ada, bench.now, 1);
  asked.request = {};
  const QuoteAnswer answer = quote(bench, asked);
  CHECK(answer.refusal.code == Errc{});
  CHECK(answer.cost == GpuTime{60'000});
  CHECK(answer.first_held == seconds(60));
  CHECK(answer.left == GpuTime{150'000});
  CHECK(answer.balance.left == GpuTime{210'000});
  CHECK(answer.caller.tier == "free");
  CHECK(bench.ledger.state_digest() == before);
}

TEST_CASE("A quote of an automatic duration tells the whole cost and what is held of it first") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  const QuoteAnswer answer = quote(bench, automatic(bench, 1, seconds(11)));
  CHECK(answer.declared == seconds(180));
  CHECK(answer.cost == GpuTime{180'000});
  CHECK(answer.first_held == seconds(11));
  CHECK(answer.left == GpuTime{199'000});
}

TEST_CASE("A quote is refused as its request would be, without being remembered") {
  LedgerBench bench(config_with_allowance(seconds(50)));
  const QuoteAnswer answer = quote(bench, wish(ada, bench.now, 1));
  CHECK(answer.refusal.code == Errc::quota_exceeded);
  CHECK(answer.refusal.have == 50'000);
  Reserve unknown = wish(ada, bench.now, 1);
  unknown.verdict = Errc::unknown_app;
  CHECK(quote(bench, unknown).refusal.code == Errc::unknown_app);
  Reserve stranger = wish(caller("user:eve", "gold"), bench.now, 1);
  CHECK(quote(bench, stranger).refusal.code == Errc::unauthenticated);
}

TEST_CASE("A batch that the journal refuses teaches nothing; a leader is told what is learned") {
  const Config config = config_with_allowance(seconds(1'000));
  JournalMemory journal;
  GroupCommit commits(config, journal);
  committed(commits, {Lead{.ticket = 1}});
  const auto settle = [](std::uint64_t job) {
    return Settle{.epoch = {1}, .job = {job}, .outcome = Outcome::succeeded, .ran = seconds(8)};
  };
  committed(commits, {wish(ada, noon, 1), wish(ada, noon, 2), wish(ada, noon, 3)});
  journal.set_fault(JournalFault::refused);
  committed(commits, {settle(2)});
  journal.set_fault(JournalFault::none);
  const auto learned_now = [&] {
    return find_reply<Leading>(committed(commits, {Lead{.ticket = 7}}))->learned;
  };
  CHECK(learned_now().empty());
  const auto settled_and_led = committed(
      commits, {Settle{.epoch = {2}, .job = {2}, .outcome = Outcome::succeeded, .ran = seconds(8)},
                Lead{.ticket = 8}});
  const auto learned = find_reply<Leading>(settled_and_led)->learned;
  REQUIRE(learned.size() == 2);
  CHECK(learned.front().app == "emoji");
  CHECK(learned.front().account.empty());
  CHECK(learned.back().account == "user:ada");
  CHECK(learned.back().runs == std::vector<std::uint32_t>{8'000});
}
