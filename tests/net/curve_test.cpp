// The encrypted client socket, and how clients and pools that do not fit each other find out.

#include "net/curve.h"

#include "net/client.h"
#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

CurvePair made() {
  const Result<CurvePair> pair = make_curve_pair();
  REQUIRE(pair);
  return *pair;
}

Result<std::unique_ptr<Client>> connect_with(const TestPool& pool, const std::string& server_key,
                                             Duration timeout = seconds(30)) {
  return Client::connect({.endpoint = pool.endpoint(),
                          .token = "ada",
                          .server_key = server_key,
                          .connect_timeout = timeout});
}

TEST_CASE("A made pair is two keys, and the public one follows from the secret") {
  const CurvePair pair = made();
  CHECK(is_curve_key(pair.public_key));
  CHECK(*curve_public_key(pair.secret_key) == pair.public_key);
  CHECK(curve_public_key("short").error().code == Errc::bad_request);
  CHECK_FALSE(is_curve_key(std::string(40, '"')));
}

TEST_CASE("A client that names the pool's key is served encrypted") {
  const CurvePair pair = made();
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
                  if (const auto* q = std::get_if<ClientQuota>(&message))
                    own.send(session, QuotaAnswer{.query = q->query, .balance = {.left = {7}}});
                },
                {.curve_secret = pair.secret_key}};
  CHECK(pool.server_key() == pair.public_key);
  const auto client = connect_with(pool, pair.public_key);
  REQUIRE(client);
  CHECK((*client)->quota()->balance.left.ms == 7);
  CHECK(pool.last_introduction().peer_address == "127.0.0.1");
}

// Whether the pool's greeting or the end of the connection comes first is for the network to say.
TEST_CASE("A plain client at an encrypted pool learns that it needs --server-key") {
  TestPool pool{{}, {.curve_secret = made().secret_key}};
  const auto client = connect_with(pool, "", seconds(1));
  REQUIRE_FALSE(client);
  CHECK(client.error().code == Errc::not_connected);
  INFO(client.error().detail);
  CHECK(client.error().detail.find("name its public key with --server-key") != std::string::npos);
  CHECK(pool.count<SessionOpened>() == 0);
}

TEST_CASE("An encrypting client at a plain pool learns that the key is not the pool's") {
  TestPool pool;
  const auto client = connect_with(pool, made().public_key, seconds(1));
  REQUIRE_FALSE(client);
  INFO(client.error().detail);
  CHECK(client.error().detail.find("--server-key") != std::string::npos);
}

TEST_CASE("A wrong server key is told apart from a pool that is not there") {
  TestPool pool{{}, {.curve_secret = made().secret_key}};
  const auto client = connect_with(pool, made().public_key, seconds(1));
  REQUIRE_FALSE(client);
  INFO(client.error().detail);
  CHECK(client.error().detail.find("is not the pool of this --server-key") != std::string::npos);
}

TEST_CASE("A server key that is none is an error before anything is sent") {
  TestPool pool;
  const auto client = connect_with(pool, "secret");
  REQUIRE_FALSE(client);
  CHECK(client.error().detail.find("40 characters of Z85") != std::string::npos);
}

TEST_CASE("A secret that is no key binds nothing") {
  const auto socket =
      GatewaySocket::open({.endpoint = "tcp://127.0.0.1:*", .curve_secret = "x"}, {});
  REQUIRE_FALSE(socket);
}

}  // namespace
}  // namespace gpupool
