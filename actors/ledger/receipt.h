#pragma once
// How a receipt follows from the records of its job: the hold says what was asked for and set
// aside, the settle what it came to. Whoever tells a client makes it from the ledger's answer,
// and the history from the records. Pure.

#include "actors/ledger/records.h"

namespace gpupool {

// As far as the hold tells: the receipt of an open job has no outcome.
Receipt receipt_of(const Hold& hold);

// The end. `receipt` has by now what the job held, extensions included, and its attempts so far.
void settle(Receipt& receipt, const HoldSettled& settled, Instant at);

JobDone done_of(const Settled& settled);

}  // namespace gpupool
