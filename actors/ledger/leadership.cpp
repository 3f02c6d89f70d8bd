#include "actors/ledger/leadership.h"

namespace gpupool {

// Why no two believe to lead at once. The leader's last answered renewal left at s, so the row can
// have changed to it no earlier than s. A standby counts the silence from the answer that first
// showed it this row (after the change, so after s) to the question that showed it again (so that
// the whole of the silence passed before the row can be raised), and the raise itself finds the row
// unchanged or does nothing. So nobody raises before s + silence. The leader is sure until s +
// sure_for by its own clock, and stops. Clocks would have to differ in their rates by one part in
// seven (3 s against 4 s) for the two to meet.
//
// What has left before that moment and lands after it is not this class's to stop: a write is
// fenced by the epoch that it checks under the row's lock, a command to a worker by the broker's
// own epoch (EpochRaised, actors/ledger/records.h). The two numbers are not equal and need not be.
// Every process that leads a journal raises this one before it reads the journal's end, and writes
// only with it; its broker then journals an epoch above all that it has read. So broker epochs rise
// with the leaderships that they were written in: a worker that has heard of the later broker
// refuses the earlier one, and the earlier one's records cannot land behind the later one's.
Leadership::Advice Leadership::saw(const LeadRow& row, Exchange look) {
  if (role_ != Role::standby) return Advice::wait;
  if (!seen_ || seen_->row != row) seen_ = {.row = row, .since = look.answered};
  const bool is_free = row.epoch == 0 || row.vacant;
  return is_free || look.asked - seen_->since >= terms_.silence ? Advice::raise : Advice::wait;
}

void Leadership::raised(std::uint64_t epoch, Instant asked) {
  role_ = Role::leader;
  epoch_ = epoch;
  renewed_ = asked;
}

Leadership::Advice Leadership::at(Instant now) {
  if (role_ == Role::leader && now >= sure_until()) role_ = Role::deposed;
  if (role_ != Role::leader) return role_ == Role::deposed ? Advice::stand_down : Advice::wait;
  return now - renewed_ >= terms_.renew_every ? Advice::renew : Advice::lead;
}

// It matched the epoch, which never comes back once it is raised: nobody else has led until then.
void Leadership::renewed(Instant asked) {
  if (role_ == Role::leader && asked > renewed_) renewed_ = asked;
}

}  // namespace gpupool
