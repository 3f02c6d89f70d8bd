#pragma once
// StandingOrders: what operators and configurations have set and what holds until they set it
// otherwise: the terms (tiers and apps), tiers of accounts, revoked tokens, draining nodes and the
// announcement, with the latest changes of all of it. A part of the ledger's state with the same
// rules: decide() is const and may refuse, enact() cannot fail, and a batch can be undone. What
// always holds: every table is bounded, and a change is remembered until newer ones push it out.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/ledger/records.h"
#include "actors/ledger/snapshot.h"
#include "actors/ledger/undo_table.h"
#include "base/result.h"
#include "config/limits.h"

namespace gpupool {

// The tiers, apps, rule of windows and settings that were recorded last.
struct Terms {
  std::vector<TierTerms> tiers;
  std::vector<AppTerms> apps;
  WindowTerms window;
  std::vector<SettingTerms> settings;
  auto fields() { return std::tie(tiers, apps, window, settings); }
};

// What the orders keep in memory at most; smaller in tests.
struct OrderBounds {
  std::int64_t account_tiers_max = limits::account_tiers_max;
  std::int64_t revocations_max = limits::revocations_max;
  std::int64_t changes_max = limits::changes_max;
  std::int64_t draining_max = limits::nodes_max;
};

class StandingOrders {
 public:
  explicit StandingOrders(OrderBounds bounds = {}) : bounds_(bounds) {}

  // The record that a command leads to; none: all is so already. An Error is bad_request or, from a
  // full table, overloaded; its detail says what to do.
  using Decision = Result<std::optional<RecordBody>>;
  Decision decide(Instant now, const Configure& command) const;
  // `tiers`: the names that exist.
  Decision decide(Instant now, const SetAccountTier& command,
                  const std::vector<std::string>& tiers) const;
  Decision decide(Instant now, const RevokeToken& command) const;
  Decision decide(Instant now, const SetDraining& command) const;
  Decision decide(Instant now, const Announce& command) const;

  void enact(const TermsSet& set);
  void enact(const AccountTierSet& set);
  void enact(const TokenRevoked& revoked);
  void enact(const DrainingSet& set);
  void enact(const AnnouncementSet& set);
  // What was done once, and does not stand: only told to those who ask what changed.
  void enact(const CreditsGranted& granted) { remember(granted.changes); }
  void enact(const QuotaAdjusted& adjusted) { remember(adjusted.changes); }
  // Time has come to `at`: revocations of tokens that have all expired are forgotten.
  void pass(Instant at);

  void begin_batch();
  void keep_batch();
  void undo_batch();

  const Terms* terms() const { return core_.terms.get(); }     // nullptr: never recorded
  const std::string* tier_of(const AccountId& account) const;  // nullptr: of its tokens
  const UndoTable<AccountId, std::string>& account_tiers() const { return account_tiers_; }
  std::vector<std::string> draining() const;
  Standing standing(Instant now) const;
  // What concerns the caller of `query`, whose tier is the effective one; newest first.
  ChangesAnswer changes(const ChangesQuery& query) const;
  std::size_t change_count() const { return changes_.size(); }

  // For snapshots, as Ledger's.
  void write_state(RowWriter& out) const;
  bool read_state(RowReader& in);

  std::vector<std::string> check_invariants() const;
  std::uint64_t digest() const;

 private:
  // One token, or all of an account's that were issued before a moment.
  struct RevocationKey {
    std::string token_id;
    AccountId account;  // empty if a token is named
    auto fields() { return std::tie(token_id, account); }
    friend auto operator<=>(const RevocationKey&, const RevocationKey&) = default;
  };
  // What is not a table; small, so that a batch keeps a copy.
  struct Core {
    std::shared_ptr<const Terms> terms;
    std::string announcement;
    std::uint64_t changes = 0;      // since the beginning
    Instant changes_known_since{};  // 0: none was forgotten
  };

  static RevocationKey key_of(const std::string& token_id, const AccountId& account);
  bool revocations_full(Instant now) const;
  void remember(const std::vector<Change>& changes);
  bool concerns(const Change& change, const Caller& caller) const;

  OrderBounds bounds_;
  Core core_;
  UndoTable<AccountId, std::string> account_tiers_;
  UndoTable<RevocationKey, Revocation> revocations_;
  UndoTable<std::pair<Instant, RevocationKey>, std::monostate> revocations_by_end_;
  UndoTable<std::string, std::monostate> draining_;
  UndoTable<std::uint64_t, Change> changes_;  // by their number, which is their order
  Core core_before_;                          // the batch
};

}  // namespace gpupool
