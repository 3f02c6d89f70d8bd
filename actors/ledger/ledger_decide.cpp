// Admission: the order of the checks and the numbers behind every answer. All const.

#include <algorithm>

#include "actors/ledger/blob.h"
#include "actors/ledger/ledger.h"
#include "actors/ledger/story.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

// Reserve::factor comes from the configuration and is at least 1; 0 can only mean "not known".
std::uint32_t factor_of(const Reserve& reserve) { return std::max(reserve.factor, 1U); }

// Of what is held at first: all of the declared duration, or less that is extended later.
Duration held_first(const Reserve& reserve) {
  const bool is_less = reserve.learned > Duration{} && reserve.learned < reserve.declared;
  return is_less ? reserve.learned : reserve.declared;
}

GpuTime cost_of(const Reserve& reserve) {
  return saturated_cost(held_first(reserve), factor_of(reserve));
}

// Whoever left it out need not know where it comes from.
std::string declared_text(const Reserve& reserve) {
  const DeclaredBy by = declared_by(reserve.body, reserve.learned);
  return text_of(held_first(reserve)) +
         (by == DeclaredBy::learned ? " to hold at first by " : " declared by ") +
         gpupool::text_of(by, reserve.body->app);
}

// What quota does not pay of all that it may come to hold: one purse pays for the job to its end.
GpuTime beyond_quota(const Reserve& reserve, GpuTime left) {
  return std::max(saturated_cost(reserve.declared, factor_of(reserve)) - left, GpuTime{});
}

}  // namespace

// The longest duration that the tier's longest cost and, if it is known, the app allow.
Duration Ledger::longest_allowed(const TierLimits& tier, Duration app_longest,
                                 std::uint32_t factor) {
  const Duration longest =
      std::min(duration_for(tier.longest, std::max(factor, 1U)), Duration{limits::duration_ms_max});
  return app_longest > Duration{} ? std::min(longest, app_longest) : longest;
}

// The broker has seen the app's longest, the ledger sees the tier's: whoever objects, the caller is
// told the smaller of the two.
std::optional<Error> Ledger::illegal_duration(const Reserve& reserve, const TierLimits& tier) {
  const Duration longest = longest_allowed(tier, reserve.app_longest, factor_of(reserve));
  const bool broker_objects = reserve.verdict == Errc::illegal_duration;
  const bool fits = reserve.declared > Duration{} && reserve.declared <= longest;
  if (fits && !broker_objects) return std::nullopt;
  const std::int64_t allowed =
      broker_objects && reserve.have > 0 ? std::min(longest.ms, reserve.have) : longest.ms;
  return Error{.code = Errc::illegal_duration,
               .want = broker_objects ? reserve.want : reserve.declared.ms,
               .have = allowed,
               .detail = reserve.detail};
}

namespace {

Error verdict_of(const Reserve& reserve) {
  return {reserve.verdict, reserve.want, reserve.have, reserve.detail};
}

bool objects_up_to(const Reserve& reserve, Errc last) {
  return reserve.verdict != Errc{} && reserve.verdict <= last;
}

}  // namespace

Result<Ledger::Admission> Ledger::decide(Instant now, const Reserve& reserve,
                                         const Account* account) const {
  const Result<TierLimits> tier = tier_of_caller(reserve);
  if (!tier) return tier.error();
  const Result<JobId> known = known_id(now, reserve);
  if (!known) return known.error();
  if (*known) return Admission{.known = *known};
  if (auto refused = refused_terms(now, reserve, *tier, account)) return *std::move(refused);
  return Admission{.known = {}, .tier = *tier};
}

Result<Ledger::TierLimits> Ledger::tier_of_caller(const Reserve& reserve) const {
  if (objects_up_to(reserve, Errc::unauthenticated)) return verdict_of(reserve);
  const auto tier = limits_of(tier_of(reserve.caller.account, reserve.caller.tier));
  if (!tier) return tier_missing(reserve.caller);
  return *tier;
}

Result<JobId> Ledger::known_id(Instant now, const Reserve& reserve) const {
  if (auto expired = id_out_of_range(now, reserve.request)) return *std::move(expired);
  if (objects_up_to(reserve, Errc::id_reused)) return verdict_of(reserve);
  const auto* known = requests_.find({reserve.request, account_key(reserve.caller.account)});
  if (known == nullptr) return JobId{};
  if (known->body_hash != reserve.body_hash) return Error{.code = Errc::id_reused};
  return known->job;
}

