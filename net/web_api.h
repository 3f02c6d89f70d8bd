#pragma once
// The page, REST and their streams: what a browser or a program says over HTTP becomes what a
// client says to a session of its own, and the session's answers become JSON. So everything that
// holds for clients holds here: who is who, rates, refusals with their numbers. A question has a
// session until its answer; a stream has one until its end, follows the open jobs of its account,
// and takes the events of what is submitted through it. Always bounded (web_limits::*). It keeps no
// rule about quota or slots. One thread, the HTTP server's; time and randomness are arguments.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"
#include "config/config.h"
#include "net/http.h"
#include "net/token.h"
#include "net/web_door.h"
#include "net/web_metrics.h"
#include "net/web_requests.h"

namespace gpupool {

// What the front reaches. All are quick and may be called from its thread.
struct WebPorts {
  std::function<const Config&()> config;
  // Who asks for something, and the same of one who was welcomed before. Errors: unauthenticated,
  // rate_limited.
  std::function<Result<Caller>(const Introduction&)> welcome;
  std::function<Status(const Introduction&)> may_come;  // who asks for what needs no name
  std::function<Result<Caller>(const Introduction&)> recognise;
  std::function<Status(SessionId, const Caller&)> open;  // overloaded: there are too many
  std::function<void(SessionId, ToSession)> say;
  std::function<void(SessionId)> close;
  std::function<std::uint64_t()> random;
  std::function<Instant()> wall_now;  // UTC, for request ids
  std::function<Instant()> pool_now;  // the ledger's time
  std::function<std::string()> announcement;
  std::function<ProcessFacts()> process;
};

class WebApi {
 public:
  WebApi(std::string build, WebPorts ports);

  void serve(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> reply);
  void hear(Instant now, SessionId session, const ToClient& message);
  // What operators have set changed: who is who is looked at again, and what is announced told.
  void reconsider();
  // At least five times a second.
  void tick(Instant now);

  std::size_t questions() const { return asked_.size(); }
  std::size_t streams() const { return streams_.size(); }

 private:
  // Waits for the answer of its session.
  struct Asked {
    std::shared_ptr<HttpReply> reply;
    WebRequest request;
    Instant since{};
    ResultRef result{};                // that is being fetched
    std::shared_ptr<void> reserved{};  // room for it among all bytes on their way
    std::string bytes{};               // of a result or a log, so far
  };
  struct Submit {
    std::uint64_t query = 0;
    std::shared_ptr<HttpReply> reply;
  };
  static constexpr std::uint64_t first_free_query = 100;
  struct Stream {
    std::shared_ptr<HttpReply> reply;
    Introduction introduction;
    Caller caller;
    Instant spoke{};
    Instant ask_again{};                       // for quota and jobs
    Instant look_again{};                      // for the overview
    std::map<JobId, Shared<Hold>> followed{};  // events after the first have no hold
    std::string quota{};                       // as it was told last
    std::string jobs{};
    std::string announced{};
    // A later state of the same thing takes the place of an earlier one that has not left yet.
    std::vector<std::pair<std::string, std::string>> outbox{};
    std::map<RequestId, Submit> submits{};  // without an answer
    std::uint64_t last_query = first_free_query;
    std::map<std::uint64_t, JobId> watches{};  // questions whose failure lets go of the job
  };

  Introduction introduce(const HttpRequest& request) const;
  SessionId new_session();
  void file(const HttpRequest& request, HttpReply& reply) const;
  void ask(Instant now, const Caller& caller, WebRequest request, std::shared_ptr<HttpReply> reply);
  ToSession question_of(WebRequest& request);
  HttpAnswer offer(const Caller& caller) const;
  void open_stream(Instant now, Introduction introduction, const Caller& caller,
                   std::shared_ptr<HttpReply> reply);
  void submit(const Caller& caller, WebRequest request, std::shared_ptr<HttpReply> reply);
  RequestId request_id() const;

  // Answers to questions
  void hear(Asked& asked, SessionId session, const ToClient& message);
  bool reserve(Asked& asked, std::int64_t bytes);
  bool go_on(Asked& asked, SessionId session, const ToClient& message);
  void end(SessionId session, HttpAnswer answer);
  static HttpAnswer answer_of(Asked& asked, const ToClient& message, const WebApi& api);

  // Streams (web_stream.cpp)
  void hear(Instant now, SessionId session, Stream& stream, const ToClient& message);
  void heard(Instant now, SessionId session, Stream& stream, JobEvent event);
  void heard(Instant now, SessionId session, Stream& stream, const JobDone& done);
  void heard(SessionId session, Stream& stream, const JobsAnswer& answer);
  void heard(SessionId session, Stream& stream, const SessionError& error);
  static void tell(Stream& stream, const std::string& key, std::string_view event,
                   const std::string& data);
  void tick(Instant now, SessionId session, Stream& stream);
  void end_stream(SessionId session, const std::string& reason);
  void forget(SessionId session);
  static void give_up_submits(Stream& stream);

  const std::string build_;
  const WebPorts ports_;
  std::map<SessionId, Asked> asked_;
  std::map<SessionId, Stream> streams_;
  // Of results and logs on their way, until they have left.
  std::shared_ptr<std::int64_t> held_bytes_ = std::make_shared<std::int64_t>(0);
};

// What is no request that can be read: 400, 413, 417 or 431.
HttpAnswer web_unreadable(int status);
// The refusal as an answer, with its numbers.
HttpAnswer web_refusal(const Refusal& refusal);
// On every answer: what a browser may do with it.
HttpHeaders web_headers();

}  // namespace gpupool
