#pragma once
// Every message of the pool. Each struct lists its fields once, in fields(): CAF's inspect, the
// msgpack codec (base/pack.h), the journal and the trace printer walk that list. Fields are
// positional: append only. At the end, one variant per role says who accepts what; the typed CAF
// handles are derived from those variants. All traffic is one-way: a reply carries the id of what
// it answers (`query`, `ticket`, or the job). Plain values, no behaviour.
//
// Glossary (design section 1 has the whole list): an *account* pays; a *job* is one admitted
// request; its *hold* is quota set aside for the cost of its *declared* duration; *occupancy* is
// the longest time it can occupy its slots; a *lease* is its right to slots of a node until a
// deadline; an *attempt* counts its leases from 1; to *settle* is to replace the hold by the actual
// cost, which makes the *receipt*; the *promise* is the latest start that the pool committed to.

#include <cstdint>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "base/amount.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "config/config.h"

namespace gpupool {

// ---- Parts of messages -----------------------------------------------------------------------

// How the pool recognised who is asking. Every answer that costs or refuses says so.
struct Caller {
  AccountId account;
  std::string tier;
  std::string recognised_by;  // "token for ada, key k1" or "network address 192.0.2.7"
  bool is_operator = false;
  Instant expires = Instant::never();  // of the token

  auto fields() { return std::tie(account, tier, recognised_by, is_operator, expires); }
};

struct Argument {
  std::string key;
  std::string value;
  auto fields() { return std::tie(key, value); }
};

// What a client asks for. Its packed bytes are the body that a request id stands for.
struct JobRequest {
  std::string app;
  std::string size;       // empty: the app's
  Duration declared{};    // 0: the app's default
  Duration max_wait{};    // 0: any; otherwise refuse if a later start must be promised
  bool detached = false;  // goes on in the queue without its client
  std::vector<Argument> arguments;

  auto fields() { return std::tie(app, size, declared, max_wait, detached, arguments); }
};

// The longest duration that would be admitted now at a size; 0 if none.
struct Fit {
  std::string size;
  std::uint32_t factor = 1;
  Duration longest{};
  bool offered = true;  // false: the pool has no such shape
  auto fields() { return std::tie(size, factor, longest, offered); }
};

// An account's quota at one moment. left = max(0, allowance - used - held) of the current window.
struct Balance {
  AccountId account;
  std::string tier;
  GpuTime allowance;
  GpuTime used;
  GpuTime held;
  GpuTime left;
  GpuTime longest;          // the tier's longest cost of one request
  Instant window_opened{};  // 0: no window is open
  Instant resets_at{};      // 0: no window is open; the next hold opens one
  Instant held_until{};     // when the earliest open hold is sure to be closed; 0: nothing is held
  std::uint32_t open_jobs = 0;
  std::uint32_t jobs_max = 0;
  std::vector<Fit> fits;
  Instant at{};  // ledger time of this balance

  auto fields() {
    return std::tie(account, tier, allowance, used, held, left, longest, window_opened, resets_at,
                    held_until, open_jobs, jobs_max, fits, at);
  }
};

// Why a request was not admitted, with every number behind it. `sentence` and `hint` are made from
// the other fields by actors/describe.h, once, before the refusal leaves the pool.
struct Refusal {
  Errc code{};
  std::int64_t want = 0;  // in unit_of(code)
  std::int64_t have = 0;
  RequestId request;
  std::string app;
  std::string size;
  std::uint32_t factor = 1;
  Duration declared{};
  GpuTime cost;
  std::string recognised_by;
  Balance balance;
  std::string detail;
  std::string sentence;
  std::string hint;

  auto fields() {
    return std::tie(code, want, have, request, app, size, factor, declared, cost, recognised_by,
                    balance, detail, sentence, hint);
  }
};

enum class Outcome : std::uint8_t { succeeded = 1, failed = 2, expired = 3, cancelled = 4 };
enum class JobState : std::uint8_t { queued = 1, starting = 2, running = 3, ended = 4 };

// A stored result: its content address, size and type, and the node that keeps it.
struct ResultRef {
  std::string hash;  // SHA-256, lower-case hex; empty: no result
  std::int64_t bytes = 0;
  std::string media_type;
  NodeId node;
  auto fields() { return std::tie(hash, bytes, media_type, node); }
};

// The account of one finished job. charged + given_back = held, always.
struct Receipt {
  JobId job;
  RequestId request;
  AccountId account;
  std::string tier;
  std::string app;
  std::string size;
  std::uint32_t factor = 1;
  Duration declared{};
  Instant admitted_at{};
  Instant promise{};    // the latest start promised last
  Instant leased_at{};  // of the last attempt; 0: never leased
  Instant ended_at{};
  Duration ran{};  // actual time of the run that was delivered or ended
  GpuTime held;
  GpuTime charged;
  GpuTime given_back;
  GpuTime left;  // after this settle, in the window of the hold if that is still open
  Outcome outcome{};
  Errc cause{};  // 0 unless the outcome has a cause
  std::string detail;
  std::uint32_t attempts = 0;  // leases that this job had
  std::string node;            // name of the node of the last attempt
  ResultRef result;

