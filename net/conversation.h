#pragma once
// The state behind net/client.h: the connection to a pool and everything that the pool still owes
// an answer to. Lives in one thread; all of it happens inside work(), while a call waits. What has
// no answer is kept and sent again after every welcome, so a lost connection loses nothing.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/prng.h"
#include "net/client.h"
#include "net/endpoints.h"
#include "net/link.h"
#include "net/sockets.h"
#include "net/wire.h"

namespace gpupool {

// A job that the caller wants to hear of until its end.
struct Follow {
  enum class Stage { waiting, asked, heard };

  std::uint64_t query = 0;
  RequestId request;
  JobId job;          // of a submit: once the pool has told it
  std::string frame;  // of the submit or watch
  Stage stage = Stage::waiting;
  Instant asked_at{};  // when it was sent last
  int repeats = 0;

  bool is_of(JobId its_job, const RequestId& its_request) const {
    return (job && job == its_job) || (request != RequestId{} && request == its_request);
  }
};

// Calls wait for their answer one at a time, so a conversation has at most one.
struct Question {
  std::uint64_t query = 0;
  JobId job;  // for a cancel: the end of this job is the answer
  std::vector<std::string> frames;
  std::optional<ToClient> answer{};
};

class Conversation {
 public:
  explicit Conversation(ClientOptions options);

  Status begin();  // connects; see Client::connect
  void say_goodbye();
  const SessionWelcome& welcome() const;
  const std::string& endpoint() const { return endpoints_.present(); }

  Status follow(Follow follow);
  bool follows(JobId job) const;
  Result<ClientEvent> next_event(Duration timeout);
  // Asks, and waits for the answer, which is the pool's message or its error.
  Result<ToClient> ask(Question question);
  std::uint64_t next_query() { return ++last_query_; }
  void interrupt() noexcept;  // async-signal-safe

 private:
  enum class Phase { down, greeting, live };

  // Works the connection until `done`, the end of the time, an interrupt or a failure for good.
  Status work(const std::function<bool()>& done, Duration timeout);
  void wait(Duration time);
  bool receive();  // true if nothing more is there to read
  void keep_going(Instant now);
  void try_again(Instant now);
  void greet(Instant now);
  void lose(Instant now, std::string reason, Endpoints::Failure why = Endpoints::Failure::silent);
  void fail(Error error);
  Error nobody_answers() const;
  bool has_key() const { return !options_.server_key.empty(); }
  void send(const FromClient& message);
  void send_frame(const std::string& frame);
  void ask_for_more();
  bool ask_again(Follow& follow);  // false: often enough
  void ask_the_silent_again(Instant now);

  void take(SessionWelcome welcome);
  void take(SessionError error);
  void take(SessionRefused refused);
  void take(JobEvent event);
  void take(JobDone done);
  void take(const SessionPong&) {}
  void take(SessionNotice notice);
  template <class Answer>
  void take(Answer answer);
  void take_complaint(const SessionError& error);
  void push(ClientEvent event);
  void hear_announcement();

  const ClientOptions options_;
  Prng jitter_;
  WakeUp wake_up_;
  std::atomic<bool> interrupted_ = false;
  static_assert(std::atomic<bool>::is_always_lock_free, "signal handlers call interrupt()");
  ZmqContext context_;
  Endpoints endpoints_;
  std::unique_ptr<Link> link_;
  Phase phase_ = Phase::down;
  Instant next_deed_{};  // when keep_going() has something to do even if nothing arrives
  Instant give_up_at_ = Instant::never();
  int pings_missed_ = 0;
  bool told_lost_ = false;  // LinkLost is out and its LinkRestored is not
  std::optional<SessionWelcome> welcome_;
  std::string announced_;        // the last text that the caller was told
  std::optional<Error> failed_;  // for good
  std::uint64_t last_query_ = 0;
  std::vector<Follow> follows_;
  std::optional<Question> question_;
  std::deque<ClientEvent> events_;
};

}  // namespace gpupool
