#pragma once
// The C++ SDK: one conversation with a pool, over a ZeroMQ DEALER socket that lives in the caller's
// thread (no thread of its own). It owns the connection: it pings, notices a dead pool, connects
// again with backoff and jitter, and asks again for everything that has no answer yet. A submit is
// repeated under its own request id, so the same job's events go on and nothing runs twice. Every
// call works the connection while it waits; a program that calls nothing for long is welcomed anew
// at its next call. Not thread-safe, but for interrupt().

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "actors/messages.h"
#include "actors/request_id.h"
#include "base/result.h"

namespace gpupool {

struct ClientOptions {
  // One, or one for each broker of the pool, with commas between them: "tcp://a:7400,tcp://b:7400".
  // They are tried in turn, at first and whenever the pool is lost.
  std::string endpoint = "tcp://127.0.0.1:7400";
  std::string token;                      // empty: recognised by network address, where allowed
  std::string server_key;                 // Z85: the pool's public CURVE key; empty: unencrypted
  std::string program = "gpupool-sdk";    // name and version, for the operator's eyes
  std::uint64_t seed = 1;                 // of the jitter between attempts to connect
  Duration connect_timeout = seconds(3);  // until the first welcome
  // Of one question, reconnecting included. A submit or watch of which a pool that lives says
  // nothing for so long is asked again, and fails with timed_out in the end.
  Duration answer_timeout = seconds(10);
  Duration reconnect_for = seconds(60);  // a lost pool; after it every call says not_connected
  // Called once with each text that the operator announces, in the thread of the call that is
  // working the connection. May be empty.
  std::function<void(const std::string& text)> announced{};
};

// The pool was lost; the client keeps trying, up to ClientOptions::reconnect_for.
struct LinkLost {
  std::string reason;
  std::string endpoint;  // where it was
};

// Welcomed again; unfinished jobs are being asked for, and their present state follows.
struct LinkRestored {
  SessionWelcome welcome;
  std::string endpoint;  // where it is now
};

// A submit or watch that the pool could not answer (one of `request` and `job` is set). The client
// no longer follows it. A refusal is not that: it comes as SessionRefused.
struct FollowFailed {
  RequestId request;
  JobId job;
  Error error;
};

// What happens to the jobs that this client follows. JobDone, SessionRefused and FollowFailed are
// the last event of their job.
using ClientEvent =
    std::variant<JobEvent, JobDone, SessionRefused, FollowFailed, LinkLost, LinkRestored>;

class Conversation;

class Client {
 public:
  // Says hello and waits for the welcome. Errors: not_connected (nobody answers at any endpoint;
  // their names are in `detail`), unauthenticated, version_mismatch, overloaded, interrupted.
  static Result<std::unique_ptr<Client>> connect(ClientOptions options);
  ~Client();  // says goodbye
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The latest welcome: who the caller is to the pool, the pool's name and build, and what is
  // announced now.
  const SessionWelcome& welcome() const;
  // Which endpoint that came from; of a lost pool, the one that is tried now.
  const std::string& endpoint() const;

  // Submits a job; what becomes of it comes through next_event(). The id is the caller's
  // (make_request_id): submitting it again, by any client of the account, follows the same job.
  Status submit(const RequestId& request, const JobRequest& body);
  // Follows a job of one's own account from wherever it is.
  Status watch(JobId job);
  // The next event of the followed jobs. Errors: timed_out (nothing happened, go on),
  // interrupted, and, for good, not_connected or unauthenticated.
  Result<ClientEvent> next_event(Duration timeout);

  // Cancels a job and waits for its receipt, which says what was charged and given back. A job that
  // was over already gives its own receipt (its outcome is then not `cancelled`). The job's JobDone
  // is this answer; it does not come through next_event() as well.
  Result<JobDone> cancel(JobId job);
  Result<QuotaAnswer> quota();
  Result<ReceiptsAnswer> receipts(JobId before, std::uint32_t limit);  // before 0: the newest
  Result<JobsAnswer> jobs();
  Result<ExplainAnswer> explain(JobId job);
  Result<ExplainAnswer> explain(const RequestId& refused);
  // What was changed since then, newest first; since 0: everything that the pool remembers.
  Result<ChangesAnswer> changes(Instant since, std::uint32_t limit);
  // What was used day by day (UTC) from then on, newest first; since 0: from the beginning.
  Result<UsageAnswer> usage(Instant since, std::uint32_t days);
  // What such a request would cost, and when it would start; nothing is submitted. Where it would
  // be refused the answer's `refusal` says why.
  Result<QuoteAnswer> quote(const JobRequest& body);
  // Files for jobs of this account: a tar archive, in pieces, durable in the pool when this returns
  // its SHA-256, which a request then names (argument "files"). What is there already is not sent
  // again. Errors: forbidden, overloaded, bad_request (too large).
  Result<std::string> upload(std::string_view archive);
  // A command of an operator, word by word: {"drain", "node-2"}. {"help"} lists what there is.
  Result<Table> operate(std::vector<std::string> words);
  // What takes a result's bytes, piece by piece; its error ends the fetch.
  using Sink = std::function<Status(std::string_view)>;
  // The pool as operators see it, at most a second old; operators only.
  Result<Shared<Overview>> overview();
  // The result of a finished job, checked against the receipt's size and SHA-256. The check comes
  // after the last piece: what the sink took is good only if this is. Errors: result_gone,
  // file_malformed (the bytes are not those of the receipt), the sink's own.
  Status fetch(const Receipt& receipt, const Sink& sink);
  Result<std::string> fetch(const Receipt& receipt);  // into memory
  // What a run of a job wrote to its output, from `offset` on; of a running job what there is.
  Result<LogChunk> logs(JobId job, std::int64_t offset);
  // The picture that a running job draws, as it forms: a PNG; empty: there is none (yet).
  Result<std::string> preview(JobId job);

  // Ends the call that is running now, or else the next one that waits, with `interrupted`; the
  // client stays usable. Async-signal-safe, and the one member that any thread may call.
  void interrupt() noexcept;

 private:
  explicit Client(std::unique_ptr<Conversation> conversation);

  std::unique_ptr<Conversation> conversation_;
};

}  // namespace gpupool