  auto fields() {
    return std::tie(job, request, account, tier, app, size, factor, declared, admitted_at, promise,
                    leased_at, ended_at, ran, held, charged, given_back, left, outcome, cause,
                    detail, attempts, node, result);
  }
};

// The durable record of an admitted job, and everything needed to queue it again after a restart.
struct Hold {
  JobId job;
  RequestId request;
  std::uint64_t body_hash = 0;
  AccountId account;
  std::string tier;
  JobRequest body;
  std::string partition;
  std::uint32_t slots = 1;
  std::uint32_t factor = 1;
  Duration declared{};
  Duration occupancy{};
  std::uint32_t tier_rank = 0;
  std::uint32_t quota_band = 0;  // 0 to 7: left after this hold / allowance in eighths
  Instant promise{};
  GpuTime quota_part;
  GpuTime credits_part;
  Instant window_opened{};
  Instant admitted_at{};
  std::string recognised_by;

  auto fields() {
    return std::tie(job, request, body_hash, account, tier, body, partition, slots, factor,
                    declared, occupancy, tier_rank, quota_band, promise, quota_part, credits_part,
                    window_opened, admitted_at, recognised_by);
  }
};

// ---- Client -> session (net/PROTOCOL.md) -----------------------------------------------------

// A client's answerable messages carry `query`, its own number for the answer to name.
struct ClientSubmit {
  std::uint64_t query = 0;
  RequestId request;
  JobRequest body;
  auto fields() { return std::tie(query, request, body); }
};

struct ClientCancel {
  std::uint64_t query = 0;
  JobId job;
  auto fields() { return std::tie(query, job); }
};

// Follow a job of one's own account again, from wherever it is; events as after a submit.
struct ClientWatch {
  std::uint64_t query = 0;
  JobId job;
  auto fields() { return std::tie(query, job); }
};

struct ClientQuota {
  std::uint64_t query = 0;
  auto fields() { return std::tie(query); }
};

struct ClientReceipts {
  std::uint64_t query = 0;
  JobId before;  // 0: the newest
  std::uint32_t limit = 20;
  auto fields() { return std::tie(query, before, limit); }
};

struct ClientJobs {
  std::uint64_t query = 0;
  auto fields() { return std::tie(query); }
};

// Explain a job, or a refusal by its request id (the job is then 0).
struct ClientExplain {
  std::uint64_t query = 0;
  JobId job;
  RequestId request;
  auto fields() { return std::tie(query, job, request); }
};

struct ClientFetch {
  std::uint64_t query = 0;
  JobId job;
  std::int64_t offset = 0;
  auto fields() { return std::tie(query, job, offset); }
};

struct ClientPing {
  std::uint64_t query = 0;
  auto fields() { return std::tie(query); }
};

// ---- Session -> client -----------------------------------------------------------------------

struct SessionWelcome {
  Caller caller;
  std::string pool;
  std::string build;
  Duration heartbeat{};  // ping at least this often; a session silent for 5 of them ends
  auto fields() { return std::tie(caller, pool, build, heartbeat); }
};

// A question that could not be answered, or a frame that could not be read (query 0).
struct SessionError {
  std::uint64_t query = 0;
  Errc code{};
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  auto fields() { return std::tie(query, code, want, have, detail); }
};

struct SessionRefused {
  std::uint64_t query = 0;
  Refusal refusal;
  auto fields() { return std::tie(query, refusal); }
};

// A moment in a job's life. Sent at once on every change of state and, while queued, when the
// position changes; a client that resumes gets the present one first.
struct JobEvent {
  JobId job;
  RequestId request;
  JobState state{};
  std::uint32_t attempt = 0;
  std::uint32_t position = 0;  // queued: 1 is next
  Instant likely_start{};      // queued: an estimate from declared durations
  Instant promise{};           // the latest start
  std::uint32_t step = 0;      // running: step of of_steps done
  std::uint32_t of_steps = 0;
  std::string node;
  std::string notice;  // why it is queued again, why a promise was restated; empty otherwise
  Hold hold;           // filled in the first event that a session gets of this job
  Instant at{};

