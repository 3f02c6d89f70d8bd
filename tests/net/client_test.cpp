// The SDK against the real gateway socket, on free ports, with all sessions played by a function.

#include "net/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>

#include <csignal>
#include <thread>

#include "actors/worker/process.h"
#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

const RequestId request = make_request_id({1'700'000'000'000}, {.first = 1, .second = 2});
const JobId job{42};

std::unique_ptr<Client> connect_to(const TestPool& pool, const std::string& token = "ada",
                                   Duration answer_timeout = seconds(10)) {
  auto client = Client::connect({.endpoint = pool.endpoint(),
                                 .token = token,
                                 .connect_timeout = seconds(30),
                                 .answer_timeout = answer_timeout});
  REQUIRE(client);
  return std::move(*client);
}

// The next event of one kind; others are passed over.
template <class Event>
Event next(Client& client) {
  for (;;) {
    Result<ClientEvent> event = client.next_event(seconds(30));
    REQUIRE(event);
    if (Event* found = std::get_if<Event>(&*event)) return std::move(*found);
  }
}

Receipt receipt_of(Outcome outcome) {
  return {.job = job, .request = request, .charged = {1'200}, .outcome = outcome};
}

// Queues, starts and finishes every job as soon as it is submitted.
void run_jobs(TestPool& pool, SessionId session, const ToSession& message) {
  if (const auto* submit = std::get_if<ClientSubmit>(&message)) {
    pool.send(session, JobEvent{.job = job, .request = submit->request, .state = JobState::queued});
    pool.send(session,
              JobEvent{.job = job, .request = submit->request, .state = JobState::running});
    pool.send(session, JobDone{.receipt = receipt_of(Outcome::succeeded)});
  }
}

TEST_CASE("A client is welcomed with who it is, and says goodbye at its end") {
  TestPool pool;
  {
    const auto client = connect_to(pool);
    CHECK(client->welcome().caller.account.text == "user:ada");
    CHECK(client->welcome().pool == "test pool");
  }
  CHECK(pool.wait_for<SessionClosed>(1));
}

TEST_CASE("A client that is not recognised learns why at once") {
  TestPool pool;
  const auto client = Client::connect({.endpoint = pool.endpoint(), .token = "bad"});
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::unauthenticated);
  CHECK(client.error().detail == "the token expired");
}

TEST_CASE("A client that finds no pool says where it looked") {
  std::string endpoint;
  {
    TestPool pool;
    endpoint = pool.endpoint();
  }
  const auto client = Client::connect({.endpoint = endpoint, .connect_timeout = milliseconds(250)});
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::not_connected);
  CHECK(client.error().detail == "no pool answers at " + endpoint);
}

TEST_CASE("An endpoint that is none is an error at once") {
  const auto client = Client::connect({.endpoint = "nowhere"});
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::not_connected);
  CHECK(client.error().detail.find("nowhere") != std::string::npos);
}

TEST_CASE("Of several endpoints each has to be one, and too many are refused") {
  std::string many = "tcp://127.0.0.1:1";
  for (int i = 0; i < 8; ++i) many += ",tcp://127.0.0.1:1";
  for (const std::string& wrong :
       {std::string("tcp://127.0.0.1:1,nowhere"), std::string("tcp://127.0.0.1:1,"),
        std::string("tcp://127.0.0.1"), std::string("tcp://:7400"), many}) {
    INFO(wrong);
    const auto client = Client::connect({.endpoint = wrong});
    REQUIRE_FALSE(client);
    CHECK(client.error().code == Errc::not_connected);
    CHECK(client.error().detail.find("endpoint") != std::string::npos);
  }
}

