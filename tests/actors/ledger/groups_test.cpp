// Credits that the users of a group share for an event: who pays what, and what everybody is told.

#include "actors/describe.h"
#include "actors/ledger/audit.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob");
const Caller cem = caller("user:cem@uni");
const Caller eve = caller("user:eve");
const Caller workshop = caller("group:workshop", "");

Config config_with_group(GroupConfig group = {.name = "workshop",
                                              .users = {"ada", "bob", "*@uni"}}) {
  Config config = config_with_allowance(seconds(70));
  config.groups = {std::move(group)};
  return config;
}

GrantCredits grant(const Caller& who, std::int64_t ms, std::uint64_t number = 900) {
  return {.ticket = 7,
          .who = "operator user:root",
          .id = id_at(noon, number),
          .account = who.account,
          .amount = {ms},
          .why = "for the workshop"};
}

AuditReport audited(const Config& config, const std::vector<Record>& records) {
  Audit audit(config, config.window);
  JournalTail end;
  JournalTail read;
  for (const Record& record : records) {
    const std::string batch = encode_batch({&record, 1}, {}, end);
    REQUIRE(read_batch(batch, read, [&audit](const StoredRecord& stored) {
      audit.read(stored);
      return ok();
    }));
  }
  return audit.finish();
}

bool contains(const std::string& text, const std::string& words) {
  INFO(text);
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("What a user's quota does not pay, the group's credits do, and only what really ran") {
  LedgerBench bench(config_with_group());
  bench.changed(grant(workshop, 600'000));
  const Hold hold = bench.hold(ada, seconds(100));
  CHECK(hold.quota_part == GpuTime{70'000});
  CHECK(hold.credits_part == GpuTime{30'000});
  CHECK(hold.credits_from == workshop.account);
  CHECK(bench.quota(workshop).credits_held == GpuTime{30'000});
  CHECK(bench.quota(ada).credits_held == GpuTime{});
  const JobDone done = bench.settle(hold.job, seconds(75));
  CHECK(done.receipt.charged_credits == GpuTime{5'000});
  CHECK(done.receipt.credits_from == workshop.account);
  CHECK(contains(arithmetic_of(done.receipt),
                 "of the credits of group workshop were held 30.0 s and charged 5.0 s"));
  CHECK(bench.quota(workshop).credits == GpuTime{595'000});
  CHECK(bench.quota(workshop).credits_held == GpuTime{});
  CHECK(bench.replayed(bench.config).state_digest() == bench.ledger.state_digest());
}

TEST_CASE("A group is shared: what one of its users holds, the others do not have") {
  LedgerBench bench(config_with_group());
  bench.changed(grant(workshop, 100'000));
  bench.hold(ada, seconds(150));  // 80 s of the group's
  const Refusal refused = bench.refused(bob, seconds(100));
  CHECK(refused.code == Errc::quota_exceeded);
  CHECK(refused.have == 90'000);
  CHECK(refused.balance.group.account == workshop.account);
  CHECK(refused.balance.group.held == GpuTime{80'000});
  CHECK(refused.balance.fits.front().longest == seconds(90));
  CHECK(contains(sentence_of(refused),
                 "100.0 s of credits shared by group workshop, 80.0 s of them held"));
  CHECK(bench.hold(cem, seconds(90)).credits_from == workshop.account);
  CHECK(bench.quota(workshop).credits_held == GpuTime{100'000});
}

TEST_CASE("Who is not of the group gets nothing from it, nor does anybody out of its time") {
  GroupConfig group{.name = "workshop",
                    .users = {"ada", "*@uni"},
                    .from = noon + hours(1),
                    .until = noon + hours(2)};
  LedgerBench bench(config_with_group(group));
  bench.changed(grant(workshop, 600'000));
  CHECK(bench.refused(ada, seconds(100)).code == Errc::quota_exceeded);
  CHECK(bench.quota(ada).group.account == AccountId{});
  bench.now = noon + hours(1);
  CHECK(bench.refused(eve, seconds(100)).code == Errc::quota_exceeded);
  CHECK(bench.refused(caller("user:uni"), seconds(100)).code == Errc::quota_exceeded);
  CHECK(bench.refused(caller("address:192.0.2.7/32"), seconds(100)).code == Errc::quota_exceeded);
  const JobId job = bench.hold(ada, seconds(100)).job;
  CHECK(contains(credits_text(bench.quota(ada)), ", until 2026-02-02T04:40:00Z"));
  bench.now = noon + hours(2);
  CHECK(bench.refused(ada, seconds(30)).code == Errc::quota_exceeded);
  // What was held while it was on is settled as it was held.
  CHECK(bench.settle(job, seconds(100)).receipt.charged_credits == GpuTime{30'000});
  CHECK(bench.quota(workshop).credits == GpuTime{570'000});
}

TEST_CASE("One purse pays: the group where it has enough, else the user's own credits") {
  LedgerBench bench(config_with_group());
  bench.changed(grant(ada, 50'000, 1));
  CHECK(bench.hold(ada, seconds(80)).credits_from == AccountId{});  // the group has nothing
  bench.changed(grant(workshop, 20'000, 2));
  CHECK(bench.hold(ada, seconds(30)).credits_from == AccountId{});  // has too little
  CHECK(bench.hold(ada, seconds(10)).credits_from == workshop.account);
  const Refusal refused = bench.refused(ada, seconds(15));  // 10 s are free of each
  CHECK(refused.have == 10'000);
  CHECK(contains(credits_text(refused.balance),
                 "50.0 s of credits, 40.0 s of them held; 20.0 s of credits shared by group "
                 "workshop, 10.0 s of them held"));
}

TEST_CASE("The first of a user's groups that has enough is the one that pays") {
  Config config = config_with_group();
  config.groups.push_back({.name = "second", .users = {"ada"}});
  LedgerBench bench(config);
  const AccountId second{"group:second"};
  bench.changed(grant(workshop, 10'000, 1));
  bench.changed(grant(caller(second.text, ""), 100'000, 2));
  CHECK(bench.hold(ada, seconds(100)).credits_from == second);
  CHECK(bench.hold(ada, seconds(5)).credits_from == workshop.account);
  CHECK(bench.quota(ada).group.account == workshop.account);
}

TEST_CASE("What a group's users hold is never taken back from it") {
  LedgerBench bench(config_with_group());
  bench.changed(grant(workshop, 100'000, 1));
  bench.hold(ada, seconds(130));
  const Changed refused = bench.changed(grant(workshop, -50'000, 2));
  CHECK(refused.error == Errc::quota_exceeded);
  CHECK(refused.have == 40'000);
  CHECK(bench.changed(grant(workshop, -40'000, 3)).error == Errc{});
}

TEST_CASE("An extension takes from the purse of its hold") {
  LedgerBench bench(config_with_group());
  bench.changed(grant(workshop, 100'000));
  Reserve reserve = wish(ada, bench.now, 50, seconds(150));
  reserve.learned = seconds(60);
  const Hold hold = reply<Held>(bench.step(reserve)).hold;
  CHECK(hold.quota_part == GpuTime{60'000});
  const Extended extended = *find_reply<Extended>(
      bench.step(Extend{.epoch = {1}, .job = hold.job, .number = 1, .by = {30'000}}));
  CHECK(extended.held_credits == GpuTime{20'000});
  CHECK(bench.quota(workshop).credits_held == GpuTime{20'000});
  CHECK(bench.settle(hold.job, seconds(85)).receipt.charged_credits == GpuTime{15'000});
  CHECK(bench.quota(workshop).credits == GpuTime{85'000});
}

TEST_CASE("An audit follows whose credits a hold takes, and finds one that takes a stranger's") {
  LedgerBench bench(config_with_group());
  bench.step(terms_of(bench.config));
  bench.changed(grant(workshop, 100'000, 1));
  bench.changed(grant(bob, 100'000, 2));
  bench.settle(bench.hold(ada, seconds(100)).job, seconds(90));
  bench.hold(ada, seconds(20));
  CHECK(audited(bench.config, bench.records).findings.empty());
  std::vector<Record> forged = bench.records;
  for (Record& record : forged)
    if (auto* opened = std::get_if<HoldOpened>(&record.body)) {
      Hold hold = opened->hold;
      hold.credits_from = bob.account;
      opened->hold = hold;
    }
  const auto findings = audited(bench.config, forged).findings;
  REQUIRE_FALSE(findings.empty());
  CHECK(contains(findings.front(), "takes credits of user:bob, which is no group"));
}

TEST_CASE("The purse of a hold that grows is one that may pay for all of it") {
  LedgerBench bench(
      config_with_group({.name = "workshop", .users = {"ada"}, .until = noon + hours(1)}));
  bench.changed(grant(workshop, 1'000, 1));
  bench.changed(grant(ada, 600'000, 2));
  Reserve reserve = wish(ada, bench.now, 60, seconds(150));
  reserve.learned = seconds(60);
  const Hold own = reply<Held>(bench.step(reserve)).hold;
  CHECK(own.credits_from == AccountId{});  // 1 s of the group's would not do for 80
  CHECK(bench.settle(own.job, seconds(10)).receipt.credits_from == AccountId{});
  bench.changed(grant(workshop, 200'000, 3));
  reserve = wish(ada, bench.now, 61, seconds(150));
  reserve.learned = seconds(30);
  const Hold shared = reply<Held>(bench.step(reserve)).hold;
  CHECK(shared.credits_from == workshop.account);
  bench.now = noon + hours(1);  // it is over, and gives no more
  const Extend more{.epoch = {1}, .job = shared.job, .number = 1, .by = {60'000}};
  CHECK(find_reply<NotExtended>(bench.step(more)) != nullptr);
  const JobDone done = bench.settle(shared.job, seconds(30));
  CHECK(done.receipt.held_credits == GpuTime{});
  CHECK(done.receipt.credits_from == AccountId{});
}
