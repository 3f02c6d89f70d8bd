// Credits and adjustments: what an operator orders once, holds in two parts, and what is told about
// both.

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "base/pack.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller visitor = caller("address:192.0.2.7/32", "anonymous");

GrantCredits grant(const Caller& who, std::int64_t ms, std::uint64_t number = 900) {
  return {.ticket = 7,
          .who = "operator user:root",
          .id = id_at(noon, number),
          .account = who.account,
          .amount = {ms},
          .why = "for the workshop"};
}

AdjustQuota adjust(const Caller& who, std::int64_t ms, std::uint64_t number = 800) {
  return {.ticket = 8,
          .who = "operator user:root",
          .id = id_at(noon, number),
          .account = who.account,
          .amount = {ms},
          .why = "an outage"};
}

LedgerBench bench_of_70_s() { return LedgerBench(config_with_allowance(seconds(70))); }

bool contains(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("A grant is told with who, when, why, old and new, to operators and to its user") {
  LedgerBench bench = bench_of_70_s();
  const Changed changed = bench.changed(grant(ada, 600'000));
  REQUIRE(changed.changes.size() == 1);
  const Change change = changed.changes.front();
  CHECK(change.at == noon);
  CHECK(change.who == "operator user:root");
  CHECK(change.kind == ChangeKind::account);
  CHECK(change.subject == "user:ada");
  CHECK(change.field == "credits");
  CHECK(change.before == "0.0 s");
  CHECK(change.after == "600.0 s");
  CHECK(change.why == "for the workshop");
  CHECK(pack(bench.changes(ada).changes) == pack(changed.changes));
  CHECK(bench.changes(caller("user:bob")).changes.empty());
  Caller root = caller("user:root");
  root.is_operator = true;
  CHECK(bench.changes(root).changes.size() == 1);
  CHECK(bench.quota(ada).credits == GpuTime{600'000});
  CHECK(bench.quota(ada).left == GpuTime{70'000});  // credits are beyond quota
}

TEST_CASE("An order that is sent again under its id is answered again and happens once") {
  LedgerBench bench = bench_of_70_s();
  bench.settle(bench.hold(ada).job, seconds(50));
  const std::vector<ToLedger> orders{grant(ada, 600'000), adjust(ada, -20'000)};
  for (const ToLedger& order : orders) {
    const Changed first = bench.changed(order);
    CHECK(first.error == Errc{});
    const std::size_t written = bench.records.size();
    bench.now = bench.now + hours(1);
    const Changed again = bench.changed(order);
    CHECK(pack(again) == pack(first));
    CHECK(bench.records.size() == written);
  }
  CHECK(bench.quota(ada).credits == GpuTime{600'000});
  CHECK(bench.quota(ada).used == GpuTime{30'000});
  Ledger again = bench.replayed(bench.config);
  CHECK(again.state_digest() == bench.ledger.state_digest());
  CHECK(find_reply<Changed>(again.step(bench.now, orders[0]))->changes.size() == 1);
  CHECK(again.balance(bench.now, ada.account, "free").credits == GpuTime{600'000});
}

TEST_CASE("The same id with another order, or an id of another time, is refused") {
  LedgerBench bench = bench_of_70_s();
  bench.changed(grant(ada, 600'000));
  CHECK(bench.changed(grant(ada, 500'000)).error == Errc::id_reused);
  CHECK(bench.changed(adjust(ada, 600'000, 900)).error == Errc::id_reused);
  GrantCredits of_another = grant(ada, 600'000);
  of_another.who = "operator user:eve";
  CHECK(bench.changed(of_another).error == Errc::id_reused);
  bench.now = noon + milliseconds(limits::id_age_ms_max);
  CHECK(bench.changed(grant(ada, 600'000)).error == Errc{});
  bench.now = bench.now + milliseconds(1);
  const Changed late = bench.changed(grant(ada, 600'000));
  CHECK(late.error == Errc::id_expired);
  CHECK(late.want == limits::id_age_ms_max + 1);
  CHECK(contains(late.detail, "gpupool changes"));
  bench.now = noon;
}

TEST_CASE("Ids of orders are forgotten after 48 hours, and a full table says so") {
  LedgerBench bench(config_with_allowance(seconds(70)), {.orders_remembered_max = 2});
  bench.changed(grant(ada, 1'000, 1));
  bench.changed(grant(ada, 1'000, 2));
  const Changed full = bench.changed(grant(ada, 1'000, 3));
  CHECK(full.error == Errc::overloaded);
  CHECK(contains(full.detail, "2 grants and adjustments are remembered"));
  CHECK(bench.changed(grant(ada, 1'000, 1)).error == Errc{});  // known ones are answered
  bench.now = noon + milliseconds(limits::id_age_ms_max + 1);
  GrantCredits later = grant(ada, 1'000);
  later.id = id_at(bench.now, 4);
  CHECK(bench.changed(later).error == Errc{});
  CHECK(bench.quota(ada).credits == GpuTime{3'000});
}

TEST_CASE("An order of a wrong shape says what is wrong before anything else") {
  LedgerBench bench = bench_of_70_s();
  const auto refusal = [&bench](GrantCredits order) {
    const std::size_t written = bench.records.size();
    const Changed changed = bench.changed(order);
    CHECK(changed.error == Errc::bad_request);
    CHECK(bench.records.size() == written);
    return changed.detail;
  };
  CHECK(contains(refusal(grant(caller(""), 5)), "name an account"));
  CHECK(contains(refusal(grant(caller(std::string(129, 'a')), 5)), "at most 128 bytes"));
  CHECK(contains(refusal(grant(ada, 0)), "more than 0 s"));
  CHECK(contains(refusal(grant(ada, INT64_MAX)), "at most 1000000000.0 s"));
  CHECK(contains(refusal(grant(ada, INT64_MIN)), "at most 1000000000.0 s"));
  GrantCredits order = grant(ada, 5);
  order.why = "";
  CHECK(contains(refusal(order), "say why"));
  order.why = std::string(513, 'a');
  CHECK(contains(refusal(order), "at most 512 bytes"));
  bench.changed(grant(ada, limits::credits_ms_max));
  CHECK(contains(refusal(grant(ada, 1, 901)), "has 1000000000.0 s of credits"));
}

TEST_CASE("A hold takes quota first and credits for the rest; so does its charge") {
  LedgerBench bench = bench_of_70_s();
  CHECK(bench.refused(ada, seconds(100)).code == Errc::quota_exceeded);
  bench.changed(grant(ada, 40'000));
  const Hold hold = bench.hold(ada, seconds(100));
  CHECK(hold.quota_part == GpuTime{70'000});
  CHECK(hold.credits_part == GpuTime{30'000});
  CHECK(hold.quota_band == 0);
  const Balance held = bench.quota(ada);
  CHECK(held.left == GpuTime{});
  CHECK(held.held == GpuTime{70'000});
  CHECK(held.credits == GpuTime{40'000});
  CHECK(held.credits_held == GpuTime{30'000});
  CHECK(held.fits.front().longest == seconds(10));
  CHECK(contains(bench.explain(ada.account, hold.job).front().text,
                 "= 100.0 s held, 30.0 s of it credits"));
  const JobDone done = bench.settle(hold.job, seconds(75));
  CHECK(done.receipt.held == GpuTime{100'000});
  CHECK(done.receipt.held_credits == GpuTime{30'000});
  CHECK(done.receipt.charged == GpuTime{75'000});
  CHECK(done.receipt.charged_credits == GpuTime{5'000});
  CHECK(done.receipt.given_back == GpuTime{25'000});
  CHECK(done.balance.used == GpuTime{70'000});
  CHECK(done.balance.credits == GpuTime{35'000});
  CHECK(done.balance.credits_held == GpuTime{});
  CHECK(contains(bench.explain(ada.account, hold.job).back().text,
                 "of credits were held 30.0 s and charged 5.0 s"));
}

TEST_CASE("A refusal counts credits in what would fit, and says how many there are") {
  LedgerBench bench = bench_of_70_s();
  bench.changed(grant(ada, 20'000));
  bench.hold(ada, seconds(75));
  const Refusal refusal = bench.refused(ada, seconds(60));
  CHECK(refusal.code == Errc::quota_exceeded);
  CHECK(refusal.want == 60'000);
  CHECK(refusal.have == 15'000);
  CHECK(refusal.balance.credits == GpuTime{20'000});
  CHECK(refusal.balance.credits_held == GpuTime{5'000});
  CHECK(refusal.balance.fits.front().longest == seconds(15));
}

TEST_CASE("Credits outlive windows, and a window paid by credits alone opens and is forgotten") {
  LedgerBench bench(config_with_allowance({}));
  bench.changed(grant(ada, 60'000));
  const Hold hold = bench.hold(ada, seconds(50));
  CHECK(hold.quota_part == GpuTime{});
  CHECK(hold.credits_part == GpuTime{50'000});
  bench.settle(hold.job, seconds(20));
  CHECK_FALSE(bench.quota(ada).window_opened);  // no quota was charged in it
  bench.now = noon + hours(24 * 30);
  CHECK(bench.quota(ada).credits == GpuTime{40'000});
}

TEST_CASE("What open jobs hold of credits is never taken back, and the refusal has the numbers") {
  LedgerBench bench = bench_of_70_s();
  bench.changed(grant(ada, 100'000));
  const JobId job = bench.hold(ada, seconds(130)).job;  // 60 s of it credits
  const Changed refused = bench.changed(grant(ada, -50'000, 901));
  CHECK(refused.error == Errc::quota_exceeded);
  CHECK(refused.want == 50'000);
  CHECK(refused.have == 40'000);
  CHECK(contains(refused.detail,
                 "has 100.0 s of credits, of which open jobs hold 60.0 s: at most 40.0 s can"));
  CHECK(bench.changed(grant(ada, -40'000, 902)).changes.front().after == "60.0 s");
  bench.settle(job, seconds(130));
  CHECK(bench.quota(ada).credits == GpuTime{});
  CHECK(bench.changed(grant(ada, -1, 903)).error == Errc::quota_exceeded);
  // Refused orders are not remembered: the same one is judged anew.
  bench.changed(grant(ada, 80'000, 904));
  CHECK(bench.changed(grant(ada, -50'000, 901)).error == Errc{});
}

TEST_CASE("An anonymous account with credits is not dropped, and goes with the last of them") {
  LedgerBench bench;
  bench.changed(grant(visitor, 10'000));
  bench.settle(bench.hold(visitor, seconds(60)).job, seconds(60));
  bench.now = noon + hours(25);
  bench.hold(caller("user:bob"));  // time has come to drop what has ended
  REQUIRE(bench.ledger.account(visitor.account) != nullptr);
  GrantCredits back = grant(visitor, -10'000, 902);
  bench.changed(back);
  CHECK(bench.ledger.account(visitor.account) == nullptr);
}

TEST_CASE("An account that was granted credits before its first job is listed with them") {
  LedgerBench bench;
  bench.changed(grant(caller("user:new"), 10'000));
  const auto found = reply<AccountsFound>(bench.step(AccountsQuery{.ticket = 5}));
  REQUIRE(found.accounts.size() == 1);
  CHECK(found.accounts.front().account.text == "user:new");
  CHECK(found.accounts.front().credits == GpuTime{10'000});
}

TEST_CASE("An adjustment moves what the open window has used, between 0 and what is left") {
  LedgerBench bench = bench_of_70_s();
  const Changed none = bench.changed(adjust(ada, -10'000));
  CHECK(none.error == Errc::quota_exceeded);
  CHECK(none.have == 0);
  CHECK(contains(none.detail, "nothing used or held now"));
  bench.settle(bench.hold(ada).job, seconds(30));
  bench.hold(ada, seconds(20));
  const Changed too_much = bench.changed(adjust(ada, -30'001));
  CHECK(too_much.error == Errc::quota_exceeded);
  CHECK(too_much.have == 30'000);
  CHECK(contains(too_much.detail, "has used 30.0 s in this window"));
  const Changed done = bench.changed(adjust(ada, -10'000));
  CHECK(done.changes.front().field == "used quota");
  CHECK(done.changes.front().before == "30.0 s");
  CHECK(done.changes.front().after == "20.0 s");
  CHECK(bench.quota(ada).left == GpuTime{30'000});
  const Changed beyond = bench.changed(adjust(ada, 30'001, 802));
  CHECK(beyond.error == Errc::quota_exceeded);
  CHECK(beyond.have == 30'000);
  CHECK(contains(beyond.detail, "30.0 s left of 70.0 s in this window, with 20.0 s used and 20.0"));
  CHECK(bench.changed(adjust(ada, 30'000, 803)).error == Errc{});
  CHECK(bench.quota(ada).left == GpuTime{});
}

TEST_CASE("A window whose whole charge is given back is forgotten, unless a hold is open in it") {
  LedgerBench bench = bench_of_70_s();
  bench.settle(bench.hold(ada).job, seconds(30));
  const JobId job = bench.hold(ada, seconds(20)).job;
  bench.changed(adjust(ada, -30'000));
  CHECK(bench.quota(ada).window_opened == noon);
  bench.settle(job, seconds(20));
  bench.now = noon + hours(1);
  bench.changed(adjust(ada, -20'000, 802));
  CHECK_FALSE(bench.quota(ada).window_opened);
  CHECK(bench.hold(ada).window_opened == noon + hours(1));
}

TEST_CASE("A window that ended is not adjusted") {
  LedgerBench bench = bench_of_70_s();
  bench.settle(bench.hold(ada).job, seconds(30));
  bench.now = noon + hours(24);
  AdjustQuota late = adjust(ada, -10'000);
  CHECK(bench.changed(late).error == Errc::quota_exceeded);
}

TEST_CASE("A tier change counts at once for what can be charged") {
  LedgerBench bench = bench_of_70_s();
  bench.settle(bench.hold(ada).job, seconds(30));
  bench.changed(SetAccountTier{.who = "operator user:root", .account = ada.account, .tier = "pro"});
  CHECK(bench.changed(adjust(ada, 100'000)).error == Errc{});
  CHECK(bench.quota(ada).used == GpuTime{130'000});
}

TEST_CASE("An order that the journal refuses is unavailable and leaves no trace; then it works") {
  const Config config = config_with_allowance(seconds(70));
  JournalMemory journal;
  GroupCommit commit(config, journal);
  const auto send = [&](const ToLedger& message) { return committed(commit, {message}); };
  const std::uint64_t digest = commit.ledger().state_digest();
  journal.set_fault(JournalFault::refused);
  CHECK(find_reply<Changed>(send(grant(ada, 5'000)))->error == Errc::ledger_unavailable);
  CHECK(commit.ledger().state_digest() == digest);
  journal.set_fault(JournalFault::none);
  CHECK(find_reply<Changed>(send(grant(ada, 5'000)))->error == Errc{});
  CHECK(commit.ledger().balance(noon, ada.account, "free").credits == GpuTime{5'000});
}
