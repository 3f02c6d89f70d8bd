#include "actors/ledger/ledger.h"

#include <algorithm>

#include "actors/ledger/blob.h"
#include "actors/ledger/story.h"

namespace gpupool {
namespace {

LedgerRefused refused(JobId job, Errc code) { return {.job = job, .code = code}; }

}  // namespace

Ledger::Ledger(const Config& config, LedgerBounds bounds)
    : config_(&config),
      bounds_(bounds),
      orders_(bounds.orders),
      order_ids_(bounds.orders_remembered_max) {}

Effects Ledger::step(Instant now, const ToLedger& message) {
  Effects effects;
  step(now, message, effects);
  return effects;
}

void Ledger::step(Instant now, const ToLedger& message, Effects& effects) {
  const Instant at = std::max(now, core_.at);
  std::visit([&](const auto& alternative) { handle(at, alternative, effects); }, message);
}

void Ledger::record(Instant now, RecordBody body, Effects& effects) {
  Record& made = effects.journal.emplace_back();
  made.sequence = core_.sequence + 1;
  made.at = now;
  made.body = std::move(body);
  apply(made);
}

// The open job that a command is about; nullptr: the command is refused, and answered.
const Ledger::OpenJob* Ledger::job_of_command(Epoch epoch, JobId job, Effects& effects) const {
  if (epoch != core_.epoch) {
    effects.to(to_broker(), ToBroker{refused(job, Errc::stale_epoch)});
    return nullptr;
  }
  const OpenJob* open = open_.get(job);
  if (open == nullptr) effects.to(to_broker(), ToBroker{refused(job, Errc::job_unknown)});
  return open;
}

void Ledger::handle(Instant now, const Lead& lead, Effects& effects) {
  LearnedDurations learned = learned_;
  for (const EndedRun& run : ended_runs_)
    learned.note(run.hold->account, run.hold->body->app, run.ran);
  Leading leading{.ticket = lead.ticket,
                  .last_record = core_.at,
                  .open = open_holds(),
                  .draining = orders_.draining(),
                  .learned = learned.rows()};
  record(now, EpochRaised{.epoch = {core_.epoch.value + 1}}, effects);
  leading.epoch = core_.epoch;
  effects.to(to_broker(), ToBroker{std::move(leading)});
}

void Ledger::handle(Instant now, const Reserve& asked, Effects& effects) {
  if (asked.epoch != core_.epoch) {
    effects.to(to_broker(), ToBroker{refused({}, Errc::stale_epoch)});
    return;
  }
  const Account* account = this->account(asked.caller.account);
  if (asked.learned > Duration{})
    admit(now, within_tier(now, asked, account), account, effects);
  else
    admit(now, asked, account, effects);
}

void Ledger::admit(Instant now, const Reserve& reserve, const Account* account, Effects& effects) {
  const auto admission = decide(now, reserve, account);
  if (!admission) {
    effects.to(to_broker(), ToBroker{refuse(now, reserve, admission.error())});
    return;
  }
  if (admission->known) {
    answer_again(now, reserve, admission->known, effects);
    return;
  }
  Hold whole = hold_for(now, reserve, admission->tier, account);
  std::string blob = blob_of(whole.body);
  if (!blob.empty()) whole.blob = blob_ref(blob);
  const Shared<Hold> hold = std::move(whole);
  HoldOpened opened{.hold = hold, .held = hold->quota_part};
  if (!blob.empty()) {
    opened.hold = outline_of(hold);
    opened.blob = std::move(blob);
  }
  if (orders_.tier_of(hold->account) != nullptr) opened.token_tier = reserve.caller.tier;
  const Window* window = account == nullptr ? nullptr : account->window_at(now);
  if (window != nullptr) {
    opened.used = window->used;
    opened.held += window->held;
  }
  record(now, std::move(opened), effects);
  effects.to(to_broker(), ToBroker{Held{.ticket = reserve.ticket, .hold = hold}});
}

// The id is known with this body. An open job is enough of an answer; a closed one's receipt is the
// history's to find, and Recalled brings it.
void Ledger::answer_again(Instant now, const Reserve& reserve, JobId job, Effects& effects) const {
  if (open_.get(job) == nullptr) {
    effects.to(to_history(), ToHistory{Recall{.upto = core_.sequence,
                                              .ticket = reserve.ticket,
                                              .job = job,
                                              .tier = reserve.caller.tier}});
    return;
  }
  JobDone done{.receipt = {.job = job}};
  done.balance = balance_for(now, {.account = reserve.caller.account, .tier = reserve.caller.tier});
  effects.to(to_broker(),
             ToBroker{AlreadyHeld{.ticket = reserve.ticket, .job = job, .done = std::move(done)}});
}

// Without a receipt an admission is told that its job is known and no more (it asks again), and a
// settle that there is no such job.
void Ledger::handle(Instant now, const Recalled& recalled, Effects& effects) const {
  JobDone done{.receipt = recalled.receipt};
  if (recalled.found) {
    const AccountId& account = done.receipt.account;
    const AccountRow* row = accounts_.get(account);
    const std::string& otherwise = row == nullptr ? done.receipt.tier : row->account.tier;
    done.balance = balance_for(
        now, {.account = account, .tier = recalled.tier.empty() ? otherwise : recalled.tier});
  }
  if (recalled.ticket != 0)
    effects.to(to_broker(), ToBroker{AlreadyHeld{.ticket = recalled.ticket,
                                                 .job = recalled.job,
                                                 .closed = recalled.found,
                                                 .done = std::move(done)}});
  else if (recalled.found)
    effects.to(to_broker(), ToBroker{SettledBefore{.job = recalled.job, .done = std::move(done)}});
  else
    effects.to(to_broker(), ToBroker{refused(recalled.job, Errc::job_unknown)});
}

// Not waited for, so a repeat or a late one is passed over in silence.
void Ledger::handle(Instant now, const Leased& leased, Effects& effects) {
  const OpenJob* job = job_of_command(leased.epoch, leased.job, effects);
  if (job == nullptr || leased.attempt <= job->attempt) return;
  record(now,
         LeaseNoted{.job = leased.job,
                    .attempt = leased.attempt,
                    .node = leased.node,
                    .node_name = leased.node_name},
         effects);
}

void Ledger::handle(Instant now, const Requeue& requeue, Effects& effects) {
  const OpenJob* job = job_of_command(requeue.epoch, requeue.job, effects);
  if (job == nullptr) return;
  // An attempt is lost once, and a later lease says that it was lost already.
  const bool known = requeue.attempt <= job->requeued || requeue.attempt < job->attempt;
  if (!known)
    record(now,
           JobRequeued{.job = requeue.job,
                       .attempt = requeue.attempt,
                       .cause = requeue.cause,
                       .detail = clipped(requeue.detail),
                       .promise = requeue.promise},
           effects);
  effects.to(to_broker(), ToBroker{Requeued{.job = requeue.job, .attempt = requeue.attempt}});
}

void Ledger::handle(Instant now, const Restate& restate, Effects& effects) {
  const OpenJob* job = job_of_command(restate.epoch, restate.job, effects);
  if (job == nullptr) return;
  if (restate.promise != job->promise)
    record(now,
           PromiseRestated{
               .job = restate.job, .promise = restate.promise, .reason = clipped(restate.reason)},
           effects);
  effects.to(to_broker(), ToBroker{Restated{.job = restate.job, .promise = restate.promise}});
}

void Ledger::handle(Instant now, const Settle& settle, Effects& effects) {
  const OpenJob* job = open_.get(settle.job);
  if (settle.epoch == core_.epoch && job == nullptr) {
    effects.to(to_history(), ToHistory{Recall{.upto = core_.sequence, .job = settle.job}});
    return;
  }
  if (settle.epoch != core_.epoch) {
    effects.to(to_broker(), ToBroker{refused(settle.job, Errc::stale_epoch)});
    return;
  }
  Settled answer{.hold = job->hold,
                 .settled = settle_for(now, settle, *job),
                 .at = now,
                 .promise = job->promise,
                 .held = job->held().sum(),
                 .held_credits = job->held().credits,
                 .attempts = job->attempt};
  // Before the record: an anonymous account can be gone right after it.
  const std::string tier = accounts_[job->account].account.tier;
  record(now, answer.settled, effects);
  answer.balance = balance_for(now, {.account = answer.hold->account,
                                     .tier = tier,
                                     .app = &answer.hold->body->app,
                                     .factor = answer.hold->factor});
  effects.to(to_broker(), ToBroker{std::move(answer)});
}

void Ledger::begin_batch() {
  core_before_ = core_;
  refusals_in_batch_ = 0;
  in_batch_ = true;
  accounts_.begin_batch();
  open_.begin_batch();
  requests_.begin_batch();
  anonymous_.begin_batch();
  orders_.begin_batch();
  order_ids_.begin_batch();
}

void Ledger::keep_batch() {
  refusals_in_batch_ = 0;
  in_batch_ = false;
  for (const EndedRun& run : std::exchange(ended_runs_, {})) learn(run);
  accounts_.keep_batch();
  open_.keep_batch();
  requests_.keep_batch();
  anonymous_.keep_batch();
  orders_.keep_batch();
  order_ids_.keep_batch();
}

void Ledger::undo_batch() {
  core_ = core_before_;
  // Refusals that were found in a state which never was; what they pushed out of the ring is gone.
  const auto kept = refusals_.size() - std::min(refusals_in_batch_, refusals_.size());
  refusals_.resize(kept);
  refusals_in_batch_ = 0;
  in_batch_ = false;
  ended_runs_.clear();
  accounts_.undo_batch();
  open_.undo_batch();
  requests_.undo_batch();
  anonymous_.undo_batch();
  orders_.undo_batch();
  order_ids_.undo_batch();
}

std::vector<OpenHold> Ledger::open_holds() const {
  std::vector<OpenHold> holds;
  holds.reserve(open_.size());
  open_.each([&holds](const OpenJob& open) {
    holds.push_back({.hold = open.hold,
                     .promise = open.promise,
                     .attempt = open.attempt,
                     .leased = open.leased,
                     .node = open.node,
                     .losses = open.losses,
                     .extensions = open.extensions,
                     .extended_by = open.extended.sum()});
  });
  std::sort(holds.begin(), holds.end(),
            [](const OpenHold& a, const OpenHold& b) { return a.hold->job < b.hold->job; });
  return holds;
}

std::vector<Shared<Hold>> Ledger::holds_with_blobs() const {
  std::vector<Shared<Hold>> holds;
  open_.each([&holds](const OpenJob& open) {
    if (has_blob(open.hold)) holds.push_back(open.hold);
  });
  return holds;
}

std::vector<Shared<Hold>> Ledger::holds_with_files() const {
  std::vector<Shared<Hold>> holds;
  open_.each([&holds](const OpenJob& open) {
    if (!open.hold->files.empty()) holds.push_back(open.hold);
  });
  return holds;
}

const Account* Ledger::account(const AccountId& id) const {
  const AccountRow* row = accounts_.get(id);
  return row == nullptr ? nullptr : &row->account;
}

}  // namespace gpupool