  auto fields() {
    return std::tie(job, request, state, attempt, position, likely_start, promise, step, of_steps,
                    node, notice, hold, at);
  }
};

struct JobDone {
  Receipt receipt;
  Balance balance;  // of the account after the settle
  auto fields() { return std::tie(receipt, balance); }
};

struct QuotaAnswer {
  std::uint64_t query = 0;
  Caller caller;
  Balance balance;
  auto fields() { return std::tie(query, caller, balance); }
};

struct ReceiptsAnswer {
  std::uint64_t query = 0;
  std::vector<Receipt> receipts;  // newest first
  bool more = false;
  auto fields() { return std::tie(query, receipts, more); }
};

struct JobsAnswer {
  std::uint64_t query = 0;
  std::vector<JobEvent> jobs;  // open jobs of the account, oldest first
  auto fields() { return std::tie(query, jobs); }
};

// One line of a job's story, in the order in which things happened.
struct Happening {
  Instant at{};
  std::string text;
  auto fields() { return std::tie(at, text); }
};

struct ExplainAnswer {
  std::uint64_t query = 0;
  std::vector<Happening> story;
  auto fields() { return std::tie(query, story); }
};

struct ResultChunk {
  std::uint64_t query = 0;
  SessionId session;
  JobId job;
  std::int64_t offset = 0;
  std::int64_t total = 0;
  std::string bytes;  // at most limits::chunk_bytes_max; empty past the end
  Errc error{};       // result_gone, or 0
  auto fields() { return std::tie(query, session, job, offset, total, bytes, error); }
};

struct SessionPong {
  std::uint64_t query = 0;
  auto fields() { return std::tie(query); }
};

// ---- Gateway -> session ----------------------------------------------------------------------

struct SessionOpened {
  SessionId session;
  Caller caller;
  auto fields() { return std::tie(session, caller); }
};

// The client said goodbye or its connection ended.
struct SessionClosed {
  SessionId session;
  auto fields() { return std::tie(session); }
};

// ---- Session -> broker -----------------------------------------------------------------------

struct Submit {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  RequestId request;
  JobRequest body;
  std::uint64_t body_hash = 0;
  auto fields() { return std::tie(session, query, caller, request, body, body_hash); }
};

struct Cancel {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  JobId job;
  auto fields() { return std::tie(session, query, account, job); }
};

struct Watch {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  JobId job;
  auto fields() { return std::tie(session, query, account, job); }
};

struct JobsQuery {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  auto fields() { return std::tie(session, query, account); }
};

struct ClientGone {
  SessionId session;
  auto fields() { return std::tie(session); }
};

// ---- Broker -> session -----------------------------------------------------------------------

struct SubmitRefused {
  SessionId session;
  std::uint64_t query = 0;
  Refusal refusal;
  auto fields() { return std::tie(session, query, refusal); }
};

struct JobMoved {
  SessionId session;
  std::uint64_t query = 0;  // of the submit or watch that this answers first, then 0
  JobEvent event;
  auto fields() { return std::tie(session, query, event); }
};

struct JobSettled {
  SessionId session;
  std::uint64_t query = 0;
  JobDone done;
  auto fields() { return std::tie(session, query, done); }
};

struct BrokerError {
  SessionId session;
  std::uint64_t query = 0;
  Errc code{};
  std::string detail;
  auto fields() { return std::tie(session, query, code, detail); }
};

struct JobsList {
  SessionId session;
  JobsAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

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
  JobRequest body;
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
  auto fields() {
    return std::tie(ticket, epoch, caller, request, body, body_hash, partition, size, slots, factor,
                    declared, occupancy, app_longest, promise, verdict, want, have, detail);
  }
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
  ResultRef result;
  auto fields() {
    return std::tie(epoch, job, outcome, cause, detail, ran, attempt, leased_at, node, result);
  }
};

// ---- Ledger -> broker ------------------------------------------------------------------------

// An open hold as the journal has it, for the rebuild after a restart.
struct OpenHold {
  Hold hold;
  Instant promise{};          // restated or not
  std::uint32_t attempt = 0;  // the last attempt known to the journal: leased or lost
  bool leased = false;        // that attempt was leased and not yet reported lost
  NodeId node;
  std::uint32_t losses = 0;  // attempts that the pool lost
  auto fields() { return std::tie(hold, promise, attempt, leased, node, losses); }
};

struct Leading {
  std::uint64_t ticket = 0;
  Epoch epoch;
  Instant last_record{};       // before this leadership; 0: an empty journal
  std::vector<OpenHold> open;  // in order of arrival
  auto fields() { return std::tie(ticket, epoch, last_record, open); }
};

struct Held {
  std::uint64_t ticket = 0;
  Hold hold;
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
  JobDone done;
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

struct Settled {
  JobId job;
  JobDone done;
  auto fields() { return std::tie(job, done); }
};

// A command of an older epoch, or about a job that the ledger does not have open.
struct LedgerRefused {
  JobId job;
  Errc code{};
  auto fields() { return std::tie(job, code); }
};

// ---- Session -> ledger (queries only), and the answers ---------------------------------------

struct QuotaQuery {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  auto fields() { return std::tie(session, query, caller); }
};

struct ReceiptsQuery {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  JobId before;
  std::uint32_t limit = 0;
  auto fields() { return std::tie(session, query, account, before, limit); }
};

// A receipt by its job, for a watch or fetch of a job that is no longer open.
struct ReceiptQuery {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  JobId job;
  auto fields() { return std::tie(session, query, account, job); }
};

struct ExplainQuery {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  JobId job;
  RequestId request;
  auto fields() { return std::tie(session, query, account, job, request); }
};

struct QuotaFound {
  SessionId session;
  QuotaAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

struct ReceiptsFound {
  SessionId session;
  ReceiptsAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

struct ReceiptFound {
  SessionId session;
  std::uint64_t query = 0;
  Errc error{};  // job_unknown, or 0
  JobDone done;
  auto fields() { return std::tie(session, query, error, done); }
};

struct Explained {
  SessionId session;
  Errc error{};  // job_unknown, or 0
  ExplainAnswer answer;
  auto fields() { return std::tie(session, error, answer); }
};

// ---- Worker <-> broker -----------------------------------------------------------------------

enum class SlotState : std::uint8_t { free = 1, starting = 2, running = 3, checking = 4, down = 5 };

struct SlotReport {
  SlotIndex slot;
  std::uint32_t device = 0;
  SlotState state{};
  JobId job;  // of the lease that occupies it; 0: none
  std::uint32_t attempt = 0;
  std::string warm_app;  // the app whose executor is resident; empty: none
  auto fields() { return std::tie(slot, device, state, job, attempt, warm_app); }
};

// A worker introduces itself: at start, after every lost connection, and to a new epoch.
struct Join {
  NodeId node;
  std::string name;
  Incarnation incarnation;
  std::string build;
  std::uint64_t heartbeat = 0;
  std::vector<SlotReport> slots;
  auto fields() { return std::tie(node, name, incarnation, build, heartbeat, slots); }
};

struct Joined {
  Epoch epoch;
  Errc refused{};  // 0, or why this node may not join
  std::string detail;
  auto fields() { return std::tie(epoch, refused, detail); }
};

struct Heartbeat {
  NodeId node;
  Incarnation incarnation;
  std::uint64_t number = 0;
  std::vector<SlotReport> slots;
  auto fields() { return std::tie(node, incarnation, number, slots); }
};

// The broker knows this node under `epoch`; 0: it does not, join again.
struct HeartbeatSeen {
  Epoch epoch;
  std::uint64_t number = 0;
  auto fields() { return std::tie(epoch, number); }
};

struct Lease {
  JobId job;
  std::uint32_t attempt = 0;
  Epoch epoch;
  NodeId node;
  Incarnation incarnation;
  SlotIndex slot;
  std::uint64_t heartbeat = 0;  // the latest that the broker had of this worker
  std::string app;
  JobRequest body;
  Duration declared{};
  auto fields() {
    return std::tie(job, attempt, epoch, node, incarnation, slot, heartbeat, app, body, declared);
  }
};

struct LeaseRefused {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Errc code{};
  std::int64_t want = 0;
  std::int64_t have = 0;
  auto fields() { return std::tie(node, job, attempt, code, want, have); }
};

// The model is resident and the run began: from here on it is charged.
struct RunBegan {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(node, job, attempt); }
};

struct RunStep {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  auto fields() { return std::tie(node, job, attempt, step, of_steps); }
};

// How a run ended; its result, if any, is durable. Sent again until acknowledged.
struct RunEnded {
  NodeId node;
  JobId job;
  std::uint32_t attempt = 0;
  Epoch epoch;
  Outcome outcome{};
  Errc cause{};
  bool pool_fault = false;  // true: not charged, run again
  std::string detail;
  Duration ran{};
  ResultRef result;
  auto fields() {
    return std::tie(node, job, attempt, epoch, outcome, cause, pool_fault, detail, ran, result);
  }
};

struct EndSeen {
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(job, attempt); }
};

struct CancelRun {
  Epoch epoch;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(epoch, job, attempt); }
};

// ---- Session -> worker -----------------------------------------------------------------------

struct FetchResult {
  SessionId session;
  std::uint64_t query = 0;
  JobId job;
  std::string hash;
  std::int64_t offset = 0;
  auto fields() { return std::tie(session, query, job, hash, offset); }
};

// ---- Worker <-> its executors (inside one node) ----------------------------------------------

// Make the executor of `app` resident on a slot; answered by ExecutorReady or ExecutorExited.
struct StartExecutor {
  SlotIndex slot;
  std::string app;
  auto fields() { return std::tie(slot, app); }
};

struct StartRun {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::string app;
  JobRequest body;
  auto fields() { return std::tie(slot, job, attempt, app, body); }
};

// The supervisor ends what runs on the slot: SIGTERM at `at` (worker's boot clock), SIGKILL at
// `kill_at`. A later EndBy replaces an earlier one.
struct EndBy {
  SlotIndex slot;
  Instant at{};
  Instant kill_at{};
  auto fields() { return std::tie(slot, at, kill_at); }
};

// The run is over: the timer is off, the executor stays resident.
struct Disarm {
  SlotIndex slot;
  auto fields() { return std::tie(slot); }
};

// Kill everything on the slot now and report ExecutorExited once nothing of it is left.
struct KillExecutor {
  SlotIndex slot;
  auto fields() { return std::tie(slot); }
};

struct ExecutorReady {
  SlotIndex slot;
  std::string app;
  auto fields() { return std::tie(slot, app); }
};

struct ExecutorBegan {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  auto fields() { return std::tie(slot, job, attempt); }
};

struct ExecutorStep {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  std::uint32_t step = 0;
  std::uint32_t of_steps = 0;
  auto fields() { return std::tie(slot, job, attempt, step, of_steps); }
};

// The run gave a result, already durable in the node's store, or ended by itself without one:
// `cause` program_failed with `detail`, or 0 with `stopped` after SIGTERM.
struct ExecutorDone {
  SlotIndex slot;
  JobId job;
  std::uint32_t attempt = 0;
  Errc cause{};
  bool stopped = false;
  std::string detail;
  ResultRef result;
  auto fields() { return std::tie(slot, job, attempt, cause, stopped, detail, result); }
};

// Nothing of the executor is left on the slot: exited or killed, reaped, its children too.
struct ExecutorExited {
  SlotIndex slot;
  std::int32_t signal = 0;  // that ended it; 0: it exited by itself
  std::int32_t exit_code = 0;
  std::string detail;
  auto fields() { return std::tie(slot, signal, exit_code, detail); }
};

// Time passed. Every actor gets one when its wake_at has come.
struct Tick {
  std::uint8_t unused = 0;  // CAF messages have at least one field here
  auto fields() { return std::tie(unused); }
};

// ---- Who accepts what ------------------------------------------------------------------------

using ToBroker = std::variant<Tick, Submit, Cancel, Watch, JobsQuery, ClientGone, Leading, Held,
                              NotHeld, AlreadyHeld, Requeued, Restated, Settled, LedgerRefused,
                              Join, Heartbeat, LeaseRefused, RunBegan, RunStep, RunEnded>;

using ToLedger = std::variant<Tick, Lead, Reserve, Leased, Requeue, Restate, Settle, QuotaQuery,
                              ReceiptsQuery, ReceiptQuery, ExplainQuery>;

using ToWorker =
    std::variant<Tick, Joined, HeartbeatSeen, Lease, EndSeen, CancelRun, FetchResult, ExecutorReady,
                 ExecutorBegan, ExecutorStep, ExecutorDone, ExecutorExited>;

using ToSession =
    std::variant<Tick, SessionOpened, SessionClosed, ClientSubmit, ClientCancel, ClientWatch,
                 ClientQuota, ClientReceipts, ClientJobs, ClientExplain, ClientFetch, ClientPing,
                 SubmitRefused, JobMoved, JobSettled, BrokerError, JobsList, QuotaFound,
                 ReceiptsFound, ReceiptFound, Explained, ResultChunk>;

// What the gateway hands to a client's socket.
using ToClient =
    std::variant<SessionWelcome, SessionError, SessionRefused, JobEvent, JobDone, QuotaAnswer,
                 ReceiptsAnswer, JobsAnswer, ExplainAnswer, ResultChunk, SessionPong>;

using ToExecutors = std::variant<StartExecutor, StartRun, EndBy, Disarm, KillExecutor>;

}  // namespace gpupool
