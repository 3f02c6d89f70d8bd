// The state as the fold of its records. Nothing here may refuse: what a record says has happened.

#include <algorithm>

#include "actors/ledger/ledger.h"

namespace gpupool {

void Ledger::apply(const Record& record) {
  GPUPOOL_ENSURE(record.sequence == core_.sequence + 1, record.sequence, core_.sequence);
  GPUPOOL_ENSURE(record.at >= core_.at, record.at, core_.at);
  core_.sequence = record.sequence;
  core_.at = record.at;
  forget_expired_ids(record.at);
  drop_ended_anonymous(record.at);
  orders_.pass(record.at);
  order_ids_.pass(record.at);
  std::visit([&](const auto& body) { enact(body, record.at); }, record.body);
}

void Ledger::enact(const EpochRaised& raised, Instant) {
  GPUPOOL_ENSURE(raised.epoch > core_.epoch, raised.epoch, core_.epoch);
  core_.epoch = raised.epoch;
}

void Ledger::enact(const HoldOpened& opened, Instant at) {
  const Hold& hold = opened.hold;
  GPUPOOL_ENSURE(hold.job.value == core_.sequence, hold.job, core_.sequence);
  Account& account = accounts_.change(hold.account);
  const Instant ended_before = account.last_ends;
  account.open_hold(hold, end_of_window(hold));
  if (!opened.token_tier.empty()) account.tier = opened.token_tier;
  if (is_anonymous(hold.account) && account.last_ends != ended_before) {
    if (anonymous_.find({ended_before, hold.account}) != nullptr)
      anonymous_.remove({ended_before, hold.account});
    anonymous_.change({account.last_ends, hold.account});
  }
  requests_.change({hold.request, hold.account}) = {.body_hash = hold.body_hash, .job = hold.job};
  const Window& window = account.window_of(hold);
  OpenJob& job = open_.change(hold.job);
  job.hold = hold;
  job.promise = hold.promise;
  job.story = remember(*job.story, {.at = at,
                                    .kind = MomentKind::admitted,
                                    .promise = hold.promise,
                                    .used = window.used,
                                    .held = window.held,
                                    .amount = hold.quota_part + hold.credits_part,
                                    .credits = hold.credits_part,
                                    .words = hold.recognised_by});
}

void Ledger::enact(const LeaseNoted& noted, Instant at) {
  OpenJob& job = open_.change(noted.job);
  job.attempt = noted.attempt;
  job.leased = true;
  job.leased_at = at;
  job.node = noted.node;
  job.node_name = noted.node_name;
  const std::string node =
      noted.node_name.empty() ? "node " + std::to_string(noted.node.value) : noted.node_name;
  job.story = remember(
      *job.story, {.at = at, .kind = MomentKind::leased, .attempt = noted.attempt, .words = node});
}

void Ledger::enact(const JobRequeued& requeued, Instant at) {
  OpenJob& job = open_.change(requeued.job);
  job.attempt = std::max(job.attempt, requeued.attempt);
  job.requeued = requeued.attempt;
  job.losses += 1;
  job.leased = false;
  if (requeued.promise) job.promise = requeued.promise;
  job.story = remember(*job.story, {.at = at,
                                    .kind = MomentKind::requeued,
                                    .attempt = requeued.attempt,
                                    .cause = requeued.cause,
                                    .promise = requeued.promise,
                                    .words = requeued.detail});
}

void Ledger::enact(const PromiseRestated& restated, Instant at) {
  OpenJob& job = open_.change(restated.job);
  job.promise = restated.promise;
  job.story = remember(*job.story, {.at = at,
                                    .kind = MomentKind::restated,
                                    .promise = restated.promise,
                                    .words = restated.reason});
}

void Ledger::enact(const HoldSettled& settled, Instant at) {
  const OpenJob& job = open_.remove(settled.job);
  const Hold& hold = job.hold;
  Account& account = accounts_.change(hold.account);
  account.close_hold(
      hold, {.held = job.held(), .charged = {settled.charged_quota, settled.charged_credits}});
  ClosedJob& closed = closed_.change(settled.job);
  closed.receipt = receipt_of(job, settled, at);
  closed.story = job.story;
  list_receipt(account, settled.job);
  if (hold.request.unix_ms() < core_.forgotten_before.ms)
    forget_id({hold.request, hold.account}, settled.job);
  drop_if_done(hold.account, at);
}

Receipt Ledger::receipt_of(const OpenJob& job, const HoldSettled& settled, Instant at) {
  const Hold& hold = job.hold;
  const GpuTime held = job.held().sum();
  const GpuTime charged = settled.charged_quota + settled.charged_credits;
  return {.job = hold.job,
          .request = hold.request,
          .account = hold.account,
          .tier = hold.tier,
          .app = hold.body.app,
          .size = hold.body.size,
          .factor = hold.factor,
          .declared = hold.declared,
          .admitted_at = hold.admitted_at,
          .promise = job.promise,
          .leased_at = settled.leased_at ? settled.leased_at : job.leased_at,
          .ended_at = at,
          .ran = settled.ran,
          .held = held,
          .charged = charged,
          .given_back = held - charged,
          .left = settled.left,
          .outcome = settled.outcome,
          .cause = settled.cause,
          .detail = settled.detail,
          .attempts = std::max(settled.attempt, job.attempt),
          .node = settled.node.empty() ? job.node_name : settled.node,
          .result = settled.result,
          .log = settled.log,
          .held_credits = job.held().credits,
          .charged_credits = settled.charged_credits};
}

// The newest receipts of an account are listed; the oldest makes room.
void Ledger::list_receipt(Account& account, JobId job) {
  if (account.newest_closed)
    closed_.change(account.newest_closed).newer = job;
  else
    account.oldest_closed = job;
  account.newest_closed = job;
  account.closed_count += 1;
  if (std::cmp_less_equal(account.closed_count, bounds_.receipts_per_account_max)) return;
  const JobId oldest = account.oldest_closed;
  account.oldest_closed = closed_.find(oldest)->newer;
  account.closed_count -= 1;
  unlist(oldest);
}

// In order of closing.
std::vector<JobId> Ledger::listed_receipts(const Account& account) const {
  std::vector<JobId> listed;
  for (JobId job = account.oldest_closed; job; job = closed_.find(job)->newer)
    listed.push_back(job);
  return listed;
}

// A receipt that is no longer listed answers its request id until that is forgotten too.
void Ledger::unlist(JobId job) {
  if (!closed_.find(job)->id_known) {
    closed_.remove(job);
    return;
  }
  ClosedJob& closed = closed_.change(job);
  closed.listed = false;
  closed.story = {};
  closed.newer = {};
}

void Ledger::forget_id(const RequestKey& key, JobId job) {
  requests_.remove(key);
  if (!closed_.find(job)->listed) {
    closed_.remove(job);
  } else {
    closed_.change(job).id_known = false;
  }
}

Instant Ledger::forgettable_before(Instant now) {
  return {std::max(now.ms - limits::id_age_ms_max, std::int64_t{0})};
}

Ledger::RequestKey Ledger::first_made_at(Instant at) {
  return {.id = {.high = static_cast<std::uint64_t>(at.ms) << 16U}, .account = {}};
}

// An id older than 48 h is refused whether it is known or not, so its entry can go once its job is
// closed. Entries before the mark belong to open jobs; they go when those are settled.
void Ledger::forget_expired_ids(Instant at) {
  const Instant cutoff = forgettable_before(at);
  if (cutoff <= core_.forgotten_before) return;
  std::vector<std::pair<RequestKey, JobId>> expired;
  for (auto it = requests_.lower_bound(first_made_at(core_.forgotten_before));
       it != requests_.end() && it->first.id.unix_ms() < cutoff.ms; ++it)
    if (open_.find(it->second.job) == nullptr) expired.emplace_back(it->first, it->second.job);
  for (const auto& [key, job] : expired) forget_id(key, job);
  core_.forgotten_before = cutoff;
}

void Ledger::drop_ended_anonymous(Instant at) {
  while (anonymous_.begin() != anonymous_.end() && anonymous_.begin()->first.first <= at) {
    const auto key = anonymous_.begin()->first;
    anonymous_.remove(key);
    drop_if_done(key.second, at);
  }
}

// Also when its latest window was forgotten uncharged: until that would have ended, its receipts
// can still be asked for.
void Ledger::drop_if_done(const AccountId& id, Instant at) {
  if (!is_anonymous(id)) return;
  const Account& account = *accounts_.find(id);
  if (!account.open.empty() || account.credits != GpuTime{}) return;
  if (account.last_ends > at) return;
  if (anonymous_.find({account.last_ends, id}) != nullptr)
    anonymous_.remove({account.last_ends, id});
  const std::vector<JobId> closed = listed_receipts(account);
  accounts_.remove(id);
  for (const JobId job : closed) unlist(job);
}

}  // namespace gpupool
