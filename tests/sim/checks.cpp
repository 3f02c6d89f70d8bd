#include "tests/sim/checks.h"

#include <algorithm>

#include "actors/ledger/blob.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool::sim {
namespace {

bool is_the_pools(Errc cause) {
  switch (cause) {
    case Errc::executor_crashed:
    case Errc::executor_stalled:
    case Errc::start_limit_missed:
    case Errc::node_lost:
    case Errc::device_failed:
    case Errc::result_not_stored:
    case Errc::ledger_unavailable:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Until the first terms are on record, the configuration's hold.
Checks::Checks(const Config& config) : config_(config), shadow_(config) {
  for (const TierConfig& tier : config.tiers)
    tiers_.push_back({tier.name, tier.allowance, tier.longest, tier.rank, tier.jobs_max});
}

void Checks::durable(const Record& record) {
  shadow_.apply(record);
  if (const auto* raised = std::get_if<EpochRaised>(&record.body)) enact(*raised);
  if (const auto* opened = std::get_if<HoldOpened>(&record.body))
    enact(*opened, record.at, record.sequence);
  if (const auto* noted = std::get_if<LeaseNoted>(&record.body)) enact(*noted);
  if (const auto* requeued = std::get_if<JobRequeued>(&record.body)) enact(*requeued);
  if (const auto* restated = std::get_if<PromiseRestated>(&record.body)) enact(*restated);
  if (const auto* settled = std::get_if<HoldSettled>(&record.body)) enact(*settled);
  if (const auto* extended = std::get_if<HoldExtended>(&record.body)) enact(*extended);
  if (const auto* granted = std::get_if<CreditsGranted>(&record.body)) enact(*granted);
  if (const auto* adjusted = std::get_if<QuotaAdjusted>(&record.body)) enact(*adjusted);
  if (const auto* set = std::get_if<TermsSet>(&record.body)) enact(*set);
  if (const auto* set = std::get_if<AccountTierSet>(&record.body)) enact(*set);
}

std::size_t Checks::large_requests() const {
  return static_cast<std::size_t>(std::count_if(
      jobs_.begin(), jobs_.end(), [](const auto& job) { return has_blob(job.second.hold); }));
}

void Checks::beside_the_records(const std::map<JobId, std::string>& requests) const {
  std::size_t expected = 0;
  for (const auto& [id, job] : jobs_) expected += !job.end && has_blob(job.hold) ? 1 : 0;
  require(requests.size() == expected, "large requests lie there while their jobs are open",
          requests.size(), expected);
  for (const auto& [id, request] : requests)
    require(blob_ref(request).hash == jobs_.at(id).hold->blob->hash, "a request is its hold's", id);
}

Checks::Job& Checks::open_job(JobId job) {
  const auto it = jobs_.find(job);
  require(it != jobs_.end(), "a record names a job that was admitted", job);
  require(!it->second.end, "a job's hold closes once, and nothing happens to it later", job);
  return it->second;
}

// Under another rule a window can open at the same moment and end at another one.
Checks::Sums Checks::sums_of(const AccountId& account, Instant window,
                             std::optional<Instant> ends) const {
  Sums sums;
  for (const auto& [id, job] : jobs_) {
    if (job.hold->account != account || job.hold->window_opened != window) continue;
    if (ends && job.hold->window_ends != *ends) continue;
    if (job.end)
      sums.used += job.end->charged_quota;
    else
      sums.held += job.quota;
  }
  const auto it = adjusted_.find({account, window});
  if (it != adjusted_.end() && (!ends || !it->second.ends || it->second.ends == *ends))
    sums.used += it->second.amount;
  return sums;
}

void Checks::enact(const EpochRaised& raised) {
  require(raised.epoch > epoch_, "epochs grow", raised.epoch, epoch_);
  epoch_ = raised.epoch;
}

void Checks::enact(const HoldOpened& opened, Instant at, std::uint64_t sequence) {
  const Hold& hold = opened.hold;
  require(hold.job.value == sequence, "a job is named by its record", hold.job, sequence);
  const auto [entry, is_new] = requests_.insert({{hold.account, hold.request}, hold.job});
  require(is_new, "a request id is admitted once", entry->second, hold.job);
  require(hold.window_opened <= at && at < hold.window_ends,
          "a hold belongs to a window that is open", hold.window_opened, at);
  const auto [ends, opens] = ends_.insert({{hold.account, hold.window_opened}, hold.window_ends});
  // A fixed window that was forgotten opens again where it stood, perhaps by another rule.
  if (!opens && sums_of(hold.account, hold.window_opened).held > GpuTime{})
    require(ends->second == hold.window_ends, "a window keeps its end", hold.job);
  ends->second = hold.window_ends;
  jobs_[hold.job] = {.hold = hold,
                     .promise = hold.promise,
                     .quota = hold.quota_part,
                     .credits = hold.credits_part};
  const AccountId& payer = hold.credits_account();
  credits_held_[payer] += hold.credits_part;
  require(credits_held_[payer] <= credits_[payer], "credits that are held are there", hold.job);
  require(payer == hold.account || may_share(payer, hold, at),
          "a group pays for its users, while it is on", hold.job, payer);
  shared_ += payer != hold.account && hold.credits_part > GpuTime{} ? 1U : 0U;
  ++open_count_;
  const TierTerms* tier = tier_of(hold);
  require(tier != nullptr, "a hold has a tier");
  const Sums sums = sums_of(hold.account, hold.window_opened, hold.window_ends);
  require(hold.quota_part == GpuTime{} || sums.used + sums.held <= tier->allowance,
          "used + held <= allowance at every hold with a quota part", hold.job, sums.used,
          sums.held, tier->allowance);
  require(hold.credits_part == GpuTime{} || sums.used + sums.held >= tier->allowance,
          "credits are taken when no quota is left", hold.job, sums.used, sums.held);
  const auto open = std::count_if(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    return entry.second.hold->account == hold.account && !entry.second.end;
  });
  require(open <= std::int64_t{tier->jobs_max}, "jobs_max is kept", hold.job, open);
}

const TierTerms* Checks::tier_of(const Hold& hold) const {
  const auto set = account_tiers_.find(hold.account);
  require(set == account_tiers_.end() || set->second == hold.tier,
          "a hold has the tier that an operator set", hold.job, hold.tier);
  const auto it = std::find_if(tiers_.begin(), tiers_.end(),
                               [&hold](const TierTerms& tier) { return tier.name == hold.tier; });
  return it == tiers_.end() ? nullptr : &*it;
}

void Checks::enact(const HoldExtended& extended) {
  Job& job = open_job(extended.job);
  const AccountId& account = job.hold->account;
  require(extended.number == ++job.extensions, "extensions are numbered", extended.job);
  require(extended.quota_part >= GpuTime{} && extended.credits_part >= GpuTime{},
          "an extension takes nothing back", extended.job);
  job.quota += extended.quota_part;
  job.credits += extended.credits_part;
  const AccountId& payer = job.hold->credits_account();
  credits_held_[payer] += extended.credits_part;
  require(job.quota + job.credits <= cost_of(job.hold->declared, job.hold->factor),
          "no more is held than the declared duration costs", extended.job);
  require(credits_held_[payer] <= credits_[payer], "credits that are held are there", extended.job);
  const auto tier = std::find_if(tiers_.begin(), tiers_.end(),
                                 [&](const TierTerms& one) { return one.name == extended.tier; });
  require(tier != tiers_.end() || extended.quota_part == GpuTime{}, "an extension has a tier");
  const Sums sums = sums_of(account, job.hold->window_opened, job.hold->window_ends);
  require(extended.quota_part == GpuTime{} || sums.used + sums.held <= tier->allowance,
          "used + held <= allowance at every extension", extended.job, sums.used, sums.held);
  ++extended_;
}

void Checks::enact(const CreditsGranted& granted) {
  require(orders_.insert(granted.id).second, "an order is carried out once", granted.account);
  GpuTime& credits = credits_[granted.account];
  require(granted.before == credits && granted.after == credits + granted.amount,
          "a grant says what was and is", granted.account, granted.before, credits);
  credits = granted.after;
  require(credits_held_[granted.account] <= credits, "what is held is never taken back",
          granted.account, credits);
}

void Checks::enact(const QuotaAdjusted& adjusted) {
  require(orders_.insert(adjusted.id).second, "an order is carried out once", adjusted.account);
  const GpuTime used = sums_of(adjusted.account, adjusted.window_opened).used;
  require(adjusted.before == used && adjusted.after == used + adjusted.amount &&
              adjusted.after >= GpuTime{},
          "an adjustment says what was and is", adjusted.account, adjusted.before, used);
  Adjusted& all = adjusted_[{adjusted.account, adjusted.window_opened}];
  all.amount += adjusted.amount;
  if (const auto window = ends_.find({adjusted.account, adjusted.window_opened});
      window != ends_.end())
    all.ends = window->second;
}

// Sometimes one that is known, or one that is beyond what may be held.
Extend Checks::next_extension(std::uint64_t draw) const {
  std::vector<const Job*> open;
  for (const auto& [id, job] : jobs_)
    if (!job.end) open.push_back(&job);
  if (open.empty()) return {};
  const Job& job = *open[draw % open.size()];
  const bool is_known = job.extensions > 0 && draw / 64 % 4 == 0;
  return {.epoch = epoch_,
          .job = job.hold->job,
          .number = job.extensions + (is_known ? 0 : 1),
          .by = {static_cast<std::int64_t>(draw / 256 % 4'000)}};
}

void Checks::enact(const TermsSet& set) {
  require(!set.changes.empty(), "a record of terms changes something");
  tiers_ = set.tiers;
}

void Checks::enact(const AccountTierSet& set) {
  account_tiers_[set.account] = set.tier;
  if (set.tier.empty()) account_tiers_.erase(set.account);
}

void Checks::enact(const LeaseNoted& noted) { open_job(noted.job); }

void Checks::enact(const JobRequeued& requeued) {
  Job& job = open_job(requeued.job);
  job.requeues += 1;
  require(job.requeues < limits::attempts_max, "a job runs again a bounded number of times",
          requeued.job);
  require(!is_external(job.hold) || requeued.cause == Errc::lease_refused,
          "a caller's own process never runs again", requeued.job,
          gpupool::name_of(requeued.cause));
  job.promise = requeued.promise;
}

void Checks::enact(const PromiseRestated& restated) {
  Job& job = open_job(restated.job);
  require(!restated.reason.empty(), "a promise is restated with a reason", restated.job);
  job.promise = restated.promise;
  ++restated_;
}

void Checks::enact(const HoldSettled& settled) {
  Job& job = open_job(settled.job);
  const Hold& hold = job.hold;
  const GpuTime charged = settled.charged_quota + settled.charged_credits;
  require(settled.charged_quota >= GpuTime{} && settled.charged_quota <= job.quota &&
              settled.charged_credits >= GpuTime{} && settled.charged_credits <= job.credits,
          "nothing is charged beyond its hold", settled.job, charged);
  require(settled.charged_credits == GpuTime{} || settled.charged_quota == job.quota,
          "credits are charged after the quota part", settled.job, settled.charged_credits);
  require(charged == std::min(job.quota + job.credits, cost_of(settled.ran, hold.factor)),
          "charged = min(held, actual x factor)", settled.job, charged, settled.ran);
  require(!is_the_pools(settled.cause) || charged == GpuTime{}, "the pool's fault is free",
          settled.job, gpupool::name_of(settled.cause), charged);
  // One that began may not have another attempt at all.
  const bool is_command = config_.app(hold.body->app)->executor == ExecutorKind::command;
  require(settled.outcome != Outcome::failed || !is_the_pools(settled.cause) ||
              job.requeues == limits::attempts_max - 1 || is_command || is_external(hold),
          "a job fails by the pool's fault after its last attempt only", settled.job, job.requeues);
  require(began_.contains(settled.job) || charged == GpuTime{}, "what never ran is free",
          settled.job, charged);
  require(!settled.node.empty() || charged == GpuTime{}, "a receipt names its node", settled.job,
          charged);
  const bool gives_result = config_.app(hold.body->app)->executor == ExecutorKind::diffusion;
  if (settled.outcome == Outcome::succeeded && gives_result) {
    const auto result = results_.find(settled.result->hash);
    require(result != results_.end(), "a job succeeds with a result that some run gave",
            settled.job, settled.result->hash);
    require(result->second.job == settled.job && result->second.attempt == settled.attempt,
            "a receipt names the run that was delivered", settled.job, settled.attempt);
    // A hold that grows may end sooner, by what its worker had heard.
    const Duration least = std::min(result->second.ran, result->second.held);
    require(settled.ran <= result->second.ran && settled.ran >= least,
            "the delivered run is the one charged", settled.job, settled.ran, result->second.ran);
  }
  credits_held_[hold.credits_account()] -= job.credits;
  credits_[hold.credits_account()] -= settled.charged_credits;
  job.end = settled;
  --open_count_;
}

void Checks::replayed(const Ledger& ledger) const {
  require(ledger.state_digest() == shadow_.state_digest(),
          "a restart's state is the fold of the journal", ledger.last_sequence(),
          shadow_.last_sequence());
}

void Checks::compare(Instant now, const Ledger& ledger) const {
  for (const std::string& finding : ledger.check_invariants())
    require(false, "ledger invariant", finding);
  require(ledger.state_digest() == shadow_.state_digest(), "journal replay equals live state",
          ledger.last_sequence(), shadow_.last_sequence());
  std::set<AccountId> seen;
  for (const auto& [id, job] : jobs_) {
    if (!seen.insert(job.hold->account).second) continue;
    const Balance balance = ledger.balance(now, job.hold->account, job.hold->tier);
    const auto amount = [&](const auto& table) {
      const auto it = table.find(job.hold->account);
      return it == table.end() ? GpuTime{} : it->second;
    };
    require(balance.credits == amount(credits_) && balance.credits_held == amount(credits_held_),
            "credits are the sum of the journal", job.hold->account, balance.credits);
    if (!balance.window_opened) continue;
    const Sums sums = sums_of(job.hold->account, balance.window_opened, balance.resets_at);
    require(balance.used == sums.used && balance.held == sums.held,
            "a balance is the sum of the journal", job.hold->account, balance.used, sums.used,
            balance.held, sums.held);
    require(balance.left == std::max(GpuTime{}, balance.allowance - sums.used - sums.held),
            "left = max(0, allowance - used - held)", job.hold->account, balance.left);
  }
}

void Checks::compare(HistoryStore& history) const {
  std::map<AccountId, GpuTime> charged;
  for (const auto& [id, job] : jobs_) {
    const auto known = history.job(id);
    require(known && *known, "the history has every job", id);
    const Receipt& receipt = (*known)->receipt;
    require(job.end && receipt.outcome == job.end->outcome && receipt.ran == job.end->ran &&
                receipt.charged == job.end->charged_quota + job.end->charged_credits,
            "a receipt of the history is the settle of the journal", id);
    charged[receipt.account] += receipt.charged;
  }
  for (const auto& [account, total] : charged) {
    const auto days = history.days(account, {}, 1'000);
    require(bool{days}, "the history has days");
    GpuTime sum;
    for (const UsageDay& day : *days) sum += day.charged;
    require(sum == total, "the days of an account add up to its receipts", account, sum, total);
  }
}

void Checks::broker_sent(Instant, const ToLedger& message) {
  if (const auto* restate = std::get_if<Restate>(&message))
    promised_anew_[restate->job] = std::max(promised_anew_[restate->job], restate->promise);
}

// A node's slots speak with one voice: what a job has there is reported whole or not at all.
void Checks::check_reports(NodeId node, const std::vector<SlotReport>& reports) {
  std::map<RunName, std::set<SlotIndex>> held;
  for (const SlotReport& report : reports)
    if (report.job) held[{report.job, report.attempt}].insert(report.slot);
  for (const auto& [run, slots] : held) {
    bool as_leased = false;
    for (const auto& [epoch, leased] : leased_[run])
      as_leased = as_leased || (leased.slots.contains(node) && leased.slots.at(node) == slots);
    require(as_leased, "a run has all the slots of its lease", node, run.first, run.second,
            slots.size());
  }
}

// What helped a run on another node says itself that it is there for it no more.
void Checks::check_vacated(NodeId node, const std::vector<SlotReport>& reports) {
  for (const SlotReport& report : reports) {
    const auto held = occupied_.find({node, report.slot});
    if (held == occupied_.end() || !held->second.helps) continue;
    const RunName says{report.job, report.attempt};
    require(report.state == SlotState::held || says != held->second.run,
            "what helps another node is held, whatever its rank does", node, report.slot);
    if (says != held->second.run) occupied_.erase(held);
  }
}

void Checks::executors_told(NodeId node, const ToExecutors& message) {
  const auto* start = std::get_if<StartRun>(&message);
  if (!start) return;
  const RunName run{start->job, start->attempt};
  const Leased* leased = nullptr;
  for (const auto& [epoch, one] : leased_[run])
    if (one.slots.contains(node) && one.slots.at(node).contains(start->slot)) leased = &one;
  require(leased != nullptr, "a run has a lease of its slot", node, start->job, start->slot);
  std::size_t slots = 0;
  for (const auto& [one, its] : leased->slots) slots += its.size();
  require(slots == jobs_.at(start->job).hold->slots, "the leases have all the slots of their job",
          start->job, slots);
  gang_runs_ += slots > 1 && start->rank == 0 ? 1U : 0U;
  runs_across_nodes_ += leased->slots.size() > 1 && start->rank == 0 ? 1U : 0U;
  runs_of_ranks_ += start->ranks > 1 && start->rank == 0 ? 1U : 0U;
  const bool is_alone = config_.app(start->app)->executor == ExecutorKind::command;
  require(start->rank < start->ranks && start->ranks == (is_alone ? 1 : slots),
          "each slot of a run is a rank, but of a command's", start->job, start->rank,
          start->ranks);
  const bool helps = leased->helping.contains(node);
  require(!helps || start->rank > 0, "rank 0 is on the node that runs the job", node, start->job);
  // A broker that died can have given the name to other slots before.
  if (start->rank == 0)
    helpers_.erase({node, start->slot, run});
  else
    helpers_.insert({node, start->slot, run});
  for (const SlotIndex slot : leased->slots.at(node)) {
    const auto [entry, is_free] = occupied_.insert({{node, slot}, {run, helps}});
    require(is_free || entry->second.run == run, "no two leases share a slot", node, slot,
            start->job, entry->second.run.first);
  }
}

bool Checks::is_external(const Hold& hold) const {
  return config_.app(hold.body->app)->executor == ExecutorKind::external;
}

bool Checks::may_share(const AccountId& payer, const Hold& hold, Instant at) const {
  return std::any_of(config_.groups.begin(), config_.groups.end(), [&](const GroupConfig& group) {
    return group.account() == payer.text && group.has(hold.account.text) && group.is_on(at);
  });
}

// A grant stands on a lease of all its slots, each of which is this run's alone until its end.
void Checks::worker_granted(const RunGranted& granted) {
  const RunName run{granted.job, granted.attempt};
  require(jobs_.contains(granted.job) && is_external(jobs_.at(granted.job).hold),
          "a grant is of an external job", granted.job);
  const auto& grant = granted.grant;
  require(!grant->token.empty() && !grant->device.empty(), "a grant says where and how");
  if (!grants_.insert({granted.node, grant->token}).second) return;
  warm_grants_ += grant->idle ? 1U : 0U;
  ++grants_made_;
  std::set<SlotIndex> slots;
  for (const auto& [epoch, one] : leased_[run])
    if (one.slots.contains(granted.node) && one.slots.at(granted.node).contains(grant->slot))
      slots = one.slots.at(granted.node);
  require(slots.size() == jobs_.at(granted.job).hold->slots, "a grant has a lease of its slots",
          granted.job, slots.size());
  for (const SlotIndex slot : slots) {
    const auto [entry, is_free] = occupied_.insert({{granted.node, slot}, {run, false}});
    require(is_free || entry->second.run == run, "no two leases share a slot", granted.node, slot,
            granted.job, entry->second.run.first);
  }
}

void Checks::worker_sent(const ToBroker& message) {
  if (const auto* granted = std::get_if<RunGranted>(&message)) worker_granted(*granted);
  const auto* began = std::get_if<RunBegan>(&message);
  if (began && jobs_.contains(began->job) && is_external(jobs_.at(began->job).hold))
    began_.insert(began->job);
  const auto hear = [this](NodeId node, const std::vector<SlotReport>& reports) {
    check_reports(node, reports);
    check_vacated(node, reports);
  };
  if (const auto* join = std::get_if<Join>(&message)) hear(join->node, join->slots);
  if (const auto* beat = std::get_if<Heartbeat>(&message)) hear(beat->node, beat->slots);
  const auto* ended = std::get_if<RunEnded>(&message);
  if (ended != nullptr)
    std::erase_if(occupied_, [&](const auto& entry) {
      return entry.first.first == ended->node &&
             entry.second.run == RunName{ended->job, ended->attempt};
    });
  if (ended != nullptr && ended->outcome == Outcome::succeeded)
    succeeded_.insert({ended->node, ended->job, ended->attempt});
}

void Checks::broker_sent(Instant now, NodeId to, const ToWorker& message) {
  if (const auto* lease = std::get_if<Lease>(&message)) {
    const auto it = jobs_.find(lease->job);
    require(it != jobs_.end(), "a lease stands on a durable hold", lease->job);
    if (it->second.end) return;  // it ended in doubt, and this broker does not know yet
    Leased& leased = leased_[{lease->job, lease->attempt}][lease->epoch];
    std::set<SlotIndex>& slots = leased.slots[to];
    slots = {lease->more_slots.begin(), lease->more_slots.end()};
    slots.insert(lease->slot);
    if (lease->runs_on) leased.helping.insert(to);
    require(lease->epoch <= epoch_, "an epoch is durable before its first lease", lease->epoch);
    const Duration may = lease->held > Duration{} ? lease->held : lease->declared;
    check_may_run(lease->job, may);
    first_held_.insert({{to, {lease->job, lease->attempt}}, may});
    const Hold& hold = it->second.hold;
    const std::string request = pack(*lease->body);
    require(
        has_blob(hold) ? blob_ref(request).hash == hold.blob->hash : request == pack(*hold.body),
        "what is leased is what was asked for, to the byte", lease->job);
    // Not the copies of a lease, nor of one that a later broker found and took up.
    if (!leases_.insert({lease->job, lease->attempt}).second) return;
    const Instant promise = std::max(it->second.promise, promised_anew_[lease->job]);
    require(now <= promise, "no lease is later than promised", lease->job, lease->attempt, now,
            promise, "late by ms", (now - promise).ms);
  }
  if (const auto* extend = std::get_if<ExtendRun>(&message))
    if (is_open(extend->job)) check_may_run(extend->job, extend->held);
  if (const auto* seen = std::get_if<EndSeen>(&message)) {
    require(!is_open(seen->job) || !succeeded_.contains({to, seen->job, seen->attempt}),
            "a worker keeps a result until its job's end is durable", seen->job, seen->attempt);
  }
}

void Checks::check_may_run(JobId id, Duration held) const {
  const Job& job = jobs_.at(id);
  require(held <= job.hold->declared && cost_of(held, job.hold->factor) <= job.quota + job.credits,
          "a run may last as long as is held for it, and no longer", id, held);
}

void Checks::executor_said(Instant now, NodeId node, const ToWorker& message) {
  const auto* began = std::get_if<ExecutorBegan>(&message);
  if (began && occupied_.contains({node, began->slot}) && occupied_.at({node, began->slot}).helps)
    ++runs_of_ranks_elsewhere_;
  if (began && !helpers_.contains({node, began->slot, {began->job, began->attempt}})) {
    began_.insert(began->job);
    began_at_[{node, began->job, began->attempt}] = now;
  }
  if (const auto* done = std::get_if<ExecutorDone>(&message); done && !done->result.hash.empty()) {
    const auto began = began_at_.find({node, done->job, done->attempt});
    require(began != began_at_.end() && jobs_.contains(done->job), "what ended had begun", node,
            done->job);
    const Hold& hold = *jobs_.at(done->job).hold;
    // A command's executor says itself how long it ran.
    const bool tells = config_.app(hold.body->app)->executor == ExecutorKind::command;
    const Duration ran = std::min(tells ? done->ran : now - began->second, hold.declared);
    const auto held = first_held_.find({node, {done->job, done->attempt}});
    results_[done->result.hash] = {done->job, done->attempt, ran,
                                   held == first_held_.end() ? Duration{} : held->second};
  }
}

void Checks::client_told(const JobEvent& event) {
  const auto it = jobs_.find(event.job);
  require(it != jobs_.end(), "a client hears of durable holds only", event.job);
  require(it->second.hold->request == event.request, "an event names its request", event.job);
  told_.insert(event.job);
}

void Checks::client_told(const JobDone& done) const {
  const Receipt& receipt = done.receipt;
  const auto it = jobs_.find(receipt.job);
  require(it != jobs_.end() && it->second.end, "a client gets receipts of durable ends only",
          receipt.job);
  const HoldSettled& end = *it->second.end;
  require(
      receipt.charged == end.charged_quota + end.charged_credits && receipt.outcome == end.outcome,
      "a receipt says what the journal says", receipt.job, receipt.charged);
  require(receipt.charged + receipt.given_back == receipt.held, "charged + given back = held",
          receipt.job);
}

}  // namespace gpupool::sim
