#pragma once
// One simulated client: it asks for good and for bad things, repeats itself, loses its connection,
// comes back and asks again by the same ids until it knows how every request of its ended. It
// checks what a client can: that an acknowledged job is never lost, and that an id has one answer.

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "actors/messages.h"
#include "base/prng.h"
#include "tests/sim/checks.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"

namespace gpupool::sim {

class Client {
 public:
  // The gateway as a client sees it. open() gives 0 while there is no pool.
  struct Gateway {
    std::function<SessionId(const Caller&)> open;
    std::function<void(SessionId, ToSession)> say;
    // What a caller on the node says to the worker there.
    std::function<void(const std::string& node, ToWorker)> say_on;
  };

  Client(Schedule& schedule, Checks& checks, const ClientPlan& plan, Prng rng, Gateway gateway);

  void start() { act_later(); }
  void hear(const ToClient& message);
  void connection_lost() { session_ = {}; }
  SessionId session() const { return session_; }

  // No new requests from now on; only the answers to the open ones are wanted.
  void settle_down() { settling_ = true; }
  bool knows_everything() const;
  std::string unresolved() const;

 private:
  enum class State : std::uint8_t { unanswered, open, done, refused };
  struct Request {
    RequestId id;
    JobRequest body;
    State state = State::unanswered;
    JobId job;
    std::uint64_t query = 0;  // of the latest submit
    SessionId asked_on;       // the connection of that submit
  };

  void act_later();
  void act();
  void connect();
  void disconnect();
  void ask_again();
  void make_request();
  void submit(Request& request);
  void ask_something();
  void ask_about_job(JobId job);
  void operate(std::uint64_t query);
  void use(const JobEvent& event);
  JobRequest draw_body();
  JobRequest draw_bad_body(JobRequest body);
  RequestId draw_id();

  void on(const SessionWelcome&) {}
  void on(const SessionError& error);
  void on(const LogChunk& chunk);
  void on(const ChangesAnswer& answer);
  void on(const UsageAnswer& answer);
  void on(const QuoteAnswer& answer);
  void on(const OperateAnswer&) {}
  void on(const OverviewAnswer&) {}
  void on(const SessionNotice&) {}
  void on(const SessionRefused& refused);
  void on(const JobEvent& event);
  void on(const JobDone& done);
  void on(const QuotaAnswer& answer);
  void on(const ReceiptsAnswer& answer);
  void on(const JobsAnswer&) {}
  void on(const ExplainAnswer& answer);
  void on(const ResultChunk& chunk);
  void on(const SessionPong&) {}
  void on(const UploadAnswer& answer);
  std::string files() const;

  Request* by_query(std::uint64_t query);
  void say(ToSession message) { gateway_.say(session_, std::move(message)); }

  Schedule& schedule_;
  Checks& checks_;
  const ClientPlan plan_;
  Prng rng_;
  Prng own_ = rng_.fork("own");  // for its own processes
  const Gateway gateway_;
  SessionId session_;
  Instant token_ends_ = Instant::never();
  bool is_operator_ = false;  // by the token of this connection
  bool settling_ = false;
  std::uint64_t last_query_ = 0;
  std::uint64_t conflicting_query_ = 0;  // an id with another body: id_reused is the answer
  std::vector<Request> requests_;
  std::set<std::string> granted_;  // tokens that were used
};

}  // namespace gpupool::sim
