// What operators can order, who may, and what becomes of each command: the console's core between
// a ledger and a broker that the tests play.
#include "actors/console/console.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "actors/console/settings_terms.h"
#include "actors/console/tables.h"
#include "actors/request_id.h"
#include "base/pack.h"
#include "config/limits.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z
constexpr SessionId session{7};
using Words = std::vector<std::string>;

Caller root() {
  return {.account = {"user:root"},
          .tier = "pro",
          .recognised_by = "token for root, key k1",
          .is_operator = true};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Desk {
  Config config = default_config();
  Console console{config};
  Instant now = noon;
  Effects effects;
  std::uint64_t last_query = 0;

  Desk() { effects = console.start(now); }

  void tell(const ToConsole& message) { effects = console.step(now, message); }
  void type(const Words& words, const Caller& caller = root()) {
    tell(Operate{.session = session, .query = ++last_query, .caller = caller, .words = words});
  }

  // All messages of type Sent of the last step.
  template <class Sent>
  std::vector<Sent> sent() const {
    std::vector<Sent> found;
    const auto look = [&](const auto& one) {
      if constexpr (std::is_same_v<std::decay_t<decltype(one)>, Sent>) found.push_back(one);
    };
    for (const Send& send : effects.send)
      std::visit([&](const auto& role) { std::visit(look, role); }, send.message);
    return found;
  }
  template <class Sent>
  Sent only() const {
    REQUIRE(effects.send.size() == 1);
    const auto found = sent<Sent>();
    REQUIRE(found.size() == 1);
    return found.front();
  }
  // The answer to the last command, a table or an error.
  Table table() const {
    const auto operated = only<Operated>();
    CHECK(operated.error == Errc{});
    CHECK(operated.detail == "");
    CHECK(operated.session == session);
    CHECK(operated.answer.query == last_query);
    CHECK(effects.send.front().to == to_session(session));
    return operated.answer.table;
  }
  Operated error() const {
    const auto operated = only<Operated>();
    CHECK(operated.error != Errc{});
    CHECK(operated.answer.query == last_query);
    return operated;
  }
  // A command that is wrong in itself: nothing is asked of anybody, and the usage is shown.
  std::string mistake(const Words& words) {
    type(words);
    CHECK(error().error == Errc::bad_request);
    CHECK(console.open_questions() == 0);
    return error().detail;
  }
};

NodesFound two_nodes(std::uint64_t ticket) {
  return {.ticket = ticket,
          .nodes = {{.name = "node-1",
                     .state = NodeState::healthy,
                     .build = "0.1.0",
                     .seen = noon,
                     .slots = {{.slot = {0},
                                .state = SlotState::running,
                                .job = {17},
                                .account = {"user:ada"},
                                .app = "emoji",
                                .ends_by = noon + seconds(62),
                                .partition = "default",
                                .reservation = "workshop"},
                               {.slot = {1}, .device = 1, .state = SlotState::free}}},
                    {.name = "node-2",
                     .state = NodeState::lost,
                     .build = "0.1.0",
                     .seen = noon - hours(1),
                     .slots = {{.slot = {0}, .state = SlotState::free}}}}};
}

}  // namespace

// ---- At start --------------------------------------------------------------------------------

TEST_CASE("At start the ledger gets the configuration's terms and is asked what operators set") {
  Desk desk;
  const auto configure = desk.sent<Configure>();
  REQUIRE(configure.size() == 1);
  CHECK(configure[0].who == "configuration at start");
  REQUIRE(configure[0].tiers.size() == desk.config.tiers.size());
  CHECK(configure[0].tiers[0].name == desk.config.tiers[0].name);
  CHECK(configure[0].tiers[0].allowance == desk.config.tiers[0].allowance);
  CHECK(configure[0].window == WindowTerms{.length = desk.config.window.length});
  REQUIRE(configure[0].apps.size() == desk.config.apps.size());
  CHECK(configure[0].apps[0].longest == desk.config.apps[0].longest);
  CHECK(configure[0].settings == settings_of(desk.config));
  CHECK(desk.sent<StandingQuery>().size() == 1);
}