TEST_CASE("A client finds the pool behind the second endpoint, and names all when there is none") {
  std::string gone;
  {
    TestPool pool;
    gone = pool.endpoint();
  }
  auto pool = std::make_unique<TestPool>();
  const std::string both = gone + ", " + pool->endpoint();
  auto client = Client::connect({.endpoint = both, .connect_timeout = seconds(30)});
  REQUIRE(client);
  CHECK((*client)->endpoint() == pool->endpoint());
  const std::string second = pool->endpoint();
  client->reset();
  pool.reset();
  client = Client::connect({.endpoint = both, .connect_timeout = milliseconds(400)});
  REQUIRE_FALSE(client);
  CHECK(client.error().detail == "no pool answers at " + gone + " or " + second);
}

// Its connections are taken by the system, and nobody says anything: as of a process that is
// stopped, or at an address that swallows every packet.
TEST_CASE("An endpoint that says nothing does not keep a client from the others") {
  const FileDescriptor silent(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(silent.get(), generic, size) == 0);
  REQUIRE(::listen(silent.get(), 16) == 0);
  REQUIRE(::getsockname(silent.get(), generic, &size) == 0);
  const std::string mute = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  TestPool pool;
  const auto client =
      Client::connect({.endpoint = mute + "," + pool.endpoint(), .connect_timeout = seconds(30)});
  REQUIRE(client);
  CHECK((*client)->endpoint() == pool.endpoint());
}

TEST_CASE("After a takeover a client goes on with its job at the other endpoint, and says where") {
  auto first =
      std::make_unique<TestPool>([](TestPool& own, SessionId session, const ToSession& message) {
        if (const auto* submit = std::get_if<ClientSubmit>(&message))
          own.send(session,
                   JobEvent{.job = job, .request = submit->request, .state = JobState::queued});
      });
  TestPool second{run_jobs};
  const std::string former = first->endpoint();
  auto client = Client::connect({.endpoint = former + "," + second.endpoint(),
                                 .token = "ada",
                                 .connect_timeout = seconds(30)});
  REQUIRE(client);
  CHECK((*client)->endpoint() == former);
  REQUIRE((*client)->submit(request, {.app = "emoji"}));
  CHECK(next<JobEvent>(**client).state == JobState::queued);
  first.reset();
  CHECK(next<LinkLost>(**client).endpoint == former);
  CHECK(next<LinkRestored>(**client).endpoint == second.endpoint());
  next<JobDone>(**client);
  REQUIRE(second.all<ClientSubmit>().size() == 1);
  CHECK(second.all<ClientSubmit>()[0].second.request == request);
}

TEST_CASE("A full pool is told apart from an absent one") {
  TestPool pool{{}, {.sessions_max = 1}};
  const auto first = connect_to(pool);
  const auto second = Client::connect({.endpoint = pool.endpoint(), .token = "bob"});
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Errc::overloaded);
}

TEST_CASE("A client operates, asks for changes, and hears each announcement once") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* operate = std::get_if<ClientOperate>(&message)) {
      own.send(session, SessionNotice{"node-2 is down"});
      own.send(session, SessionNotice{"node-2 is down"});
      own.send(session,
               OperateAnswer{.query = operate->query, .table = {.title = operate->words.back()}});
    } else if (const auto* changes = std::get_if<ClientChanges>(&message)) {
      own.send(session, SessionNotice{""});
      own.send(session, ChangesAnswer{.query = changes->query,
                                      .changes = {{.at = changes->since}},
                                      .more = changes->limit == 7});
    }
  }};
  std::vector<std::string> announced;
  const auto client =
      Client::connect({.endpoint = pool.endpoint(),
                       .token = "root",
                       .connect_timeout = seconds(30),
                       .announced = [&](const std::string& text) { announced.push_back(text); }});
  REQUIRE(client);
  CHECK((*client)->operate({"drain", "node-2"})->title == "node-2");
  CHECK(announced == std::vector<std::string>{"node-2 is down"});
  CHECK((*client)->welcome().announcement == "node-2 is down");
  const auto changes = (*client)->changes(Instant{5}, 7);
  REQUIRE(changes);
  CHECK(changes->more);
  CHECK(changes->changes.at(0).at == Instant{5});
  CHECK((*client)->welcome().announcement.empty());
  CHECK(announced.size() == 1);
}

