#include "actors/ledger/audit.h"

#include <algorithm>
#include <iterator>
#include <sstream>
#include <utility>

#include "actors/describe.h"
#include "actors/ledger/story.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

// More than any configuration allows; it keeps forged amounts from overflowing a sum.
constexpr std::uint32_t factor_most = 1'024;
constexpr Instant time_most{253'402'300'799'999};

template <class... Values>
std::string sentence(const Values&... values) {
  std::ostringstream text;
  (text << ... << values);
  return text.str();
}

}  // namespace

Audit::Audit(const Config& config, std::optional<WindowConfig> window, AuditScope scope)
    : scope_(std::move(scope)), ledger_(config) {
  if (window) window_ = {window->kind, window->length, window->starts};
}

void Audit::find(const std::string& what) {
  if (report_.findings.size() >= findings_max) {
    ++report_.more_findings;
    return;
  }
  report_.findings.push_back("record " + std::to_string(sequence_) + ": " + what);
}

void Audit::differs(const std::string& what) {
  const bool is_asked =
      at_ >= scope_.since && (scope_.account.text.empty() || scope_.account == concerned_);
  if (is_asked)
    find(what);
  else
    ++report_.beyond_scope;
}

void Audit::broken(const std::string& what) {
  find(what);
  is_broken_ = true;
}

bool Audit::require(bool holds, const std::string& what) {
  if (!holds) broken(what);
  return holds;
}

void Audit::read(const StoredRecord& stored) {
  const std::uint64_t expected = sequence_ + 1;
  sequence_ = expected;
  if (stored.sequence != expected)
    broken(sentence("is missing; the next one is record ", stored.sequence));
  sequence_ = stored.sequence;
  report_.records += 1;
  if (stored.at < at_)
    broken(
        sentence("its time, ", utc_text_exact(stored.at), ", is before that of the record before"));
  // What a clock can show; a later one would overflow where windows are added to it.
  if (stored.at > time_most)
    broken("its time is beyond the year 9999");
  else
    before_ = std::exchange(at_, std::max(stored.at, at_));
  if (report_.records == 1) report_.first = at_;
  report_.last = at_;
  report_.history = stored.digest;
  const auto record = record_of(stored);
  if (!record) {
    broken(record.error().code == Errc::journal_corrupt
               ? "is not as it was written, or not what followed the record before it"
               : "is of a kind that this gpupool cannot read");
    return;
  }
  if (is_broken_) return;
  forget_requests();
  concerned_ = account_of(record->body);
  std::visit([this](const auto& body) { judge(body); }, record->body);
  if (!is_broken_) ledger_.apply(*record);
}

AccountId Audit::account_of(const RecordBody& body) const {
  if (const auto* opened = std::get_if<HoldOpened>(&body)) return opened->hold->account;
  if (const auto* set = std::get_if<AccountTierSet>(&body)) return set->account;
  if (const auto* granted = std::get_if<CreditsGranted>(&body)) return granted->account;
  if (const auto* adjusted = std::get_if<QuotaAdjusted>(&body)) return adjusted->account;
  const auto* settled = std::get_if<HoldSettled>(&body);
  const auto* extended = std::get_if<HoldExtended>(&body);
  const auto hold = settled != nullptr    ? open_.find(settled->job)
                    : extended != nullptr ? open_.find(extended->job)
                                          : open_.end();
  return hold == open_.end() ? AccountId{} : hold->second.account;
}

void Audit::judge(const EpochRaised& raised) {
  require(raised.epoch > epoch_,
          sentence("epoch ", raised.epoch, " does not follow epoch ", epoch_));
  epoch_ = std::max(epoch_, raised.epoch);
}

void Audit::judge(const HoldOpened& opened) {
  const Hold& hold = opened.hold;
  if (!is_well_formed(hold) || !is_new_request(hold) || !has_credits(hold)) return;
  enter(hold);
  books_[hold.account].tier = opened.token_tier.empty() ? hold.tier : opened.token_tier;
}

