// What operators and configurations set: each command once, who sees which change, what is
// forgotten, and what stays after a restart or a refused batch.

#include <functional>

#include "actors/ledger/group_commit.h"
#include "actors/ledger/journal_memory.h"
#include "actors/ledger/terms_changes.h"
#include "base/pack.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob", "pro");
const Caller visitor = caller("address:192.0.2.7/32", "anonymous");
const std::string root = "operator user:root";

Caller an_operator() {
  Caller who = caller("user:root");
  who.is_operator = true;
  return who;
}

SetAccountTier set_tier(const Caller& who, const std::string& tier) {
  return {.ticket = 7, .who = root, .account = who.account, .tier = tier};
}
SetDraining drain(const std::string& node, bool draining = true) {
  return {.ticket = 8, .who = root, .node = node, .draining = draining};
}
RevokeToken revoke(const std::string& token, Instant forget_at) {
  return {.ticket = 5, .who = root, .token_id = token, .forget_at = forget_at};
}

Config two_apps() {
  Config config = config_with_allowance(seconds(210));
  config.apps = {{.name = "emoji"}, {.name = "secret", .tiers = {"pro"}}};
  return config;
}

std::string text_of(const Change& change) {
  return change.subject + " " + change.field + ": " + change.before + " > " + change.after;
}

}  // namespace

TEST_CASE("Every command of an operator takes effect once, however often it is sent") {
  const std::vector<ToLedger> commands{
      terms_of(two_apps()),
      set_tier(ada, "pro"),
      revoke("t1", noon + hours(1)),
      RevokeToken{.ticket = 5,
                  .who = root,
                  .account = ada.account,
                  .issued_before = noon,
                  .forget_at = noon + hours(1)},
      drain("node-1"),
      Announce{.ticket = 6, .who = root, .text = "maintenance at noon"}};
  LedgerBench bench(two_apps());
  for (const ToLedger& command : commands) {
    const std::size_t written = bench.records.size();
    const Changed first = bench.changed(command);
    CHECK(first.error == Errc{});
    REQUIRE(first.changes.size() == 1);
    CHECK(first.changes[0].at == noon);
    CHECK(bench.records.size() == written + 1);
    const Effects again = bench.step(command);
    CHECK(reply<Changed>(again).ticket == first.ticket);  // and nothing else is sent
    CHECK(reply<Changed>(again).error == Errc{});
    CHECK(reply<Changed>(again).changes.empty());
    CHECK(bench.records.size() == written + 1);
  }
}

TEST_CASE("The console hears unasked what holds after every change of it") {
  LedgerBench bench;
  const Effects effects = bench.step(drain("node-2"));
  REQUIRE(effects.send.size() == 2);
  CHECK(find_reply<Changed>(effects)->ticket == 8);
  const Standing* told = find_reply<Standing>(effects);
  REQUIRE(told != nullptr);
  CHECK(told->ticket == 0);
  CHECK(told->draining == std::vector<std::string>{"node-2"});
  CHECK(effects.send.back().to == to_console());
  bench.step(set_tier(bob, "free"));
  bench.step(revoke("t9", noon + hours(2)));
  bench.step(Announce{.who = root, .text = "hello"});
  const Standing standing = bench.standing();
  CHECK(standing.ticket == 3);
  REQUIRE(standing.tiers.size() == 1);
  CHECK(standing.tiers[0].account == bob.account);
  CHECK(standing.tiers[0].tier == "free");
  REQUIRE(standing.revoked.size() == 1);
  CHECK(standing.revoked[0].token_id == "t9");
  CHECK(standing.announcement == "hello");
}