TEST_CASE("What the ledger does not answer at start is sent again, ever less often") {
  Desk desk;
  std::vector<std::int64_t> pauses;
  for (int i = 0; i < 9; ++i) {
    const Instant due = desk.effects.wake_at;
    pauses.push_back((due - desk.now).ms);
    desk.now = due;
    desk.tell(Tick{});
    CHECK(desk.sent<Configure>().size() == 1);
    CHECK(desk.sent<StandingQuery>().size() == 1);
  }
  CHECK(pauses == std::vector<std::int64_t>{1'000, 2'000, 4'000, 8'000, 16'000, 32'000, 60'000,
                                            60'000, 60'000});
}

TEST_CASE("Once both are answered nothing is sent again") {
  Desk desk;
  const auto configure = desk.sent<Configure>().at(0);
  const auto query = desk.sent<StandingQuery>().at(0);
  desk.tell(Changed{.ticket = configure.ticket});
  desk.tell(Standing{.ticket = query.ticket});
  CHECK(desk.effects.wake_at == Instant::never());
  desk.now = noon + hours(1);
  desk.tell(Tick{});
  CHECK(desk.effects.send.empty());
}

TEST_CASE("Terms that the ledger could not write are sent again") {
  Desk desk;
  const auto configure = desk.sent<Configure>().at(0);
  desk.tell(Changed{.ticket = configure.ticket, .error = Errc::ledger_unavailable});
  desk.now = desk.effects.wake_at;
  desk.tell(Tick{});
  CHECK(desk.sent<Configure>().at(0).ticket == configure.ticket);
}

