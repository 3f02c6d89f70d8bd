// Credits that the users of a group share: which of them pay for a request. One purse pays for all
// that a job takes beyond its quota: the first of the account's groups, in the configuration's
// order, that has enough, else the account itself.

#include <algorithm>

#include "actors/ledger/ledger.h"

namespace gpupool {

// Of what may be `needed`; where nobody has enough, the one that has the most. One that has nothing
// free is none, so that a group which nobody gave anything changes nothing.
Ledger::Purse Ledger::purse_for(Instant now, const AccountId& account, GpuTime needed) const {
  const Account* own = this->account(account);
  Purse most{.group = {}, .free = own == nullptr ? GpuTime{} : own->free_credits()};
  for (const GroupConfig& group : config_->groups) {
    if (!group.is_on(now) || !group.has(account.text)) continue;
    const AccountId id{group.account()};
    const Account* shared = this->account(id);
    const GpuTime free = shared == nullptr ? GpuTime{} : shared->free_credits();
    if (free == GpuTime{}) continue;
    if (free >= needed) return {.group = id, .free = free};
    if (free > most.free) most = {.group = id, .free = free};
  }
  return most;
}

// Whether the group that pays the hold's credits is on for its account.
bool Ledger::shares(Instant now, const Hold& hold) const {
  return std::any_of(config_->groups.begin(), config_->groups.end(), [&](const GroupConfig& group) {
    return group.account() == hold.credits_from.text && group.is_on(now) &&
           group.has(hold.account.text);
  });
}

// What a balance says of it: the group that would pay next.
GroupCredits Ledger::group_credits(Instant now, const AccountId& account) const {
  GroupCredits first;
  for (const GroupConfig& group : config_->groups) {
    if (!group.is_on(now) || !group.has(account.text)) continue;
    GroupCredits one{.account = {group.account()}, .until = group.until};
    if (const Account* shared = this->account(one.account)) {
      one.credits = shared->credits;
      one.held = shared->credits_held;
    }
    if (one.held < one.credits) return one;
    if (first.account == AccountId{}) first = one;
  }
  return first;
}

}  // namespace gpupool