// What is checked of a request whose id is new.
std::optional<Error> Ledger::refused_terms(Instant now, const Reserve& reserve,
                                           const TierLimits& tier, const Account* account) const {
  const std::string& name = tier_of(reserve.caller.account, reserve.caller.tier);
  if (objects_up_to(reserve, Errc::unknown_app)) return verdict_of(reserve);
  if (auto forbidden = app_closed_to(reserve.body->app, name)) return forbidden;
  if (objects_up_to(reserve, Errc::forbidden)) return verdict_of(reserve);
  if (auto illegal = illegal_duration(reserve, tier)) return illegal;
  const auto jobs = static_cast<std::int64_t>(account == nullptr ? 0 : account->open.size());
  if (jobs + 1 > std::int64_t{tier.jobs_max})
    return Error{.code = Errc::too_many_jobs, .want = jobs + 1, .have = tier.jobs_max};
  if (objects_up_to(reserve, Errc::overloaded)) return verdict_of(reserve);
  if (table_is_full(now))
    return Error{.code = Errc::overloaded,
                 .want = static_cast<std::int64_t>(requests_.size()) + 1,
                 .have = bounds_.requests_max,
                 .detail = "the table of remembered request ids is full"};
  if (auto none = no_room_for(reserve.body)) return none;
  if (reserve.verdict != Errc{}) return verdict_of(reserve);
  return quota_missing(now, reserve, tier, account);
}

// duration = "auto" declares the longest that both the app and the tier allow. Where the account
// cannot pay for what is to be held at first, less may do: the hold grows, and its run is warned.
Reserve Ledger::within_tier(Instant now, const Reserve& reserve, const Account* account) const {
  Reserve within = reserve;
  const auto tier = limits_of(tier_of(reserve.caller.account, reserve.caller.tier));
  if (!tier) return within;
  within.declared =
      std::min(reserve.declared, longest_allowed(*tier, reserve.app_longest, factor_of(reserve)));
  within.occupancy = reserve.occupancy - (reserve.declared - within.declared);
  for (const Duration less : learned_.shorter_holds(reserve.caller.account, reserve.body->app)) {
    if (!quota_missing(now, within, *tier, account)) break;
    within.learned = std::min(within.learned, less);
  }
  return within;
}

// Whoever set it: the way out is another tier for this account, or this tier in the configuration.
Error Ledger::tier_missing(const Caller& caller) const {
  const std::string* set = orders_.tier_of(caller.account);
  const std::string name = set == nullptr ? caller.tier : *set;
  return {.code = Errc::unauthenticated,
          .detail = "tier \"" + name + "\" is not configured" +
                    (set == nullptr ? "" : "; an operator set it and can set another one")};
}

// An app that no terms name is the broker's to refuse.
std::optional<Error> Ledger::app_closed_to(const std::string& app, const std::string& tier) const {
  const std::vector<std::string>* tiers = tiers_of_app(app);
  if (tiers == nullptr || tiers->empty()) return std::nullopt;
  if (std::find(tiers->begin(), tiers->end(), tier) != tiers->end()) return std::nullopt;
  std::string names;
  for (const std::string& name : *tiers) names += (names.empty() ? "" : ", ") + name;
  return Error{.code = Errc::forbidden, .detail = std::string(tiers_open_to) + names};
}

// Ids are forgotten when records are applied; in a full table, those that the next record would
// forget do not count. Only a full table is searched.
bool Ledger::table_is_full(Instant now) const {
  if (std::cmp_less(requests_.size(), bounds_.requests_max)) return false;
  return !requests_.any_before(forgettable_before(now),
                               [this](JobId job) { return open_.get(job) == nullptr; });
}

// The broker has the requests of all open jobs in memory.
std::optional<Error> Ledger::no_room_for(const JobRequest& request) const {
  if (core_.blobs < bounds_.blobs_max || blob_of(request).empty()) return std::nullopt;
  return Error{.code = Errc::overloaded,
               .want = core_.blobs + 1,
               .have = bounds_.blobs_max,
               .detail = "with a request of more than " +
                         std::to_string(limits::request_inline_bytes_max) + " bytes"};
}

// Design 2.2: max(0, allowance - used - held) + (credits - credits held) pays for the cost, or not.
std::optional<Error> Ledger::quota_missing(Instant now, const Reserve& reserve,
                                           const TierLimits& tier, const Account* account) const {
  const Window* window = account == nullptr ? nullptr : account->window_at(now);
  const GpuTime left = left_of(tier.allowance, window);
  const GpuTime cost = cost_of(reserve);
  const GpuTime payable =
      left + purse_for(now, reserve.caller.account, beyond_quota(reserve, left)).free;
  if (cost <= payable) return std::nullopt;
  return Error{.code = Errc::quota_exceeded, .want = cost.ms, .have = payable.ms};
}

