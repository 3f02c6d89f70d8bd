// The state as the fold of its records. Nothing here may refuse: what a record says has happened.

#include <algorithm>

#include "actors/ledger/blob.h"
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

void Ledger::enact(const HoldOpened& opened, Instant) {
  const Hold& hold = opened.hold;
  GPUPOOL_ENSURE(hold.job.value == core_.sequence, hold.job, core_.sequence);
  AccountNumber number = accounts_.find(hold.account);
  if (number == RowTable<AccountRow>::none) number = accounts_.insert({.id = hold.account});
  Account& account = accounts_.change(number).account;
  const Instant ended_before = account.last_ends;
  account.open_hold(hold, end_of_window(hold));
  if (!opened.token_tier.empty()) account.tier = opened.token_tier;
  if (is_anonymous(hold.account) && account.last_ends != ended_before) {
    if (anonymous_.find({ended_before, hold.account}) != nullptr)
      anonymous_.remove({ended_before, hold.account});
    anonymous_.change({account.last_ends, hold.account});
  }
  requests_.insert({.request = {hold.request, account_key(hold.account)},
                    .body_hash = hold.body_hash,
                    .job = hold.job});
  if (hold.credits_part > GpuTime{}) credits_account(hold, number).hold_credits(hold.credits_part);
  open_.insert({.hold = opened.hold, .account = number, .promise = hold.promise});
  core_.blobs += has_blob(hold) ? 1 : 0;
}

// Who pays the credits part of a hold that this account made.
Account& Ledger::credits_account(const Hold& hold, AccountNumber own) {
  if (hold.credits_from == AccountId{}) return accounts_.change(own).account;
  const AccountNumber group = accounts_.find(hold.credits_from);
  GPUPOOL_ENSURE(group != RowTable<AccountRow>::none, hold.job, hold.credits_from);
  return accounts_.change(group).account;
}

void Ledger::enact(const LeaseNoted& noted, Instant at) {
  OpenJob& job = open_.change(open_.find(noted.job));
  job.attempt = noted.attempt;
  job.leased = true;
  job.leased_at = at;
  job.node = noted.node;
  job.node_name = noted.node_name;
}

void Ledger::enact(const JobRequeued& requeued, Instant) {
  OpenJob& job = open_.change(open_.find(requeued.job));
  job.attempt = std::max(job.attempt, requeued.attempt);
  job.requeued = requeued.attempt;
  job.losses += 1;
  job.leased = false;
  if (requeued.promise) job.promise = requeued.promise;
}

void Ledger::enact(const PromiseRestated& restated, Instant) {
  open_.change(open_.find(restated.job)).promise = restated.promise;
}

void Ledger::enact(const HoldSettled& settled, Instant at) {
  const OpenJob& job = open_.erase(open_.find(settled.job));
  const Hold& hold = job.hold;
  const Parts held = job.held();
  accounts_.change(job.account)
      .account.close_hold(
          hold, {.held = held, .charged = {settled.charged_quota, settled.charged_credits}});
  if (held.credits > GpuTime{})
    credits_account(hold, job.account).settle_credits(held.credits, settled.charged_credits);
  core_.blobs -= has_blob(hold) ? 1 : 0;
  if (settled.outcome == Outcome::succeeded && settled.ran > Duration{}) {
    const EndedRun run{.hold = job.hold, .ran = settled.ran};
    in_batch_ ? ended_runs_.push_back(run) : learn(run);
  }
  if (hold.request.unix_ms() < core_.forgotten_before.ms)
    requests_.forget({hold.request, account_key(hold.account)});
  if (is_anonymous(hold.account)) drop_if_done(job.account, at);
}

Instant Ledger::forgettable_before(Instant now) {
  return {std::max(now.ms - limits::id_age_ms_max, std::int64_t{0})};
}

// An id older than 48 h is refused whether it is known or not, so its entry can go once its job is
// closed: those of open jobs go when these are settled.
void Ledger::forget_expired_ids(Instant at) {
  const Instant cutoff = forgettable_before(at);
  if (cutoff <= core_.forgotten_before) return;
  requests_.forget_before(cutoff, [this](JobId job) { return open_.get(job) == nullptr; });
  core_.forgotten_before = cutoff;
}

void Ledger::drop_ended_anonymous(Instant at) {
  while (anonymous_.begin() != anonymous_.end() && anonymous_.begin()->first.first <= at) {
    const auto key = anonymous_.begin()->first;
    anonymous_.remove(key);
    drop_if_done(accounts_.find(key.second), at);
  }
}

// Also when its latest window was forgotten uncharged, once that would have ended.
void Ledger::drop_if_done(AccountNumber number, Instant at) {
  const AccountRow& row = accounts_[number];
  const Account& account = row.account;
  if (!account.open.empty() || account.credits != GpuTime{}) return;
  if (account.last_ends > at) return;
  if (anonymous_.find({account.last_ends, row.id}) != nullptr)
    anonymous_.remove({account.last_ends, row.id});
  accounts_.erase(number);
}

}  // namespace gpupool
