#pragma once
// What operators have set about callers, arranged for looking up: tokens that are good no more, and
// accounts whose tier they chose. Made once from the console's Standing and not changed afterwards,
// so any thread may read it.

#include <optional>
#include <string>
#include <unordered_map>

#include "actors/messages.h"

namespace gpupool {

class Rulings {
 public:
  Rulings() = default;
  explicit Rulings(const Standing& standing);

  // Why a token of this caller, issued then, is good no more: one sentence. Nothing: it is good. A
  // token that does not say when it was issued counts as older than every revocation.
  std::optional<std::string> revocation_of(const Caller& caller, Instant issued) const;
  // The tier that an operator chose for the account, or null.
  const std::string* tier_of(const AccountId& account) const;
  const std::string& announcement() const { return announcement_; }

 private:
  std::unordered_map<std::string, Instant> tokens_;  // by id: revoked since; 0: unknown
  std::unordered_map<AccountId, Instant, IdHash> issued_before_;  // tokens older than that are not
  std::unordered_map<AccountId, std::string, IdHash> tiers_;
  std::string announcement_;
};

}  // namespace gpupool