TEST_CASE("The first terms are one change, later ones are told field by field") {
  LedgerBench bench(two_apps());
  const Changed first = bench.changed(terms_of(bench.config));
  REQUIRE(first.changes.size() == 1);
  CHECK(text_of(first.changes[0]) ==
        "all first terms:  > tiers: anonymous 120.0 s a window, free 210.0 s a window, "
        "pro 1500.0 s a window; apps: emoji, secret; windows: 24:00:00 (h:mm:ss) from an "
        "account's first job on");
  CHECK(first.changes[0].who == "configuration at start");

  Config next = two_apps();
  next.tiers[1].allowance = {300'000};
  next.tiers.erase(next.tiers.begin());
  next.apps[0].longest = milliseconds(90'500);
  next.apps[1].tiers.clear();
  next.apps.push_back({.name = "draw", .tiers = {"free", "pro"}});
  std::vector<std::string> texts;
  for (const Change& change : bench.changed(terms_of(next, "configuration reloaded")).changes) {
    CHECK(change.who == "configuration reloaded");
    texts.push_back(text_of(change));
  }
  CHECK(texts == std::vector<std::string>{
                     "anonymous allowance: 120.0 s > ", "anonymous longest cost: 120.0 s > ",
                     "anonymous rank: 0 > ", "anonymous jobs at once: 4 > ",
                     "free allowance: 210.0 s > 300.0 s",
                     "emoji longest duration: 300.0 s > 90.5 s", "secret open to: pro > everybody",
                     "draw size:  > large", "draw default duration:  > 60.0 s",
                     "draw longest duration:  > 300.0 s", "draw duration:  > as declared",
                     "draw open to:  > free, pro"});
}

TEST_CASE("Sizes, rates, groups and reservations are on record, value by value") {
  LedgerBench bench(two_apps());
  Configure command = terms_of(bench.config);
  command.settings = {{ChangeKind::size, "xlarge", "factor", "2"},
                      {ChangeKind::group, "workshop", "users", "ada, bob"},
                      {ChangeKind::group, "lab", "users", "cy"},
                      {ChangeKind::identity, tierless_tokens, "tier", "free"},
                      {ChangeKind::identity, "issuer uni", "tiers", "mail: ada@uni is pro"}};
  const Changed first = bench.changed(command);
  REQUIRE(first.changes.size() == 1);
  CHECK_THAT(first.changes[0].after, Catch::Contains("; sizes: xlarge x 2; "));
  CHECK(bench.changed(command).changes.empty());
  command.settings = {{ChangeKind::size, "xlarge", "factor", "3"},
                      {ChangeKind::group, "workshop", "users", "bob, cy, dora"},
                      {ChangeKind::rate, "account", "requests", "at will"},
                      {ChangeKind::identity, tierless_tokens, "tier", "pro"},
                      {ChangeKind::identity, "issuer uni", "tiers", "mail: bob@uni is pro"}};
  std::vector<std::string> texts;
  for (const Change& change : bench.changed(command).changes) texts.push_back(text_of(change));
  CHECK(texts == std::vector<std::string>{
                     "xlarge factor: 2 > 3",
                     "workshop users: 2 users > 3 users; came: cy, dora; went: ada",
                     "lab users: 1 user > ", "tokens that name no tier tier: free > pro",
                     "issuer uni tiers: mail: ada@uni is pro > mail: bob@uni is pro",
                     "account requests:  > at will"});
  // Who is in a group, or what an issuer claims of its users, is for operators.
  std::vector<std::string> seen;
  for (const Change& change : bench.changes(ada).changes) seen.push_back(change.subject);
  CHECK(seen == std::vector<std::string>{"account", "tokens that name no tier", "xlarge"});
  CHECK(bench.replayed(bench.config).state_digest() == bench.ledger.state_digest());
}

TEST_CASE("A user who comes last into a long group is told, and a long list of them is cut") {
  LedgerBench bench(two_apps());
  Configure command = terms_of(bench.config);
  std::string users = "user000";
  for (int i = 1; i < 200; ++i) users += ", user" + std::to_string(1000 + i);
  command.settings = {{ChangeKind::group, "workshop", "users", users}};
  bench.step(command);
  command.settings[0].text = users + ", zoe";
  CHECK(text_of(bench.changed(command).changes.at(0)) ==
        "workshop users: 200 users > 201 users; came: zoe");
  command.settings[0].text = "zoe";
  CHECK(
      text_of(bench.changed(command).changes.at(0)) ==
      "workshop users: 201 users > 1 user; went: user000, user1001, user1002, user1003, user1004, "
      "and 195 more");
}

TEST_CASE("A ledger from before settings were on record learns them by one change") {
  LedgerBench bench(two_apps());
  Configure command = terms_of(bench.config);
  bench.step(command);
  command.settings = {{ChangeKind::size, "large", "factor", "1"},
                      {ChangeKind::size, "large", "slots", "1"},
                      {ChangeKind::size, "xlarge", "factor", "7"}};
  const Changed first = bench.changed(command);
  REQUIRE(first.changes.size() == 1);
  CHECK(text_of(first.changes[0]) == "all first on record:  > large x 1, xlarge x 7");
  CHECK(bench.changes(ada).changes.size() == 1);
}

TEST_CASE("New terms count from their record on, not from the moment a configuration is read") {
  LedgerBench bench(config_with_allowance(seconds(210)));
  bench.step(terms_of(bench.config));
  const Config smaller = config_with_allowance(seconds(70));
  bench.ledger.use(smaller);
  CHECK(bench.quota(ada).allowance == GpuTime{210'000});
  bench.step(terms_of(smaller));
  CHECK(bench.quota(ada).allowance == GpuTime{70'000});
  CHECK(bench.replayed(bench.config).balance(noon, ada.account, "free").allowance ==
        GpuTime{70'000});
}

TEST_CASE("A tier set by an operator beats the token's at once and leaves open holds alone") {
  LedgerBench bench;
  bench.settle(bench.hold(ada, seconds(50)).job, seconds(50));
  const Hold before = bench.hold(ada, seconds(60));
  CHECK(before.tier == "free");
  CHECK(bench.quota(ada).left == GpuTime{100'000});
  bench.step(set_tier(ada, "pro"));

  const auto found =
      reply<QuotaFound>(bench.step(QuotaQuery{.session = {1}, .query = 1, .caller = ada})).answer;
  CHECK(found.balance.tier == "pro");
  CHECK(found.balance.allowance == GpuTime{1'500'000});
  CHECK(found.balance.held == GpuTime{60'000});
  CHECK(found.balance.left == GpuTime{1'390'000});
  CHECK(found.caller.tier == "pro");
  CHECK(found.caller.recognised_by == "token for user:ada; tier pro set by an operator");

  const Hold after = bench.hold(ada, seconds(250));  // free admits 180 s at most
  CHECK(after.tier == "pro");
  CHECK(after.tier_rank == bench.config.tier("pro")->rank);
  CHECK(after.quota_band == quota_band(GpuTime{1'140'000}, GpuTime{1'500'000}));
  CHECK(after.recognised_by == "token for user:ada; tier pro set by an operator");

  const JobDone done = bench.settle(before.job, seconds(10));
  CHECK(done.receipt.tier == "free");
  CHECK(done.receipt.held == GpuTime{60'000});
  CHECK(done.receipt.charged == GpuTime{10'000});
  CHECK(done.receipt.left == GpuTime{1'190'000});
  CHECK(done.balance.tier == "pro");
}

TEST_CASE("A tier taken back gives the account its token's tier again, open holds or not") {
  LedgerBench bench;
  bench.step(set_tier(ada, "pro"));
  const Hold open = bench.hold(ada, seconds(200));
  const Changed back = bench.changed(set_tier(ada, ""));
  REQUIRE(back.changes.size() == 1);
  CHECK(text_of(back.changes[0]) == "user:ada tier: pro > ");
  CHECK(bench.quota(ada).tier == "free");
  CHECK(bench.quota(ada).left == GpuTime{10'000});
  const JobDone done = bench.settle(open.job, seconds(60));
  CHECK(done.receipt.tier == "pro");
  CHECK(done.receipt.left == GpuTime{150'000});
  CHECK(done.balance.tier == "free");
  CHECK(bench.changed(set_tier(ada, "")).changes.empty());
}

TEST_CASE("A tier can only be set to one that exists, and the refusal names them") {
  LedgerBench bench(two_apps());
  const Changed refused = bench.changed(set_tier(ada, "gold"));
  CHECK(refused.error == Errc::bad_request);
  CHECK(refused.detail == "no tier is called \"gold\"; tiers: anonymous, free, pro");
  CHECK(refused.changes.empty());
  Config next = two_apps();
  next.tiers.push_back({.name = "gold", .allowance = {1'000}, .longest = {1'000}});
  bench.step(terms_of(next));
  CHECK(bench.changed(set_tier(ada, "gold")).error == Errc{});
  // Taken away again, the account is told who can help.
  bench.step(terms_of(two_apps()));
  const Refusal refusal = bench.refused(ada);
  CHECK(refusal.code == Errc::unauthenticated);
  CHECK(refusal.detail ==
        "tier \"gold\" is not configured; an operator set it and can set another one");
  CHECK(refusal.balance.left == GpuTime{0});
}

TEST_CASE("An anonymous address can have a tier, which outlives its account") {
  LedgerBench bench;
  bench.step(set_tier(visitor, "pro"));
  bench.settle(bench.hold(visitor, seconds(200)).job, seconds(7));
  CHECK(bench.quota(visitor).used == GpuTime{7'000});
  bench.now = noon + hours(25);
  bench.settle(bench.hold(ada).job, seconds(1));
  CHECK(bench.ledger.account_count() == 1);
  CHECK(bench.quota(visitor).tier == "pro");
  CHECK(bench.quota(visitor).left == GpuTime{1'500'000});
}

TEST_CASE("An app of certain tiers is forbidden to others, between unknown_app and the duration") {
  LedgerBench bench(two_apps());
  Reserve secret = wish(ada, noon, 1, seconds(4'000));
  secret.body = JobRequest{.app = "secret"};
  const auto code = [&bench, &secret] { return reply<NotHeld>(bench.step(secret)).refusal.code; };
  CHECK(code() == Errc::forbidden);
  secret.verdict = Errc::unknown_app;
  CHECK(code() == Errc::unknown_app);
  secret.verdict = Errc::illegal_duration;
  CHECK(code() == Errc::forbidden);
  secret.verdict = Errc::pool_unavailable;
  const Refusal refusal = reply<NotHeld>(bench.step(secret)).refusal;
  CHECK(refusal.code == Errc::forbidden);
  CHECK(refusal.detail == "it is open to pro");
  secret.verdict = {};
  secret.declared = seconds(10);
  bench.step(set_tier(ada, "pro"));
  CHECK(find_reply<Held>(bench.step(secret)) != nullptr);
  bench.step(set_tier(bob, "free"));
  secret = wish(bob, noon, 2, seconds(10));
  secret.body = JobRequest{.app = "secret"};
  CHECK(code() == Errc::forbidden);
}

TEST_CASE("A known id is answered even if its app was closed to the tier meanwhile") {
  LedgerBench bench(two_apps());
  Reserve secret = wish(bob, noon, 1);
  secret.body = JobRequest{.app = "secret"};
  const Hold hold = reply<Held>(bench.step(secret)).hold;
  bench.step(set_tier(bob, "free"));
  const auto known = reply<AlreadyHeld>(bench.step(secret));
  CHECK(known.job == hold.job);
  CHECK(known.done->balance.tier == "free");
}

TEST_CASE(
    "A revocation is forgotten when its tokens have expired, and reaches further if repeated") {
  LedgerBench bench;
  bench.step(revoke("t1", noon + hours(1)));
  bench.step(revoke("t2", noon + hours(2)));
  CHECK(bench.changed(revoke("t1", noon + milliseconds(1))).changes.empty());
  CHECK(bench.changed(revoke("t1", noon + hours(3))).changes.size() == 1);
  CHECK(bench.standing().revoked.size() == 2);
  bench.now = noon + hours(2);
  CHECK(bench.standing().revoked.size() == 1);  // not waiting for the next record
  bench.hold(ada);
  CHECK(bench.standing().revoked.size() == 1);
  CHECK(bench.standing().revoked[0].token_id == "t1");
  CHECK(bench.changed(revoke("t3", bench.now)).changes.empty());  // expired already
  CHECK(bench.changed(revoke("", noon + hours(9))).error == Errc::bad_request);
  // Without an end a revocation is kept for good.
  bench.step(revoke("t4", {}));
  bench.now = noon + hours(24 * 365);
  bench.hold(bob);
  REQUIRE(bench.standing().revoked.size() == 1);
  CHECK(bench.standing().revoked[0].forget_at == Instant::never());
}

TEST_CASE("Revoking all tokens of an account keeps the later of two moments") {
  LedgerBench bench;
  const auto of_ada = [](Instant before) {
    return RevokeToken{.who = root,
                       .account = ada.account,
                       .issued_before = before,
                       .forget_at = noon + hours(24)};
  };
  bench.step(of_ada(noon));
  CHECK(bench.changed(of_ada(noon - seconds(5))).changes.empty());
  const Changed later = bench.changed(of_ada(noon + seconds(5)));
  REQUIRE(later.changes.size() == 1);
  CHECK(later.changes[0].subject == "user:ada");
  CHECK(later.changes[0].before.find("are revoked") != std::string::npos);
  REQUIRE(bench.standing().revoked.size() == 1);
  CHECK(bench.standing().revoked[0].issued_before == noon + seconds(5));
}

TEST_CASE("A full table refuses with its numbers, and takes what replaces a row") {
  LedgerBounds bounds;
  bounds.orders = {
      .account_tiers_max = 1, .revocations_max = 1, .changes_max = 100, .draining_max = 1};
  LedgerBench bench(default_config(), bounds);
  bench.step(set_tier(ada, "pro"));
  bench.step(drain("node-1"));
  bench.step(revoke("t1", noon + hours(1)));
  for (const ToLedger& command : std::vector<ToLedger>{set_tier(bob, "free"), drain("node-2"),
                                                       revoke("t2", noon + hours(1))}) {
    const Changed refused = bench.changed(command);
    CHECK(refused.error == Errc::overloaded);
    CHECK(refused.detail.substr(0, 2) == "1 ");
  }
  CHECK(bench.changed(set_tier(ada, "free")).changes.size() == 1);
  CHECK(bench.changed(drain("node-1", false)).changes.size() == 1);
  CHECK(bench.changed(drain("node-2")).changes.size() == 1);
  bench.now = noon + hours(1);  // the first revocation makes room
  CHECK(bench.changed(revoke("t2", noon + hours(2))).changes.size() == 1);
}

TEST_CASE("Names and texts that are too long are refused") {
  LedgerBench bench;
  const std::string long_name(200, 'x');
  const auto error = [&bench](const ToLedger& command) { return bench.changed(command).error; };
  CHECK(error(set_tier(caller("user:" + long_name), "pro")) == Errc::bad_request);
  CHECK(error(set_tier(caller(""), "pro")) == Errc::bad_request);
  CHECK(error(drain(long_name)) == Errc::bad_request);
  CHECK(error(drain("")) == Errc::bad_request);
  CHECK(error(revoke(long_name, noon + hours(1))) == Errc::bad_request);
  CHECK(error(Announce{.who = root, .text = std::string(513, 'x')}) == Errc::bad_request);
  CHECK(error(Announce{.who = root, .text = std::string(512, 'x')}) == Errc{});
}

TEST_CASE("A broker that takes the lead learns which nodes are draining") {
  LedgerBench bench;
  bench.step(drain("node-2"));
  bench.step(drain("node-1"));
  const Leading leading = reply<Leading>(bench.step(Lead{.ticket = 2}));
  CHECK(leading.draining == std::vector<std::string>{"node-1", "node-2"});
}

TEST_CASE("Sizes are offered as the broker says that nodes can shape them") {
  LedgerBench bench;
  CHECK_FALSE(bench.quota(ada).fits[1].offered);
  CHECK(bench.quota(ada).fits[1].longest == seconds(90));
  bench.step(Shapes{.epoch = {1}, .sizes = {"large"}});
  CHECK(bench.quota(ada).fits[0].offered);
  CHECK_FALSE(bench.quota(ada).fits[1].offered);
  CHECK(bench.quota(ada).fits[1].longest == Duration{});
  bench.step(Shapes{.epoch = {1}, .sizes = {"large", "xlarge", "unheard of"}});
  CHECK(bench.quota(ada).fits[1].offered);
  CHECK(bench.quota(ada).fits[1].longest == seconds(90));
  bench.step(Shapes{.epoch = {7}, .sizes = {}});  // not from the broker that leads
  CHECK(bench.quota(ada).fits[1].offered);
  bench.step(Shapes{.epoch = {1}, .sizes = {}});
  CHECK_FALSE(bench.quota(ada).fits[0].offered);
  CHECK(bench.records.size() == 1);  // the epoch; shapes are not journaled
}

TEST_CASE("Accounts are listed in order of their names with their effective tiers") {
  LedgerBench bench;
  bench.hold(ada, seconds(10));
  bench.hold(bob, seconds(20));
  bench.hold(visitor, seconds(30));
  bench.step(set_tier(ada, "pro"));
  bench.step(set_tier(caller("user:new"), "free"));  // never seen, but known to an operator
  const auto page = [&bench](const std::string& after, std::uint32_t limit) {
    return reply<AccountsFound>(
        bench.step(AccountsQuery{.ticket = 2, .after = {after}, .limit = limit}));
  };
  const AccountsFound all = page("", 0);
  REQUIRE(all.accounts.size() == 4);
  CHECK_FALSE(all.more);
  CHECK(all.accounts[0].account == visitor.account);
  CHECK(all.accounts[1].account == ada.account);
  CHECK(all.accounts[1].tier == "pro");
  CHECK(all.accounts[1].held == GpuTime{10'000});
  CHECK(all.accounts[2].tier == "pro");
  CHECK(all.accounts[3].account.text == "user:new");
  CHECK(all.accounts[3].left == GpuTime{210'000});
  const AccountsFound first = page("", 2);
  CHECK(first.accounts.size() == 2);
  CHECK(first.more);
  const AccountsFound rest = page(first.accounts.back().account.text, 2);
  REQUIRE(rest.accounts.size() == 2);
  CHECK(rest.accounts[0].account == bob.account);
  CHECK_FALSE(rest.more);
  const auto one = [&bench](const std::string& name) {
    return reply<AccountsFound>(bench.step(AccountsQuery{.account = {name}})).accounts;
  };
  REQUIRE(one("user:bob").size() == 1);
  CHECK(one("user:bob")[0].held == GpuTime{20'000});
  CHECK(one("user:new").size() == 1);
  CHECK(one("user:bo").empty());
}

TEST_CASE("A page of accounts has at most as many rows as a table") {
  LedgerBench bench;
  for (int i = 0; i < limits::table_rows_max + 1; ++i)
    bench.step(set_tier(caller("user:" + std::to_string(i)), "pro"));
  const auto found = reply<AccountsFound>(bench.step(AccountsQuery{.limit = 1'000'000}));
  CHECK(std::cmp_equal(found.accounts.size(), limits::table_rows_max));
  CHECK(found.more);
}

TEST_CASE("An audit of a healthy ledger finds nothing and says where it stands") {
  LedgerBench bench;
  bench.hold(ada);
  bench.settle(bench.hold(bob).job, seconds(1));
  const auto audited = reply<Audited>(bench.step(AuditQuery{.ticket = 11}));
  CHECK(audited.ticket == 11);
  CHECK(audited.findings.empty());
  CHECK(audited.sequence == 4);
  CHECK(audited.accounts == 2);
  CHECK(audited.open_holds == 1);
  CHECK(audited.digest == bench.replayed(bench.config).state_digest());
}

TEST_CASE("A user sees the changes that concern them, an operator sees all") {
  LedgerBench bench(two_apps());
  bench.step(terms_of(two_apps()));
  Config next = two_apps();
  next.tiers[1].allowance = {1'000'000};  // free
  next.tiers[2].allowance = {2'000'000};  // pro
  next.apps[0].longest = seconds(200);    // open to everybody
  next.apps[1].longest = seconds(100);    // open to pro
  bench.now = noon + hours(1);
  bench.step(terms_of(next, "configuration reloaded"));
  bench.step(drain("node-1"));
  bench.step(set_tier(bob, "free"));
  bench.step(set_tier(ada, "pro"));
  bench.step(Announce{.who = root, .text = "hello"});
  bench.step(revoke("t1", noon + hours(9)));
  bench.step(RevokeToken{.who = root, .account = bob.account, .forget_at = noon + hours(9)});

  const auto seen = [&bench](const Caller& who) {
    std::vector<std::string> texts;
    for (const Change& change : bench.changes(who).changes)
      texts.push_back(change.subject + " " + change.field);
    return texts;
  };
  CHECK(seen(an_operator()).size() == 11);
  CHECK(seen(ada) == std::vector<std::string>{"everybody text", "user:ada tier",
                                              "secret longest duration", "emoji longest duration",
                                              "pro allowance"});
  CHECK(seen(bob) == std::vector<std::string>{"user:bob tokens", "everybody text", "user:bob tier",
                                              "emoji longest duration", "free allowance"});
  Caller with_token = caller("user:cy");
  with_token.token_id = "t1";
  CHECK(seen(with_token).front() == "t1 token");
  CHECK(seen(visitor) == std::vector<std::string>{"everybody text", "emoji longest duration"});
}

TEST_CASE("Who loses an app sees that it was closed to them") {
  LedgerBench bench(two_apps());
  bench.step(terms_of(two_apps()));
  Config next = two_apps();
  next.apps[0].tiers = {"pro"};
  bench.step(terms_of(next));
  next.apps.erase(next.apps.begin());
  bench.step(terms_of(next));
  const auto changes = bench.changes(ada).changes;
  REQUIRE(changes.size() == 1);
  CHECK(text_of(changes[0]) == "emoji open to: everybody > pro");
  REQUIRE(bench.changes(bob).changes.size() == 2);
  CHECK(text_of(bench.changes(bob).changes[0]) == "emoji open to: pro > ");
}

TEST_CASE("Changes are asked for since a moment and by the page, the newest first") {
  LedgerBench bench;
  for (int i = 0; i < 5; ++i) {
    bench.now = noon + seconds(i);
    bench.step(Announce{.who = root, .text = "number " + std::to_string(i)});
  }
  CHECK(bench.changes(ada).changes.size() == 5);
  const ChangesAnswer since = bench.changes(ada, noon + seconds(3));
  CHECK(since.query == 4);
  REQUIRE(since.changes.size() == 2);
  CHECK_FALSE(since.more);
  CHECK(since.known_since == Instant{});
  CHECK(since.changes[0].after == "number 4");
  CHECK(since.changes[0].before == "number 3");
  const ChangesAnswer page = bench.changes(ada, {}, 3);
  CHECK(page.changes.size() == 3);
  CHECK(page.more);
}

TEST_CASE("A page of the largest changes still fits a frame") {
  LedgerBench bench;
  for (std::int64_t i = 0; i < limits::changes_page_max + 10; ++i)
    bench.step(
        Announce{.who = std::string(512, 'w'), .text = std::string(500, 'x') + std::to_string(i)});
  const ChangesAnswer answer = bench.changes(an_operator(), {}, 100'000);
  CHECK(answer.more);
  CHECK(answer.changes.size() > 100);
  CHECK(std::cmp_less(pack(answer).size(), limits::frame_bytes_max));
}

TEST_CASE("Ten thousand changes are remembered, and it is said from when on they are complete") {
  LedgerBounds bounds;
  bounds.requests_max = 10;
  Config config = default_config();
  Ledger ledger(config, bounds);
  Instant now = noon;
  for (std::int64_t i = 0; i < limits::changes_max + 3; ++i) {
    now = now + seconds(1);
    ledger.step(now, Announce{.who = root, .text = std::to_string(i)});
  }
  CHECK(std::cmp_equal(ledger.orders().change_count(), limits::changes_max));
  CHECK(ledger.check_invariants().empty());
  const auto answer =
      reply<ChangesFound>(ledger.step(now, ChangesQuery{.caller = an_operator()})).answer;
  CHECK(answer.known_since == noon + seconds(3) + milliseconds(1));
}

TEST_CASE("A replay of the journal gives the orders that were live") {
  LedgerBench bench(two_apps());
  bench.step(terms_of(two_apps()));
  bench.step(set_tier(ada, "pro"));
  bench.settle(bench.hold(ada, seconds(200)).job, seconds(3));
  bench.step(set_tier(visitor, "free"));
  bench.step(drain("node-1"));
  bench.step(drain("node-2"));
  bench.step(drain("node-1", false));
  bench.step(revoke("t1", noon + hours(1)));
  bench.step(revoke("t2", noon + hours(3)));
  bench.step(Announce{.who = root, .text = "hello"});
  bench.now = noon + hours(2);
  bench.step(set_tier(ada, ""));
  const Ledger again = bench.replayed(default_config());
  CHECK(again.state_digest() == bench.ledger.state_digest());
  CHECK(pack(again.orders().standing(bench.now)) ==
        pack(bench.ledger.orders().standing(bench.now)));
}

TEST_CASE("The log of a run stands in its receipt") {
  LedgerBench bench;
  const Hold hold = bench.hold(ada);
  const ResultRef log{.hash = "ab", .bytes = 12, .media_type = "text/plain", .node = {4}};
  const auto done = reply<Settled>(bench.step(Settle{.epoch = {1},
                                                     .job = hold.job,
                                                     .outcome = Outcome::succeeded,
                                                     .ran = seconds(1),
                                                     .log = log}));
  CHECK(done.settled.log->hash == "ab");
  const ReceiptQuery query{.account = hold.account, .job = hold.job};
  CHECK(reply<ReceiptFound>(bench.step(query)).done->receipt.log.bytes == 12);
}

TEST_CASE("A refused batch undoes orders, and every command learns that it was not done") {
  JournalMemory journal;
  const Config config = two_apps();
  GroupCommit commits(config, journal);
  REQUIRE(commits.recover());
  const auto commit_of = [&](const std::vector<ToLedger>& messages) {
    return committed(commits, messages).send;
  };
  commit_of({Lead{}, terms_of(config), set_tier(ada, "pro"), drain("node-1"),
             revoke("t1", noon + hours(1)), Announce{.who = root, .text = "hello"}});
  const std::uint64_t digest = commits.ledger().state_digest();
  journal.set_fault(JournalFault::refused);
  Config next = two_apps();
  next.tiers[1].allowance = {1};
  const auto sent = commit_of(
      {terms_of(next), set_tier(ada, ""), set_tier(bob, "free"), drain("node-1", false),
       drain("node-2"), revoke("t1", noon + hours(2)), revoke("t2", noon + hours(2)),
       Announce{.ticket = 6, .who = root}, set_tier(ada, "pro"), StandingQuery{.ticket = 12}});
  CHECK(commits.ledger().state_digest() == digest);
  CHECK(commits.ledger().check_invariants().empty());
  REQUIRE(sent.size() == 10);
  for (std::size_t i = 0; i < 8; ++i) {
    Effects one;
    one.send = {sent[i]};
    CHECK(sent[i].to == to_console());
    const auto changed = reply<Changed>(one);
    CHECK(changed.ticket != 0);
    CHECK(changed.error == Errc::ledger_unavailable);
    CHECK(changed.detail == commits.refusal()->detail);
    CHECK(changed.changes.empty());
  }
  Effects rest;
  rest.send = {sent[8]};
  CHECK(reply<Changed>(rest).error == Errc{});  // it was so already
  rest.send = {sent[9]};
  CHECK(reply<Standing>(rest).draining == std::vector<std::string>{"node-1"});
  CHECK(reply<Standing>(rest).announcement == "hello");
  CHECK(reply<Standing>(rest).revoked.size() == 1);
  GroupCommit restarted(config, journal);
  REQUIRE(restarted.recover());
  CHECK(restarted.ledger().state_digest() == digest);
}
