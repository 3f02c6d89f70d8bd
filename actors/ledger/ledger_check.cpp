// The invariants of design 2.6 over the whole state, each from its own definition and not from the
// code that keeps it; and the digest that tells two states apart.

#include <algorithm>
#include <map>
#include <sstream>

#include "actors/ledger/ledger.h"
#include "base/pack.h"

namespace gpupool {
namespace {

template <class Row>
void mix(std::uint64_t& digest, const Row& row) {
  digest = hash_of(std::to_string(digest) + pack(row));
}

template <class Row>
void mix_rows(std::uint64_t& digest, const RowTable<Row>& table) {
  mix(digest, static_cast<std::uint64_t>(table.size()));
  for (const Row* row : table.in_order()) mix(digest, *row);
}

}  // namespace

// Collects what does not hold, with the values.
class Ledger::Findings {
 public:
  template <class... Values>
  void require(bool holds, const char* fact, const Values&... values) {
    if (holds) return;
    std::ostringstream text;
    text << fact;
    ((text << " [" << values << "]"), ...);
    broken_.push_back(text.str());
  }
  std::vector<std::string> take() { return std::move(broken_); }

 private:
  std::vector<std::string> broken_;
};

std::vector<std::string> Ledger::check_invariants() const {
  Findings findings;
  check_accounts(findings, check_open_jobs(findings));
  for (const RememberedRequest& one : requests_.in_order())
    findings.require(
        one.request.id.unix_ms() >= core_.forgotten_before.ms || open_.get(one.job) != nullptr,
        "an id that is expired is remembered for an open job only", one.job);
  findings.require(std::cmp_equal(core_.blobs, holds_with_blobs().size()),
                   "open jobs with large requests are counted", core_.blobs);
  findings.require(std::cmp_less_equal(requests_.size(), bounds_.requests_max),
                   "no more ids are remembered than the maximum", requests_.size());
  findings.require(std::cmp_less_equal(refusals_.size(), bounds_.refusals_max),
                   "no more refusals are remembered than the maximum", refusals_.size());
  findings.require(std::cmp_less_equal(order_ids_.size(), bounds_.orders_remembered_max),
                   "no more orders are remembered than the maximum", order_ids_.size());
  std::vector<std::string> broken = findings.take();
  for (std::string& finding : orders_.check_invariants()) broken.push_back(std::move(finding));
  return broken;
}

// What each account's open jobs add up to, window by window.
std::map<AccountId, Account> Ledger::check_open_jobs(Findings& findings) const {
  std::map<AccountId, Account> sums;
  for (const OpenJob* job : open_.in_order()) {
    const Hold& hold = job->hold;
    const JobId id = hold.job;
    Account& sum = sums[hold.account];
    const auto same = [&hold](const Window& w) { return w.opened == hold.window_opened; };
    auto window = std::find_if(sum.windows.begin(), sum.windows.end(), same);
    if (window == sum.windows.end())
      window = sum.windows.insert(sum.windows.end(), {.opened = hold.window_opened});
    const Parts held = job->held();
    window->held += held.quota;
    window->open_holds += 1;
    sums[hold.credits_account()].credits_held += held.credits;
    findings.require(held.sum() <= cost_of(hold.declared, hold.factor),
                     "no more is held than the declared duration costs", id, held.sum());
    sum.open.push_back(id);
    const RememberedRequest* entry = requests_.find({hold.request, account_key(hold.account)});
    findings.require(id.value <= core_.sequence, "a job is its hold's record", id);
    findings.require(entry != nullptr && entry->job == id, "an open job's id is remembered", id);
    findings.require(hold.quota_part >= GpuTime{} && hold.credits_part >= GpuTime{},
                     "no part of a hold is negative", id);
    findings.require(accounts_.find(hold.account) == job->account, "a hold has its account", id);
  }
  return sums;
}

void Ledger::check_accounts(Findings& findings, const std::map<AccountId, Account>& sums) const {
  for (const AccountRow* row : accounts_.in_order()) {
    const AccountId& id = row->id;
    const Account& account = row->account;
    const auto found = sums.find(id);
    const Account sum = found == sums.end() ? Account{} : found->second;
    findings.require(account.open == sum.open, "an account knows its open holds", id);
    findings.require(account.credits_held == sum.credits_held,
                     "credits held is the sum of open holds", id, account.credits_held);
    findings.require(account.credits_held <= account.credits, "credits held are there", id);
    check_windows(findings, id, account.windows, sum);
  }
}

void Ledger::check_windows(Findings& findings, const AccountId& id, const Account::Windows& windows,
                           const Account& sum) {
  std::size_t matched = 0;
  for (const Window& window : windows) {
    const bool newest = &window == &windows.back();
    const auto same = [&window](const Window& w) { return w.opened == window.opened; };
    const auto it = std::find_if(sum.windows.begin(), sum.windows.end(), same);
    const Window expected = it == sum.windows.end() ? Window{} : *it;
    matched += it == sum.windows.end() ? 0 : 1;
    findings.require(window.held == expected.held, "held is the sum of open holds", id,
                     window.opened, window.held, expected.held);
    findings.require(window.open_holds == expected.open_holds, "open holds are counted", id);
    findings.require(window.used >= GpuTime{}, "used is not negative", id, window.used);
    findings.require(window.open_holds > 0 || (newest && window.used > GpuTime{}),
                     "a window without holds is the newest and was charged", id, window.opened);
    findings.require(newest || window.opened < (&window + 1)->opened, "windows are in order", id);
    findings.require(window.opened < window.ends, "a window ends after its opening", id);
  }
  findings.require(matched == sum.windows.size(), "every hold's window lives", id);
}

std::uint64_t Ledger::state_digest() const {
  std::uint64_t digest = 0;
  mix(digest, core_);
  mix_rows(digest, accounts_);
  mix_rows(digest, open_);
  for (const RememberedRequest& one : requests_.in_order()) mix(digest, one);
  for (const auto& [key, nothing] : anonymous_) {
    mix(digest, key.first);
    mix(digest, key.second);
  }
  mix(digest, orders_.digest());
  order_ids_.mix_into(digest);
  for (const LearnedRuns& row : learned_.rows()) mix(digest, row);
  return digest;
}

}  // namespace gpupool