TEST_CASE("The welcome tells what is announced") {
  TestPool pool;
  pool.announce("closed on Sunday");
  std::string announced;
  const auto client =
      Client::connect({.endpoint = pool.endpoint(),
                       .token = "ada",
                       .connect_timeout = seconds(30),
                       .announced = [&](const std::string& text) { announced = text; }});
  REQUIRE(client);
  CHECK(announced == "closed on Sunday");
}

TEST_CASE("Questions get their answers, and errors their codes") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* q = std::get_if<ClientQuota>(&message)) {
      own.send(session, QuotaAnswer{.query = q->query, .balance = {.left = {126'600}}});
    } else if (const auto* r = std::get_if<ClientReceipts>(&message)) {
      own.send(session, ReceiptsAnswer{.query = r->query,
                                       .receipts = {receipt_of(Outcome::succeeded)},
                                       .more = r->limit == 1 && r->before == JobId{50}});
    } else if (const auto* j = std::get_if<ClientJobs>(&message)) {
      own.send(session, JobsAnswer{.query = j->query, .jobs = {{.job = job}}});
    } else if (const auto* e = std::get_if<ClientExplain>(&message)) {
      if (e->request == request)
        own.send(session, ExplainAnswer{.query = e->query, .story = {{{}, "refused"}}});
      else
        own.send(session, SessionError{.query = e->query, .code = Errc::job_unknown});
    }
  }};
  const auto client = connect_to(pool);
  CHECK(client->quota()->balance.left.ms == 126'600);
  CHECK(client->receipts({50}, 1)->more);
  CHECK(client->jobs()->jobs.at(0).job == job);
  CHECK(client->explain(request)->story.at(0).text == "refused");
  CHECK(client->explain(JobId{9}).error().code == Errc::job_unknown);
}

TEST_CASE("A question that nobody answers ends with its time") {
  TestPool pool;
  auto client = Client::connect({.endpoint = pool.endpoint(),
                                 .connect_timeout = seconds(30),
                                 .answer_timeout = milliseconds(50)});
  REQUIRE(client);
  const Error error = (*client)->quota().error();
  CHECK(error.code == Errc::timed_out);
  CHECK(error.want == 50);
}

TEST_CASE("A question refused with numbers is an error with these numbers") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* q = std::get_if<ClientQuota>(&message))
      own.send(session, SessionRefused{.query = q->query,
                                       .refusal = {.code = Errc::unauthenticated,
                                                   .detail = "the token expired"}});
  }};
  const auto client = connect_to(pool);
  const Error error = client->quota().error();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "the token expired");
}

TEST_CASE("A submitted job's events come in order and end with its receipt") {
  TestPool pool{run_jobs};
  const auto client = connect_to(pool);
  REQUIRE(client->submit(request, {.app = "emoji"}));
  CHECK(next<JobEvent>(*client).state == JobState::queued);
  CHECK(next<JobEvent>(*client).state == JobState::running);
  CHECK(next<JobDone>(*client).receipt.charged.ms == 1'200);
  CHECK(client->next_event(milliseconds(0)).error().code == Errc::timed_out);
}

TEST_CASE("Many submits at once never leave the pool more questions than it takes of one client") {
  constexpr std::size_t jobs = 200;
  std::atomic<std::size_t> finished = 0;
  std::atomic<std::size_t> most_open = 0;
  TestPool pool{[&](TestPool& own, SessionId session, const ToSession& message) {
    const auto* submit = std::get_if<ClientSubmit>(&message);
    if (!submit) return;
    const std::size_t open = own.count<ClientSubmit>() - finished;
    most_open = std::max(most_open.load(), open);
    // Answers come in batches, as those of a pool with group commit do.
    const std::size_t seen = own.count<ClientSubmit>();
    if (open < 32 && seen < jobs) return;
    for (const auto& [who, one] : own.all<ClientSubmit>()) {
      if (one.query <= finished) continue;
      ++finished;
      own.send(session, JobDone{.receipt = {.job = {one.query}, .request = one.request}});
    }
  }};
  const auto client = connect_to(pool);
  for (std::uint64_t i = 0; i < jobs; ++i)
    REQUIRE(client->submit(make_request_id({1}, {.second = i}), {.app = "emoji"}));
  for (std::size_t i = 0; i < jobs; ++i) next<JobDone>(*client);
  CHECK(most_open == 32);
  CHECK(pool.count<ClientSubmit>() == jobs);
}

TEST_CASE("A refusal is the last event of its submit") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* submit = std::get_if<ClientSubmit>(&message))
      own.send(session, SessionRefused{.query = submit->query,
                                       .refusal = {.code = Errc::quota_exceeded,
                                                   .want = 60'000,
                                                   .request = submit->request}});
  }};
  const auto client = connect_to(pool);
  REQUIRE(client->submit(request, {.app = "emoji"}));
  CHECK(next<SessionRefused>(*client).refusal.want == 60'000);
}