bool Audit::is_well_formed(const Hold& hold) {
  const bool sane = hold.factor >= 1 && hold.factor <= factor_most && hold.declared > Duration{} &&
                    hold.declared.ms <= limits::duration_ms_max;
  if (!require(sane, "the hold's duration or factor is none that a pool can admit")) return false;
  const GpuTime first =
      cost_of(hold.learned > Duration{} ? hold.learned : hold.declared, hold.factor);
  return require(hold.job.value == sequence_, sentence("the hold calls itself job ", hold.job)) &&
         require(hold.quota_part >= GpuTime{} && hold.credits_part >= GpuTime{},
                 "a part of the hold is negative") &&
         require(hold.learned >= Duration{} && hold.learned < hold.declared,
                 "the hold was to be extended beyond its declared duration") &&
         require(hold.quota_part <= first && hold.credits_part == first - hold.quota_part,
                 sentence("the hold's parts, ", text_of(hold.quota_part), " and ",
                          text_of(hold.credits_part), ", are not the cost of its duration")) &&
         require(hold.admitted_at == at_, "the hold was not admitted when it was written");
}

// An id is taken for 48 hours, and no older one is admitted: so it can never run twice.
bool Audit::is_new_request(const Hold& hold) {
  const std::int64_t age = at_.ms - hold.request.unix_ms();
  return require(age <= limits::id_age_ms_max && age >= -limits::id_future_ms_max,
                 "the hold's request id is too old, or from the future") &&
         require(requests_.insert({hold.request, hold.account}).second,
                 "the hold's request id was admitted before");
}

bool Audit::has_credits(const Hold& hold) {
  const AccountId& payer = hold.credits_account();
  if (!require(payer == hold.account || payer.text.starts_with("group:"),
               sentence("the hold takes credits of ", payer, ", which is no group")))
    return false;
  const Book& book = books_[payer];
  const GpuTime free = book.credits - book.credits_held;
  return require(hold.credits_part <= free,
                 sentence("the hold takes ", text_of(hold.credits_part), " of credits, and ", payer,
                          " had ", text_of(free), " that were granted and free"));
}

void Audit::forget_requests() {
  while (!requests_.empty() && requests_.begin()->first.unix_ms() < at_.ms - limits::id_age_ms_max)
    requests_.erase(requests_.begin());
  while (!orders_.empty() && orders_.begin()->unix_ms() < at_.ms - limits::id_age_ms_max)
    orders_.erase(orders_.begin());
}

// Rule 2.5: of an address nothing is kept when its window is closed and it has no holds or credits,
// from the first record on that is as late as that.
void Audit::forget_address(const AccountId& account, Instant latest, Book& book) {
  const bool is_held = std::any_of(book.windows.begin(), book.windows.end(),
                                   [](const auto& window) { return window.second.open > 0; });
  const bool has_ended = book.latest_ends && book.latest_ends <= latest;
  if (is_anonymous(account) && has_ended && !is_held && book.credits == GpuTime{})
    book = {.tier = book.tier};
}

// Into its window, the current one or a new one that opens with it.
void Audit::enter(const Hold& hold) {
  Book& book = books_[hold.account];
  forget_address(hold.account, before_, book);
  const bool opens = !book.current || hold.window_opened != book.current;
  const bool is_newest =
      book.windows.empty() || hold.window_opened > std::prev(book.windows.end())->first;
  if (!require(!opens || (is_newest && hold.window_opened <= at_),
               "the hold's window is neither open nor opened by it"))
    return;
  judge_window(hold, book);
  if (opens) {
    std::erase_if(book.windows, [](const auto& window) { return window.second.open == 0; });
    book.current = hold.window_opened;
    book.latest = hold.window_opened;
  }
  Sums& sums = book.windows[hold.window_opened];
  if (opens && hold.window_ends)
    sums.ends = hold.window_ends;
  else if (opens && window_)
    sums.ends = hold.window_opened + window_->length;
  if (opens) book.latest_ends = sums.ends;
  sums.held += hold.quota_part;
  sums.open += 1;
  books_[hold.credits_account()].credits_held += hold.credits_part;
  open_[hold.job] = {.account = hold.account,
                     .request = hold.request,
                     .quota = hold.quota_part,
                     .credits = hold.credits_part,
                     .declared = cost_of(hold.declared, hold.factor),
                     .factor = hold.factor,
                     .window = hold.window_opened,
                     .blob = hold.blob,
                     .credits_account = hold.credits_account()};
  report_.holds += 1;
  const auto set = account_tiers_.find(hold.account);
  if (set != account_tiers_.end() && set->second != hold.tier)
    differs("the hold is of tier " + hold.tier + ", but an operator had set tier " + set->second +
            " for " + hold.account.text);
  measure(hold.account, hold.tier, sums, {hold.quota_part, hold.credits_part});
}

