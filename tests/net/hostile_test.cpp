// Peers that mean no good, over real sockets: while they do their worst, one well-behaved client is
// served, and what the pool spends on them is bounded.

#include <arpa/inet.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/prng.h"
#include "net/client.h"
#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

// What thousands of connections may cost. AddressSanitizer keeps what was freed for a while.
#ifdef __SANITIZE_ADDRESS__
constexpr std::int64_t memory_bound = 1024LL * 1024 * 1024;
#else
constexpr std::int64_t memory_bound = 256LL * 1024 * 1024;
#endif

void answer_quota(TestPool& pool, SessionId session, const ToSession& message) {
  if (const auto* quota = std::get_if<ClientQuota>(&message))
    pool.send(session, QuotaAnswer{.query = quota->query});
}

std::unique_ptr<Client> well_behaved(const TestPool& pool) {
  auto client = Client::connect(
      {.endpoint = pool.endpoint(), .token = "ada", .connect_timeout = seconds(30)});
  REQUIRE(client);
  return std::move(*client);
}

// A TCP connection that speaks no ZeroMQ unless told to.
class Stranger {
 public:
  explicit Stranger(const std::string& endpoint) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port =
        htons(static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ =
        fd_ >= 0 && connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Stranger() {
    if (fd_ >= 0) close(fd_);
  }
  Stranger(Stranger&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  Stranger(const Stranger&) = delete;

  bool connected() const { return connected_; }
  // What the pool does not take any more, because it closed the connection, is no matter.
  void say(const std::string& bytes) { (void)send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // True once the pool has closed the connection.
  bool is_closed(std::chrono::milliseconds time = patience) {
    char bytes[4096];
    pollfd item{.fd = fd_, .events = POLLIN, .revents = 0};
    while (poll(&item, 1, static_cast<int>(time.count())) == 1)
      if (recv(fd_, bytes, sizeof bytes, 0) <= 0) return true;
    return false;
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

// ZMTP 3.0 (rfc.zeromq.org/spec/23) with the NULL mechanism, as a DEALER says it.
std::string zmtp_greeting() {
  std::string greeting("\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL", 16);
  greeting.resize(64, '\0');
  return greeting + std::string(
                        "\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06"
                        "DEALER",
                        30);
}

// Descriptors of this process: the pool's and those of the peers that the test plays.
std::int64_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                       std::filesystem::directory_iterator{});
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0;
  std::int64_t resident = 0;
  file >> all >> resident;
  return resident * 4096;
}

// As many silent peers as the system lets one process play, at most 10,000.
std::size_t crowd_size(std::int64_t pool_connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto room = static_cast<std::int64_t>(std::min<rlim_t>(limit.rlim_cur, 1'000'000)) -
                    pool_connections - open_descriptors() - 200;
  return static_cast<std::size_t>(std::clamp<std::int64_t>(room, 0, 10'000));
}

TEST_CASE("Ten thousand connections that say nothing are bounded, and a client is served") {
  constexpr std::int64_t connections_max = 300;
  const std::size_t crowd = crowd_size(connections_max);
  if (crowd < 10'000) WARN("the limit of descriptors allows only " << crowd << " connections");
  TestPool pool{answer_quota, {.connections_max = connections_max}};
  const auto client = well_behaved(pool);
  const std::int64_t descriptors = open_descriptors();
  const std::int64_t memory = resident_bytes();
  std::vector<Stranger> strangers;
  std::int64_t most = 0;
  for (std::size_t i = 0; i < crowd; ++i) {
    strangers.emplace_back(pool.endpoint());
    REQUIRE(strangers.back().connected());
    if (i % 2 == 0) strangers.back().say(zmtp_greeting());
    if (i % 200 != 0) continue;
    REQUIRE(client->quota());
    most = std::max(most,
                    open_descriptors() - descriptors - static_cast<std::int64_t>(strangers.size()));
  }
  // What was accepted and not yet closed again comes on top of the maximum.
  CHECK(most < 3 * connections_max);
  CHECK(resident_bytes() - memory < memory_bound);
  CHECK(strangers.back().is_closed());
  CHECK(client->quota());
}

TEST_CASE("A connection that completes the handshake and never says hello is closed") {
  TestPool pool{answer_quota, {.heartbeat = milliseconds(100), .hello_limit = seconds(5)}};
  Stranger silent{pool.endpoint()};
  silent.say(zmtp_greeting());
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  client.send(ClientQuota{.query = 1});
  client.receive_one<QuotaAnswer>();
  CHECK_FALSE(silent.is_closed(std::chrono::milliseconds{100}));
  pool.let_time_pass(seconds(6));
  CHECK(silent.is_closed());
}

TEST_CASE("A connection whose session goes on is not closed, however long it lives") {
  TestPool pool{answer_quota, {.hello_limit = seconds(5)}};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  for (std::uint64_t round = 1; round <= 10; ++round) {
    pool.let_time_pass(seconds(6));
    client.send(ClientPing{.query = round});
    CHECK(client.receive_one<SessionPong>().query == round);
  }
  CHECK(pool.count<SessionOpened>() == 1);
  CHECK(pool.count<SessionClosed>() == 0);
}

// The next connection gets the descriptor of one that was just closed; the session of that one is
// noticed to be silent only later, and its end is no matter of the new one.
TEST_CASE("A client that vanished takes no later client's connection with it") {
  TestPool pool{answer_quota, {.heartbeat = seconds(2), .hello_limit = seconds(5)}};
  const std::int64_t without_clients = open_descriptors();
  {
    RawClient vanishing{pool.endpoint()};
    vanishing.send(Hello{.token = "bob"});
    vanishing.receive_one<SessionWelcome>();
  }
  for (int looks = 0; open_descriptors() > without_clients; ++looks) {
    REQUIRE(looks < 30'000);
    poll(nullptr, 0, 1);
  }
  RawClient later{pool.endpoint()};
  later.send(Hello{.token = "ada"});
  later.receive_one<SessionWelcome>();
  for (std::uint64_t round = 1; round <= 8; ++round) {
    pool.let_time_pass(seconds(3));
    later.send(ClientPing{.query = round});
    CHECK(later.receive_one<SessionPong>().query == round);
  }
  CHECK(pool.count<SessionClosed>() == 1);
  CHECK(pool.count<SessionOpened>() == 2);
}

TEST_CASE("A flood of hellos with bad tokens ends its connection and delays nobody") {
  TestPool pool{answer_quota};
  const auto client = well_behaved(pool);
  std::vector<std::unique_ptr<RawClient>> flood;
  for (int i = 0; i < 8; ++i) flood.push_back(std::make_unique<RawClient>(pool.endpoint()));
  for (int round = 0; round < 40; ++round) {
    for (const auto& one : flood)
      for (int i = 0; i < 5; ++i) one->try_send(*encode(FromClient{Hello{.token = "bad"}}));
    REQUIRE(client->quota());
  }
  CHECK(pool.count<SessionOpened>() == 1);
  CHECK(pool.count<SessionClosed>() == 0);
}

TEST_CASE("Random bytes, cut frames and strange messages never stop the pool") {
  TestPool pool{answer_quota};
  const auto client = well_behaved(pool);
  RawClient rude{pool.endpoint()};
  rude.send(Hello{.token = "rude"});
  rude.receive_one<SessionWelcome>();
  Prng random{7};
  const std::string submit = *encode(FromClient{ClientSubmit{.query = 1, .body = {.app = "x"}}});
  for (int i = 0; i < 300; ++i) {
    std::string bytes(random.below(400), '\0');
    for (char& c : bytes) c = static_cast<char>(random.below(256));
    rude.try_send(i % 2 == 0 ? bytes : submit.substr(0, random.below(submit.size())));
    // Its answers are read, as a client that does not would be a slow one.
    while (rude.receive(std::chrono::milliseconds{0})) {
    }
    if (i % 50 == 0) REQUIRE(client->quota());
  }
  CHECK(client->quota());
}

TEST_CASE("Raw bytes instead of ZeroMQ, whole and torn, only cost their own connection") {
  TestPool pool{answer_quota, {.handshake = milliseconds(200)}};
  const auto client = well_behaved(pool);
  Prng random{11};
  for (int i = 0; i < 40; ++i) {
    Stranger stranger{pool.endpoint()};
    std::string bytes = i % 2 == 0 ? zmtp_greeting() : std::string{};
    const std::size_t more = random.below(2'000);
    for (std::size_t k = 0; k < more; ++k) bytes += static_cast<char>(random.below(256));
    stranger.say(bytes.substr(0, 1 + random.below(bytes.size() + 1)));
    if (i % 10 == 0) CHECK(client->quota());
  }
  CHECK(client->quota());
}

TEST_CASE("Peers of a ZeroMQ older than 3 are turned away") {
  TestPool pool{answer_quota};
  const auto client = well_behaved(pool);
  Stranger first{pool.endpoint()};
  first.say(std::string("\x01\x00\x05\x00hello", 9));  // ZMTP 1.0: no greeting at all
  CHECK(first.is_closed());
  Stranger second{pool.endpoint()};
  second.say(std::string("\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0\0\x05hello", 21));  // 2.0
  CHECK(second.is_closed());
  CHECK(client->quota());
}

TEST_CASE("A frame that announces more than the maximum closes its connection unread") {
  TestPool pool{answer_quota};
  const auto client = well_behaved(pool);
  Stranger greedy{pool.endpoint()};
  // A long frame (flag 2) of 2^40 bytes.
  greedy.say(zmtp_greeting() + std::string("\x02\x00\x00\x01\x00\x00\x00\x00\x00", 9));
  CHECK(greedy.is_closed());
  CHECK(client->quota());
}

TEST_CASE("Messages of many frames are refused as a whole") {
  TestPool pool{answer_quota};
  RawClient rude{pool.endpoint()};
  rude.send(Hello{.token = "rude"});
  rude.receive_one<SessionWelcome>();
  for (int i = 0; i < 50; ++i) rude.send_bytes(*encode(FromClient{ClientQuota{}}), ZMQ_SNDMORE);
  rude.send_bytes("");
  CHECK(rude.receive_one<SessionError>().code == Errc::malformed_frame);
  CHECK(pool.count<ClientQuota>() == 0);
}

}  // namespace
}  // namespace gpupool