TEST_CASE("A watch of an unknown job fails as an event") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* watch = std::get_if<ClientWatch>(&message))
      own.send(session, SessionError{.query = watch->query, .code = Errc::job_unknown});
  }};
  const auto client = connect_to(pool);
  REQUIRE(client->watch({7}));
  const FollowFailed failed = next<FollowFailed>(*client);
  CHECK(failed.job == JobId{7});
  CHECK(failed.error.code == Errc::job_unknown);
}

TEST_CASE("A submit whose outcome is unknown is asked again under the same id") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    const auto* submit = std::get_if<ClientSubmit>(&message);
    if (!submit) return;
    if (own.count<ClientSubmit>() == 1)
      own.send(session, SessionError{.query = submit->query, .code = Errc::outcome_unknown});
    else
      run_jobs(own, session, message);
  }};
  const auto client = connect_to(pool);
  REQUIRE(client->submit(request, {.app = "emoji"}));
  next<JobDone>(*client);
  const auto submits = pool.all<ClientSubmit>();
  REQUIRE(submits.size() == 2);
  CHECK(submits[1].second.request == request);
}

TEST_CASE("A submit whose outcome stays unknown fails with just that") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* submit = std::get_if<ClientSubmit>(&message))
      own.send(session, SessionError{.query = submit->query, .code = Errc::outcome_unknown});
  }};
  const auto client = connect_to(pool);
  REQUIRE(client->submit(request, {.app = "emoji"}));
  const FollowFailed failed = next<FollowFailed>(*client);
  CHECK(failed.request == request);
  CHECK(failed.error.code == Errc::outcome_unknown);
}

TEST_CASE("A submit that is never answered is asked again, and fails in the end with timed_out") {
  TestPool pool{[](TestPool&, SessionId, const ToSession&) {}, {.heartbeat = milliseconds(50)}};
  const auto client = connect_to(pool, "ada", milliseconds(20));
  REQUIRE(client->submit(request, {.app = "emoji"}));
  const FollowFailed failed = next<FollowFailed>(*client);
  CHECK(failed.request == request);
  CHECK(failed.error.code == Errc::timed_out);
  const auto submits = pool.all<ClientSubmit>();
  CHECK(submits.size() >= 6);
  for (const auto& [session, submit] : submits) CHECK(submit.request == request);
}

TEST_CASE("A submit whose first answer was lost goes on once it is asked again") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
                  if (own.count<ClientSubmit>() > 1) run_jobs(own, session, message);
                },
                {.heartbeat = milliseconds(50)}};
  const auto client = connect_to(pool, "ada", milliseconds(20));
  REQUIRE(client->submit(request, {.app = "emoji"}));
  next<JobDone>(*client);
}

TEST_CASE("A cancel is answered by the job's receipt, also if the job was over already") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (std::get_if<ClientWatch>(&message))
      own.send(session, JobEvent{.job = job, .state = JobState::running});
    if (const auto* cancel = std::get_if<ClientCancel>(&message)) {
      own.send(session, SessionError{.query = cancel->query, .code = Errc::job_finished});
      own.send(session, JobDone{.receipt = receipt_of(Outcome::cancelled)});
    }
  }};
  const auto client = connect_to(pool);
  const Result<JobDone> done = client->cancel(job);
  REQUIRE(done);
  CHECK(done->receipt.outcome == Outcome::cancelled);
  CHECK(client->next_event(milliseconds(0)).error().code == Errc::timed_out);
}