// A hold belongs to the window that is open; if none is, to the one that the rule opens then.
void Audit::judge_window(const Hold& hold, const Book& book) {
  const Instant newest_ends =
      book.windows.empty() ? Instant{} : std::prev(book.windows.end())->second.ends;
  const Instant current_ends = book.current ? newest_ends : Instant{};
  if (book.current && hold.window_opened == book.current) {
    if (current_ends && at_ >= current_ends) differs("the hold's window had ended");
    if (hold.window_ends && current_ends && hold.window_ends != current_ends)
      differs("the hold gives its window another end");
    report_.windowless += current_ends ? 0 : 1;
    return;
  }
  if (book.current && current_ends && at_ < current_ends)
    differs("a window was opened before the last one ended");
  if (!window_) {
    report_.windowless += 1;
    return;
  }
  Instant opened = at_;
  if (window_->kind == WindowKind::fixed) {
    constexpr Instant a_monday{345'600'000};
    opened = at_ - Duration{(at_ - a_monday - window_->starts).ms % window_->length.ms};
  }
  const Instant ends = opened + window_->length;
  opened = std::max({opened, newest_ends, book.latest});
  if (hold.window_opened != opened || (hold.window_ends && hold.window_ends != ends))
    differs("the hold's window, from " + utc_text_exact(hold.window_opened) + " to " +
            utc_text_exact(hold.window_ends) + ", is not the one of the rule, from " +
            utc_text_exact(opened) + " to " + utc_text_exact(ends));
}

// used + held <= allowance, by the terms on record at that moment, and the quota part first.
void Audit::measure(const AccountId& account, const std::string& tier, const Sums& sums,
                    const Parts& taken) {
  if (!allowances_) {
    report_.unmeasured += taken.quota > GpuTime{} ? 1 : 0;
    return;
  }
  report_.measured += taken.quota > GpuTime{} ? 1 : 0;
  const auto allowance = allowances_->find(tier);
  const GpuTime sum = sums.used + sums.held;
  if (allowance == allowances_->end())
    differs("the hold is of tier " + tier + ", which the terms did not have then");
  else if (taken.quota > GpuTime{} && sum > allowance->second)
    differs(account.text + " had " + text_of(sums.used) + " used and " + text_of(sums.held) +
            " held, more than the " + text_of(allowance->second) + " of tier " + tier);
  else if (taken.credits > GpuTime{} && sum < allowance->second)
    differs("the hold takes credits of " + account.text + ", who had " +
            text_of(allowance->second - sum) + " of quota left");
}

const std::string& Audit::tier_of(const AccountId& account) const {
  const auto set = account_tiers_.find(account);
  return set == account_tiers_.end() ? books_.at(account).tier : set->second;
}

