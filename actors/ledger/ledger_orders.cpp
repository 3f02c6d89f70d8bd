// What operators set, what they ask, and what follows from it for everybody else.

#include <algorithm>
#include <iterator>
#include <set>

#include "actors/ledger/ledger.h"

namespace gpupool {

void Ledger::handle(Instant now, const Configure& command, Effects& effects) {
  obey(now, command.ticket, orders_.decide(now, command), effects);
}

void Ledger::handle(Instant now, const SetAccountTier& command, Effects& effects) {
  obey(now, command.ticket, orders_.decide(now, command, tier_names()), effects);
}

void Ledger::handle(Instant now, const RevokeToken& command, Effects& effects) {
  obey(now, command.ticket, orders_.decide(now, command), effects);
}

void Ledger::handle(Instant now, const SetDraining& command, Effects& effects) {
  obey(now, command.ticket, orders_.decide(now, command), effects);
}

void Ledger::handle(Instant now, const Announce& command, Effects& effects) {
  obey(now, command.ticket, orders_.decide(now, command), effects);
}

// Records what was decided, answers, and tells the console what holds now unless only terms
// changed, which it has sent itself.
void Ledger::obey(Instant now, std::uint64_t ticket, StandingOrders::Decision decision,
                  Effects& effects) {
  Changed changed{.ticket = ticket};
  if (!decision) {
    changed.error = decision.error().code;
    changed.detail = decision.error().detail;
  }
  const bool is_new = decision && decision->has_value();
  const bool is_standing = is_new && !std::holds_alternative<TermsSet>(**decision);
  if (is_new) {
    std::visit(
        [&changed](const auto& body) {
          if constexpr (requires { body.changes; }) changed.changes = body.changes;
        },
        **decision);
    record(now, std::move(**decision), effects);
  }
  effects.to(to_console(), ToConsole{std::move(changed)});
  if (is_standing) effects.to(to_console(), ToConsole{orders_.standing(now)});
}

// Of an earlier broker: what it knew of the nodes is old. Only names of sizes that there are.
void Ledger::handle(Instant, const Shapes& shapes, Effects&) {
  if (shapes.epoch != core_.epoch) return;
  shapes_ = shapes.sizes;
  std::erase_if(*shapes_,
                [this](const std::string& name) { return config_->size(name) == nullptr; });
}

void Ledger::handle(Instant now, const StandingQuery& query, Effects& effects) const {
  Standing standing = orders_.standing(now);
  standing.ticket = query.ticket;
  effects.to(to_console(), ToConsole{std::move(standing)});
}

// An account exists once it had a hold or an operator set its tier. Accounts are hashed: the names
// of one page, and of one more, are picked in a walk over all.
void Ledger::handle(Instant now, const AccountsQuery& query, Effects& effects) const {
  AccountsFound found{.ticket = query.ticket};
  constexpr std::size_t page_max = limits::table_rows_max;
  const bool one = !query.account.text.empty();
  const std::size_t page =
      query.limit == 0 ? page_max : std::min<std::size_t>(query.limit, page_max);
  std::set<AccountId> names;
  const auto pick = [&](const AccountId& name) {
    if (one ? name != query.account : name <= query.after) return;
    if (names.size() > page && name > *names.rbegin()) return;
    names.insert(name);
    if (names.size() > page + 1) names.erase(std::prev(names.end()));
  };
  accounts_.each([&pick](const AccountRow& row) { pick(row.id); });
  for (const auto& [name, tier] : orders_.account_tiers()) pick(name);
  for (const AccountId& name : names) {
    found.more = found.accounts.size() == page;
    if (found.more) break;
    const Account* account = this->account(name);
    const std::string tier = account != nullptr ? account->tier : *orders_.tier_of(name);
    found.accounts.push_back(balance_for(now, {.account = name, .tier = tier}));
  }
  effects.to(to_console(), ToConsole{std::move(found)});
}

void Ledger::handle(Instant, const AuditQuery& query, Effects& effects) const {
  std::vector<std::string> findings = check_invariants();
  if (std::cmp_greater(findings.size(), limits::table_rows_max)) {
    const std::size_t more = findings.size() - limits::table_rows_max;
    findings.resize(limits::table_rows_max);
    findings.push_back("and " + std::to_string(more) + " more");
  }
  effects.to(to_console(), ToConsole{Audited{.ticket = query.ticket,
                                             .findings = std::move(findings),
                                             .sequence = core_.sequence,
                                             .digest = state_digest(),
                                             .accounts = accounts_.size(),
                                             .open_holds = open_.size()}});
}

void Ledger::handle(Instant, const ChangesQuery& query, Effects& effects) const {
  ChangesQuery effective = query;
  effective.caller.tier = tier_of(query.caller.account, query.caller.tier);
  ChangesFound found{.session = query.session, .answer = orders_.changes(effective)};
  effects.to(to_session(query.session), ToSession{std::move(found)});
}

std::optional<Ledger::TierLimits> Ledger::limits_of(const std::string& tier) const {
  const auto limits = [](const auto& found) {
    return TierLimits{.allowance = found.allowance,
                      .longest = found.longest,
                      .rank = found.rank,
                      .jobs_max = found.jobs_max};
  };
  if (const Terms* terms = orders_.terms()) {
    for (const TierTerms& one : terms->tiers)
      if (one.name == tier) return limits(one);
    return std::nullopt;
  }
  const TierConfig* configured = config_->tier(tier);
  if (configured == nullptr) return std::nullopt;
  return limits(*configured);
}

std::vector<std::string> Ledger::tier_names() const {
  std::vector<std::string> names;
  if (const Terms* terms = orders_.terms())
    for (const TierTerms& tier : terms->tiers) names.push_back(tier.name);
  else
    for (const TierConfig& tier : config_->tiers) names.push_back(tier.name);
  return names;
}

// nullptr: no such app.
const std::vector<std::string>* Ledger::tiers_of_app(const std::string& app) const {
  if (const Terms* terms = orders_.terms()) {
    for (const AppTerms& one : terms->apps)
      if (one.name == app) return &one.tiers;
    return nullptr;
  }
  const AppConfig* configured = config_->app(app);
  return configured == nullptr ? nullptr : &configured->tiers;
}

// The effective tier.
const std::string& Ledger::tier_of(const AccountId& account, const std::string& otherwise) const {
  const std::string* set = orders_.tier_of(account);
  return set == nullptr ? otherwise : *set;
}

std::string Ledger::recognised_by(const Caller& caller) const {
  const std::string* set = orders_.tier_of(caller.account);
  if (set == nullptr) return caller.recognised_by;
  return caller.recognised_by + "; tier " + *set + " set by an operator";
}

// Until the broker has said what the nodes can shape, one slot is what every pool has.
bool Ledger::is_offered(const SizeConfig& size) const {
  if (!shapes_) return size.slots == 1;
  return std::find(shapes_->begin(), shapes_->end(), size.name) != shapes_->end();
}

}  // namespace gpupool
