#pragma once
// What a session asks of the broker, the ledger, the console and a worker, and their answers. Each
// carries the session and its own number of the question.

#include "actors/messages/client.h"
#include "actors/messages/parts.h"

namespace gpupool {

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
  JobId job;  // only this one; 0: all that are open
  auto fields() { return std::tie(session, query, account, job); }
};

struct Quote {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  JobRequest body;
  auto fields() { return std::tie(session, query, caller, body); }
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
  Shared<JobDone> done;
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

// A ClientUpload, of an account; the answer leaves when the piece is durable.
struct StoreUpload {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  std::string hash;
  std::int64_t total = 0;
  std::int64_t offset = 0;
  std::string bytes;
  auto fields() { return std::tie(session, query, account, hash, total, offset, bytes); }
};

struct UploadStored {
  SessionId session;
  UploadAnswer answer;
  Errc error{};  // bad_request, overloaded, ledger_unavailable, or 0
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  auto fields() { return std::tie(session, answer, error, want, have, detail); }
};

// Day by day, at most so many days, the newest first.
struct UsageQuery {
  SessionId session;
  std::uint64_t query = 0;
  AccountId account;
  Instant since{};
  std::uint32_t limit = 0;
  auto fields() { return std::tie(session, query, account, since, limit); }
};

struct QuotaFound {
  SessionId session;
  QuotaAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

struct ReceiptsFound {
  SessionId session;
  Errc error{};  // history_unavailable, or 0
  ReceiptsAnswer answer;
  auto fields() { return std::tie(session, error, answer); }
};

struct ReceiptFound {
  SessionId session;
  std::uint64_t query = 0;
  Errc error{};  // job_unknown, history_unavailable, or 0
  Shared<JobDone> done;
  auto fields() { return std::tie(session, query, error, done); }
};

struct Explained {
  SessionId session;
  Errc error{};  // job_unknown, history_unavailable, or 0
  ExplainAnswer answer;
  auto fields() { return std::tie(session, error, answer); }
};

struct UsageFound {
  SessionId session;
  Errc error{};  // history_unavailable, or 0
  UsageAnswer answer;
  auto fields() { return std::tie(session, error, answer); }
};

// To a Quote, from the ledger: the broker passed it on with what it knows itself.
struct Quoted {
  SessionId session;
  QuoteAnswer answer;
  auto fields() { return std::tie(session, answer); }
};

struct ChangesQuery {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  Instant since{};
  std::uint32_t limit = 0;
  auto fields() { return std::tie(session, query, caller, since, limit); }
};

struct ChangesFound {
  SessionId session;
  ChangesAnswer answer;
  auto fields() { return std::tie(session, answer); }
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

// The log of a run: by `hash` and its media type once it is over, else what the slot that runs
// `attempt` has so far; with `preview`, of the picture that it draws.
struct FetchLog {
  SessionId session;
  std::uint64_t query = 0;
  JobId job;
  std::uint32_t attempt = 0;
  std::string hash;
  std::int64_t offset = 0;
  std::string media_type;
  bool preview = false;
  auto fields() {
    return std::tie(session, query, job, attempt, hash, offset, media_type, preview);
  }
};

// ---- Session <-> console ------------------------------------------------------------------------

struct Operate {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  std::vector<std::string> words;
  auto fields() { return std::tie(session, query, caller, words); }
};

struct Operated {
  SessionId session;
  OperateAnswer answer;
  Errc error{};  // 0, or why not, with `want`, `have` and `detail`
  std::int64_t want = 0;
  std::int64_t have = 0;
  std::string detail;
  auto fields() { return std::tie(session, answer, error, want, have, detail); }
};

}  // namespace gpupool
