#include "actors/ledger/audit.h"

#include <algorithm>
#include <iterator>
#include <sstream>

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

std::string text_of(GpuTime amount) { return seconds_text(amount.ms); }

// Whose fault this is: not the user's, who pays nothing for it (design 2.4).
bool is_pool_fault(Errc cause) {
  switch (cause) {
    case Errc::executor_crashed:
    case Errc::executor_stalled:
    case Errc::start_limit_missed:
    case Errc::node_lost:
    case Errc::device_failed:
    case Errc::result_not_stored:
      return true;
    default:
      return false;
  }
}

}  // namespace

Audit::Audit(const Config& config, std::optional<Duration> window, AuditScope scope)
    : window_(window), scope_(std::move(scope)), ledger_(config) {}

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
    broken(sentence("its time, ", utc_text(stored.at), ", is before that of the record before"));
  // What a clock can show; a later one would overflow where windows are added to it.
  if (stored.at > time_most)
    broken("its time is beyond the year 9999");
  else
    at_ = std::max(stored.at, at_);
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
  const auto* settled = std::get_if<HoldSettled>(&body);
  const auto hold = settled == nullptr ? open_.end() : open_.find(settled->job);
  return hold == open_.end() ? AccountId{} : hold->second.account;
}

void Audit::judge(const EpochRaised& raised) {
  require(raised.epoch > epoch_,
          sentence("epoch ", raised.epoch, " does not follow epoch ", epoch_));
  epoch_ = std::max(epoch_, raised.epoch);
}

void Audit::judge(const HoldOpened& opened) {
  const Hold& hold = opened.hold;
  if (!is_well_formed(hold) || !is_new_request(hold)) return;
  enter(hold);
}

bool Audit::is_well_formed(const Hold& hold) {
  const bool sane = hold.factor >= 1 && hold.factor <= factor_most && hold.declared > Duration{} &&
                    hold.declared.ms <= limits::duration_ms_max;
  return require(hold.job.value == sequence_, sentence("the hold calls itself job ", hold.job)) &&
         require(sane, "the hold's duration or factor is none that a pool can admit") &&
         require(hold.quota_part >= GpuTime{} && hold.credits_part >= GpuTime{},
                 "a part of the hold is negative") &&
         require(hold.quota_part <= cost_of(hold.declared, hold.factor) &&
                     hold.credits_part == cost_of(hold.declared, hold.factor) - hold.quota_part,
                 sentence("the hold's parts, ", text_of(hold.quota_part), " and ",
                          text_of(hold.credits_part), ", are not the cost of its duration")) &&
         require(hold.credits_part == GpuTime{},
                 "the hold is paid from credits that nobody granted") &&
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

void Audit::forget_requests() {
  while (!requests_.empty() && requests_.begin()->first.unix_ms() < at_.ms - limits::id_age_ms_max)
    requests_.erase(requests_.begin());
}

// Into its window, the current one or a new one that opens with it.
void Audit::enter(const Hold& hold) {
  Book& book = books_[hold.account];
  const bool opens = hold.window_opened == at_ && book.current != at_;
  if (!require(opens || (book.current && hold.window_opened == book.current),
               "the hold's window is neither open nor opened by it"))
    return;
  if (window_) {
    const bool in_time = !opens && at_ < book.current + *window_;
    const bool was_over = opens && (!book.current || at_ >= book.current + *window_);
    if (!in_time && !was_over)
      differs(opens ? "a window was opened before the last one ended"
                    : "the hold's window had ended");
  }
  if (opens) {
    std::erase_if(book.windows, [](const auto& window) { return window.second.open == 0; });
    book.current = at_;
  }
  Sums& sums = book.windows[hold.window_opened];
  sums.held += hold.quota_part;
  sums.open += 1;
  open_[hold.job] = {.account = hold.account,
                     .request = hold.request,
                     .quota = hold.quota_part,
                     .credits = hold.credits_part,
                     .factor = hold.factor,
                     .window = hold.window_opened};
  report_.holds += 1;
  measure(hold, sums);
}

// used + held <= allowance, by the terms on record at that moment.
void Audit::measure(const Hold& hold, const Sums& sums) {
  const auto set = account_tiers_.find(hold.account);
  if (set != account_tiers_.end() && set->second != hold.tier)
    differs("the hold is of tier " + hold.tier + ", but an operator had set tier " + set->second +
            " for " + hold.account.text);
  if (hold.quota_part == GpuTime{}) return;
  if (!allowances_) {
    report_.unmeasured += 1;
    return;
  }
  report_.measured += 1;
  const auto allowance = allowances_->find(hold.tier);
  if (allowance == allowances_->end())
    differs("the hold is of tier " + hold.tier + ", which the terms did not have then");
  else if (sums.used + sums.held > allowance->second)
    differs(hold.account.text + " had " + text_of(sums.used) + " used and " + text_of(sums.held) +
            " held, more than the " + text_of(allowance->second) + " of tier " + hold.tier);
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
}

void Audit::judge(const AccountTierSet& set) {
  ++report_.orders;
  if (set.tier.empty())
    account_tiers_.erase(set.account);
  else
    account_tiers_[set.account] = set.tier;
}

AuditReport Audit::finish() {
  report_.open = open_.size();
  report_.accounts = books_.size();
  report_.rebuilt = !is_broken_;
  if (report_.rebuilt) compare();
  return report_;
}

// The ledger's state after the last record against the books that were kept here.
void Audit::compare() {
  report_.digest = ledger_.state_digest();
  for (const std::string& finding : ledger_.check_invariants()) find("after it: " + finding);
  for (const auto& [id, book] : books_) {
    const Account* account = ledger_.account(id);
    if (account == nullptr && is_anonymous(id)) continue;  // dropped when its window ended
    std::map<Instant, Sums> ledgers;
    if (account != nullptr)
      for (const Window& window : account->windows)
        ledgers[window.opened] = {window.used, window.held, window.open_holds};
    const bool same = ledgers.size() == book.windows.size() &&
                      std::equal(ledgers.begin(), ledgers.end(), book.windows.begin(),
                                 [](const auto& a, const auto& b) {
                                   return a.first == b.first && a.second.used == b.second.used &&
                                          a.second.held == b.second.held &&
                                          a.second.open == b.second.open;
                                 });
    concerned_ = id;
    if (!same) differs("after it: the balance of " + id.text + " is not the sum of its records");
  }
}

}  // namespace gpupool
