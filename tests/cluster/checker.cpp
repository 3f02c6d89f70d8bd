#include "tests/cluster/checker.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <tuple>

#include "actors/request_id.h"

namespace gpupool::test {
namespace {

using RunName = std::pair<JobId, std::uint32_t>;

class Judge {
 public:
  Judge(const Evidence& evidence, const Bounds& bounds) : evidence_(evidence), bounds_(bounds) {
    for (const SeenRun& run : evidence.runs)
      (run.rank == 0 ? runs_ : helpers_)[{run.job, run.attempt}].push_back(&run);
    for (const HoldSettled& settled : evidence.settles) settles_[settled.job].push_back(&settled);
  }

  Verdict decide() {
    if (!evidence_.audit.empty()) differ("the audit found: ", evidence_.audit);
    for (const Asked& asked : evidence_.asked) look_at(asked);
    look_at_holds();
    look_at_slots();
    for (const auto& [account, receipts] : evidence_.receipts)
      for (const Receipt& receipt : receipts) look_at(account, receipt);
    for (const auto& [name, seen] : runs_) verdict_.lost_runs += charged_.contains(name) ? 0 : 1;
    return std::move(verdict_);
  }

 private:
  template <class... Parts>
  void differ(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    verdict_.differences.push_back(text.str());
  }

  static std::string name_of_request(const Asked& asked) {
    return "request " + format_request_id(asked.request) + " of " + asked.account.text;
  }

  // Every request has an end, and one job at most; an acknowledged one has exactly one receipt.
  void look_at(const Asked& asked) {
    const std::string name = name_of_request(asked);
    if (!asked.has_end()) differ(name, " has no end");
    if (asked.refused && !asked.receipts.empty()) differ(name, " was refused, and has a receipt");
    verdict_.refused += asked.refused ? 1 : 0;
    std::set<JobId> jobs(asked.jobs.begin(), asked.jobs.end());
    for (const Receipt& told : asked.receipts) jobs.insert(told.job);
    if (jobs.size() > 1) differ(name, " became ", jobs.size(), " jobs");
    std::vector<const Receipt*> kept;
    const auto page = evidence_.receipts.find(asked.account);
    if (page != evidence_.receipts.end())
      for (const Receipt& receipt : page->second)
        if (receipt.request == asked.request) kept.push_back(&receipt);
    if (!jobs.empty()) {
      ++verdict_.acknowledged;
      if (kept.size() != 1)
        differ(name, ", job ", jobs.begin()->value, ", was acknowledged and has ", kept.size(),
               " receipts");
    } else if (!kept.empty()) {
      differ(name, " was not acknowledged, and has a receipt");
    }
    for (const Receipt& told : asked.receipts)
      if (!kept.empty() &&
          std::tie(told.job, told.outcome, told.ran, told.charged) !=
              std::tie(kept[0]->job, kept[0]->outcome, kept[0]->ran, kept[0]->charged))
        differ(name, " was told another receipt than the one that is kept");
  }

  // Every hold is of a request that was asked and not refused, and was closed exactly once.
  void look_at_holds() {
    std::map<std::pair<AccountId, RequestId>, const Asked*> asked;
    for (const Asked& one : evidence_.asked) asked[{one.account, one.request}] = &one;
    std::set<std::pair<AccountId, RequestId>> held;
    for (const Hold& hold : evidence_.holds) {
      const auto found = asked.find({hold.account, hold.request});
      if (found == asked.end())
        differ("job ", hold.job, " was asked for by nobody");
      else if (found->second->refused)
        differ(name_of_request(*found->second), " was refused, and held as job ", hold.job);
      if (!held.insert({hold.account, hold.request}).second)
        differ("job ", hold.job, " is of a request that was held before");
      const auto closed = settles_.find(hold.job);
      const std::size_t times = closed == settles_.end() ? 0 : closed->second.size();
      if (times != 1) differ("the hold of job ", hold.job, " was settled ", times, " times");
    }
  }

  // No slot had two jobs at once. An executor that was killed leaves no end: then the lock, which
  // the kernel took back when it died, says whether the next one was alone.
  void look_at_slots() {
    std::map<std::pair<std::string, std::uint32_t>, std::vector<const SeenRun*>> slots;
    for (const SeenRun& run : evidence_.runs) slots[{run.node, run.device}].push_back(&run);
    for (auto& [slot, runs] : slots) {
      std::stable_sort(runs.begin(), runs.end(),
                       [](const SeenRun* a, const SeenRun* b) { return a->began < b->began; });
      for (std::size_t i = 0; i < runs.size(); ++i) {
        const bool overlaps = i > 0 && runs[i - 1]->ended && runs[i - 1]->ended > runs[i]->began;
        if (overlaps || !runs[i]->alone)
          differ("slot ", slot.second, " of ", slot.first, " had job ", runs[i]->job, " at ",
                 runs[i]->began, " beside ", i > 0 ? runs[i - 1]->job : JobId{});
      }
    }
  }

