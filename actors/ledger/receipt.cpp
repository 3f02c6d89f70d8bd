#include "actors/ledger/receipt.h"

#include <algorithm>

namespace gpupool {

Receipt receipt_of(const Hold& hold) {
  return {.job = hold.job,
          .request = hold.request,
          .account = hold.account,
          .tier = hold.tier,
          .app = hold.body->app,
          .size = hold.body->size,
          .factor = hold.factor,
          .declared = hold.declared,
          .admitted_at = hold.admitted_at,
          .promise = hold.promise,
          .held = hold.quota_part + hold.credits_part,
          .held_credits = hold.credits_part,
          .credits_from = hold.credits_from};
}

// The run that was delivered need not be the last attempt.
void settle(Receipt& receipt, const HoldSettled& settled, Instant at) {
  receipt.ended_at = at;
  receipt.leased_at = settled.leased_at;
  receipt.ran = settled.ran;
  receipt.charged = settled.charged_quota + settled.charged_credits;
  receipt.charged_credits = settled.charged_credits;
  if (receipt.held_credits == GpuTime{}) receipt.credits_from = {};  // nobody's were
  receipt.given_back = receipt.held - receipt.charged;
  receipt.left = settled.left;
  receipt.outcome = settled.outcome;
  receipt.cause = settled.cause;
  receipt.detail = settled.detail;
  receipt.attempts = std::max(receipt.attempts, settled.attempt);
  receipt.node = settled.node;
  receipt.result = settled.result;
  receipt.log = settled.log;
  receipt.exit_code = settled.exit_code;
  receipt.signal = settled.signal;
}

JobDone done_of(const Settled& settled) {
  JobDone done{.receipt = receipt_of(settled.hold), .balance = settled.balance};
  done.receipt.promise = settled.promise;
  done.receipt.held = settled.held;
  done.receipt.held_credits = settled.held_credits;
  done.receipt.attempts = settled.attempts;
  settle(done.receipt, settled.settled, settled.at);
  return done;
}

}  // namespace gpupool
