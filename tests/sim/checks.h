#pragma once
// What must hold in every simulation, each from its own definition and not from the code under
// test: an obvious fold of the durable records, the executors' own account of what ran, and what
// clients were told. A broken check throws Broken, which the world turns into a failure with its
// seed.

#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "actors/ledger/history_store.h"
#include "actors/ledger/journal.h"
#include "actors/ledger/ledger.h"

namespace gpupool::sim {

struct Broken {
  std::string what;
};

template <class... Values>
void require(bool holds, const char* fact, const Values&... values) {
  if (holds) return;
  std::ostringstream text;
  text << "broken: " << fact;
  ((text << " [" << values << "]"), ...);
  throw Broken{text.str()};
}

class Checks {
 public:
  explicit Checks(const Config& config);

  // A record is in the journal now, whether or not its writer knows.
  void durable(const Record& record);
  // What the journal has beside its records after every append.
  void beside_the_records(const std::map<JobId, std::string>& requests) const;
  // The process that restarted read this back.
  void replayed(const Ledger& ledger) const;
  // Nothing is being written: the ledger equals the fold of its journal, and balances add up.
  void compare(Instant now, const Ledger& ledger) const;
  // The history's receipts and days are what the journal says.
  void compare(HistoryStore& history) const;

  void broker_sent(Instant now, const ToLedger& message);
  void broker_sent(Instant now, NodeId to, const ToWorker& message);
  void worker_sent(const ToBroker& message);
  void executors_told(NodeId node, const ToExecutors& message);

  // The executors' own account.
  void executor_said(Instant now, NodeId node, const ToWorker& message);
  // What it had not reported yet is lost with it.
  void worker_died(NodeId node) {
    std::erase_if(succeeded_, [&](const auto& run) { return std::get<NodeId>(run) == node; });
    std::erase_if(occupied_, [&](const auto& entry) { return entry.first.first == node; });
  }

  void client_told(const JobEvent& event);
  void client_told(const JobDone& done) const;

  bool is_open(JobId job) const { return jobs_.contains(job) && !jobs_.at(job).end; }
  std::size_t open_count() const { return open_count_; }
  std::size_t job_count() const { return jobs_.size(); }
  std::size_t restated_count() const { return restated_; }
  // The next extension of an open job, chosen by `draw`; job 0: there is none.
  Extend next_extension(std::uint64_t draw) const;
  std::size_t extended_count() const { return extended_; }
  std::size_t gang_runs() const { return gang_runs_; }
  std::size_t runs_of_ranks() const { return runs_of_ranks_; }
  std::size_t runs_of_ranks_elsewhere() const { return runs_of_ranks_elsewhere_; }
  std::size_t runs_across_nodes() const { return runs_across_nodes_; }
  std::size_t grants_made() const { return grants_made_; }
  std::size_t warm_grants() const { return warm_grants_; }
  std::size_t shared_credits() const { return shared_; }
  std::size_t large_requests() const;
  std::vector<JobId> told_of() const { return {told_.begin(), told_.end()}; }

 private:
  struct Job {
    Shared<Hold> hold;
    Instant promise{};
    std::int64_t requeues = 0;
    std::optional<HoldSettled> end;
    GpuTime quota;  // held, extensions included
    GpuTime credits;
    std::uint32_t extensions = 0;
  };
  struct Result {
    JobId job;
    std::uint32_t attempt = 0;
    Duration ran{};
    Duration held{};  // of that, at least
  };
  struct Sums {
    GpuTime used;
    GpuTime held;
  };

  void enact(const EpochRaised& raised);
  void enact(const HoldOpened& opened, Instant at, std::uint64_t sequence);
  void enact(const LeaseNoted& noted);
  void enact(const JobRequeued& requeued);
  void enact(const PromiseRestated& restated);
  void enact(const HoldSettled& settled);
  void enact(const HoldExtended& extended);
  void enact(const CreditsGranted& granted);
  void enact(const QuotaAdjusted& adjusted);
  void enact(const TermsSet& set);
  void enact(const AccountTierSet& set);
  Job& open_job(JobId job);
  Sums sums_of(const AccountId& account, Instant window, std::optional<Instant> ends = {}) const;
  const TierTerms* tier_of(const Hold& hold) const;

  const Config& config_;
  Ledger shadow_;
  Epoch epoch_;
  std::vector<TierTerms> tiers_;  // those that hold now
  std::map<AccountId, std::string> account_tiers_;
  std::map<AccountId, GpuTime> credits_;  // granted, and not charged
  std::map<AccountId, GpuTime> credits_held_;
  // By the window's opening. A fixed one that is over can open again there with another end.
  struct Adjusted {
    GpuTime amount;
    Instant ends{};  // of the window; 0: not known
  };
  std::map<std::pair<AccountId, Instant>, Adjusted> adjusted_;
  std::map<std::pair<AccountId, Instant>, Instant> ends_;  // of windows, by their opening
  std::set<RequestId> orders_;
  std::map<JobId, Job> jobs_;
  std::size_t open_count_ = 0;
  std::size_t restated_ = 0;
  std::size_t extended_ = 0;
  std::size_t gang_runs_ = 0;
  std::size_t runs_across_nodes_ = 0;
  std::size_t runs_of_ranks_ = 0;
  std::size_t runs_of_ranks_elsewhere_ = 0;  // of them, that began on a node that helps
  std::map<std::pair<AccountId, RequestId>, JobId> requests_;
  std::map<JobId, Instant> promised_anew_;  // restated by the broker, maybe not durable yet
  std::set<std::pair<JobId, std::uint32_t>> leases_;
  std::set<std::tuple<NodeId, JobId, std::uint32_t>> succeeded_;  // as their workers said
  using RunName = std::pair<JobId, std::uint32_t>;
  void check_reports(NodeId node, const std::vector<SlotReport>& reports);
  void check_vacated(NodeId node, const std::vector<SlotReport>& reports);
  // A broker that died before its lease was on record can have used a run's name for other slots.
  struct Leased {
    std::map<NodeId, std::set<SlotIndex>> slots;
    std::set<NodeId> helping;  // nodes that another one runs it for
  };
  std::map<RunName, std::map<Epoch, Leased>> leased_;
  std::set<std::tuple<NodeId, SlotIndex, RunName>> helpers_;  // ranks above 0
  struct Occupied {
    RunName run;
    bool helps = false;  // another node: then no end of the run is heard of here
  };
  std::map<std::pair<NodeId, SlotIndex>, Occupied> occupied_;  // from a run's start to its end
  void check_may_run(JobId job, Duration held) const;
  bool is_external(const Hold& hold) const;
  bool may_share(const AccountId& payer, const Hold& hold, Instant at) const;
  void worker_granted(const RunGranted& granted);
  std::set<std::pair<NodeId, std::string>> grants_;  // by their tokens
  std::size_t shared_ = 0;                           // holds that took credits of a group
  std::size_t grants_made_ = 0;
  std::size_t warm_grants_ = 0;                                // of them
  std::map<std::pair<NodeId, RunName>, Duration> first_held_;  // as their leases said
  std::set<JobId> began_;
  std::map<std::tuple<NodeId, JobId, std::uint32_t>, Instant> began_at_;
  std::map<std::string, Result> results_;
  std::set<JobId> told_;  // whose holds some client knows
};

}  // namespace gpupool::sim
