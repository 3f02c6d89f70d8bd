// Questions. What is over is the history's to answer, once it has come as far as this state.

#include <algorithm>

#include "actors/ledger/ledger.h"
#include "actors/ledger/story.h"

namespace gpupool {

void Ledger::handle(Instant now, const QuotaQuery& query, Effects& effects) const {
  Caller caller = query.caller;
  caller.recognised_by = recognised_by(caller);
  caller.tier = tier_of(caller.account, query.caller.tier);
  const Balance balance = balance_for(now, {.account = caller.account, .tier = caller.tier});
  QuotaFound found{.session = query.session,
                   .answer = {.query = query.query, .caller = caller, .balance = balance}};
  effects.to(to_session(query.session), ToSession{std::move(found)});
}

void Ledger::handle(Instant, const ReceiptsQuery& query, Effects& effects) const {
  effects.to(to_history(), ToHistory{ReceiptsAsked{.upto = core_.sequence, .query = query}});
}

void Ledger::handle(Instant now, const ReceiptQuery& query, Effects& effects) const {
  const Account* account = this->account(query.account);
  ReceiptAsked asked{.upto = core_.sequence, .query = query};
  asked.balance =
      balance_for(now, {.account = query.account, .tier = account == nullptr ? "" : account->tier});
  effects.to(to_history(), ToHistory{std::move(asked)});
}

void Ledger::handle(Instant, const UsageQuery& query, Effects& effects) const {
  effects.to(to_history(), ToHistory{UsageAsked{.upto = core_.sequence, .query = query}});
}

// As a request with a new id is decided on, but that nothing is held.
void Ledger::handle(Instant now, const QuoteQuery& query, Effects& effects) const {
  const Account* account = this->account(query.reserve.caller.account);
  const bool is_learned = query.reserve.learned > Duration{};
  const Reserve reserve = is_learned ? within_tier(now, query.reserve, account) : query.reserve;
  Quoted quoted{.session = query.session, .answer = query.answer};
  QuoteAnswer& answer = quoted.answer;
  answer.caller = reserve.caller;
  answer.caller.recognised_by = recognised_by(reserve.caller);
  answer.caller.tier = tier_of(reserve.caller.account, reserve.caller.tier);
  const Result<TierLimits> tier = tier_of_caller(reserve);
  const auto refused =
      tier ? refused_terms(now, reserve, *tier, account) : std::optional(tier.error());
  if (refused) {
    answer = {.query = answer.query,
              .caller = answer.caller,
              .refusal = refusal_of(now, reserve, *refused)};
  } else {
    const Hold hold = hold_for(now, reserve, *tier, account);
    answer.app = reserve.body->app;
    answer.size = reserve.size;
    answer.factor = hold.factor;
    answer.declared = hold.declared;
    answer.cost = cost_of(hold.declared, hold.factor);
    answer.first_held = hold.learned > Duration{} ? hold.learned : hold.declared;
    answer.held_credits = hold.credits_part;
    answer.balance = balance_for(now, {.account = hold.account,
                                       .tier = reserve.caller.tier,
                                       .app_longest = reserve.app_longest,
                                       .app = &answer.app,
                                       .factor = hold.factor});
    answer.left = answer.balance.left - hold.quota_part;
  }
  effects.to(to_session(query.session), ToSession{std::move(quoted)});
}

// With the refusals that its requests met, which no record tells of.
void Ledger::handle(Instant, const ExplainQuery& query, Effects& effects) const {
  StoryAsked asked{.upto = core_.sequence, .query = query};
  if (!query.job)
    if (const auto* known = requests_.find({query.request, account_key(query.account)}))
      asked.query.job = known->job;
  for (auto it = refusals_.rbegin(); it != refusals_.rend(); ++it) {
    if (std::cmp_equal(asked.refusals.size(), limits::refusals_searched_max)) break;
    if (!is_of_anybody(query) && it->balance.account != query.account) continue;
    if (query.job || it->request == query.request) asked.refusals.push_back(*it);
  }
  std::reverse(asked.refusals.begin(), asked.refusals.end());
  effects.to(to_history(), ToHistory{std::move(asked)});
}

}  // namespace gpupool
