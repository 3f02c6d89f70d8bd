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

template <class Table>
void mix_table(std::uint64_t& digest, const Table& table) {
  mix(digest, static_cast<std::uint64_t>(table.size()));
  for (const auto* row : table.in_order()) {
    mix(digest, row->first);
    mix(digest, row->second);
  }
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
  check_receipts(findings);
  for (const auto& [key, entry] : requests_)
    findings.require(open_.find(entry.job) != nullptr || closed_.find(entry.job) != nullptr,
                     "a remembered id has a job or a receipt", entry.job);
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
  for (const auto* row : open_.in_order()) {
    const JobId id = row->first;
    const Hold& hold = row->second.hold;
    Account& sum = sums[hold.account];
    const auto same = [&hold](const Window& w) { return w.opened == hold.window_opened; };
    auto window = std::find_if(sum.windows.begin(), sum.windows.end(), same);
    if (window == sum.windows.end())
      window = sum.windows.insert(sum.windows.end(), {.opened = hold.window_opened});
    const Parts held = row->second.held();
    window->held += held.quota;
    window->open_holds += 1;
    sum.credits_held += held.credits;
    findings.require(held.sum() <= cost_of(hold.declared, hold.factor),
                     "no more is held than the declared duration costs", id, held.sum());
    sum.open.push_back(id);
    const RequestEntry* entry = requests_.find({hold.request, hold.account});
    findings.require(hold.job == id && id.value <= core_.sequence, "a job is its hold's record",
                     id);
    findings.require(entry != nullptr && entry->job == id, "an open job's id is remembered", id);
    findings.require(hold.quota_part >= GpuTime{} && hold.credits_part >= GpuTime{},
                     "no part of a hold is negative", id);
    findings.require(closed_.find(id) == nullptr, "a hold is open or closed", id);
    findings.require(accounts_.find(hold.account) != nullptr, "a hold has an account", id);
  }
  return sums;
}

void Ledger::check_accounts(Findings& findings, const std::map<AccountId, Account>& sums) const {
  for (const auto& [id, account] : accounts_) {
    const auto found = sums.find(id);
    const Account sum = found == sums.end() ? Account{} : found->second;
    findings.require(account.open == sum.open, "an account knows its open holds", id);
    findings.require(account.credits_held == sum.credits_held,
                     "credits held is the sum of open holds", id, account.credits_held);
    findings.require(account.credits_held <= account.credits, "credits held are there", id);
    findings.require(std::cmp_less_equal(account.closed_count, bounds_.receipts_per_account_max),
                     "an account lists no more receipts than its maximum", id);
    check_windows(findings, id, account.windows, sum);
    const std::vector<JobId> listed = listed_receipts(account);
    findings.require(
        listed.size() == account.closed_count &&
            (listed.empty() ? !account.newest_closed : listed.back() == account.newest_closed),
        "the chain of an account's receipts is whole", id);
    for (const JobId job : listed) {
      const ClosedJob* closed = closed_.find(job);
      findings.require(closed != nullptr && closed->listed && closed->receipt->account == id,
                       "a listed receipt is there", id, job);
    }
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

void Ledger::check_receipts(Findings& findings) const {
  std::size_t listed = 0;
  for (const auto& [id, closed] : closed_) {
    const Receipt& receipt = closed.receipt;
    findings.require(receipt.charged + receipt.given_back == receipt.held,
                     "charged + given back = held", id);
    findings.require(receipt.charged >= GpuTime{} && receipt.given_back >= GpuTime{},
                     "charged is between 0 and held", id, receipt.charged, receipt.held);
    findings.require(
        receipt.charged_credits >= GpuTime{} && receipt.charged_credits <= receipt.held_credits &&
            receipt.charged_credits <= receipt.charged && receipt.held_credits <= receipt.held,
        "a receipt's credits are a part of it", id);
    findings.require(closed.listed || closed.id_known, "a kept receipt can be asked for", id);
    const Account* account = accounts_.find(receipt.account);
    // Each account's chain was checked to hold listed ones only; here, that none is outside.
    findings.require(!closed.listed || account != nullptr, "a listed receipt has an account", id);
    listed += closed.listed ? 1 : 0;
    const RequestEntry* entry = requests_.find({receipt.request, receipt.account});
    findings.require(closed.id_known == (entry != nullptr && entry->job == id),
                     "a receipt knows whether its id is remembered", id);
  }
  std::size_t in_chains = 0;
  for (const auto& [id, account] : accounts_) in_chains += account.closed_count;
  findings.require(listed == in_chains, "every listed receipt is in its account's chain", listed,
                   in_chains);
}

std::uint64_t Ledger::state_digest() const {
  std::uint64_t digest = 0;
  mix(digest, core_);
  mix_table(digest, accounts_);
  mix_table(digest, open_);
  mix_table(digest, closed_);
  mix_table(digest, requests_);
  for (const auto& [key, nothing] : anonymous_) {
    mix(digest, key.first);
    mix(digest, key.second);
  }
  mix(digest, orders_.digest());
  order_ids_.mix_into(digest);
  return digest;
}

}  // namespace gpupool
