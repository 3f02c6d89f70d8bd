#include "actors/ledger/standing_orders.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "actors/describe.h"
#include "actors/ledger/story.h"
#include "actors/ledger/terms_changes.h"
#include "base/pack.h"

namespace gpupool {
namespace {

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

// "1000 of 1000 ...": what is full, and how to make room.
Error full(std::int64_t most, const std::string& what) {
  return {.code = Errc::overloaded,
          .want = most + 1,
          .have = most,
          .detail = std::to_string(most) + " " + what};
}

bool too_long(const std::string& text, std::int64_t most) {
  return std::cmp_greater(text.size(), most);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string until(Instant forget_at) {
  return forget_at == Instant::never() ? "" : ", remembered until " + utc_text_exact(forget_at);
}

// Every text of a change is cut to what a record may carry.
Change change_by(const std::string& who, Instant at, Change change) {
  change.at = at;
  change.who = clipped(who);
  change.subject = clipped(change.subject);
  change.before = clipped(change.before);
  change.after = clipped(change.after);
  return change;
}

Terms terms_of(const TermsSet& set) {
  return {.tiers = set.tiers, .apps = set.apps, .window = set.window, .settings = set.settings};
}

}  // namespace

// ---- Deciding ----------------------------------------------------------------------------------

StandingOrders::Decision StandingOrders::decide(Instant now, const Configure& command) const {
  TermsSet set{.tiers = command.tiers,
               .apps = command.apps,
               .window = command.window,
               .settings = command.settings};
  const Terms next = terms_of(set);
  const std::vector<Change> found =
      core_.terms == nullptr ? first_terms(next) : changes_between(*core_.terms, next);
  if (found.empty()) return std::optional<RecordBody>{};
  for (const Change& change : found) set.changes.push_back(change_by(command.who, now, change));
  return std::optional<RecordBody>{std::move(set)};
}

StandingOrders::Decision StandingOrders::decide(Instant now, const SetAccountTier& command,
                                                const std::vector<std::string>& tiers) const {
  const std::string& account = command.account.text;
  if (account.empty()) return bad("name an account, e.g. user:ada");
  if (too_long(account, limits::account_bytes_max))
    return bad("an account's name has at most " + std::to_string(limits::account_bytes_max) +
               " bytes, this one has " + std::to_string(account.size()));
  if (!command.tier.empty() && std::find(tiers.begin(), tiers.end(), command.tier) == tiers.end())
    return bad("no tier is called \"" + clipped(command.tier) + "\"; tiers: " + joined(tiers));
  const std::string* present = account_tiers_.find(command.account);
  const std::string before = present == nullptr ? "" : *present;
  if (before == command.tier) return std::optional<RecordBody>{};
  if (present == nullptr &&
      std::cmp_greater_equal(account_tiers_.size(), bounds_.account_tiers_max))
    return full(bounds_.account_tiers_max,
                "accounts have a tier set by an operator, which is the most; take one back first");
  const Change change{.kind = ChangeKind::account,
                      .subject = account,
                      .field = "tier",
                      .before = before,
                      .after = command.tier};
  return std::optional<RecordBody>{
      AccountTierSet{.account = command.account,
                     .tier = command.tier,
                     .changes = {change_by(command.who, now, change)}}};
}

// Revoking again may reach further, never less far: what is revoked stays so until it is forgotten.
StandingOrders::Decision StandingOrders::decide(Instant now, const RevokeToken& command) const {
  const bool one_token = !command.token_id.empty();
  if (!one_token && command.account.text.empty())
    return bad("name a token by its id, or an account whose tokens are to be revoked");
  if (too_long(command.token_id, limits::account_bytes_max) ||
      too_long(command.account.text, limits::account_bytes_max))
    return bad("a token's id and an account's name have at most " +
               std::to_string(limits::account_bytes_max) + " bytes");
  Revocation wanted{.token_id = command.token_id,
                    .account = command.account,
                    .issued_before = one_token ? Instant{} : command.issued_before,
                    .forget_at = command.forget_at ? command.forget_at : Instant::never()};
  if (!one_token && !wanted.issued_before) wanted.issued_before = now;
  if (wanted.forget_at <= now) return std::optional<RecordBody>{};  // all such tokens have expired
  const Revocation* present = revocations_.find(key_of(wanted.token_id, wanted.account));
  if (present == nullptr && revocations_full(now))
    return full(bounds_.revocations_max,
                "revocations are remembered, which is the most; each is forgotten when its tokens "
                "have expired; to revoke more, replace the signing key");
  if (present != nullptr) {
    if (wanted.issued_before <= present->issued_before && wanted.forget_at <= present->forget_at)
      return std::optional<RecordBody>{};
    wanted.issued_before = std::max(wanted.issued_before, present->issued_before);
    wanted.forget_at = std::max(wanted.forget_at, present->forget_at);
    if (wanted.account.text.empty()) wanted.account = present->account;
  }
  const auto text = [one_token](const Revocation& revocation) {
    return (one_token
                ? "revoked"
                : "issued before " + utc_text_exact(revocation.issued_before) + " are revoked") +
           until(revocation.forget_at);
  };
  const std::string& account = wanted.account.text;
  const Change change{.kind = ChangeKind::token,
                      .subject = account.empty() ? wanted.token_id : account,
                      .field = !one_token        ? "tokens"
                               : account.empty() ? "token"
                                                 : "token " + wanted.token_id,
                      .before = present == nullptr ? "" : text(*present),
                      .after = text(wanted)};
  return std::optional<RecordBody>{
      TokenRevoked{.revocation = wanted, .changes = {change_by(command.who, now, change)}}};
}

StandingOrders::Decision StandingOrders::decide(Instant now, const SetDraining& command) const {
  if (command.node.empty()) return bad("name a node, e.g. node-1");
  if (too_long(command.node, limits::name_bytes_max))
    return bad("a node's name has at most " + std::to_string(limits::name_bytes_max) + " bytes");
  if (command.draining == (draining_.find(command.node) != nullptr))
    return std::optional<RecordBody>{};
  if (command.draining && std::cmp_greater_equal(draining_.size(), bounds_.draining_max))
    return full(bounds_.draining_max, "nodes are draining, which is the most; resume one first");
  const Change change{.kind = ChangeKind::node,
                      .subject = command.node,
                      .field = "draining",
                      .before = command.draining ? "no" : "yes",
                      .after = command.draining ? "yes" : "no"};
  return std::optional<RecordBody>{DrainingSet{.node = command.node,
                                               .draining = command.draining,
                                               .changes = {change_by(command.who, now, change)}}};
}

StandingOrders::Decision StandingOrders::decide(Instant now, const Announce& command) const {
  if (too_long(command.text, limits::announcement_bytes_max))
    return bad("an announcement has at most " + std::to_string(limits::announcement_bytes_max) +
               " bytes, this one has " + std::to_string(command.text.size()));
  if (command.text == core_.announcement) return std::optional<RecordBody>{};
  const Change change{.kind = ChangeKind::announcement,
                      .subject = "everybody",
                      .field = "text",
                      .before = core_.announcement,
                      .after = command.text};
  return std::optional<RecordBody>{
      AnnouncementSet{.text = command.text, .changes = {change_by(command.who, now, change)}}};
}

// Revocations are forgotten when records are applied; in a full table, the one that the next record
// would forget makes room.
bool StandingOrders::revocations_full(Instant now) const {
  if (std::cmp_less(revocations_.size(), bounds_.revocations_max)) return false;
  return revocations_by_end_.begin() == revocations_by_end_.end() ||
         revocations_by_end_.begin()->first.first > now;
}

// ---- Enacting ----------------------------------------------------------------------------------

void StandingOrders::enact(const TermsSet& set) {
  core_.terms = std::make_shared<const Terms>(terms_of(set));
  remember(set.changes);
}

void StandingOrders::enact(const AccountTierSet& set) {
  if (!set.tier.empty()) {
    account_tiers_.change(set.account) = set.tier;
  } else if (account_tiers_.find(set.account) != nullptr) {
    account_tiers_.remove(set.account);
  }
  remember(set.changes);
}

void StandingOrders::enact(const TokenRevoked& revoked) {
  const Revocation& revocation = revoked.revocation;
  const RevocationKey key = key_of(revocation.token_id, revocation.account);
  if (const Revocation* present = revocations_.find(key))
    revocations_by_end_.remove({present->forget_at, key});
  revocations_.change(key) = revocation;
  revocations_by_end_.change({revocation.forget_at, key});
  remember(revoked.changes);
}

void StandingOrders::enact(const DrainingSet& set) {
  if (set.draining) {
    draining_.change(set.node);
  } else if (draining_.find(set.node) != nullptr) {
    draining_.remove(set.node);
  }
  remember(set.changes);
}

void StandingOrders::enact(const AnnouncementSet& set) {
  core_.announcement = set.text;
  remember(set.changes);
}

void StandingOrders::pass(Instant at) {
  while (revocations_by_end_.begin() != revocations_by_end_.end() &&
         revocations_by_end_.begin()->first.first <= at) {
    const auto first = revocations_by_end_.begin()->first;
    revocations_by_end_.remove(first);
    revocations_.remove(first.second);
  }
}

// What the oldest one makes room for is complete from the millisecond after it on: another change
// of its own millisecond may be gone as well.
void StandingOrders::remember(const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    changes_.change(++core_.changes) = change;
    if (std::cmp_less_equal(changes_.size(), bounds_.changes_max)) continue;
    const auto oldest = changes_.begin();
    core_.changes_known_since = oldest->second.at + milliseconds(1);
    changes_.remove(oldest->first);
  }
}

void StandingOrders::begin_batch() {
  core_before_ = core_;
  account_tiers_.begin_batch();
  revocations_.begin_batch();
  revocations_by_end_.begin_batch();
  draining_.begin_batch();
  changes_.begin_batch();
}

void StandingOrders::keep_batch() {
  account_tiers_.keep_batch();
  revocations_.keep_batch();
  revocations_by_end_.keep_batch();
  draining_.keep_batch();
  changes_.keep_batch();
}

void StandingOrders::undo_batch() {
  core_ = core_before_;
  account_tiers_.undo_batch();
  revocations_.undo_batch();
  revocations_by_end_.undo_batch();
  draining_.undo_batch();
  changes_.undo_batch();
}

// ---- Reading -----------------------------------------------------------------------------------

StandingOrders::RevocationKey StandingOrders::key_of(const std::string& token_id,
                                                     const AccountId& account) {
  return {.token_id = token_id, .account = token_id.empty() ? account : AccountId{}};
}

const std::string* StandingOrders::tier_of(const AccountId& account) const {
  return account_tiers_.find(account);
}

std::vector<std::string> StandingOrders::draining() const {
  std::vector<std::string> names;
  for (const auto& [name, nothing] : draining_) names.push_back(name);
  return names;
}

Standing StandingOrders::standing(Instant now) const {
  Standing standing{.draining = draining(), .announcement = core_.announcement};
  standing.tiers.reserve(account_tiers_.size());
  for (const auto& [account, tier] : account_tiers_) standing.tiers.push_back({account, tier});
  for (const auto& [key, revocation] : revocations_)
    if (revocation.forget_at > now) standing.revoked.push_back(revocation);
  return standing;
}

// A user is concerned by their own tier and account, by what everybody is told, and by the apps
// that are or were open to them.
bool StandingOrders::concerns(const Change& change, const Caller& caller) const {
  if (caller.is_operator) return true;
  switch (change.kind) {
    case ChangeKind::tier:
      return change.subject == caller.tier;
    case ChangeKind::app:
      return app_change_concerns(change, caller.tier, core_.terms.get());
    case ChangeKind::account:
      return change.subject == caller.account.text;
    case ChangeKind::token:
      return change.subject == caller.account.text ||
             (!caller.token_id.empty() && change.subject == caller.token_id);
    case ChangeKind::announcement:
    case ChangeKind::window:
    case ChangeKind::size:
    case ChangeKind::rate:
      return true;
    case ChangeKind::identity:
      return identity_change_concerns_all(change);
    case ChangeKind::node:
    case ChangeKind::group:  // these name other users
    case ChangeKind::reservation:
      return false;
  }
  return false;
}

// As many as asked for, as a page has and as a frame carries, whichever is the least.
ChangesAnswer StandingOrders::changes(const ChangesQuery& query) const {
  constexpr std::size_t page_max = limits::changes_page_max;
  constexpr std::size_t bytes_max = limits::frame_bytes_max - 4096;  // the rest of the frame
  const std::size_t page =
      query.limit == 0 ? page_max : std::min<std::size_t>(query.limit, page_max);
  ChangesAnswer answer{.query = query.query, .known_since = core_.changes_known_since};
  std::size_t bytes = 0;
  for (auto it = std::make_reverse_iterator(changes_.end());
       it != std::make_reverse_iterator(changes_.begin()) && it->second.at >= query.since; ++it) {
    if (!concerns(it->second, query.caller)) continue;
    bytes += pack(it->second).size();
    answer.more = answer.changes.size() == page || bytes > bytes_max;
    if (answer.more) break;
    answer.changes.push_back(it->second);
  }
  return answer;
}

std::vector<std::string> StandingOrders::check_invariants() const {
  std::vector<std::string> broken;
  const auto require = [&broken](bool holds, const char* fact, const std::string& what) {
    if (!holds) broken.push_back(std::string(fact) + " [" + what + "]");
  };
  const auto bounded = [&require](std::size_t size, std::int64_t most, const char* what) {
    require(std::cmp_less_equal(size, most), "a table keeps to its maximum", what);
  };
  bounded(account_tiers_.size(), bounds_.account_tiers_max, "tiers of accounts");
  bounded(revocations_.size(), bounds_.revocations_max, "revocations");
  bounded(draining_.size(), bounds_.draining_max, "draining nodes");
  bounded(changes_.size(), bounds_.changes_max, "changes");
  require(revocations_.size() == revocations_by_end_.size(), "a revocation has one end", "");
  for (const auto& [key, revocation] : revocations_)
    require(revocations_by_end_.find({revocation.forget_at, key}) != nullptr,
            "a revocation is forgotten at its end", key.token_id + key.account.text);
  Instant latest{};
  for (const auto& [number, change] : changes_) {
    require(change.at >= latest, "changes are in order", std::to_string(number));
    latest = change.at;
  }
  return broken;
}

std::uint64_t StandingOrders::digest() const {
  std::string bytes = core_.terms == nullptr ? "" : pack(*core_.terms);
  bytes += pack(core_.announcement) + pack(core_.changes) + pack(core_.changes_known_since);
  for (const auto& [account, tier] : account_tiers_) bytes += pack(account) + pack(tier);
  for (const auto& [key, revocation] : revocations_) bytes += pack(key) + pack(revocation);
  for (const auto& [name, nothing] : draining_) bytes += pack(name);
  std::uint64_t digest = hash_of(bytes);
  for (const auto& [number, change] : changes_)
    digest = hash_of(std::to_string(digest) + pack(number) + pack(change));
  return digest;
}

void StandingOrders::write_state(RowWriter& out) const {
  out.put(core_.terms != nullptr);
  out.put(core_.terms == nullptr ? Terms{} : *core_.terms);
  out.put(core_.announcement);
  out.put(core_.changes);
  out.put(core_.changes_known_since);
  const auto put_all = [&out](const auto& table) {
    out.put(static_cast<std::uint64_t>(table.size()));
    for (const auto& [key, value] : table) {
      out.put(key);
      if constexpr (!std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) out.put(value);
    }
  };
  put_all(account_tiers_);
  put_all(revocations_);
  put_all(draining_);
  put_all(changes_);
}

bool StandingOrders::read_state(RowReader& in) {
  bool has_terms = false;
  Terms terms;
  if (!in.take(has_terms) || !in.take(terms) || !in.take(core_.announcement) ||
      !in.take(core_.changes) || !in.take(core_.changes_known_since))
    return false;
  if (has_terms) core_.terms = std::make_shared<const Terms>(std::move(terms));
  const auto take_all = [&in]<class Key, class Value>(UndoTable<Key, Value>& table) {
    std::uint64_t count = 0;
    bool is_good = in.take(count);
    for (std::uint64_t i = 0; is_good && i < count; ++i) {
      Key key;
      is_good = in.take(key);
      if (!is_good) break;
      Value& value = table.change(key);
      if constexpr (!std::is_same_v<Value, std::monostate>) is_good = in.take(value);
    }
    return is_good;
  };
  if (!take_all(account_tiers_) || !take_all(revocations_) || !take_all(draining_) ||
      !take_all(changes_))
    return false;
  for (const auto& [key, revocation] : revocations_)
    revocations_by_end_.change({revocation.forget_at, key});
  return true;
}

}  // namespace gpupool
