// What operators change while clients are connected: tokens end, tiers change, words go round.

#include "net/client.h"
#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

TEST_CASE("A session whose token is revoked ends at once and hears why; others go on") {
  TestPool pool;
  RawClient ada{pool.endpoint()};
  ada.send(Hello{.token = "ada"});
  ada.receive_one<SessionWelcome>();
  RawClient bob{pool.endpoint()};
  bob.send(Hello{.token = "bob"});
  bob.receive_one<SessionWelcome>();
  pool.set_standing({.revoked = {{.token_id = "ada"}}});
  const auto error = ada.receive_one<SessionError>();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "the token was revoked by an operator; ask for a new one");
  REQUIRE(pool.wait_for<SessionClosed>(1));
  bob.send(ClientPing{.query = 1});
  CHECK(bob.receive_one<SessionPong>().query == 1);
  ada.send(Hello{.token = "ada"});
  CHECK(ada.receive_one<SessionError>().code == Errc::unauthenticated);
}

TEST_CASE("A client of the SDK whose token is revoked stops with the reason") {
  TestPool pool;
  auto client = Client::connect(
      {.endpoint = pool.endpoint(), .token = "ada", .connect_timeout = seconds(30)});
  REQUIRE(client);
  pool.set_standing({.revoked = {{.token_id = "ada"}}});
  const Result<ClientEvent> event = (*client)->next_event(seconds(30));
  REQUIRE_FALSE(event);
  CHECK(event.error().code == Errc::unauthenticated);
  CHECK(event.error().detail.find("revoked") != std::string::npos);
}

TEST_CASE("A session whose tier an operator changes is greeted again, the same session") {
  TestPool pool;
  RawClient ada{pool.endpoint()};
  ada.send(Hello{.token = "ada"});
  CHECK(ada.receive_one<SessionWelcome>().caller.tier == "free");
  pool.set_standing({.tiers = {{.account = {"user:ada"}, .tier = "pro"}}});
  CHECK(ada.receive_one<SessionWelcome>().caller.tier == "pro");
  const auto opened = pool.all<SessionOpened>();
  REQUIRE(opened.size() == 2);
  CHECK(opened[0].first == opened[1].first);
  CHECK(opened[1].second.caller.tier == "pro");
}

TEST_CASE("An announcement goes to every session, and into every later welcome") {
  TestPool pool{{}, {.announcement = "good morning"}};
  RawClient ada{pool.endpoint()};
  ada.send(Hello{.token = "ada"});
  CHECK(ada.receive_one<SessionWelcome>().announcement == "good morning");
  pool.announce("maintenance at noon");
  REQUIRE(pool.wait_for<Announcement>(1));
  CHECK(pool.all<Announcement>()[0].second.text == "maintenance at noon");
  RawClient bob{pool.endpoint()};
  bob.send(Hello{.token = "bob"});
  CHECK(bob.receive_one<SessionWelcome>().announcement == "maintenance at noon");
}

TEST_CASE("Logs and operators' words are asked and answered by number") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* logs = std::get_if<ClientLogs>(&message)) {
      if (logs->job == JobId{9})
        own.send(session, LogChunk{.query = logs->query, .error = Errc::result_gone});
      else
        own.send(session, LogChunk{.query = logs->query,
                                   .job = logs->job,
                                   .offset = logs->offset,
                                   .total = 5,
                                   .bytes = "abc",
                                   .finished = true});
    } else if (const auto* operate = std::get_if<ClientOperate>(&message)) {
      own.send(session,
               OperateAnswer{.query = operate->query, .table = {.note = operate->words.at(1)}});
    }
  }};
  auto client = Client::connect(
      {.endpoint = pool.endpoint(), .token = "ada", .connect_timeout = seconds(30)});
  REQUIRE(client);
  CHECK((*client)->logs({7}, 2)->bytes == "abc");
  CHECK((*client)->logs({9}, 0).error().code == Errc::result_gone);
  CHECK((*client)->operate({"drain", "node-2"})->note == "node-2");
}

TEST_CASE("Several jobs on one connection each get their own events and ends") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* watch = std::get_if<ClientWatch>(&message)) {
      own.send(session, JobEvent{.job = watch->job, .state = JobState::running});
      if (own.count<ClientWatch>() < 3) return;
      for (const std::uint64_t job : {3, 1, 2})
        own.send(session, JobDone{.receipt = {.job = {job}, .outcome = Outcome::succeeded}});
    }
  }};
  auto client = Client::connect(
      {.endpoint = pool.endpoint(), .token = "ada", .connect_timeout = seconds(30)});
  REQUIRE(client);
  for (const std::uint64_t job : {1, 2, 3}) REQUIRE((*client)->watch({job}));
  std::vector<std::uint64_t> ended;
  while (ended.size() < 3) {
    const Result<ClientEvent> event = (*client)->next_event(seconds(30));
    REQUIRE(event);
    if (const auto* done = std::get_if<JobDone>(&*event)) ended.push_back(done->receipt.job.value);
  }
  CHECK(ended == std::vector<std::uint64_t>{3, 1, 2});
}

}  // namespace
}  // namespace gpupool