  // What is charged is the time of one run that really was, and nothing for the pool's fault.
  void look_at(const AccountId& account, const Receipt& receipt) {
    const bool is_known =
        std::any_of(evidence_.asked.begin(), evidence_.asked.end(), [&](const Asked& asked) {
          return asked.account == account && asked.request == receipt.request;
        });
    if (!is_known) differ("the receipt of job ", receipt.job, " is of no request");
    const auto settles = settles_.find(receipt.job);
    if (settles == settles_.end())
      return differ("the receipt of job ", receipt.job, " is on no record");
    const HoldSettled& settled = *settles->second.front();
    if (settled.charged_quota + settled.charged_credits != receipt.charged ||
        settled.outcome != receipt.outcome)
      differ("the receipt of job ", receipt.job, " is not what is on record");
    if (receipt.charged + receipt.given_back != receipt.held)
      differ("job ", receipt.job, ": charged and given back are not what was held");
    const bool is_faulty =
        receipt.outcome == Outcome::failed && receipt.cause != Errc::program_failed;
    const GpuTime cost =
        is_faulty ? GpuTime{} : std::min(receipt.held, cost_of(receipt.ran, receipt.factor));
    if (receipt.charged != cost)
      differ("job ", receipt.job, " ran ", receipt.ran, " x ", receipt.factor, " and was charged ",
             receipt.charged);
    if (receipt.charged.ms > 0 || receipt.outcome == Outcome::succeeded)
      compare_measures(receipt, {receipt.job, settled.attempt}, settled.node);
  }

  // The run that was charged against its executor's own measure of it.
  void compare_measures(const Receipt& receipt, const RunName& name, const std::string& node) {
    charged_.insert(name);
    ++verdict_.delivered;
    const auto seen = runs_.find(name);
    if (seen == runs_.end())
      return differ("job ", name.first, " was charged for attempt ", name.second,
                    ", which no executor ran");
    // A broker that died before its lease was on record leaves its number to the next one's: so two
    // nodes may have run it, and the receipt says which counts.
    std::vector<const SeenRun*> here;
    for (const SeenRun* one : seen->second)
      if (one->node == node) here.push_back(one);
    if (here.empty())
      return differ("job ", name.first, " ran on ", seen->second.front()->node,
                    ", its receipt says ", node);
    if (here.size() > 1)
      differ("attempt ", name.second, " of job ", name.first, " ran ", here.size(), " times");
    const SeenRun& run = *here.front();
    const auto helpers = helpers_.find(name);
    if (helpers != helpers_.end())
      verdict_.across +=
          std::any_of(helpers->second.begin(), helpers->second.end(),
                      [&](const SeenRun* helper) { return helper->node != run.node; });
    if (receipt.outcome == Outcome::succeeded && run.ending != "result")
      differ("job ", name.first, " succeeded, but its executor says \"", run.ending, "\"");
    if (!run.ended) return;  // it was killed, at its end or before it: nobody measured it but us
    // It is never charged beyond its end, whenever it then really ended.
    const Duration measured = std::min(run.ended - run.began, receipt.declared);
    const Duration apart = receipt.ran < measured ? measured - receipt.ran : receipt.ran - measured;
    const Duration paused = pauses_of(run);
    if (paused == Duration{}) verdict_.widest = std::max(verdict_.widest, apart);
    if (apart > bounds_.measures() + paused)
      differ("job ", name.first, " was charged for ", receipt.ran, ", its executor measured ",
             measured);
  }

  // How long the worker could not have noticed the beginning or the end of this run.
  Duration pauses_of(const SeenRun& run) const {
    Duration all{};
    for (const Pause& pause : evidence_.pauses) {
      if (pause.node != run.node) continue;
      if (pause.from <= run.ended + bounds_.measures() &&
          pause.until + bounds_.measures() >= run.began)
        all = all + (pause.until - pause.from);
    }
    return all;
  }

  const Evidence& evidence_;
  const Bounds& bounds_;
  std::map<RunName, std::vector<const SeenRun*>> runs_;     // rank 0's
  std::map<RunName, std::vector<const SeenRun*>> helpers_;  // the other ranks'
  std::map<JobId, std::vector<const HoldSettled*>> settles_;
  std::set<RunName> charged_;
  Verdict verdict_;
};

}  // namespace

Verdict judge(const Evidence& evidence, const Bounds& bounds) {
  return Judge{evidence, bounds}.decide();
}

std::vector<SeenRun> read_runs(const std::string& node, const std::string& lines,
                               std::vector<std::string>& differences) {
  std::vector<SeenRun> runs;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string what;
    std::string how;
    SeenRun run{.node = node};
    std::int64_t at = 0;
    if (!(words >> what >> run.job.value >> run.attempt >> run.rank >> run.device >> at >> how)) {
      differences.push_back("not a line of an executor on " + node + ": " + line);
      continue;
    }
    if (what == "began") {
      run.began = {at};
      run.alone = how == "alone";
      runs.push_back(run);
      continue;
    }
    const auto begun = std::find_if(runs.rbegin(), runs.rend(), [&](const SeenRun& one) {
      return std::tie(one.job, one.attempt, one.rank, one.device) ==
                 std::tie(run.job, run.attempt, run.rank, run.device) &&
             !one.ended;
    });
    if (begun == runs.rend()) {
      differences.push_back("an end without a beginning on " + node + ": " + line);
      continue;
    }
    begun->ended = {at};
    begun->ending = how;
  }
  return runs;
}

}  // namespace gpupool::test