Hold Ledger::hold_for(Instant now, const Reserve& reserve, const TierLimits& tier,
                      const Account* account) const {
  const Window* window = account == nullptr ? nullptr : account->window_at(now);
  const GpuTime left = left_of(tier.allowance, window);
  const GpuTime cost = cost_of(reserve);
  const GpuTime quota = std::min(left, cost);
  const WindowSpan span = window == nullptr ? window_of_next_hold(now, account)
                                            : WindowSpan{window->opened, window->ends};
  Purse purse = purse_for(now, reserve.caller.account, beyond_quota(reserve, left));
  Hold hold{.job = {core_.sequence + 1},
            .request = reserve.request,
            .body_hash = reserve.body_hash,
            .account = reserve.caller.account,
            .tier = tier_of(reserve.caller.account, reserve.caller.tier),
            .body = reserve.body,
            .partition = reserve.partition,
            .slots = reserve.slots,
            .factor = factor_of(reserve),
            .declared = reserve.declared,
            .occupancy = reserve.occupancy,
            .tier_rank = tier.rank,
            .quota_band = quota_band(left - quota, tier.allowance),
            .promise = reserve.promise,
            .quota_part = quota,
            .credits_part = cost - quota,
            .window_opened = span.opened,
            .admitted_at = now,
            .recognised_by = recognised_by(reserve.caller),
            .window_ends = span.ends};
  if (held_first(reserve) != reserve.declared) hold.learned = reserve.learned;
  hold.files = reserve.files;
  hold.credits_from = std::move(purse.group);
  const GpuTime spent = window == nullptr ? GpuTime{} : window->used + window->held;
  GPUPOOL_ENSURE(quota == GpuTime{} || spent + quota <= tier.allowance, spent, quota);
  return hold;
}

Refusal Ledger::refusal_of(Instant now, const Reserve& reserve, const Error& why) const {
  const Question question{.account = reserve.caller.account,
                          .tier = reserve.caller.tier,
                          .app_longest = reserve.app_longest,
                          .app = &reserve.body->app,
                          .factor = factor_of(reserve)};
  Refusal refusal{.code = why.code,
                  .want = why.want,
                  .have = why.have,
                  .request = reserve.request,
                  .app = reserve.body->app,
                  .size = reserve.size.empty() ? reserve.body->size : reserve.size,
                  .factor = factor_of(reserve),
                  .declared = reserve.declared,
                  .cost = cost_of(reserve),
                  .recognised_by = recognised_by(reserve.caller),
                  .balance = balance_for(std::max(now, core_.at), question),
                  .detail = why.detail};
  if (held_first(reserve) < reserve.declared) refusal.first_held = held_first(reserve);
  if (why.code == Errc::quota_exceeded && refusal.detail.empty())
    refusal.detail = declared_text(reserve);
  if (why.code == Errc::size_unavailable)
    for (Fit& fit : refusal.balance.fits)
      if (const SizeConfig* size = config_->size(fit.size); size && size->slots >= reserve.slots)
        fit = {.size = fit.size, .factor = fit.factor, .longest = {}, .offered = false};
  return refusal;
}

NotHeld Ledger::refuse(Instant now, const Reserve& reserve, const Error& why) {
  const Account* account = this->account(reserve.caller.account);
  const bool is_learned = reserve.learned > Duration{};
  Refusal refusal = refusal_of(
      now, is_learned ? within_tier(std::max(now, core_.at), reserve, account) : reserve, why);
  refusals_.push_back(refusal);
  ++refusals_in_batch_;
  if (std::cmp_greater(refusals_.size(), bounds_.refusals_max)) refusals_.pop_front();
  return {.ticket = reserve.ticket, .refusal = std::move(refusal)};
}

// Complete: a receipt needs nothing but this record and the job's others.
HoldSettled Ledger::settle_for(Instant now, const Settle& settle, const OpenJob& job) const {
  const Parts charged = charge_of(job.held(), job.hold->factor, settle.ran);
  const Account& account = accounts_[job.account].account;
  return {.job = settle.job,
          .outcome = settle.outcome,
          .cause = settle.cause,
          .detail = clipped(settle.detail),
          .ran = std::max(settle.ran, Duration{}),
          .charged_quota = charged.quota,
          .charged_credits = charged.credits,
          .attempt = settle.attempt,
          .leased_at = settle.leased_at ? settle.leased_at : job.leased_at,
          .node = settle.node.empty() ? job.node_name : settle.node,
          .result = settle.result,
          .left = left_after(now, account, job.hold, {job.held(), charged}),
          .log = settle.log,
          .has_blob = has_blob(job.hold),
          .exit_code = settle.exit_code,
          .signal = settle.signal};
}

// Of the account once this hold is closed so: a window that is still open has its part back.
GpuTime Ledger::left_after(Instant now, const Account& account, const Hold& hold,
                           const Closing& closing) const {
  const auto tier = limits_of(tier_of(hold.account, account.tier));
  const GpuTime allowance = tier ? tier->allowance : GpuTime{};
  const Window* window = account.window_at(now);
  if (window == nullptr || window->opened != hold.window_opened) return left_of(allowance, window);
  Window after = *window;
  after.held -= closing.held.quota;
  after.used += closing.charged.quota;
  return left_of(allowance, &after);
}

