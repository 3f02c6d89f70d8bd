#pragma once
// Between the broker and the ledger. A command of an older epoch is refused; each command takes
// effect once, however often it is sent.

#include "actors/messages/client.h"
#include "actors/messages/parts.h"

namespace gpupool {

// ---- Broker -> ledger ------------------------------------------------------------------------

// Take the lead: a new epoch, journaled before it is answered with every open hold.
struct Lead {
  std::uint64_t ticket = 0;
  auto fields() { return std::tie(ticket); }
};

// Admit or refuse. The broker has already found `verdict` (0: nothing against it); the ledger looks
// at the id first, then puts its own checks in their place in the order of design section 3.
struct Reserve {
  std::uint64_t ticket = 0;  // the broker's number for this admission
  Epoch epoch;
  Caller caller;
  RequestId request;
  Shared<JobRequest> body;  // of the size below
  std::uint64_t body_hash = 0;
  std::string partition;
  std::string size;
  std::uint32_t slots = 1;
  std::uint32_t factor = 1;
  Duration declared{};
  Duration occupancy{};
  Duration app_longest{};
  Instant promise{};
  Errc verdict{};
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  // Hold the cost of this at first and extend it later; 0: of `declared`. With it, `declared` is
  // cut to what the tier's longest cost allows, not refused.
  Duration learned{};
  std::string files;  // as in Hold
  auto fields() {
    return std::tie(ticket, epoch, caller, request, body, body_hash, partition, size, slots, factor,
                    declared, occupancy, app_longest, promise, verdict, want, have, detail, learned,
                    files);
  }
};

// What would a Reserve like this lead to? Its session is answered (Quoted), and nothing is held.
struct QuoteQuery {
  SessionId session;
  Reserve reserve;     // without a request id
  QuoteAnswer answer;  // with what the broker knows: the query, likely and promised start
  auto fields() { return std::tie(session, reserve, answer); }
};

// Journaled, not waited for: workers' reports rebuild leases.
struct Leased {
  Epoch epoch;
  JobId job;
  std::uint32_t attempt = 0;
  NodeId node;
  std::string node_name;
  auto fields() { return std::tie(epoch, job, attempt, node, node_name); }
};

// The pool's fault: the job keeps its hold and its arrival and waits for attempt + 1.
struct Requeue {
  Epoch epoch;
  JobId job;
  std::uint32_t attempt = 0;  // the attempt that was lost
  Errc cause{};
  std::string detail;
  Instant promise{};  // computed anew
  auto fields() { return std::tie(epoch, job, attempt, cause, detail, promise); }
};

// A promise that events beyond the policy's bound moved (node loss, requeue, restart).
struct Restate {
  Epoch epoch;
  JobId job;
  Instant promise{};
  std::string reason;
  auto fields() { return std::tie(epoch, job, promise, reason); }
};

// Hold `by` more for an open job, in the window of its hold. Extensions are numbered from 1; each
// takes effect once, and the next one is not asked for before this one is answered.
struct Extend {
  Epoch epoch;
  JobId job;
  std::uint32_t number = 0;
  GpuTime by;
  auto fields() { return std::tie(epoch, job, number, by); }
};

// Close a hold. Sent again until answered; the same job settles once.
struct Settle {
  Epoch epoch;
  JobId job;
  Outcome outcome{};
  Errc cause{};
  std::string detail;
  Duration ran{};  // what is charged, before the factor; 0 for the pool's fault
  std::uint32_t attempt = 0;
  Instant leased_at{};
  std::string node;
  Shared<ResultRef> result;
  Shared<ResultRef> log;
  std::int32_t exit_code = 0;  // as in Receipt
  std::int32_t signal = 0;
  auto fields() {
    return std::tie(epoch, job, outcome, cause, detail, ran, attempt, leased_at, node, result, log,
                    exit_code, signal);
  }
};

// The sizes that the pool's nodes have a shape for, so that balances say what is offered.
struct Shapes {
  Epoch epoch;
  std::vector<std::string> sizes;
  auto fields() { return std::tie(epoch, sizes); }
};

// ---- Ledger -> broker ------------------------------------------------------------------------

// An open hold as the journal has it, for the rebuild after a restart.
struct OpenHold {
  Shared<Hold> hold;
  Instant promise{};          // restated or not
  std::uint32_t attempt = 0;  // the last attempt known to the journal: leased or lost
  bool leased = false;        // that attempt was leased and not yet reported lost
  NodeId node;
  std::uint32_t losses = 0;      // attempts that the pool lost
  std::uint32_t extensions = 0;  // how many this hold had
  GpuTime extended_by;           // all of them together
  auto fields() {
    return std::tie(hold, promise, attempt, leased, node, losses, extensions, extended_by);
  }
};

// What runs really took, of an app or, with `account`, of one account's runs of it.
struct LearnedRuns {
  std::string account;  // empty: everybody's
  std::string app;
  std::vector<std::uint32_t> runs;  // milliseconds, the newest last
  auto fields() { return std::tie(account, app, runs); }
};

struct Leading {
  std::uint64_t ticket = 0;
  Epoch epoch;
  Instant last_record{};              // before this leadership; 0: an empty journal
  std::vector<OpenHold> open;         // in order of arrival
  std::vector<std::string> draining;  // names of nodes that get no leases
  std::vector<LearnedRuns> learned;   // what was used last comes last
  auto fields() { return std::tie(ticket, epoch, last_record, open, draining, learned); }
};

struct Held {
  std::uint64_t ticket = 0;
  Shared<Hold> hold;
  auto fields() { return std::tie(ticket, hold); }
};

struct NotHeld {
  std::uint64_t ticket = 0;
  Refusal refusal;
  auto fields() { return std::tie(ticket, refusal); }
};

// The id is known with this body: its job is open, or here is its receipt.
struct AlreadyHeld {
  std::uint64_t ticket = 0;
  JobId job;
  bool closed = false;
  Shared<JobDone> done;
  auto fields() { return std::tie(ticket, job, closed, done); }
};

struct Requeued {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

struct Restated {
  JobId job;
  Instant promise{};
  auto fields() { return std::tie(job, promise); }
};

// Durable. `held` is all that is held for the job now, with later extensions if there are any.
struct Extended {
  JobId job;
  std::uint32_t number = 0;
  GpuTime held;
  GpuTime held_credits;  // how much of it are credits
  auto fields() { return std::tie(job, number, held, held_credits); }
};

// quota_exceeded, or illegal_duration (beyond the declared duration), bad_request,
// ledger_unavailable. The job keeps what it holds.
struct NotExtended {
  JobId job;
  std::uint32_t number = 0;
  Errc code{};
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  auto fields() { return std::tie(job, number, code, want, have, detail); }
};

// The record of a settle: its hold is closed.
struct HoldSettled {
  JobId job;
  Outcome outcome{};
  Errc cause{};
  std::string detail;
  Duration ran{};
  GpuTime charged_quota;    // of the hold's quota part
  GpuTime charged_credits;  // of its credits part
  std::uint32_t attempt = 0;
  Instant leased_at{};
  std::string node;
  Shared<ResultRef> result;
  // Of the account after this: a receipt stays the same under another configuration.
  GpuTime left;
  Shared<ResultRef> log;
  bool has_blob = false;       // of its hold, which goes; not part of the record
  std::int32_t exit_code = 0;  // as in Receipt
  std::int32_t signal = 0;
  auto fields() {
    return std::tie(job, outcome, cause, detail, ran, charged_quota, charged_credits, attempt,
                    leased_at, node, result, left, log, exit_code, signal);
  }
};

// The record, and what else a receipt is made of (actors/ledger/receipt.h): by whoever needs one.
struct Settled {
  Shared<Hold> hold;
  HoldSettled settled;
  Instant at{};
  Instant promise{};  // the latest
  GpuTime held;       // with extensions
  GpuTime held_credits;
  std::uint32_t attempts = 0;
  Balance balance;
  auto fields() {
    return std::tie(hold, settled, at, promise, held, held_credits, attempts, balance);
  }
};

// The job was settled before: as the history has it.
struct SettledBefore {
  JobId job;
  Shared<JobDone> done;
  auto fields() { return std::tie(job, done); }
};

// A command of an older epoch, or about a job that the ledger does not have open.
struct LedgerRefused {
  JobId job;
  Errc code{};
  auto fields() { return std::tie(job, code); }
};

}  // namespace gpupool
