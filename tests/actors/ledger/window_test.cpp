// Fixed windows in UTC beside rolling ones: when they open and end, to the millisecond, and what a
// change of the rule does to those that are open.

#include "actors/ledger/window_rule.h"
#include "base/pack.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller visitor = caller("address:192.0.2.7/32", "anonymous");

constexpr Instant midnight{1'769'990'400'000};  // 2026-02-02T00:00:00Z, a Monday; noon is 02:40

WindowTerms fixed(Duration length, Duration starts = {}) {
  return {.kind = WindowKind::fixed, .length = length, .starts = starts};
}

Config config_with(const WindowTerms& rule) {
  Config config = config_with_allowance(seconds(70));
  config.window = {rule.kind, rule.length, rule.starts};
  return config;
}

}  // namespace

TEST_CASE("Fixed windows stand in the calendar, in UTC, to the millisecond") {
  const auto span = [](const WindowTerms& rule, Instant now) { return window_for(rule, now, {}); };
  CHECK(span(fixed(hours(24)), noon).opened == midnight);
  CHECK(span(fixed(hours(24)), noon).ends == midnight + hours(24));
  CHECK(span(fixed(hours(24)), midnight - milliseconds(1)).ends == midnight);
  CHECK(span(fixed(hours(24)), midnight).opened == midnight);
  CHECK(span(fixed(hours(8)), midnight + hours(8) - milliseconds(1)).opened == midnight);
  CHECK(span(fixed(hours(8)), midnight + hours(8)).opened == midnight + hours(8));
  CHECK(span(fixed(hours(24), hours(6)), noon).opened == midnight - hours(18));
  CHECK(span(fixed(hours(8), hours(6)), noon).opened == midnight - hours(2));
  CHECK(span(fixed(hours(24 * 7)), noon).opened == midnight);  // a week begins on Monday
  CHECK(span(fixed(hours(24 * 7)), midnight - milliseconds(1)).opened == midnight - hours(168));
  CHECK(span(fixed(hours(24)), Instant{1}).opened == Instant{0});
}

TEST_CASE("A window never reaches into an earlier one") {
  const WindowSpan span = window_for(fixed(hours(24)), noon, noon - milliseconds(5));
  CHECK(span.opened == noon - milliseconds(5));
  CHECK(span.ends == midnight + hours(24));
}

TEST_CASE("Holds of one fixed window share its quota, and the next one begins at its end") {
  LedgerBench bench(config_with(fixed(hours(8))));
  const Hold hold = bench.hold(ada, seconds(50));
  CHECK(hold.window_opened == midnight);
  CHECK(hold.window_ends == midnight + hours(8));
  CHECK(bench.quota(ada).resets_at == midnight + hours(8));
  bench.now = midnight + hours(8) - milliseconds(1);
  CHECK(bench.refused(ada, seconds(50)).balance.left == GpuTime{20'000});
  bench.now = midnight + hours(8);
  CHECK(bench.quota(ada).left == GpuTime{70'000});
  CHECK(bench.hold(ada, seconds(50)).window_opened == midnight + hours(8));
  CHECK(bench.settle(hold.job, seconds(40)).balance.used == GpuTime{});  // of the window before
}

TEST_CASE("A fixed window is there before its first job, with its end") {
  LedgerBench bench(config_with(fixed(hours(24))));
  const Balance fresh = bench.quota(ada);
  CHECK(fresh.window_opened == midnight);
  CHECK(fresh.resets_at == midnight + hours(24));
  CHECK(fresh.left == GpuTime{70'000});
  bench.settle(bench.hold(ada).job, {});
  CHECK(pack(bench.quota(ada)) == pack(fresh));  // it was forgotten uncharged
  CHECK(bench.hold(ada).window_opened == midnight);
}

TEST_CASE("An anonymous account is dropped at the end of its fixed window") {
  LedgerBench bench(config_with(fixed(hours(8))));
  bench.settle(bench.hold(visitor).job, seconds(10));
  bench.now = midnight + hours(8) - milliseconds(1);
  bench.hold(ada, seconds(1));
  CHECK(bench.ledger.account(visitor.account) != nullptr);
  bench.now = midnight + hours(8);
  bench.hold(ada, seconds(1));
  CHECK(bench.ledger.account(visitor.account) == nullptr);
}

TEST_CASE("A window that is open keeps its end when the rule changes; the next one obeys the new") {
  LedgerBench bench(config_with({.length = hours(24)}));
  bench.step(terms_of(bench.config));
  bench.settle(bench.hold(ada).job, seconds(50));
  bench.now = noon + hours(1);
  const Changed changed = bench.changed(terms_of(config_with(fixed(hours(24)))));
  REQUIRE(changed.changes.size() == 1);
  CHECK(changed.changes[0].kind == ChangeKind::window);
  CHECK(changed.changes[0].before == "24:00:00 (h:mm:ss) from an account's first job on");
  CHECK(changed.changes[0].after == "every 24:00:00 (h:mm:ss) from 00:00 UTC on");
  CHECK(bench.changes(ada).changes.front().kind == ChangeKind::window);  // it concerns everybody
  bench.now = noon + hours(24) - milliseconds(1);
  CHECK(bench.quota(ada).resets_at == noon + hours(24));
  CHECK(bench.quota(ada).used == GpuTime{50'000});
  bench.now = noon + hours(24);
  CHECK(bench.quota(ada).used == GpuTime{});
  const Hold hold = bench.hold(ada);
  CHECK(hold.window_opened == noon + hours(24));  // where the last one ended
  CHECK(hold.window_ends == midnight + hours(48));
  CHECK(bench.hold(caller("user:bob")).window_opened == midnight + hours(24));
}

TEST_CASE("The rule that counts is the one on record, and replay needs no configuration") {
  LedgerBench bench(config_with(fixed(hours(8))));
  bench.step(terms_of(bench.config));
  bench.settle(bench.hold(ada).job, seconds(20));
  bench.settle(bench.hold(visitor).job, seconds(20));
  bench.now = noon + hours(9);
  bench.hold(ada);
  const Config other = config_with({.length = hours(1)});
  const Ledger again = bench.replayed(other);
  CHECK(again.state_digest() == bench.ledger.state_digest());
  CHECK(again.balance(bench.now, ada.account, "free").resets_at == midnight + hours(16));
  CHECK(again.account(visitor.account) == nullptr);
}

TEST_CASE("Back to rolling windows, the next one opens with its first hold") {
  LedgerBench bench(config_with(fixed(hours(8))));
  bench.step(terms_of(bench.config));
  bench.settle(bench.hold(ada).job, seconds(20));
  bench.step(terms_of(config_with({.length = hours(24)})));
  CHECK(bench.quota(ada).resets_at == midnight + hours(8));
  bench.now = midnight + hours(9);
  CHECK_FALSE(bench.quota(ada).window_opened);
  CHECK(bench.hold(ada).window_ends == midnight + hours(33));
}