Balance Ledger::balance(Instant now, const AccountId& account, const std::string& tier) const {
  return balance_for(std::max(now, core_.at), {.account = account, .tier = tier});
}

// A tier that is not configured has no allowance, and nothing fits.
Balance Ledger::balance_for(Instant now, const Question& question) const {
  static const Account nobody;
  const std::string& tier_name = tier_of(question.account, question.tier);
  const TierLimits tier = limits_of(tier_name).value_or(TierLimits{});
  const Account* known = this->account(question.account);
  const Account& account = known == nullptr ? nobody : *known;
  const Window* window = account.window_at(now);
  Balance balance{.account = question.account,
                  .tier = tier_name,
                  .allowance = tier.allowance,
                  .left = left_of(tier.allowance, window),
                  .longest = tier.longest,
                  .held_until = held_until(account),
                  .open_jobs = static_cast<std::uint32_t>(account.open.size()),
                  .jobs_max = tier.jobs_max,
                  .at = now,
                  .credits = account.credits,
                  .credits_held = account.credits_held};
  if (window != nullptr) {
    balance.used = window->used;
    balance.held = window->held;
    balance.window_opened = window->opened;
    balance.resets_at = window->ends;
  } else if (window_rule().kind == WindowKind::fixed) {  // it is there, used or not
    const WindowSpan span = window_of_next_hold(now, known);
    balance.window_opened = span.opened;
    balance.resets_at = span.ends;
  }
  balance.group = group_credits(now, question.account);
  const GpuTime payable =
      balance.left + purse_for(now, question.account, GpuTime{limits::credits_ms_max}).free;
  const bool may_ask = balance.open_jobs < balance.jobs_max;
  balance.fits.reserve(config_->sizes.size());
  for (const SizeConfig& size : config_->sizes) {
    const Duration longest = std::min(duration_for(payable, std::max(size.factor, 1U)),
                                      longest_allowed(tier, question.app_longest, size.factor));
    const bool offered = is_offered(size);
    const bool fits = may_ask && (offered || !shapes_);
    balance.fits.push_back({.size = size.name,
                            .factor = size.factor,
                            .longest = fits ? longest : Duration{},
                            .offered = offered});
  }
  balance.advice = advice_for(question, payable);
  return balance;
}

// Declaring less helps only where it is less than what is declared without a word.
Advice Ledger::advice_for(const Question& question, GpuTime payable) const {
  static const std::string last_used;
  Advice advice =
      learned_.advice(question.account, question.app == nullptr ? last_used : *question.app);
  if (advice.app.empty()) return advice;
  const AppConfig* app = config_->app(advice.app);
  Duration next = advice.declare;
  if (app != nullptr && app->automatic) {
    advice.first_held =
        std::min(learned_.first_held(app->name, app->default_duration), app->longest);
    advice.declare = {};
    next = advice.first_held;
  } else if (app != nullptr && advice.declare > app->default_duration) {
    advice.declare = {};
    next = app->default_duration;
  }
  const GpuTime cost = saturated_cost(next, std::max(question.factor, 1U));
  if (cost > GpuTime{})
    advice.fits = static_cast<std::uint64_t>(std::max(payable, GpuTime{}).ms / cost.ms);
  return advice;
}

// The earliest moment by which one of the open holds is sure to be closed: a leased job occupies
// its slots for its occupancy at most, a waiting one from its promise on. 0: nothing is held.
Instant Ledger::held_until(const Account& account) const {
  Instant earliest{};
  for (const JobId id : account.open) {
    const OpenJob* job = open_.get(id);
    GPUPOOL_ENSURE(job != nullptr, id);
    const Instant closed = (job->leased ? job->leased_at : job->promise) + job->hold->occupancy;
    if (!earliest || closed < earliest) earliest = closed;
  }
  return earliest;
}

// The recorded one; until one is on record, the configuration's.
WindowTerms Ledger::window_rule() const {
  const Terms* terms = orders_.terms();
  const bool is_recorded = terms != nullptr && terms->window.length > Duration{};
  return is_recorded ? terms->window : terms_of(config_->window);
}

WindowSpan Ledger::window_of_next_hold(Instant now, const Account* account) const {
  Instant earliest = account == nullptr ? Instant{} : account->last_opened;
  if (account != nullptr && !account->windows.empty())
    earliest = std::max(earliest, account->windows.back().ends);
  return window_for(window_rule(), now, earliest);
}

// Older records do not say it; all their windows rolled.
Instant Ledger::end_of_window(const Hold& hold) const {
  return hold.window_ends ? hold.window_ends : hold.window_opened + config_->window.length;
}

}  // namespace gpupool
