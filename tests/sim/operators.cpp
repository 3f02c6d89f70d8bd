#include "tests/sim/operators.h"

#include <algorithm>

#include "base/pack.h"
#include "config/limits.h"

namespace gpupool::sim {

Operator::Operator(Schedule& schedule, const Plan& plan, Prng rng, Console console)
    : schedule_(schedule),
      plan_(plan),
      rng_(rng),
      console_(std::move(console)),
      config_(plan.config) {}

bool Operator::is_for_operator(const ToConsole& message) {
  return std::visit(
      [](const auto& one) {
        if constexpr (requires { one.ticket; })
          return one.ticket == 0 || one.ticket > first_ticket;
        else
          return false;
      },
      message);
}

// The console has told the ledger the terms at start.
void Operator::pool_started() { console_.to_ledger(StandingQuery{.ticket = ++tickets_}); }

void Operator::pool_died() {
  waiting_.clear();
  known_ = false;
}

void Operator::act_later() {
  schedule_.after(milliseconds(rng_.between(1, settling_ ? 3'000 : 30'000)), [this] {
    act();
    act_later();
  });
}

void Operator::act() {
  if (!known_) return console_.to_ledger(StandingQuery{.ticket = ++tickets_});
  const std::string node = "node-" + std::to_string(rng_.between(1, plan_.nodes));
  if (settling_) {
    if (!draining_.empty()) drain(*draining_.begin(), false);
    return console_.to_broker(ResumeNode{node});
  }
  switch (rng_.below(10)) {
    case 0:
      return set_tier();
    case 7:
      return grant();
    case 8:
      return adjust();
    case 1:
      return drain(node, rng_.one_in(2));
    case 2:
      return revoke();
    case 9:
      if (rng_.one_in(2)) return console_.to_broker(ResumeNode{node});
      return console_.to_broker(RemoveNode{.ticket = ++tickets_, .node = node});
    case 3: {
      const std::uint64_t ticket = ++tickets_;
      const std::string text = rng_.one_in(3) ? "" : "word " + std::to_string(rng_.below(3));
      return command(Announce{.ticket = ticket, .who = "operator", .text = text}, ticket);
    }
    case 4:
      return reload();
    default:
      return ask();
  }
}

void Operator::command(const ToLedger& message, std::uint64_t ticket) {
  waiting_[ticket] = message;
  console_.to_ledger(message);
}

std::string Operator::draw_account() {
  const auto& client = plan_.clients[rng_.below(plan_.clients.size())];
  return rng_.one_in(8) ? "user:nobody" : client.account;
}

void Operator::set_tier() {
  static const std::vector<std::string> tiers{"free", "pro", "", "", "platinum"};
  const SetAccountTier set{.ticket = ++tickets_,
                           .who = "operator",
                           .account = {draw_account()},
                           .tier = tiers[rng_.below(tiers.size())]};
  command(set, set.ticket);
}

void Operator::grant() { order_once(GrantCredits{.amount = {rng_.between(-20'000, 60'000)}}); }

void Operator::adjust() { order_once(AdjustQuota{.amount = {rng_.between(-20'000, 20'000)}}); }

// A new order, or one of before under its own id.
template <class Command>
void Operator::order_once(Command command) {
  if (!ordered_.empty() && rng_.one_in(3)) {
    ToLedger again = ordered_[rng_.below(ordered_.size())];
    const std::uint64_t ticket = ++tickets_;
    std::visit(
        [ticket](auto& one) {
          if constexpr (requires { one.ticket; }) one.ticket = ticket;
        },
        again);
    return this->command(again, ticket);
  }
  command.ticket = ++tickets_;
  command.who = "operator";
  const bool is_shared = rng_.fork("whose").one_in(2) && !plan_.config.groups.empty();
  command.account = {is_shared ? "group:team" : draw_account()};
  command.why = rng_.one_in(20) ? "" : "a reason";
  command.id = {.high = (static_cast<std::uint64_t>(schedule_.now().ms) << 16U) | 0x7000U,
                .low = 0x8000'0000'0000'0000U | ordered_.size()};
  if (command.amount == GpuTime{}) command.amount = {1};
  ordered_.emplace_back(command);
  this->command(command, command.ticket);
}

// One order has one answer: refused orders may be carried out later, done ones stay done.
void Operator::answered_once(const ToLedger& command, const Changed& changed) {
  RequestId id;
  if (const auto* grant = std::get_if<GrantCredits>(&command)) id = grant->id;
  if (const auto* adjust = std::get_if<AdjustQuota>(&command)) id = adjust->id;
  if (id == RequestId{}) return;
  const bool is_done = changed.error == Errc{};
  require(is_done || !answered_.contains(id), "an order that was carried out stays so",
          name_of(changed.error));
  if (!is_done) return;
  const auto [first, is_new] = answered_.emplace(id, pack(changed.changes));
  require(first->second == pack(changed.changes), "an order is answered as at first", id.low);
}

void Operator::revoke() {
  RevokeToken revoke{.ticket = ++tickets_,
                     .who = "operator",
                     .forget_at = schedule_.now() + seconds(rng_.between(-5, 100))};
  if (rng_.one_in(2))
    revoke.token_id = "token " + std::to_string(rng_.below(4));
  else
    revoke.account = {draw_account()};
  command(revoke, revoke.ticket);
}

void Operator::drain(const std::string& node, bool draining) {
  const SetDraining set{
      .ticket = ++tickets_, .who = "operator", .node = node, .draining = draining};
  command(set, set.ticket);
}

void Operator::ask() {
  const std::uint64_t ticket = ++tickets_;
  switch (rng_.below(3)) {
    case 0:
      return console_.to_ledger(StandingQuery{.ticket = ticket});
    case 1:
      return console_.to_ledger(
          AccountsQuery{.ticket = ticket, .limit = static_cast<std::uint32_t>(rng_.between(0, 3))});
    default:
      return console_.to_ledger(AuditQuery{.ticket = ticket});
  }
}

void Operator::configure(const std::string& who) {
  Configure terms{.ticket = ++tickets_, .who = who};
  for (const TierConfig& tier : config_.tiers)
    terms.tiers.push_back({tier.name, tier.allowance, tier.longest, tier.rank, tier.jobs_max});
  for (const AppConfig& app : config_.apps)
    terms.apps.push_back({app.name, app.size, app.default_duration, app.longest, app.tiers});
  terms.window = {config_.window.kind, config_.window.length, config_.window.starts};
  command(terms, terms.ticket);
}

// Other terms, sometimes the first ones again.
void Operator::reload() {
  config_ = plan_.config;
  if (!rng_.one_in(3)) {
    for (TierConfig& tier : config_.tiers) {
      tier.allowance.ms = std::max<std::int64_t>(tier.allowance.ms * rng_.between(0, 4) / 2, 1'000);
      tier.jobs_max = static_cast<std::uint32_t>(rng_.between(1, 4));
    }
    if (rng_.one_in(2)) config_.apps.back().tiers = {"free", "pro"};
    if (rng_.one_in(2)) config_.window = {WindowKind::fixed, seconds(60 * rng_.between(1, 2)), {}};
    if (rng_.one_in(4)) config_.window = {WindowKind::rolling, seconds(rng_.between(30, 300)), {}};
  }
  configure("configuration reloaded");
}

// ---- What it hears -----------------------------------------------------------------------------

void Operator::hear(const ToConsole& message) {
  std::visit([this](const auto& one) { on(one); }, message);
}

void Operator::on(const Changed& changed) {
  const auto it = waiting_.find(changed.ticket);
  require(it != waiting_.end(), "a command is answered once", changed.ticket);
  require(changed.error == Errc{} || !changed.detail.empty(), "a refused command says why",
          name_of(changed.error));
  require(changed.error == Errc{} || changed.changes.empty(), "a refused command changes nothing",
          name_of(changed.error));
  for (const Change& change : changed.changes)
    require(change.before != change.after && !change.who.empty(), "a change is one", change.subject,
            change.field);
  answered_once(it->second, changed);
  if (changed.error == Errc{})
    std::visit([this](const auto& command) { took_effect(command); }, it->second);
  waiting_.erase(it);
}

void Operator::took_effect(const SetAccountTier& command) {
  tiers_[command.account.text] = command.tier;
  if (command.tier.empty()) tiers_.erase(command.account.text);
}

void Operator::took_effect(const SetDraining& command) {
  if (command.draining)
    draining_.insert(command.node);
  else
    draining_.erase(command.node);
}

// The first one in a process says what stands; what was in doubt when the last one died is settled
// by it.
void Operator::on(const Standing& standing) {
  std::map<std::string, std::string> tiers;
  for (const AccountTier& set : standing.tiers) tiers[set.account.text] = set.tier;
  const std::set<std::string> draining(standing.draining.begin(), standing.draining.end());
  if (known_)
    require(tiers == tiers_ && draining == draining_ && standing.announcement == announcement_,
            "what stands is what the answers said", standing.ticket);
  for (const Revocation& revocation : standing.revoked)
    require(!revocation.token_id.empty() || revocation.issued_before.ms > 0,
            "a revocation names a token or a moment", revocation.account);
  known_ = true;
  tiers_ = tiers;
  draining_ = draining;
  announcement_ = standing.announcement;
  console_.to_broker(DrainNodes{.nodes = standing.draining});
}

void Operator::on(const AccountsFound& found) {
  AccountId latest;
  for (const Balance& balance : found.accounts) {
    require(balance.account > latest, "accounts are in order of their names", balance.account);
    latest = balance.account;
    require(balance.left == std::max(GpuTime{}, balance.allowance - balance.used - balance.held),
            "left = max(0, allowance - used - held)", balance.account, balance.left);
    require(balance.credits_held >= GpuTime{} && balance.credits_held <= balance.credits,
            "credits that are held are there", balance.account, balance.credits_held);
  }
}

void Operator::on(const Audited& audited) {
  for (const std::string& finding : audited.findings) require(false, "an audit", finding);
}

}  // namespace gpupool::sim