TEST_CASE("A reload tells the ledger the new terms and who brought them") {
  Desk desk;
  const auto before = desk.sent<Configure>().at(0);
  Config next = desk.config;
  next.tiers[0].allowance = GpuTime{1'000};
  desk.console.use(next);
  desk.tell(ConfigReloaded{});
  const auto configure = desk.only<Configure>();
  CHECK(configure.who == "configuration reloaded");
  CHECK(configure.tiers[0].allowance == GpuTime{1'000});
  // The answer to the terms of the start does not end the repetition of the new ones.
  desk.tell(Changed{.ticket = before.ticket});
  desk.now = desk.effects.wake_at;
  desk.tell(Tick{});
  CHECK(desk.sent<Configure>().at(0).who == "configuration reloaded");
}

TEST_CASE("What operators have set goes to the broker and the gateway, asked for or not") {
  Desk desk;
  const std::uint64_t ticket = GENERATE(std::uint64_t{0}, std::uint64_t{2});
  desk.tell(Standing{.ticket = ticket, .draining = {"node-2"}, .announcement = "hello"});
  REQUIRE(desk.effects.send.size() == 2);
  CHECK(desk.sent<DrainNodes>().at(0).nodes == Words{"node-2"});
  CHECK(desk.sent<Standing>().at(0).announcement == "hello");
  CHECK(desk.effects.send[1].to == to_gateway());
  CHECK(desk.console.standing().draining == Words{"node-2"});
}

// ---- Who may ---------------------------------------------------------------------------------

TEST_CASE("Only operators command: others hear who they are and how to become one") {
  Desk desk;
  Caller ada{.account = {"user:ada"}, .tier = "free", .recognised_by = "token for ada, key k1"};
  for (const char* word :
       {"accounts", "tier", "apps", "nodes", "queue", "drain", "resume", "remove", "cancel",
        "announce", "audit", "revoke", "grant", "adjust", "help", "nonsense"}) {
    desk.type({word, "1"}, ada);
    CHECK(desk.error().error == Errc::forbidden);
    CHECK(contains(desk.error().detail, "user:ada, recognised by token for ada, key k1"));
    CHECK(contains(desk.error().detail, "--role operator"));
  }
  CHECK(desk.console.open_questions() == 0);
}

// ---- Words -----------------------------------------------------------------------------------

TEST_CASE("A wrong command shows what there is, and wrong words show the right usage") {
  Desk desk;
  CHECK(contains(desk.mistake({"drian", "node-1"}), "there are accounts, tier, "));
  CHECK(contains(desk.mistake({"drain"}), "usage: drain NODE"));
  CHECK(contains(desk.mistake({"drain", "node-1", "node-2"}), "\"node-2\" is one word too many"));
  CHECK(contains(desk.mistake({"drain", "--node"}), "there is no option \"--node\""));
  CHECK(contains(desk.mistake({"queue", "--after"}), "--after has no value; usage: queue"));
  CHECK(contains(desk.mistake({"queue", "--after", "1", "--after", "2"}), "given twice"));
  CHECK(contains(desk.mistake({"queue", "--after", "-1"}), "a job is a number such as 17"));
  CHECK(contains(desk.mistake({"cancel", "0"}), "a job is a number such as 17"));
  CHECK(contains(desk.mistake({"cancel", "99999999999999999999"}), "usage: cancel JOB"));
  for (const char* limit : {"0", "201", "x", "1.5", "4294967297"})
    CHECK(contains(desk.mistake({"accounts", "--limit", limit}), "a number from 1 to 200"));
}

TEST_CASE("Words that are no plain text, too long, too many, empty or missing are refused") {
  Desk desk;
  CHECK(contains(desk.mistake({}), "no words"));
  CHECK(contains(desk.mistake({"drain", ""}), "word 2 of the command is empty"));
  for (const char* odd : {"\xff\xfe", "a\nb", "\x1b[2J",
                          "\xc2\x9b"
                          "2J",
                          "\xed\xa0\x80", "\x7f"})
    CHECK(contains(desk.mistake({"announce", odd}), "word 2 of the command "));
  CHECK(contains(desk.mistake({"announce", std::string(513, 'a')}), "at most 512"));
  CHECK(contains(desk.mistake(Words(33, "announce")), "at most 32"));
}

TEST_CASE("A wrong word of many bytes is not echoed whole, nor cut inside a character") {
  Desk desk;
  std::string word = "--";
  for (int i = 0; i < 100; ++i) word += "\xc3\xa9";
  const std::string detail = desk.mistake({"apps", word});
  CHECK(detail.size() < 200);
  CHECK(contains(detail, "\xc3\xa9...\""));
}

TEST_CASE("Help lists every command with its usage") {
  Desk desk;
  desk.type({"help"});
  CHECK(desk.table().rows.size() == 15);
  CHECK(desk.table().rows[7] ==
        Words{"drain NODE", "give a node no new leases; what runs there goes on"});
}

// ---- Accounts and tiers ----------------------------------------------------------------------

TEST_CASE("accounts asks the ledger for a page, and the answer says where the next one begins") {
  Desk desk;
  desk.type({"accounts", "--after", "ada", "--limit", "2"});
  const auto query = desk.only<AccountsQuery>();
  CHECK(query.account.text == "");
  CHECK(query.after.text == "user:ada");
  CHECK(query.limit == 2);
  Balance balance{.account = {"user:bob"}, .tier = "free", .allowance = {210'000}};
  balance.used = {3'217};
  balance.left = {206'783};
  desk.tell(AccountsFound{.ticket = query.ticket, .accounts = {balance}, .more = true});
  const Table table = desk.table();
  CHECK(table.title == "accounts");
  CHECK(table.columns[2].name == "left");
  CHECK(table.columns[2].kind == CellKind::amount);
  CHECK(table.rows.at(0).at(0) == "user:bob");
  CHECK(table.rows.at(0).at(2) == "206783");
  CHECK(table.more == "user:bob");
}

TEST_CASE("accounts NAME means the user of that name, or an address as it is written") {
  Desk desk;
  desk.type({"accounts", "ada"});
  const auto query = desk.only<AccountsQuery>();
  CHECK(query.account.text == "user:ada");
  desk.tell(AccountsFound{.ticket = query.ticket});
  CHECK(desk.table().rows.empty());
  CHECK(contains(desk.table().note, "no such account"));
  desk.type({"accounts", "address:192.0.2.7/32"});
  CHECK(desk.only<AccountsQuery>().account.text == "address:192.0.2.7/32");
  desk.console.step(noon + seconds(9), Tick{});
  CHECK(contains(desk.mistake({"accounts", "user:"}), "names nobody"));
  CHECK(contains(desk.mistake({"accounts", std::string(200, 'a')}), "at most 128"));
}

TEST_CASE("An order about a name that no caller can have is a mistake") {
  Desk desk;
  for (const char* name : {"a b",
                           "\xc3\xa4"
                           "da",
                           "foo:bar", "user:user:x", "address:banana", "address:192.0.2.7",
                           "address:/32", "address:2001:db8::/32"}) {
    INFO(name);
    CHECK(contains(desk.mistake({"tier", name, "pro"}), "is no account: a user has letters"));
    CHECK(contains(desk.mistake({"revoke", "--user", name}), "is no account"));
  }
  CHECK(contains(desk.mistake({"revoke", "--token", "a b"}), "has no spaces"));
  for (const char* name : {"ada", "a.b_c@d+e-f", "user:ada", "address:2001:db8::/64"}) {
    desk.type({"tier", name, "pro"});
    desk.only<SetAccountTier>();
  }
}

TEST_CASE("tier lists the tiers of the configuration, and how many accounts operators put there") {
  Desk desk;
  desk.tell(Standing{.tiers = {{{"user:ada"}, "pro"}, {{"user:bob"}, "pro"}}});
  desk.type({"tier"});
  const Table table = desk.table();
  REQUIRE(table.rows.size() == desk.config.tiers.size());
  CHECK(table.rows[1] == Words{"free", "210000", "180000", table.rows[1][3], "4", "0"});
  CHECK(table.rows[2].back() == "2");
}

TEST_CASE("tier USER TIER is a change with a name behind it, and says so if nothing changed") {
  Desk desk;
  desk.type({"tier", "ada", "pro"});
  const auto set = desk.only<SetAccountTier>();
  CHECK(set.who == "operator user:root");
  CHECK(set.account.text == "user:ada");
  CHECK(set.tier == "pro");
  const Change change{.at = noon,
                      .who = set.who,
                      .kind = ChangeKind::account,
                      .subject = "user:ada",
                      .field = "tier",
                      .after = "pro"};
  desk.tell(Changed{.ticket = set.ticket, .changes = {change}});
  CHECK(desk.table().rows.at(0).at(1) == "user:ada");
  CHECK(contains(desk.table().note, "user:ada has tier pro, whatever its tokens say, from now on"));
  desk.type({"tier", "ada", "pro"});
  desk.tell(Changed{.ticket = desk.only<SetAccountTier>().ticket});
  CHECK(contains(desk.table().note, "already"));
  desk.type({"tier", "ada", "--from-token"});
  CHECK(desk.only<SetAccountTier>().tier == "");
}

TEST_CASE("tier names the tiers that there are when it is given another") {
  Desk desk;
  CHECK(contains(desk.mistake({"tier", "ada", "gold"}), "its tiers are anonymous, free, pro"));
  CHECK(contains(desk.mistake({"tier", "ada"}), "one tier, or --from-token"));
  CHECK(contains(desk.mistake({"tier", "ada", "pro", "--from-token"}), "one tier, or"));
  CHECK(contains(desk.mistake({"tier", "--from-token"}), "one tier, or"));
}

TEST_CASE("grant and adjust are orders with an id, a name and a reason behind them") {
  Desk desk;
  const std::string id = "0190a6c1-2f3a-7b10-8c4d-5e6f70819293";
  desk.type({"grant", "ada", "10m", "--why", "for the workshop", "--id", id});
  const auto grant = desk.only<GrantCredits>();
  CHECK(grant.who == "operator user:root");
  CHECK(grant.account.text == "user:ada");
  CHECK(grant.amount == GpuTime{600'000});
  CHECK(grant.why == "for the workshop");
  CHECK(grant.id == *parse_request_id(id));
  desk.tell(Changed{.ticket = grant.ticket,
                    .changes = {{.at = noon,
                                 .who = "operator user:root",
                                 .kind = ChangeKind::account,
                                 .subject = "user:ada",
                                 .field = "credits",
                                 .before = "0.0 s",
                                 .after = "600.0 s",
                                 .why = "for the workshop"}}});
  const Table table = desk.table();
  CHECK(table.note == "600.0 s of credits were granted to user:ada");
  CHECK(table.columns.back().name == "why");
  CHECK(table.rows.front().back() == "for the workshop");

  desk.type({"grant", "ada", "7.5", "--take-back", "--why", "w", "--id", id});
  CHECK(desk.only<GrantCredits>().amount == GpuTime{-7'500});
  desk.type({"adjust", "ada", "--give-back", "30", "--why", "w", "--id", id});
  CHECK(desk.only<AdjustQuota>().amount == GpuTime{-30'000});
  desk.type({"adjust", "ada", "--charge", "2h", "--why", "w", "--id", id});
  CHECK(desk.only<AdjustQuota>().amount == GpuTime{7'200'000});
}

TEST_CASE("An amount, a reason and an id are needed, and what is none of them shows the usage") {
  Desk desk;
  const std::string id = "0190a6c1-2f3a-7b10-8c4d-5e6f70819293";
  for (const char* amount : {"0", "-5", "", "s", "5d", "1.2345", ".5", "5.", "1e3", "0.0004",
                             "1000000000.001", "999999999h", "18446744073709551616"}) {
    INFO(amount);
    if (*amount == 0) continue;  // no word of a command is empty
    const std::string told = desk.mistake({"grant", "ada", amount, "--why", "w", "--id", id});
    CHECK(contains(told, "an amount is seconds above 0, such as 600, 7.5, 90s, 10m or 2h"));
  }
  CHECK(contains(desk.mistake({"grant", "ada", "5", "--id", id}), "--why is needed"));
  CHECK(contains(desk.mistake({"grant", "ada", "5", "--why", "w"}), "--id is a UUID of version 7"));
  CHECK(contains(desk.mistake({"grant", "ada", "5", "--why", "w", "--id", "1"}), "usage: grant"));
  CHECK(contains(desk.mistake({"grant", "ada"}), "something is missing"));
  CHECK(contains(desk.mistake({"adjust", "ada", "--why", "w", "--id", id}),
                 "either --give-back or --charge is needed; usage: adjust"));
  CHECK(contains(desk.mistake({"adjust", "ada", "--give-back", "1", "--charge", "1"}), "either"));
}

TEST_CASE("What the ledger refuses of an order is passed on with its numbers") {
  Desk desk;
  desk.type({"adjust", "ada", "--give-back", "30", "--why", "w", "--id",
             "0190a6c1-2f3a-7b10-8c4d-5e6f70819293"});
  desk.tell(Changed{.ticket = desk.only<AdjustQuota>().ticket,
                    .error = Errc::quota_exceeded,
                    .detail = "user:ada has used 10.0 s",
                    .want = 30'000,
                    .have = 10'000});
  CHECK(desk.error().error == Errc::quota_exceeded);
  CHECK(desk.error().want == 30'000);
  CHECK(desk.error().have == 10'000);
  CHECK(desk.error().detail == "user:ada has used 10.0 s");
}

TEST_CASE("apps shows the configuration's apps and follows a reload") {
  Desk desk;
  desk.type({"apps"});
  CHECK(desk.table().rows.at(0).at(0) == "emoji");
  CHECK(desk.table().rows.at(0).at(6) == "all");
  Config next = desk.config;
  next.apps[0].name = "stickers";
  next.apps[0].tiers = {"free", "pro"};
  desk.console.use(next);
  desk.type({"apps"});
  CHECK(desk.table().rows.at(0).at(0) == "stickers");
  CHECK(desk.table().rows.at(0).at(6) == "free, pro");
}

// ---- Nodes and jobs --------------------------------------------------------------------------

TEST_CASE("nodes shows each slot with its job, and sums up the pool") {
  Desk desk;
  desk.type({"nodes"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  const Table table = desk.table();
  REQUIRE(table.rows.size() == 3);
  CHECK(table.rows[0] == Words{"node-1", "healthy", "0", "running", "17", "user:ada", "emoji",
                               std::to_string((noon + seconds(62)).ms), "0", "",
                               std::to_string(noon.ms), "0.1.0", "default", "workshop", "", ""});
  CHECK(table.rows[2][1] == "lost");
  CHECK(table.note == "2 nodes, 3 slots: 1 with a job, 1 free; lost: node-2");
  CHECK(table.more == "");
}

TEST_CASE("A pool of more slots than a page is shown page by page, each slot once") {
  NodesFound found{.ticket = 1};
  for (const char* name : {"a", "b"}) {
    NodeView& node = found.nodes.emplace_back();
    node.name = name;
    for (std::uint32_t i = 0; i < 250; ++i) node.slots.push_back({.slot = {i}});
  }
  std::vector<std::string> seen;
  std::string after;
  int pages = 0;
  do {
    const Table table = table_of(found, after);
    CHECK(table.rows.size() <= static_cast<std::size_t>(limits::table_rows_max));
    for (const auto& row : table.rows) seen.push_back(row[0] + "/" + row[2]);
    after = table.more;
    ++pages;
  } while (!after.empty());
  CHECK(pages == 3);
  CHECK(seen.size() == 500);
  CHECK(seen.front() == "a/0");
  CHECK(seen.back() == "b/249");
  CHECK(table_of(found, "a").rows.at(0).at(0) == "b");
}

TEST_CASE("queue pages through the open jobs in order of arrival") {
  Desk desk;
  desk.type({"queue", "--after", "16", "--limit", "1"});
  const auto query = desk.only<QueueQuery>();
  CHECK(query.after == JobId{16});
  CHECK(query.limit == 1);
  desk.tell(QueueFound{.ticket = query.ticket,
                       .jobs = {{.job = {17},
                                 .account = {"user:ada"},
                                 .app = "emoji",
                                 .state = JobState::queued,
                                 .position = 1,
                                 .declared = seconds(60)}},
                       .waiting = 2,
                       .more = true});
  CHECK(desk.table().rows.at(0).at(1) == "queued");
  CHECK(desk.table().more == "17");
  CHECK(desk.table().note == "2 jobs wait for a slot");
}

TEST_CASE("drain looks for the node first, then tells the ledger, and says what still runs") {
  Desk desk;
  desk.type({"drain", "node-1"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  const auto set = desk.only<SetDraining>();
  CHECK(set.node == "node-1");
  CHECK(set.draining);
  CHECK(set.who == "operator user:root");
  desk.tell(Changed{.ticket = set.ticket, .changes = {{.kind = ChangeKind::node}}});
  CHECK(desk.table().note ==
        "node-1 gets no new leases; one of its slots has a job, which goes on to its end");
  CHECK(desk.console.open_questions() == 0);
}

TEST_CASE("A node that is away can be drained, which the answer says") {
  Desk desk;
  desk.type({"drain", "node-2"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  desk.tell(Changed{.ticket = desk.only<SetDraining>().ticket});
  CHECK(desk.table().note ==
        "node-2 gets no new leases; it is away now, and this holds when it is back, as before");
}

TEST_CASE("A node that nobody knows is a mistake that names the known ones") {
  Desk desk;
  desk.type({"drain", "node-9"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  CHECK(desk.error().error == Errc::bad_request);
  CHECK(contains(desk.error().detail, "its nodes are node-1, node-2"));
  CHECK(desk.console.open_questions() == 0);
}

TEST_CASE("A drained node that has not come back yet can be resumed by its name") {
  Desk desk;
  desk.tell(Standing{.draining = {"node-9"}});
  desk.type({"resume", "node-9"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  const auto set = desk.only<SetDraining>();
  CHECK(set.node == "node-9");
  CHECK_FALSE(set.draining);
}

TEST_CASE("resume has a node try its slots again, whether or not it was drained") {
  Desk desk;
  desk.type({"resume", "node-1"});
  NodesFound found = two_nodes(desk.only<NodesQuery>().ticket);
  found.nodes[0].slots[1].state = SlotState::down;
  found.nodes[0].slots[1].why = "GPU lost: GPU is lost";
  desk.tell(found);
  REQUIRE(desk.effects.send.size() == 2);
  CHECK(desk.sent<ResumeNode>().at(0).node == "node-1");
  desk.tell(Changed{.ticket = desk.sent<SetDraining>().at(0).ticket});
  CHECK(desk.table().note ==
        "node-1 gets leases and tries the slots again that it took out, as before");
  desk.type({"resume", "node-2"});
  desk.tell(two_nodes(desk.only<NodesQuery>().ticket));
  CHECK(desk.sent<ResumeNode>().empty());  // it is away
}

TEST_CASE("nodes shows why a slot is down, and how many are") {
  Desk desk;
  desk.type({"nodes"});
  NodesFound found = two_nodes(desk.only<NodesQuery>().ticket);
  found.nodes[0].slots[1].state = SlotState::down;
  found.nodes[0].slots[1].why = "No CUDA GPUs are available";
  found.nodes[0].slots[1].device = 1;
  found.nodes[0].devices = {"CPU, 2 threads", "GPU 0"};
  desk.tell(found);
  const Table table = desk.table();
  const std::size_t hardware = table.columns.size() - 2;
  CHECK(table.columns[hardware].name == "hardware");
  CHECK(table.rows.at(0)[hardware] == "CPU, 2 threads");
  CHECK(table.rows.at(1)[hardware] == "GPU 0");
  CHECK(table.columns.back().name == "why");
  CHECK(table.rows.at(0).back().empty());
  CHECK(table.rows.at(1).back() == "No CUDA GPUs are available");
  CHECK(contains(table.note, "1 with a job, 0 free, 1 down"));
}

TEST_CASE("remove forgets a lost node, and says what to do with one that is not lost") {
  Desk desk;
  const auto removed = [&](Errc error) {
    desk.type({"remove", "node-2"});
    const auto remove = desk.only<RemoveNode>();
    CHECK(remove.node == "node-2");
    desk.tell(NodeRemoved{.ticket = remove.ticket, .error = error});
  };
  removed({});
  CHECK(contains(desk.table().note, "node-2 is forgotten"));
  removed(Errc::forbidden);
  CHECK(desk.error().error == Errc::forbidden);
  CHECK(contains(desk.error().detail, "not lost: drain it, stop its worker"));
  removed(Errc::bad_request);
  CHECK(contains(desk.error().detail, "knows no node of that name"));
}

TEST_CASE("cancel ends anybody's job in the operator's name") {
  Desk desk;
  desk.type({"cancel", "17"});
  const auto cancel = desk.only<OperatorCancel>();
  CHECK(cancel.job == JobId{17});
  CHECK(cancel.who == "operator user:root");
  desk.tell(
      CancelTaken{.ticket = cancel.ticket, .state = JobState::running, .account = {"user:ada"}});
  CHECK(desk.table().rows.at(0) == Words{"17", "user:ada", "running"});
  desk.type({"cancel", "18"});
  desk.tell(CancelTaken{.ticket = desk.only<OperatorCancel>().ticket, .error = Errc::job_unknown});
  CHECK(desk.error().error == Errc::job_unknown);
  CHECK(contains(desk.error().detail, "no open job has the number 18"));
}

// ---- The pool as a whole ---------------------------------------------------------------------

TEST_CASE("announce joins its words; --clear ends what is announced") {
  Desk desk;
  desk.type({"announce", "node-2", "is", "down"});
  const auto announce = desk.only<Announce>();
  CHECK(announce.text == "node-2 is down");
  CHECK(announce.who == "operator user:root");
  desk.tell(Changed{.ticket = announce.ticket, .changes = {{.kind = ChangeKind::announcement}}});
  CHECK(contains(desk.table().note, "every client is told"));
  desk.type({"announce", "--clear"});
  CHECK(desk.only<Announce>().text == "");
}

TEST_CASE("announce wants either a text within its bytes or --clear") {
  Desk desk;
  CHECK(contains(desk.mistake({"announce"}), "there is no text"));
  CHECK(contains(desk.mistake({"announce", " ", "  "}), "nothing but spaces"));
  CHECK(contains(desk.mistake({"announce", "--clear", "now"}), "--clear stands alone"));
  CHECK(contains(desk.mistake({"announce", std::string(300, 'a'), std::string(300, 'b')}),
                 "the text has 601 bytes, at most 512 are allowed"));
}

TEST_CASE("audit lists what it finds, one row each, or says what was checked") {
  Desk desk;
  desk.type({"audit"});
  Audited audited{.ticket = desk.only<AuditQuery>().ticket,
                  .sequence = 12,
                  .digest = 0xabc,
                  .accounts = 2,
                  .open_holds = 1};
  desk.tell(audited);
  CHECK(desk.table().rows.empty());
  CHECK(desk.table().note ==
        "every invariant holds for 2 accounts and 1 open hold after record 12 (state "
        "0000000000000abc)");
  desk.type({"audit"});
  audited.ticket = desk.only<AuditQuery>().ticket;
  audited.findings = std::vector<std::string>(300, std::string(10'000, 'x'));
  desk.tell(audited);
  CHECK(desk.table().rows.size() == 200);
  CHECK(contains(desk.table().note, "more than 200 differences"));
  CHECK(std::cmp_less(pack(desk.table()).size(), limits::frame_bytes_max));
}

TEST_CASE("revoke takes a token's id, or a user with all tokens issued until now") {
  Desk desk;
  desk.type({"revoke", "--token", "0190a6c1"});
  auto revoke = desk.only<RevokeToken>();
  CHECK(revoke.token_id == "0190a6c1");
  CHECK(revoke.account.text == "");
  CHECK(revoke.forget_at == noon + token_life_max);
  desk.type({"revoke", "--user", "ada"});
  revoke = desk.only<RevokeToken>();
  CHECK(revoke.token_id == "");
  CHECK(revoke.account.text == "user:ada");
  CHECK(revoke.issued_before == noon);
  desk.tell(Changed{.ticket = revoke.ticket, .changes = {{.kind = ChangeKind::token}}});
  CHECK(contains(desk.table().note, "issued before 2026-11-22T12:00:00Z"));
}

TEST_CASE("revoke wants one of its two options") {
  Desk desk;
  CHECK(contains(desk.mistake({"revoke"}), "usage: revoke --token ID | --user NAME"));
  CHECK(contains(desk.mistake({"revoke", "--token", "a", "--user", "b"}), "either a token or"));
  CHECK(contains(desk.mistake({"revoke", "--token", std::string(129, 'a')}), "at most 128 bytes"));
}

// ---- Answers that fail, come late or not at all ----------------------------------------------

TEST_CASE("What the ledger refuses to change is passed on with its words") {
  Desk desk;
  desk.type({"announce", "hello"});
  desk.tell(Changed{.ticket = desk.only<Announce>().ticket,
                    .error = Errc::ledger_unavailable,
                    .detail = "the disk is full"});
  CHECK(desk.error().error == Errc::ledger_unavailable);
  CHECK(desk.error().detail == "the disk is full");
}

TEST_CASE("A question without an answer is given up after its limit") {
  Desk desk;
  desk.type({"accounts"});
  const auto query = desk.only<AccountsQuery>();
  desk.now = noon + console_answer_limit;
  desk.tell(Tick{});
  const auto operated = desk.sent<Operated>().at(0);
  CHECK(operated.error == Errc::timed_out);
  CHECK(operated.want == console_answer_limit.ms);
  CHECK(operated.detail == "the ledger did not answer within 8.0 s; ask again");
  desk.tell(AccountsFound{.ticket = query.ticket});
  CHECK(desk.effects.send.empty());
}

TEST_CASE("Of a change without an answer nobody knows whether it was made") {
  Desk desk;
  desk.type({"tier", "ada", "pro"});
  desk.now = noon + console_answer_limit;
  desk.tell(Tick{});
  CHECK(desk.sent<Operated>().at(0).error == Errc::outcome_unknown);
  CHECK(contains(desk.sent<Operated>().at(0).detail, "`gpupool changes`"));
  desk.type({"drain", "node-1"});
  desk.now = desk.now + console_answer_limit;
  desk.tell(Tick{});  // the nodes never came: nothing was asked of the ledger yet
  CHECK(desk.sent<Operated>().at(0).error == Errc::timed_out);
  CHECK(contains(desk.sent<Operated>().at(0).detail, "the broker did not answer"));
}

TEST_CASE("An answer to another question than the one of its number is dropped") {
  Desk desk;
  desk.type({"queue"});
  const auto query = desk.only<QueueQuery>();
  desk.tell(Audited{.ticket = query.ticket});
  CHECK(desk.effects.send.empty());
  desk.tell(Changed{.ticket = query.ticket});
  CHECK(desk.effects.send.empty());
  CHECK(desk.console.open_questions() == 1);
}

TEST_CASE("The commands that wait for an answer are bounded, and their number is told") {
  Desk desk;
  for (std::size_t i = 0; i < console_questions_max; ++i) desk.type({"audit"});
  CHECK(desk.console.open_questions() == console_questions_max);
  desk.type({"audit"});
  CHECK(desk.error().error == Errc::overloaded);
  CHECK(contains(desk.error().detail, "1024 commands of operators wait"));
  desk.type({"help"});  // what asks nobody is still answered
  CHECK(desk.table().title == "help");
}

TEST_CASE("The largest answers of ledger and broker fit a frame") {
  AccountsFound accounts{.more = true};
  QueueFound queue{.more = true};
  for (std::uint64_t i = 1; i <= 1'000; ++i) {
    const AccountId account{std::string(static_cast<std::size_t>(limits::account_bytes_max), 'a')};
    const std::string name(static_cast<std::size_t>(limits::name_bytes_max), 'n');
    accounts.accounts.push_back({.account = account, .tier = name});
    queue.jobs.push_back(
        {.job = {i}, .account = account, .tier = name, .app = name, .size = name, .node = name});
  }
  for (const Table& table : {table_of(accounts), table_of(queue)}) {
    CHECK(table.rows.size() == 200);
    CHECK(std::cmp_less(pack(table).size(), limits::frame_bytes_max));
    CHECK(table.more != "");
  }
}