// More of the same hold, in its own window, by the rules of a hold.
void Audit::judge(const HoldExtended& extended) {
  const auto it = open_.find(extended.job);
  if (!require(it != open_.end(),
               sentence("extends the hold of job ", extended.job, ", which is not open")))
    return;
  OpenHold& hold = it->second;
  Book& book = books_[hold.account];
  Book& payer = books_[hold.credits_account];
  const GpuTime room = hold.declared - hold.quota - hold.credits;
  if (!require(extended.number == hold.extensions + 1,
               sentence("extension ", extended.number, " of job ", extended.job,
                        " does not follow ", hold.extensions)) ||
      !require(extended.quota_part >= GpuTime{} && extended.credits_part >= GpuTime{} &&
                   extended.quota_part <= room &&
                   extended.credits_part <= room - extended.quota_part &&
                   (extended.quota_part > GpuTime{} || extended.credits_part > GpuTime{}),
               sentence("extends the hold of job ", extended.job, " by ",
                        text_of(extended.quota_part), " and ", text_of(extended.credits_part),
                        ", and ", text_of(room), " of its declared duration were not held")) ||
      !require(
          extended.credits_part <= payer.credits - payer.credits_held,
          sentence("extends the hold of job ", extended.job, " by credits that were not there")))
    return;
  Sums& sums = book.windows[hold.window];
  sums.held += extended.quota_part;
  payer.credits_held += extended.credits_part;
  hold.quota += extended.quota_part;
  hold.credits += extended.credits_part;
  hold.extensions += 1;
  report_.extensions += 1;
  if (extended.tier != tier_of(hold.account))
    differs("the extension is measured by tier " + extended.tier + " instead of tier " +
            tier_of(hold.account));
  measure(hold.account, extended.tier, sums, {extended.quota_part, extended.credits_part});
}

void Audit::judge(const LeaseNoted& noted) {
  require(open_.contains(noted.job), sentence("leases job ", noted.job, ", which is not open"));
}

void Audit::judge(const JobRequeued& requeued) {
  require(open_.contains(requeued.job),
          sentence("queues job ", requeued.job, " again, which is not open"));
}

void Audit::judge(const PromiseRestated& restated) {
  require(open_.contains(restated.job),
          sentence("restates the promise of job ", restated.job, ", which is not open"));
}

void Audit::judge(const HoldSettled& settled) {
  const auto it = open_.find(settled.job);
  if (!require(it != open_.end(),
               sentence("settles job ", settled.job, ", whose hold is not open: ",
                        settled.job.value < sequence_ ? "it was settled before, or never held"
                                                      : "it is yet to come")))
    return;
  const OpenHold hold = it->second;
  if (!require(settled.charged_quota >= GpuTime{} && settled.charged_quota <= hold.quota &&
                   settled.charged_credits >= GpuTime{} && settled.charged_credits <= hold.credits,
               sentence("charges job ", settled.job, " ", text_of(settled.charged_quota),
                        " of quota, and ", text_of(hold.quota), " were held")))
    return;
  judge_charge(settled, hold);
  Book& payer = books_[hold.credits_account];
  payer.credits_held -= hold.credits;
  payer.credits -= settled.charged_credits;
  Book& book = books_[hold.account];
  Sums& sums = book.windows[hold.window];
  sums.held -= hold.quota;
  sums.used += settled.charged_quota;
  sums.open -= 1;
  // The newest window stays with what was charged in it; all else goes with its last open hold.
  const bool newest = hold.window == std::prev(book.windows.end())->first;
  if (sums.open == 0 && (!newest || sums.used == GpuTime{})) {
    book.windows.erase(hold.window);
    if (hold.window == book.current) book.current = {};
  }
  open_.erase(it);
  report_.settled += 1;
}

// charged = min(held, ran x factor), and nothing for the pool's own faults.
void Audit::judge_charge(const HoldSettled& settled, const OpenHold& hold) {
  const GpuTime held = hold.quota + hold.credits;
  const bool all = settled.ran > duration_for(held, hold.factor);
  const GpuTime due = all ? held : cost_of(std::max(settled.ran, Duration{}), hold.factor);
  const GpuTime charged = settled.charged_quota + settled.charged_credits;
  if (settled.charged_credits > GpuTime{} && settled.charged_quota < hold.quota)
    differs(sentence("job ", settled.job, " was charged ", text_of(settled.charged_credits),
                     " of credits before its quota part was used up"));
  if (charged != due)
    differs(sentence("job ", settled.job, " ran ", seconds_text(settled.ran.ms), " x ", hold.factor,
                     " with ", text_of(held), " held, and was charged ", text_of(charged),
                     " instead of ", text_of(due)));
  if (is_pool_fault(settled.cause) && charged > GpuTime{})
    differs(sentence("job ", settled.job, " was charged ", text_of(charged),
                     " although the pool was at fault (", name_of(settled.cause), ")"));
}

