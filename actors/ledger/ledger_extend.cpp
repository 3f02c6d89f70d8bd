// Extensions of a hold: more of its account's time for a job that is open, in the window in which
// the hold was made, whether or not that has ended (design 2.5), and up to the cost of the declared
// duration. The rule of admission holds there too: the quota part first, while used + held stays
// within the allowance of that window, and credits for the rest.

#include <algorithm>

#include "actors/ledger/ledger.h"

namespace gpupool {

// A number that is known has been done: whoever asks again is told what is held now.
void Ledger::handle(Instant now, const Extend& extend, Effects& effects) {
  const OpenJob* job = job_of_command(extend.epoch, extend.job, effects);
  if (job == nullptr) return;
  if (extend.number == 0 || extend.number > job->extensions) {
    Result<HoldExtended> decided = decide(now, extend, *job);
    if (!decided) {
      const Error& why = decided.error();
      effects.to(to_broker(), ToBroker{NotExtended{.job = extend.job,
                                                   .number = extend.number,
                                                   .code = why.code,
                                                   .want = why.want,
                                                   .have = why.have,
                                                   .detail = why.detail}});
      return;
    }
    record(now, *std::move(decided), effects);
    job = open_.get(extend.job);
  }
  effects.to(to_broker(), ToBroker{Extended{.job = extend.job,
                                            .number = extend.number,
                                            .held = job->held().sum(),
                                            .held_credits = job->held().credits}});
}

Result<HoldExtended> Ledger::decide(Instant now, const Extend& extend, const OpenJob& job) const {
  const Hold& hold = job.hold;
  if (extend.number != job.extensions + 1)
    return Error{.code = Errc::bad_request,
                 .detail = "the next extension of this job is number " +
                           std::to_string(job.extensions + 1) + ", not " +
                           std::to_string(extend.number)};
  if (extend.by <= GpuTime{})
    return Error{.code = Errc::bad_request, .detail = "an extension is more than 0 s"};
  const GpuTime declared = cost_of(hold.declared, hold.factor);
  const GpuTime room = declared - job.held().sum();
  if (extend.by > room)
    return Error{.code = Errc::illegal_duration,
                 .want = extend.by.ms,
                 .have = room.ms,
                 .detail = "a hold is never more than the cost of the declared duration"};
  const Account& account = accounts_[job.account].account;
  const std::string tier = tier_of(hold.account, account.tier);
  const auto limits = limits_of(tier);
  const GpuTime left = left_of(limits ? limits->allowance : GpuTime{}, &account.window_of(hold));
  // A group that is over pays what was held, and no more.
  const bool is_over = hold.credits_from != AccountId{} && !shares(now, hold);
  const Account* payer = is_over ? nullptr : this->account(hold.credits_account());
  const GpuTime payable = left + (payer == nullptr ? GpuTime{} : payer->free_credits());
  if (extend.by > payable)
    return Error{.code = Errc::quota_exceeded, .want = extend.by.ms, .have = payable.ms};
  const GpuTime quota = std::min(left, extend.by);
  return HoldExtended{.job = extend.job,
                      .number = extend.number,
                      .quota_part = quota,
                      .credits_part = extend.by - quota,
                      .tier = tier};
}

void Ledger::enact(const HoldExtended& extended, Instant) {
  OpenJob& job = open_.change(open_.find(extended.job));
  const Parts more{.quota = extended.quota_part, .credits = extended.credits_part};
  job.extended.quota += more.quota;
  job.extended.credits += more.credits;
  job.extensions = extended.number;
  accounts_.change(job.account).account.extend_hold(job.hold, more.quota);
  if (more.credits > GpuTime{}) credits_account(job.hold, job.account).hold_credits(more.credits);
}

}  // namespace gpupool
