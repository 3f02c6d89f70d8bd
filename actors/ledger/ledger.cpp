#include "actors/ledger/ledger.h"

#include <algorithm>

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
  Record& record = effects.journal.emplace_back();
  record = {.sequence = core_.sequence + 1, .at = now, .body = std::move(body)};
  apply(record);
}

// The open job that a command is about; nullptr: the command is refused, and answered.
const Ledger::OpenJob* Ledger::job_of_command(Epoch epoch, JobId job, Effects& effects) const {
  if (epoch != core_.epoch) {
    effects.to(to_broker(), ToBroker{refused(job, Errc::stale_epoch)});
    return nullptr;
  }
  const OpenJob* open = open_.find(job);
  if (open == nullptr) effects.to(to_broker(), ToBroker{refused(job, Errc::job_unknown)});
  return open;
}

void Ledger::handle(Instant now, const Lead& lead, Effects& effects) {
  Leading leading{.ticket = lead.ticket,
                  .last_record = core_.at,
                  .open = open_holds(),
                  .draining = orders_.draining()};
  record(now, EpochRaised{.epoch = {core_.epoch.value + 1}}, effects);
  leading.epoch = core_.epoch;
  effects.to(to_broker(), ToBroker{std::move(leading)});
}

void Ledger::handle(Instant now, const Reserve& reserve, Effects& effects) {
  if (reserve.epoch != core_.epoch) {
    effects.to(to_broker(), ToBroker{refused({}, Errc::stale_epoch)});
    return;
  }
  auto admission = decide(now, reserve);
  if (!admission) {
    effects.to(to_broker(), ToBroker{refuse(now, reserve, admission.error())});
    return;
  }
  if (auto* known = std::get_if<AlreadyHeld>(&*admission)) {
    effects.to(to_broker(), ToBroker{std::move(*known)});
    return;
  }
  const Shared<Hold> hold = std::move(std::get<Hold>(*admission));
  const bool is_set = orders_.tier_of(hold->account) != nullptr;
  record(now, HoldOpened{.hold = hold, .token_tier = is_set ? reserve.caller.tier : ""}, effects);
  effects.to(to_broker(), ToBroker{Held{.ticket = reserve.ticket, .hold = hold}});
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
  const ClosedJob* closed = closed_.find(settle.job);
  if (closed != nullptr && settle.epoch == core_.epoch) {
    effects.to(to_broker(),
               ToBroker{Settled{.job = settle.job, .done = done_of(now, closed->receipt)}});
    return;
  }
  const OpenJob* job = job_of_command(settle.epoch, settle.job, effects);
  if (job == nullptr) return;
  const Account* account = accounts_.find(job->hold->account);
  GPUPOOL_ENSURE(account != nullptr, job->hold->account);
  HoldSettled settled = settle_for(now, settle, *job, *account);
  settled.detail = clipped(settle.detail);
  // Made before the record: an anonymous account can be gone right after it, receipts and all.
  JobDone done{.receipt = receipt_of(*job, settled, now)};
  const std::string tier = account->tier;
  record(now, std::move(settled), effects);
  done.balance = balance_for(now, {.account = done.receipt.account, .tier = tier});
  effects.to(to_broker(), ToBroker{Settled{.job = settle.job, .done = std::move(done)}});
}

void Ledger::begin_batch() {
  core_before_ = core_;
  refusals_in_batch_ = 0;
  accounts_.begin_batch();
  open_.begin_batch();
  closed_.begin_batch();
  requests_.begin_batch();
  anonymous_.begin_batch();
  orders_.begin_batch();
  order_ids_.begin_batch();
}

void Ledger::keep_batch() {
  refusals_in_batch_ = 0;
  accounts_.keep_batch();
  open_.keep_batch();
  closed_.keep_batch();
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
  accounts_.undo_batch();
  open_.undo_batch();
  closed_.undo_batch();
  requests_.undo_batch();
  anonymous_.undo_batch();
  orders_.undo_batch();
  order_ids_.undo_batch();
}

std::vector<OpenHold> Ledger::open_holds() const {
  std::vector<OpenHold> holds;
  holds.reserve(open_.size());
  for (const auto* row : open_.in_order()) {
    const OpenJob& open = row->second;
    holds.push_back({.hold = open.hold,
                     .promise = open.promise,
                     .attempt = open.attempt,
                     .leased = open.leased,
                     .node = open.node,
                     .losses = open.losses,
                     .extensions = open.extensions,
                     .extended_by = open.extended.sum()});
  }
  return holds;
}

const Receipt* Ledger::receipt(JobId job) const {
  const ClosedJob* closed = closed_.find(job);
  return closed == nullptr ? nullptr : &*closed->receipt;
}

}  // namespace gpupool
