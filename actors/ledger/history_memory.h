#pragma once
// HistoryMemory: the HistoryStore for tests and the simulator, as plainly as it can be. It outlives
// the history that uses it, and fails on demand. One thread.

#include <map>
#include <utility>

#include "actors/ledger/history_store.h"

namespace gpupool {

class HistoryMemory final : public HistoryStore {
 public:
  // Every call from now on, or none.
  void set_failing(bool failing) { failing_ = failing; }

  Result<JournalTail> mark() override {
    if (failing_) return broken();
    return mark_;
  }

  Status turn(const HistoryPage& page) override {
    if (failing_) return broken();
    for (const HistoryJob& job : page.jobs) jobs_[job.receipt.job] = job;
    for (const AccountDay& day : page.days) {
      UsageDay& sum = days_[{day.account, day.usage.day}];
      sum.day = day.usage.day;
      sum.jobs += day.usage.jobs;
      sum.succeeded += day.usage.succeeded;
      sum.ran = sum.ran + day.usage.ran;
      sum.held += day.usage.held;
      sum.charged += day.usage.charged;
    }
    mark_ = page.mark;
    return ok();
  }

  Status clear() override {
    if (failing_) return broken();
    jobs_.clear();
    days_.clear();
    mark_ = {};
    return ok();
  }

  Result<std::vector<HistoryJob>> open_jobs() override {
    if (failing_) return broken();
    std::vector<HistoryJob> open;
    for (const auto& [id, job] : jobs_)
      if (job.receipt.outcome == Outcome{}) open.push_back(job);
    return open;
  }

  Result<std::optional<HistoryJob>> job(JobId job) override {
    if (failing_) return broken();
    const auto it = jobs_.find(job);
    return it == jobs_.end() ? std::nullopt : std::optional{it->second};
  }

  Result<std::vector<Receipt>> receipts(const AccountId& account, JobId before,
                                        std::size_t count) override {
    if (failing_) return broken();
    std::vector<Receipt> found;
    for (auto it = jobs_.rbegin(); it != jobs_.rend() && found.size() < count; ++it) {
      const Receipt& receipt = it->second.receipt;
      if (receipt.account == account && receipt.outcome != Outcome{} &&
          (!before || receipt.job < before))
        found.push_back(receipt);
    }
    return found;
  }

  Result<std::vector<UsageDay>> days(const AccountId& account, Instant since,
                                     std::size_t count) override {
    if (failing_) return broken();
    std::vector<UsageDay> found;
    for (auto it = days_.rbegin(); it != days_.rend() && found.size() < count; ++it)
      if (it->first.first == account && it->first.second >= since) found.push_back(it->second);
    return found;
  }

 private:
  static Error broken() {
    return {.code = Errc::history_unavailable, .detail = "the store failed (injected)"};
  }

  JournalTail mark_;
  std::map<JobId, HistoryJob> jobs_;
  std::map<std::pair<AccountId, Instant>, UsageDay> days_;
  bool failing_ = false;
};

}  // namespace gpupool
