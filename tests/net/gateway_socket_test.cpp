#include "net/gateway_socket.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <thread>

#include "net/outbox.h"
#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

// Answers every quota question with the caller's number as balance.
void answer_quota(TestPool& pool, SessionId session, const ToSession& message) {
  if (const auto* quota = std::get_if<ClientQuota>(&message))
    pool.send(session, QuotaAnswer{.query = quota->query});
}

TEST_CASE("A hello opens a session and is answered with who the caller is") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada", .program = "test"});
  const auto welcome = client.receive_one<SessionWelcome>();
  CHECK(welcome.caller.account.text == "user:ada");
  CHECK(welcome.pool == "test pool");
  CHECK(welcome.build == "0.0");
  CHECK(welcome.heartbeat == seconds(2));
  REQUIRE(pool.count<SessionOpened>() == 1);
  CHECK(pool.all<SessionOpened>()[0].second.caller.account.text == "user:ada");
  CHECK(pool.last_introduction().peer_address == "127.0.0.1");
}

TEST_CASE("A hello of another version is told both versions and opens no session") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.version = 9});
  const auto error = client.receive_one<SessionError>();
  CHECK(error.code == Errc::version_mismatch);
  CHECK(error.want == 9);
  CHECK(error.have == 1);
  CHECK(pool.count<SessionOpened>() == 0);
}

TEST_CASE("A caller whom the pool does not recognise is unauthenticated and gets no session") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "bad"});
  const auto error = client.receive_one<SessionError>();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "the token expired");
  client.send(ClientQuota{.query = 1});
  CHECK(client.receive_one<SessionError>().code == Errc::not_connected);
  CHECK(pool.count<SessionOpened>() == 0);
  CHECK(pool.count<ClientQuota>() == 0);
}

TEST_CASE("A ping is answered without troubling the session") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(ClientPing{.query = 77});
  CHECK(client.receive_one<SessionPong>().query == 77);
  CHECK(pool.count<ClientPing>() == 0);
}

// As for a leader that stood still and goes on: what it would say is of a time before.
TEST_CASE("A pool that may not speak any more tells its clients nothing, not even a pong") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* quota = std::get_if<ClientQuota>(&message))
      own.send(session, QuotaAnswer{.query = quota->query});
  }};
  RawClient witness{pool.endpoint()};
  witness.send(Hello{.token = "eve"});
  witness.receive_one<SessionWelcome>();
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  pool.set_silent(true);
  client.send(ClientPing{.query = 1});
  client.send(ClientQuota{.query = 2});
  client.send(Hello{.token = "ada"});
  client.send_bytes("no message");
  RawClient late{pool.endpoint()};
  late.send(Hello{.token = "bob"});
  // A client's messages are taken in their order, and a session ends after all that was to be said
  // before: when both have happened, every word of the silent time has met the silence.
  client.send(ClientCancel{});
  late.send(ClientCancel{});
  REQUIRE(pool.wait_for<ClientCancel>(2));
  REQUIRE(pool.count<SessionOpened>() == 4);
  pool.end(pool.all<SessionOpened>()[0].first);
  REQUIRE(pool.wait_for<SessionClosed>(1));
  pool.set_silent(false);
  client.send(ClientPing{.query = 3});
  CHECK(client.receive_one<SessionPong>().query == 3);
  late.send(ClientPing{.query = 4});
  CHECK(late.receive_one<SessionPong>().query == 4);
}

TEST_CASE("A session that says goodbye is closed once") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(Bye{});
  client.send(Bye{});
  client.send(ClientQuota{.query = 1});
  CHECK(client.receive_one<SessionError>().code == Errc::not_connected);
  CHECK(client.receive_one<SessionError>().code == Errc::not_connected);
  CHECK(pool.count<SessionClosed>() == 1);
}

TEST_CASE("A session silent for five heartbeats is closed, and one that pings is not") {
  TestPool pool;
  RawClient silent{pool.endpoint()};
  RawClient lively{pool.endpoint()};
  silent.send(Hello{.token = "silent"});
  silent.receive_one<SessionWelcome>();
  lively.send(Hello{.token = "lively"});
  lively.receive_one<SessionWelcome>();
  pool.let_time_pass(seconds(6));
  lively.send(ClientPing{.query = 1});
  lively.receive_one<SessionPong>();
  pool.let_time_pass(seconds(6));
  REQUIRE(pool.wait_for<SessionClosed>(1));
  CHECK(pool.all<SessionClosed>()[0].first == pool.all<SessionOpened>()[0].first);
  lively.send(ClientPing{.query = 2});
  CHECK(lively.receive_one<SessionPong>().query == 2);
  silent.send(ClientQuota{.query = 1});
  CHECK(silent.receive_one<SessionError>().code == Errc::not_connected);
  CHECK(pool.count<SessionClosed>() == 1);
}

