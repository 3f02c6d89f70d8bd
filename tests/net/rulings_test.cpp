// What operators set about callers: revoked tokens, and tiers of accounts.

#include "net/rulings.h"

#include <catch2/catch.hpp>

#include "net/token.h"

namespace gpupool {
namespace {

const Instant now{1'700'000'000'500};
const KeyConfig key{.kid = "k1", .secret = "0123456789abcdef0123456789abcdef"};

Config pool() {
  Config config = default_config();
  config.identity.keys = {key};
  return config;
}

std::string token(const std::string& id, Instant issued = now) {
  return *mint(key,
               {.subject = "ada", .issued = issued, .expires = now + hours(1), .token_id = id});
}

Result<Caller> recognise_under(const Standing& standing, const std::string& text) {
  return recognise(pool(), {.token = text, .peer_address = "192.0.2.7"}, now, Rulings{standing});
}

TEST_CASE("A caller carries the id of its token") {
  CHECK(recognise_under({}, token("t-1"))->token_id == "t-1");
  CHECK(recognise_under({}, token(""))->token_id.empty());
}

TEST_CASE("A revoked token is refused, says since when, and no other token is") {
  const Standing standing{.revoked = {{.token_id = "t-1", .account = {}, .issued_before = now}}};
  const Error error = recognise_under(standing, token("t-1")).error();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail ==
        "the token was revoked by an operator at 2023-11-14T22:13:20Z; ask for a new one");
  CHECK(recognise_under(standing, token("t-2")));
  CHECK(recognise_under(standing, token("")));
}

TEST_CASE("Revoking a user ends the tokens issued until then, and those that do not say when") {
  const Standing standing{
      .revoked = {{.token_id = "", .account = {"user:ada"}, .issued_before = now - seconds(10)},
                  {.token_id = "", .account = {"user:ada"}, .issued_before = now - seconds(90)}}};
  CHECK(recognise_under(standing, token("a", now - seconds(11))).error().detail ==
        "every token of user:ada issued before 2023-11-14T22:13:10Z was revoked by an operator; "
        "ask for a new one");
  CHECK(recognise_under(standing, token("b", now - seconds(5))));
  CHECK_FALSE(recognise_under(standing, token("c", Instant{})));
}

TEST_CASE("A tier that an operator chose replaces the token's and the address's") {
  const Standing standing{.tiers = {{.account = {"user:ada"}, .tier = "pro"},
                                    {.account = {"address:192.0.2.7/32"}, .tier = "free"},
                                    {.account = {"user:eve"}, .tier = "gone"}}};
  CHECK(recognise_under(standing, token("a"))->tier == "pro");
  CHECK(recognise_under(standing, "")->tier == "free");
}

TEST_CASE("A chosen tier that the pool lost is refused and says who must act") {
  const Standing standing{.tiers = {{.account = {"user:ada"}, .tier = "gone"}}};
  const Error error = recognise_under(standing, token("a")).error();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "an operator set user:ada to a tier that this pool does not have any more");
}

}  // namespace
}  // namespace gpupool
