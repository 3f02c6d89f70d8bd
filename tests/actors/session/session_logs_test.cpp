// Where a session looks for what a run wrote.
#include <catch2/catch.hpp>

#include "actors/session/session.h"
#include "base/pack.h"

namespace gpupool {
namespace {

constexpr SessionId session_id{7};
constexpr NodeId keeper{42};
constexpr JobId job{3};

// A session of ada's, with what it sent in its last step.
struct Talk {
  Config config = default_config();
  Session session{config, session_id};
  Effects effects;

  Talk() { tell(SessionOpened{session_id, {.account = {"user:ada"}, .tier = "free"}}); }
  void tell(const ToSession& message) { effects = session.step({1'000}, message); }

  template <class Sent, class Role>
  Sent sent(const Address& to) {
    REQUIRE(effects.send.size() == 1);
    REQUIRE(effects.send[0].to == to);
    const auto* role = std::get_if<Role>(&effects.send[0].message);
    REQUIRE(role != nullptr);
    REQUIRE(std::holds_alternative<Sent>(*role));
    return std::get<Sent>(*role);
  }
  // Asks the broker where the job is; gives the number of the question.
  std::uint64_t ask() {
    tell(ClientLogs{.query = 21, .job = job, .offset = 5});
    const auto asked = sent<JobsQuery, ToBroker>(to_broker());
    CHECK(asked.job == job);
    CHECK(asked.account.text == "user:ada");
    return asked.query;
  }
  void answer(std::uint64_t query, std::vector<JobEvent> jobs) {
    tell(JobsList{.session = session_id, .answer = {.query = query, .jobs = std::move(jobs)}});
  }
  LogChunk told() { return sent<LogChunk, ToClient>(to_client(session_id)); }
};

JobDone done(const ResultRef& log) {
  JobDone ended;
  ended.receipt.job = job;
  ended.receipt.account = {"user:ada"};
  ended.receipt.log = log;
  return ended;
}

}  // namespace

TEST_CASE("The log of a running job comes from the node that runs it, so far") {
  Talk talk;
  talk.answer(talk.ask(),
              {{.job = job, .state = JobState::running, .attempt = 2, .node = "node-1"}});
  const auto fetch = talk.sent<FetchLog, ToWorker>(to_worker(NodeId{hash_of("node-1")}));
  CHECK(fetch.attempt == 2);
  CHECK(fetch.hash.empty());
  CHECK(fetch.offset == 5);
  talk.tell(LogChunk{.query = fetch.query, .job = job, .offset = 5, .total = 9, .bytes = "more"});
  CHECK(talk.told().query == 21);
  CHECK(talk.told().bytes == "more");
  CHECK_FALSE(talk.told().finished);
  CHECK(talk.session.open_questions() == 0);
}

TEST_CASE("A job that runs nowhere has written nothing so far") {
  Talk talk;
  talk.answer(talk.ask(), {{.job = job, .state = JobState::queued}});
  CHECK(talk.told().query == 21);
  CHECK(talk.told().bytes.empty());
  CHECK_FALSE(talk.told().finished);
}

TEST_CASE("The log of a finished job is found by its receipt") {
  Talk talk;
  talk.answer(talk.ask(), {});
  const auto asked = talk.sent<ReceiptQuery, ToLedger>(to_ledger());
  SECTION("it wrote something") {
    talk.tell(ReceiptFound{session_id, asked.query, {}, done({.hash = "cd", .node = keeper})});
    const auto fetch = talk.sent<FetchLog, ToWorker>(to_worker(keeper));
    CHECK(fetch.hash == "cd");
    talk.tell(LogChunk{.query = fetch.query, .job = job, .error = Errc::result_gone});
    const auto error = talk.sent<SessionError, ToClient>(to_client(session_id));
    CHECK(error.code == Errc::result_gone);
    CHECK(error.detail == "a log is kept 24 h, within its node's limit of bytes");
    talk.tell(ClientLogs{.query = 22, .job = job});  // from now on it knows where
    CHECK(talk.sent<FetchLog, ToWorker>(to_worker(keeper)).hash == "cd");
  }
  SECTION("it wrote nothing") {
    talk.tell(ReceiptFound{session_id, asked.query, {}, done({})});
    CHECK(talk.told().finished);
    CHECK(talk.told().total == 0);
  }
  SECTION("it is somebody else's") {
    JobDone other = done({.hash = "cd", .node = keeper});
    other.receipt.account = {"user:eve"};
    talk.tell(ReceiptFound{session_id, asked.query, {}, other});
    CHECK(talk.sent<SessionError, ToClient>(to_client(session_id)).code == Errc::job_unknown);
  }
}

TEST_CASE("A question about a log names a job and an offset from 0 on") {
  Talk talk;
  talk.tell(ClientLogs{.query = 1, .job = job, .offset = -1});
  CHECK(talk.sent<SessionError, ToClient>(to_client(session_id)).code == Errc::bad_request);
  talk.tell(ClientLogs{.query = 1});
  CHECK(talk.sent<SessionError, ToClient>(to_client(session_id)).code == Errc::bad_request);
}

}  // namespace gpupool