TEST_CASE("A connection that never speaks the protocol is closed by the pool") {
  TestPool pool{{}, {.handshake = milliseconds(200)}};
  const std::string& endpoint = pool.endpoint();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  // The pool's own greeting comes first, then the end of the connection.
  bool closed = false;
  char bytes[256];
  pollfd item{.fd = fd, .events = POLLIN, .revents = 0};
  while (!closed && poll(&item, 1, 30'000) == 1) closed = recv(fd, bytes, sizeof bytes, 0) <= 0;
  close(fd);
  CHECK(closed);
}

TEST_CASE("A second hello of the same account opens the same session again") {
  TestPool pool{answer_quota};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  const auto opened = pool.all<SessionOpened>();
  REQUIRE(opened.size() == 2);
  CHECK(opened[0].first == opened[1].first);
  CHECK(pool.count<SessionClosed>() == 0);
}

TEST_CASE("A session never passes from one account to another") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(Hello{.token = "bob"});
  CHECK(client.receive_one<SessionWelcome>().caller.account.text == "user:bob");
  const auto opened = pool.all<SessionOpened>();
  REQUIRE(opened.size() == 2);
  CHECK(opened[0].first != opened[1].first);
  REQUIRE(pool.count<SessionClosed>() == 1);
  CHECK(pool.all<SessionClosed>()[0].first == opened[0].first);
}

TEST_CASE("A bad token on a live session ends it") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(Hello{.token = "bad"});
  CHECK(client.receive_one<SessionError>().code == Errc::unauthenticated);
  client.send(ClientQuota{.query = 1});
  CHECK(client.receive_one<SessionError>().code == Errc::not_connected);
  CHECK(pool.count<SessionClosed>() == 1);
}

TEST_CASE("A frame that cannot be read is answered, and the session goes on") {
  TestPool pool{answer_quota};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send_bytes("nonsense");
  CHECK(client.receive_one<SessionError>().code == Errc::malformed_frame);
  client.send_bytes("two", ZMQ_SNDMORE);
  client.send_bytes("frames");
  CHECK(client.receive_one<SessionError>().code == Errc::malformed_frame);
  client.send_bytes(*encode(ToClient{SessionPong{}}));
  CHECK(client.receive_one<SessionError>().code == Errc::unknown_message);
  client.send(ClientQuota{.query = 3});
  CHECK(client.receive_one<QuotaAnswer>().query == 3);
}

TEST_CASE("A client that names its own connection is refused") {
  TestPool pool;
  RawClient client{pool.endpoint(), "me"};
  client.send(Hello{.token = "ada"});
  CHECK(client.receive_one<SessionError>().code == Errc::malformed_frame);
  CHECK(pool.count<SessionOpened>() == 0);
}

TEST_CASE("One client too many is told that the pool is full") {
  TestPool pool{{}, {.sessions_max = 1}};
  RawClient first{pool.endpoint()};
  first.send(Hello{.token = "ada"});
  first.receive_one<SessionWelcome>();
  RawClient second{pool.endpoint()};
  second.send(Hello{.token = "bob"});
  const auto error = second.receive_one<SessionError>();
  CHECK(error.code == Errc::overloaded);
  CHECK(error.have == 1);
  first.send(Bye{});
  REQUIRE(pool.wait_for<SessionClosed>(1));
  second.send(Hello{.token = "bob"});
  second.receive_one<SessionWelcome>();
}

