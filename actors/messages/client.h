#pragma once
// Between a client and its session, through the gateway: net/PROTOCOL.md is their documentation. A
// client's answerable messages carry `query`, its own number for the answer to name.

#include "actors/messages/overview.h"

namespace gpupool {

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

// What a run of a job wrote to its output, from `offset` on; of a running job what there is so far.
// With `preview` the picture as it forms instead, a PNG in one piece; empty: there is none.
struct ClientLogs {
  std::uint64_t query = 0;
  JobId job;
  std::int64_t offset = 0;
  bool preview = false;
  auto fields() { return std::tie(query, job, offset, preview); }
};

// What changed since when: for a user what concerns them, for an operator everything.
struct ClientChanges {
  std::uint64_t query = 0;
  Instant since{};
  std::uint32_t limit = 50;
  auto fields() { return std::tie(query, since, limit); }
};

// What one's own account was charged, day by day (UTC), from a day on.
struct ClientUsage {
  std::uint64_t query = 0;
  Instant since{};
  std::uint32_t limit = 31;  // days
  auto fields() { return std::tie(query, since, limit); }
};

// What such a request would cost, what would be left, and when it would start, without submitting.
struct ClientQuote {
  std::uint64_t query = 0;
  JobRequest body;
  auto fields() { return std::tie(query, body); }
};

// A piece of the files that a job of the caller's is to work on: of a tar archive of `total` bytes
// with this SHA-256. Every piece but the last has limits::upload_piece_bytes, and they come in
// order; one without bytes asks how far it has come.
struct ClientUpload {
  std::uint64_t query = 0;
  std::string hash;
  std::int64_t total = 0;
  std::int64_t offset = 0;
  std::string bytes;
  auto fields() { return std::tie(query, hash, total, offset, bytes); }
};

// A command for the console, word by word as typed: {"drain", "node-2"}. Operators only.
struct ClientOperate {
  std::uint64_t query = 0;
  std::vector<std::string> words;
  auto fields() { return std::tie(query, words); }
};

// The operator's view, whole. Operators only.
struct ClientOverview {
  std::uint64_t query = 0;
  auto fields() { return std::tie(query); }
};

// ---- Session -> client -----------------------------------------------------------------------

struct SessionWelcome {
  Caller caller;
  std::string pool;
  std::string build;
  Duration heartbeat{};      // ping at least this often; a session silent for 5 of them ends
  std::string announcement;  // the operator's word to everybody; empty: none
  auto fields() { return std::tie(caller, pool, build, heartbeat, announcement); }
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
  std::uint32_t position = 0;  // queued: 1 is likely the next; it can grow when shorter jobs come
  Instant likely_start{};      // queued: an estimate from what such jobs really took
  Instant promise{};           // the latest start
  std::uint32_t step = 0;      // running: step of of_steps done
  std::uint32_t of_steps = 0;
  std::string node;
  std::string notice;  // why it is queued again, why a promise was restated; empty otherwise
  Shared<Hold> hold;   // filled in the first event that a session gets of this job
  Instant at{};
  Instant likely_latest{};  // queued: the same estimate if all take as long as such jobs may
  Instant held_until{};     // running, duration = "auto": its end, unless its hold is extended
  Shared<Grant> grant;      // of an external app, on its slots; until then its token is empty

  auto fields() {
    return std::tie(job, request, state, attempt, position, likely_start, promise, step, of_steps,
                    node, notice, hold, at, likely_latest, held_until, grant);
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

// Which output of a command so many bytes of its log were written to.
enum class LogStream : std::uint8_t { output = 1, error = 2 };

struct LogPart {
  LogStream stream = LogStream::output;
  std::int64_t bytes = 0;
  auto fields() { return std::tie(stream, bytes); }
};

// The answer to ClientLogs. `finished`: the run is over and nothing will follow `total`.
struct LogChunk {
  std::uint64_t query = 0;
  SessionId session;
  JobId job;
  std::int64_t offset = 0;
  std::int64_t total = 0;
  std::string bytes;  // at most limits::chunk_bytes_max
  bool finished = false;
  Errc error{};                // result_gone, or 0
  std::vector<LogPart> parts;  // of `bytes`, in their order; empty: not told apart
  auto fields() {
    return std::tie(query, session, job, offset, total, bytes, finished, error, parts);
  }
};

struct ChangesAnswer {
  std::uint64_t query = 0;
  std::vector<Change> changes;  // newest first
  bool more = false;            // older ones were left out
  Instant known_since{};        // older changes are forgotten; 0: everything is known
  auto fields() { return std::tie(query, changes, more, known_since); }
};

// One day of an account, by when its jobs ended. Days without any are left out.
struct UsageDay {
  Instant day{};  // its midnight, UTC
  std::uint64_t jobs = 0;
  std::uint64_t succeeded = 0;
  Duration ran{};
  GpuTime held;
  GpuTime charged;
  auto fields() { return std::tie(day, jobs, succeeded, ran, held, charged); }
};

struct UsageAnswer {
  std::uint64_t query = 0;
  std::vector<UsageDay> days;  // newest first
  bool more = false;           // older ones were left out
  auto fields() { return std::tie(query, days, more); }
};

// What would become of a request. `refusal` says why it would not be admitted (its code is 0 if it
// would): then nothing else is filled but `caller`.
struct QuoteAnswer {
  std::uint64_t query = 0;
  Caller caller;
  std::string app;
  std::string size;
  std::uint32_t factor = 1;
  Duration declared{};
  GpuTime cost;            // of all that is declared
  Duration first_held{};   // duration = "auto": what is held at first; else all of `declared`
  GpuTime held_credits;    // how much of what is held first would be credits
  GpuTime left;            // of the quota, after that
  Instant likely_start{};  // as in JobEvent; never(): not foreseen
  Instant likely_latest{};
  Instant promise{};
  std::uint64_t ahead = 0;  // jobs that wait already
  Balance balance;          // now
  Refusal refusal;
  auto fields() {
    return std::tie(query, caller, app, size, factor, declared, cost, first_held, held_credits,
                    left, likely_start, likely_latest, promise, ahead, balance, refusal);
  }
};

// So many bytes from the beginning are durable.
struct UploadAnswer {
  std::uint64_t query = 0;
  std::string hash;
  std::int64_t stored = 0;
  auto fields() { return std::tie(query, hash, stored); }
};

struct OperateAnswer {
  std::uint64_t query = 0;
  Table table;
  auto fields() { return std::tie(query, table); }
};

struct OverviewAnswer {
  std::uint64_t query = 0;
  Shared<Overview> overview;
  auto fields() { return std::tie(query, overview); }
};

// The operator's announcement to everybody changed; empty: it is over.
struct SessionNotice {
  std::string text;
  auto fields() { return std::tie(text); }
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

// To every session: a new announcement for its client.
struct Announcement {
  std::string text;
  auto fields() { return std::tie(text); }
};

}  // namespace gpupool
