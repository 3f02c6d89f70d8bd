#pragma once
// How a receipt follows from the records of its job: the hold says what was asked for and set
// aside, the settle what it came to. The ledger answers with it and the history keeps it. Pure.

#include "actors/ledger/records.h"

namespace gpupool {

// As far as the hold tells: the receipt of an open job has no outcome.
Receipt receipt_of(const Hold& hold);

// The end. `receipt` has by now what the job held, extensions included, and its attempts so far.
void settle(Receipt& receipt, const HoldSettled& settled, Instant at);

}  // namespace gpupool