TEST_CASE("An answer that is too large for a frame becomes an error to its question") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* jobs = std::get_if<ClientJobs>(&message))
      own.send(session,
               ExplainAnswer{.query = jobs->query, .story = {{{}, std::string(300'000, 'x')}}});
  }};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(ClientJobs{.query = 5});
  const auto error = client.receive_one<SessionError>();
  CHECK(error.code == Errc::frame_too_large);
  CHECK(error.query == 5);
  CHECK(error.have == limits::frame_bytes_max);
}

TEST_CASE("A client that never reads loses its session and delays nobody") {
  TestPool pool{answer_quota, {.queue_max = 50, .socket_queue_max = 4}};
  RawClient slow{pool.endpoint()};
  slow.send(Hello{.token = "slow"});
  REQUIRE(pool.wait_for<SessionOpened>(1));
  const SessionId slow_session = pool.all<SessionOpened>()[0].first;
  RawClient other{pool.endpoint()};
  other.send(Hello{.token = "other"});
  other.receive_one<SessionWelcome>();
  const std::string piece(limits::chunk_bytes_max, 'x');
  // The buffers of the two machines' halves of a connection hold some megabytes at most.
  for (std::uint64_t round = 1; round <= 200 && pool.count<SessionClosed>() == 0; ++round) {
    for (int i = 0; i < 20; ++i) pool.send(slow_session, ResultChunk{.bytes = piece});
    other.send(ClientQuota{.query = round});
    CHECK(other.receive_one<QuotaAnswer>().query == round);
  }
  REQUIRE(pool.wait_for<SessionClosed>(1));
  CHECK(pool.all<SessionClosed>()[0].first == slow_session);
  other.send(ClientQuota{.query = 1'000});
  CHECK(other.receive_one<QuotaAnswer>().query == 1'000);
}

TEST_CASE("A client that reads late gets everything in order") {
  TestPool pool{answer_quota, {.queue_bytes_max = 64 * 1024 * 1024, .socket_queue_max = 20}};
  RawClient late{pool.endpoint()};
  late.send(Hello{.token = "late"});
  late.receive_one<SessionWelcome>();
  const SessionId session = pool.all<SessionOpened>()[0].first;
  const std::string piece(limits::chunk_bytes_max, 'x');
  for (std::int64_t i = 0; i < 400; ++i)
    pool.send(session, ResultChunk{.offset = i, .bytes = piece});
  for (std::int64_t i = 0; i < 400; ++i) {
    const auto chunk = late.receive_one<ResultChunk>();
    if (chunk.offset != i) FAIL("piece " << chunk.offset << " came instead of " << i);
  }
  CHECK(pool.count<SessionClosed>() == 0);
}

TEST_CASE("Messages of many threads all arrive, each thread's in order") {
  TestPool pool;
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  const SessionId session = pool.all<SessionOpened>()[0].first;
  std::vector<std::thread> threads;
  for (std::uint64_t number = 0; number < 4; ++number)
    threads.emplace_back([&pool, session, number] {
      for (std::int64_t i = 0; i < 200; ++i)
        pool.send(session, ResultChunk{.query = number, .offset = i});
    });
  std::vector<std::int64_t> next(4, 0);
  for (int i = 0; i < 800; ++i) {
    const auto chunk = client.receive_one<ResultChunk>();
    CHECK(chunk.offset == next.at(chunk.query)++);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("Nothing is read from clients while the sessions have enough to do") {
  TestPool pool{answer_quota};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  pool.set_congested(true);
  client.send(ClientQuota{.query = 1});
  CHECK_FALSE(client.receive(std::chrono::milliseconds{100}));
  CHECK(pool.count<ClientQuota>() == 0);
  pool.set_congested(false);
  CHECK(client.receive_one<QuotaAnswer>().query == 1);
}

TEST_CASE("The pool can end a session, after what it had to say") {
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
    if (const auto* quota = std::get_if<ClientQuota>(&message)) {
      own.send(session, QuotaAnswer{.query = quota->query});
      own.end(session);
    }
  }};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(ClientQuota{.query = 1});
  client.receive_one<QuotaAnswer>();
  CHECK(pool.wait_for<SessionClosed>(1));
}

TEST_CASE("An endpoint that cannot be bound is an error that names it") {
  TestPool pool;
  const auto second = GatewaySocket::open({.endpoint = pool.endpoint()}, {});
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Errc::system_failed);
  CHECK(second.error().detail.find(pool.endpoint()) != std::string::npos);
}

bool woken(Outbox& outbox) {
  pollfd item{.fd = outbox.wake_up().fd(), .events = POLLIN, .revents = 0};
  return poll(&item, 1, 0) == 1;
}

TEST_CASE("The outbox wakes its reader once for many messages, and again after it took them") {
  Outbox outbox{10};
  CHECK_FALSE(woken(outbox));
  outbox.send({1}, SessionPong{.query = 1});
  CHECK(woken(outbox));
  outbox.wake_up().clear();
  outbox.send({1}, SessionPong{.query = 2});
  CHECK_FALSE(woken(outbox));
  CHECK(outbox.take().letters.size() == 2);
  outbox.send({1}, SessionPong{.query = 3});
  CHECK(woken(outbox));
  CHECK(outbox.take().letters.size() == 1);
  CHECK_FALSE(woken(outbox));
}

TEST_CASE("Only an endpoint that other machines may reach counts as one on a network") {
  for (const char* inside : {"ipc:///run/pool.sock", "tcp://127.0.0.1:7400", "tcp://127.8.8.8:*",
                             "tcp://[::1]:7400", "tcp://localhost:7400"})
    CHECK_FALSE(is_on_a_network(inside));
  for (const char* outside : {"tcp://*:7400", "tcp://0.0.0.0:7400", "tcp://[::]:7400",
                              "tcp://192.0.2.7:7400", "tcp://pool.example:7400"})
    CHECK(is_on_a_network(outside));
}

TEST_CASE("A session that finds the outbox full is ended instead of missing a message") {
  Outbox outbox{2};
  outbox.send({1}, SessionPong{});
  outbox.send({1}, SessionPong{});
  outbox.send({2}, SessionPong{});
  const Outbox::Content content = outbox.take();
  CHECK(content.letters.size() == 2);
  CHECK(content.ended.size() == 1);
  CHECK(content.ended.contains(SessionId{2}));
}

}  // namespace
}  // namespace gpupool