void Audit::judge(const TermsSet& set) {
  ++report_.orders;
  allowances_.emplace();
  for (const TierTerms& tier : set.tiers) (*allowances_)[tier.name] = tier.allowance;
  if (!require(set.window.length >= Duration{} && set.window.length.ms <= limits::duration_ms_max &&
                   set.window.starts >= Duration{} && set.window.starts < hours(24),
               "the rule of windows is none that a pool can have"))
    return;
  if (set.window.length > Duration{}) window_ = set.window;
}

void Audit::judge(const AccountTierSet& set) {
  ++report_.orders;
  if (set.tier.empty())
    account_tiers_.erase(set.account);
  else
    account_tiers_[set.account] = set.tier;
}

// An order happens once for its id, says who gave it and why, and is about what was there.
template <class Order>
bool Audit::is_sound_order(const Order& order, GpuTime before, const char* what) {
  ++report_.orders;
  const std::int64_t age = at_.ms - order.id.unix_ms();
  constexpr std::int64_t most = limits::credits_ms_max;
  return require(age <= limits::id_age_ms_max && age >= -limits::id_future_ms_max &&
                     orders_.insert(order.id).second,
                 "the order's id was given before, is too old, or from the future") &&
         require(order.amount != GpuTime{} && order.amount.ms >= -most && order.amount.ms <= most,
                 "the order is about no amount that can be ordered") &&
         require(order.changes.size() == 1 && !order.changes.front().who.empty() &&
                     !order.changes.front().why.empty() && order.changes.front().at == at_,
                 "the order does not say who gave it, when and why") &&
         require(
             order.before == before && order.after == before + order.amount,
             sentence("the order says that ", order.account, " had ", text_of(order.before), " ",
                      what, " and has ", text_of(order.after), ", and it had ", text_of(before)));
}

void Audit::judge(const CreditsGranted& granted) {
  Book& book = books_[granted.account];
  forget_address(granted.account, at_, book);  // the record itself is as late
  if (!is_sound_order(granted, book.credits, "of credits") ||
      !require(granted.after >= book.credits_held && granted.after.ms <= limits::credits_ms_max,
               sentence("the order leaves ", granted.account, " ", text_of(granted.after),
                        " of credits, and ", text_of(book.credits_held), " are held")))
    return;
  book.credits = granted.after;
}

void Audit::judge(const QuotaAdjusted& adjusted) {
  Book& book = books_[adjusted.account];
  const auto window = book.windows.find(adjusted.window_opened);
  if (!require(
          book.current && adjusted.window_opened == book.current && window != book.windows.end(),
          "the order is about a window that is not open"))
    return;
  Sums& sums = window->second;
  if (!is_sound_order(adjusted, sums.used, "used") ||
      !require(adjusted.after >= GpuTime{}, "the order gives back more than was used"))
    return;
  sums.used = adjusted.after;
  if (sums.ends && at_ >= sums.ends) differs("the order is about a window that had ended");
  if (adjusted.amount > GpuTime{} && allowances_) {
    const std::string& tier = tier_of(adjusted.account);
    const auto allowance = allowances_->find(tier);
    if (allowance == allowances_->end() || sums.used + sums.held > allowance->second)
      differs(adjusted.account.text + " was charged up to " + text_of(sums.used) + " used and " +
              text_of(sums.held) + " held, more than tier " + tier + " allows");
  }
  if (sums.open > 0 || sums.used > GpuTime{}) return;
  book.windows.erase(window);
  book.current = {};
}

}  // namespace gpupool