TEST_CASE("A cancel of an unknown job is an error") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* cancel = std::get_if<ClientCancel>(&message))
      own.send(session, SessionError{.query = cancel->query, .code = Errc::job_unknown});
  }};
  CHECK(connect_to(pool)->cancel(job).error().code == Errc::job_unknown);
}

std::string sha256(const std::string& bytes) {
  unsigned char hash[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(hash, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  char text[2 * crypto_hash_sha256_BYTES + 1];
  return sodium_bin2hex(text, sizeof text, hash, sizeof hash);
}

// Sends the pieces of `result`, each changed by `spoil` first.
TestPool::Answer send_result(std::string result, std::function<void(ResultChunk&)> spoil = {}) {
  return [=](TestPool& own, SessionId session, const ToSession& message) {
    const auto* fetch = std::get_if<ClientFetch>(&message);
    if (!fetch) return;
    ResultChunk chunk{
        .query = fetch->query,
        .job = fetch->job,
        .offset = fetch->offset,
        .total = static_cast<std::int64_t>(result.size()),
        .bytes = result.substr(static_cast<std::size_t>(fetch->offset), limits::chunk_bytes_max)};
    if (spoil) spoil(chunk);
    own.send(session, std::move(chunk));
  };
}

Result<std::string> fetch_from(const TestPool& pool, const std::string& promised) {
  Receipt receipt = receipt_of(Outcome::succeeded);
  receipt.result = {.hash = sha256(promised), .bytes = static_cast<std::int64_t>(promised.size())};
  return connect_to(pool)->fetch(receipt);
}

std::string picture() {
  std::string bytes;
  for (int i = 0; i < 150'000; ++i) bytes.push_back(static_cast<char>(i * 7 % 251));
  return bytes;
}

TEST_CASE("A result comes in pieces and is what the receipt says") {
  TestPool pool{send_result(picture())};
  CHECK(*fetch_from(pool, picture()) == picture());
  CHECK(pool.count<ClientFetch>() == 4);
}

TEST_CASE("A result that is not the receipt's is not handed out") {
  std::string other = picture();
  other[100'000] = 'x';
  TestPool changed{send_result(other)};
  CHECK(fetch_from(changed, picture()).error().code == Errc::file_malformed);
  TestPool longer{send_result(picture() + "x")};
  CHECK(fetch_from(longer, picture()).error().code == Errc::file_malformed);
  TestPool stuck{send_result(picture(), [](ResultChunk& chunk) { chunk.offset = 0; })};
  CHECK(fetch_from(stuck, picture()).error().code == Errc::file_malformed);
  TestPool empty{send_result(picture(), [](ResultChunk& chunk) { chunk.bytes.clear(); })};
  CHECK(fetch_from(empty, picture()).error().code == Errc::file_malformed);
}

TEST_CASE("A result of 64 MB passes piece by piece, and its hash is checked at its end") {
  const std::string all(limits::result_bytes_max, 'x');
  TestPool pool{send_result(all)};
  Receipt receipt = receipt_of(Outcome::succeeded);
  receipt.result = {.hash = sha256(all), .bytes = limits::result_bytes_max};
  const auto client = connect_to(pool);
  std::int64_t taken = 0;
  std::size_t longest = 0;
  const Client::Sink sink = [&](std::string_view piece) {
    taken += static_cast<std::int64_t>(piece.size());
    longest = std::max(longest, piece.size());
    return ok();
  };
  REQUIRE(client->fetch(receipt, sink));
  CHECK(taken == limits::result_bytes_max);
  CHECK(longest == limits::chunk_bytes_max);
  receipt.result.hash = sha256("other");
  CHECK(client->fetch(receipt, sink).error().code == Errc::file_malformed);
}

TEST_CASE("A sink that takes no more ends the fetch with its own error") {
  TestPool pool{send_result(picture())};
  Receipt receipt = receipt_of(Outcome::succeeded);
  receipt.result = {.hash = sha256(picture()),
                    .bytes = static_cast<std::int64_t>(picture().size())};
  const auto client = connect_to(pool);
  const Status fetched = client->fetch(receipt, [](std::string_view) -> Status {
    return Error{.code = Errc::file_unwritable, .detail = "the disk is full"};
  });
  REQUIRE_FALSE(fetched);
  CHECK(fetched.error().code == Errc::file_unwritable);
  CHECK(pool.count<ClientFetch>() == 1);
}

TEST_CASE("A result that is gone is an error, and so is that of a job without one") {
  TestPool pool{
      send_result(picture(), [](ResultChunk& chunk) { chunk.error = Errc::result_gone; })};
  CHECK(fetch_from(pool, picture()).error().code == Errc::result_gone);
  CHECK(connect_to(pool)->fetch(receipt_of(Outcome::failed)).error().code == Errc::result_gone);
}

TEST_CASE("After a restart of the pool the client asks for its unfinished jobs by their ids") {
  auto first =
      std::make_unique<TestPool>([](TestPool& own, SessionId session, const ToSession& message) {
        if (const auto* submit = std::get_if<ClientSubmit>(&message))
          own.send(session,
                   JobEvent{.job = job, .request = submit->request, .state = JobState::queued});
      });
  const std::string endpoint = first->endpoint();
  const auto client = connect_to(*first);
  REQUIRE(client->submit(request, {.app = "emoji", .declared = seconds(9)}));
  CHECK(next<JobEvent>(*client).state == JobState::queued);
  first.reset();
  next<LinkLost>(*client);
  TestPool second{run_jobs, {.endpoint = endpoint}};
  CHECK(next<LinkRestored>(*client).welcome.pool == "test pool");
  next<JobDone>(*client);
  const auto submits = second.all<ClientSubmit>();
  REQUIRE(submits.size() == 1);
  CHECK(submits[0].second.request == request);
  CHECK(submits[0].second.body.declared == seconds(9));
}

TEST_CASE("A question asked while the pool restarts is answered by the new one") {
  auto first = std::make_unique<TestPool>();
  const std::string endpoint = first->endpoint();
  auto client = Client::connect({.endpoint = endpoint,
                                 .token = "ada",
                                 .connect_timeout = seconds(30),
                                 .answer_timeout = seconds(30)});
  REQUIRE(client);
  std::unique_ptr<TestPool> second;
  std::thread restart([&] {
    first->wait_for<ClientQuota>(1);
    first.reset();
    second = std::make_unique<TestPool>(
        [](TestPool& own, SessionId session, const ToSession& message) {
          if (const auto* q = std::get_if<ClientQuota>(&message))
            own.send(session, QuotaAnswer{.query = q->query, .balance = {.left = {5}}});
        },
        GatewayOptions{.endpoint = endpoint});
  });
  const Result<QuotaAnswer> answer = (*client)->quota();
  restart.join();
  REQUIRE(answer);
  CHECK(answer->balance.left.ms == 5);
}

TEST_CASE("A client whose token is no longer good after a restart hears it") {
  auto first = std::make_unique<TestPool>();
  const std::string endpoint = first->endpoint();
  const auto client = connect_to(*first);
  first.reset();
  next<LinkLost>(*client);
  TestPool second{{}, {.endpoint = endpoint}, Door::closed};
  const Result<ClientEvent> event = client->next_event(seconds(30));
  REQUIRE_FALSE(event);
  CHECK(event.error().code == Errc::unauthenticated);
  CHECK(client->quota().error().code == Errc::unauthenticated);
}

TEST_CASE("A pool that does not come back is given up after the agreed time") {
  auto pool = std::make_unique<TestPool>();
  auto client = Client::connect({.endpoint = pool->endpoint(),
                                 .connect_timeout = seconds(30),
                                 .reconnect_for = milliseconds(300)});
  REQUIRE(client);
  pool.reset();
  next<LinkLost>(**client);
  CHECK((*client)->next_event(seconds(30)).error().code == Errc::not_connected);
  CHECK((*client)->submit(request, {}).error().code == Errc::not_connected);
}

TEST_CASE("A client that the pool forgot is welcomed anew at its next call") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* q = std::get_if<ClientQuota>(&message))
      own.send(session, QuotaAnswer{.query = q->query});
  }};
  const auto client = connect_to(pool);
  CHECK(client->quota());
  pool.let_time_pass(seconds(60));
  REQUIRE(pool.wait_for<SessionClosed>(1));
  CHECK(client->quota());
  CHECK(pool.count<SessionOpened>() == 2);
}

