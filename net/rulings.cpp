#include "net/rulings.h"

#include <algorithm>

#include "actors/describe.h"

namespace gpupool {

Rulings::Rulings(const Standing& standing) : announcement_(standing.announcement) {
  for (const Revocation& one : standing.revoked) {
    if (!one.token_id.empty()) {
      tokens_.emplace(one.token_id, one.issued_before);
    } else {
      Instant& before = issued_before_[one.account];
      before = std::max(before, one.issued_before);
    }
  }
  for (const AccountTier& one : standing.tiers) tiers_[one.account] = one.tier;
}

std::optional<std::string> Rulings::revocation_of(const Caller& caller, Instant issued) const {
  if (const auto found = tokens_.find(caller.token_id);
      found != tokens_.end() && !caller.token_id.empty()) {
    const std::string since = found->second ? " at " + utc_text(found->second) : "";
    return "the token was revoked by an operator" + since + "; ask for a new one";
  }
  const auto found = issued_before_.find(caller.account);
  if (found == issued_before_.end() || issued >= found->second) return std::nullopt;
  return "every token of " + caller.account.text + " issued before " + utc_text(found->second) +
         " was revoked by an operator; ask for a new one";
}

const std::string* Rulings::tier_of(const AccountId& account) const {
  const auto found = tiers_.find(account);
  return found == tiers_.end() || found->second.empty() ? nullptr : &found->second;
}

}  // namespace gpupool