TEST_CASE("A pool that goes silent is noticed by its missing pongs") {
  const ZmqContext context{zmq_ctx_new()};
  const ZmqSocket router{zmq_socket(context.get(), ZMQ_ROUTER)};
  REQUIRE(set_option(router, ZMQ_LINGER, 0));
  REQUIRE(zmq_bind(router.get(), "tcp://127.0.0.1:*") == 0);
  char endpoint[64];
  std::size_t size = sizeof endpoint;
  REQUIRE(zmq_getsockopt(router.get(), ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
  // Welcomes one client, then says nothing more while its connection stays open.
  std::thread pool([&] {
    char identity[16];
    const int length = zmq_recv(router.get(), identity, sizeof identity, 0);
    zmq_recv(router.get(), nullptr, 0, 0);
    const std::string frame =
        *encode(ToClient{SessionWelcome{.pool = "silent", .heartbeat = milliseconds(20)}});
    zmq_send(router.get(), identity, static_cast<std::size_t>(length), ZMQ_SNDMORE);
    zmq_send(router.get(), frame.data(), frame.size(), 0);
  });
  auto client = Client::connect({.endpoint = endpoint, .connect_timeout = seconds(30)});
  pool.join();
  REQUIRE(client);
  CHECK(next<LinkLost>(**client).reason == "the pool went silent");
}

TEST_CASE("An interrupt ends a waiting call, and the client goes on") {
  TestPool pool{run_jobs};
  const auto client = connect_to(pool);
  std::thread other([&] { client->interrupt(); });
  CHECK(client->next_event(seconds(30)).error().code == Errc::interrupted);
  other.join();
  REQUIRE(client->submit(request, {.app = "emoji"}));
  next<JobDone>(*client);
}

Client* interrupted_client = nullptr;

TEST_CASE("A signal handler may interrupt") {
  TestPool pool;
  const auto client = connect_to(pool);
  interrupted_client = client.get();
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { interrupted_client->interrupt(); };
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  raise(SIGUSR1);
  CHECK(client->next_event(seconds(30)).error().code == Errc::interrupted);
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("Progress that nobody reads is bounded, and the end of a job is never dropped") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
                  if (std::get_if<ClientSubmit>(&message)) {
                    for (std::uint32_t i = 0; i < 3'000; ++i)
                      own.send(session, JobEvent{.job = job, .request = request, .step = i});
                    own.send(session, JobDone{.receipt = receipt_of(Outcome::succeeded)});
                  } else if (const auto* q = std::get_if<ClientQuota>(&message)) {
                    own.send(session, QuotaAnswer{.query = q->query});
                  }
                },
                {.queue_max = 5'000}};
  const auto client = connect_to(pool);
  REQUIRE(client->submit(request, {.app = "emoji"}));
  REQUIRE(client->quota());
  std::size_t progress = 0;
  for (;;) {
    Result<ClientEvent> event = client->next_event(seconds(30));
    REQUIRE(event);
    if (std::holds_alternative<JobDone>(*event)) break;
    ++progress;
  }
  CHECK(progress == 1'000);
}

}  // namespace
}  // namespace gpupool
