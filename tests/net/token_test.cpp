#include "net/token.h"

#include <sodium.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "config/limits.h"

namespace gpupool {
namespace {

const Instant now{1'700'000'000'500};
const std::string secret = "0123456789abcdef0123456789abcdef";
const KeyConfig first_key{.kid = "k1", .secret = secret};
const KeyConfig second_key{.kid = "k2", .secret = "another secret of thirty-two bytes"};

Config pool() {
  Config config = default_config();
  config.identity.keys = {first_key, second_key};
  return config;
}

Claims ada() { return {.subject = "ada", .issued = now, .expires = now + hours(1)}; }

std::string base64(const std::string& bytes) {
  constexpr int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_encoded_len(bytes.size(), variant), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), variant);
  text.pop_back();
  return text;
}

// A token with any header and claims, rightly signed: what a careless issuer might hand out.
std::string signed_token(const std::string& header, const std::string& claims) {
  const std::string text = base64(header) + "." + base64(claims);
  std::string mac(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(secret.data()),
                              secret.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()),
                                text.size());
  crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char*>(mac.data()));
  return text + "." + base64(mac);
}

const std::string good_header = R"({"alg":"HS256","kid":"k1"})";

std::string with_claims(nlohmann::json changes) {
  nlohmann::json claims = {{"sub", "ada"}, {"aud", "gpupool"}, {"exp", now.ms / 1000 + 3600}};
  claims.merge_patch(changes);
  return signed_token(good_header, claims.dump());
}

Result<Caller> recognise_token(const std::string& token) {
  return recognise(pool(), {.token = token, .peer_address = "192.0.2.7"}, now);
}

Errc refusal_of(const std::string& token) {
  const Result<Caller> caller = recognise_token(token);
  return caller ? Errc{} : caller.error().code;
}

TEST_CASE("A token of an address makes its bearer as anonymous as a connection from there") {
  const Claims claims{.issued = now,
                      .expires = now + hours(1),
                      .address = "198.51.100.9",
                      .error = "your login has ended"};
  const Result<Caller> caller = recognise_token(*mint(first_key, claims));
  REQUIRE(caller);
  CHECK(caller->account.text == "address:198.51.100.9/32");
  CHECK(caller->tier == "anonymous");
  CHECK(caller->recognised_by == "network address 198.51.100.9 by a token, key k1");
  CHECK_FALSE(caller->is_operator);
  const Result<Caller> six =
      recognise_token(with_claims({{"sub", nullptr}, {"ip", "2001:db8::7"}}));
  CHECK(six->account.text == "address:2001:db8::/64");
}

TEST_CASE("A token of an address is of nobody else, and of an address") {
  const nlohmann::json good{{"sub", nullptr}, {"ip", "198.51.100.9"}};
  CHECK(refusal_of(with_claims(good)) == Errc{});
  for (const nlohmann::json& more : {nlohmann::json{{"sub", "ada"}},
                                     {{"tier", "pro"}},
                                     {{"role", "operator"}},
                                     {{"ip", "here"}},
                                     {{"ip", ""}},
                                     {{"ip", 7}}}) {
    nlohmann::json claims = good;
    claims.update(more);
    INFO(claims.dump());
    CHECK(refusal_of(with_claims(claims)) == Errc::token_malformed);
  }
  CHECK_FALSE(mint(first_key, {.subject = "ada", .address = "198.51.100.9"}));
  CHECK_FALSE(mint(first_key, {.address = "here"}));
}

TEST_CASE("Where nobody may be anonymous a token of an address does not help") {
  Config config = pool();
  config.identity.anonymous = false;
  const std::string token = with_claims({{"sub", nullptr}, {"ip", "198.51.100.9"}});
  const auto caller = recognise(config, {.token = token, .peer_address = "192.0.2.7"}, now);
  REQUIRE_FALSE(caller);
  CHECK(caller.error().code == Errc::unauthenticated);
}

TEST_CASE("A minted token is recognised with its account, tier, key and end") {
  Claims claims = ada();
  claims.tier = "pro";
  const Result<Caller> caller = recognise_token(*mint(first_key, claims));
  REQUIRE(caller);
  CHECK(caller->account.text == "user:ada");
  CHECK(caller->tier == "pro");
  CHECK(caller->recognised_by == "token for ada, key k1");
  CHECK_FALSE(caller->is_operator);
  CHECK(caller->expires.ms == (now.ms / 1000 + 3600) * 1000);
}

TEST_CASE("A token without a tier gets the pool's default tier") {
  CHECK(recognise_token(*mint(first_key, ada()))->tier == "free");
}

TEST_CASE("A token for a tier that the pool does not have is unauthenticated") {
  Claims claims = ada();
  claims.tier = "platinum";
  const Error error = recognise_token(*mint(first_key, claims)).error();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "the token is for a tier that this pool does not have");
}

TEST_CASE("Only the role claim makes an operator") {
  Claims claims = ada();
  claims.is_operator = true;
  CHECK(recognise_token(*mint(first_key, claims))->is_operator);
  CHECK_FALSE(recognise_token(with_claims({{"role", "user"}}))->is_operator);
  CHECK(refusal_of(with_claims({{"role", true}})) == Errc::token_malformed);
}

TEST_CASE("The key id selects the key, so that keys can be rotated") {
  CHECK(recognise_token(*mint(second_key, ada()))->recognised_by == "token for ada, key k2");
  KeyConfig imposter = second_key;
  imposter.kid = "k1";
  CHECK(refusal_of(*mint(imposter, ada())) == Errc::token_signature);
  imposter.kid = "k3";
  CHECK(refusal_of(*mint(imposter, ada())) == Errc::token_signature);
}

TEST_CASE("A token without a key id is accepted only where there is one key") {
  const std::string token =
      signed_token(R"({"alg":"HS256"})", R"({"sub":"ada","aud":"gpupool","exp":1700003600})");
  CHECK(refusal_of(token) == Errc::token_signature);
  Config config = pool();
  config.identity.keys = {first_key};
  CHECK(recognise(config, {.token = token}, now));
}

TEST_CASE("An expired token says since when and is not anonymous") {
  Claims claims = ada();
  claims.expires = {now.ms - 62'500};
  const Error error = recognise_token(*mint(first_key, claims)).error();
  CHECK(error.code == Errc::token_expired);
  CHECK(error.want == 62'500);
  CHECK(error.detail == "the token expired 62.5 s ago");
}

TEST_CASE("A token ends at the very millisecond of its end") {
  Claims claims = ada();
  claims.expires = {now.ms / 1000 * 1000 + 1'000};
  const std::string token = *mint(first_key, claims);
  CHECK(recognise(pool(), {.token = token}, claims.expires - milliseconds(1)));
  CHECK(recognise(pool(), {.token = token}, claims.expires).error().code == Errc::token_expired);
}

TEST_CASE("A token that is not valid yet says when it will be") {
  Claims claims = ada();
  claims.not_before = {now.ms + 10'000};
  const Error error = recognise_token(*mint(first_key, claims)).error();
  CHECK(error.code == Errc::token_not_yet_valid);
  CHECK(error.want == 9'500);
}

TEST_CASE("A token for another audience is refused, and a list that has ours is not") {
  Claims claims = ada();
  claims.audience = "another";
  CHECK(refusal_of(*mint(first_key, claims)) == Errc::token_audience);
  CHECK(refusal_of(with_claims({{"aud", nullptr}})) == Errc::token_audience);
  CHECK(refusal_of(with_claims({{"aud", 5}})) == Errc::token_audience);
  CHECK(refusal_of(with_claims({{"aud", {"another", "gpupool"}}})) == Errc{});
}

TEST_CASE("The algorithm is the key's: none and every other one are refused") {
  const std::string claims = R"({"sub":"ada","aud":"gpupool","exp":1700003600})";
  for (const char* algorithm : {"none", "None", "HS384", "RS256", "hs256", ""}) {
    INFO(algorithm);
    const std::string header = R"({"alg":")" + std::string{algorithm} + R"(","kid":"k1"})";
    CHECK(refusal_of(signed_token(header, claims)) == Errc::token_signature);
  }
  CHECK(refusal_of(base64(R"({"alg":"none","kid":"k1"})") + "." + base64(claims) + ".") ==
        Errc::token_signature);
}

TEST_CASE("A token cannot choose an algorithm against a key configured for another") {
  Config config = pool();
  config.identity.keys[0].algorithm = "RS256";
  const std::string token = *mint(first_key, ada());
  CHECK(recognise(config, {.token = token}, now).error().code == Errc::token_signature);
}

TEST_CASE("A key without a secret verifies and mints nothing") {
  Config config = pool();
  config.identity.keys[0].secret.clear();
  const std::string token = *mint(first_key, ada());
  CHECK(recognise(config, {.token = token}, now).error().code == Errc::token_signature);
  CHECK(mint(config.identity.keys[0], ada()).error().code == Errc::unsupported);
}

TEST_CASE("No byte of a token can be changed") {
  const std::string token = *mint(first_key, ada());
  for (std::size_t place = 0; place < token.size(); ++place) {
    std::string changed = token;
    changed[place] = changed[place] == 'A' ? 'B' : 'A';
    INFO(place);
    CHECK_FALSE(recognise_token(changed));
  }
}

TEST_CASE("Claims that another key's owner wrote do not pass under an old signature") {
  const std::string token = *mint(first_key, ada());
  const std::size_t first = token.find('.');
  const std::size_t second = token.rfind('.');
  const std::string forged =
      token.substr(0, first + 1) +
      base64(R"({"sub":"root","aud":"gpupool","exp":1700003600,"role":"operator"})") +
      token.substr(second);
  CHECK(refusal_of(forged) == Errc::token_signature);
}

TEST_CASE("What is no token is malformed and never anonymous") {
  const std::string header = base64(good_header);
  for (const std::string& token :
       {std::string{"x"}, std::string{".."}, std::string{"a.b"}, std::string{"a.b.c.d"},
        header + ".e30", std::string(limits::token_bytes_max + 1, 'a'), std::string(3, '\0')}) {
    INFO(token.substr(0, 40));
    const Errc code = refusal_of(token);
    CHECK((code == Errc::token_malformed || code == Errc::token_signature));
  }
  CHECK(refusal_of(std::string(limits::token_bytes_max + 1, 'a')) == Errc::token_malformed);
}

TEST_CASE("Padding, white space and repeated names in a token are malformed") {
  const std::string claims = R"({"sub":"ada","aud":"gpupool","exp":1700003600})";
  CHECK(refusal_of(" " + signed_token(good_header, claims)) == Errc::token_malformed);
  CHECK(refusal_of(signed_token(R"({"alg":"HS256","kid":"k1","kid":"k2"})", claims)) ==
        Errc::token_malformed);
  CHECK(refusal_of(signed_token(good_header, R"({"sub":"ada","sub":"eve","aud":"gpupool",)"
                                             R"("exp":1700003600})")) == Errc::token_malformed);
  CHECK(refusal_of(signed_token(R"({"alg":"HS256","kid":"k1","crit":["exp"]})", claims)) ==
        Errc::token_malformed);
  CHECK(refusal_of(signed_token(good_header, claims) + "==") == Errc::token_signature);
}

TEST_CASE("A rightly signed token with odd claims is malformed") {
  CHECK(refusal_of(with_claims({{"exp", nullptr}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"exp", "tomorrow"}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"exp", 1e300}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"exp", -5}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"nbf", "now"}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"tier", 3}})) == Errc::token_malformed);
  CHECK(refusal_of(with_claims({{"sub", nullptr}})) == Errc::token_malformed);
  CHECK(refusal_of(signed_token(good_header, "[]")) == Errc::token_malformed);
  CHECK(refusal_of(signed_token(good_header, std::string(2'000, '['))) == Errc::token_malformed);
}

TEST_CASE("A subject that is no plain user name gets no account") {
  for (const std::string& subject :
       {std::string{}, std::string{"ada lovelace"}, std::string{"a/b"}, std::string{"\xc3\xa4"},
        std::string{"ada\n"}, std::string{"user:ada"}, std::string(200, 'a')}) {
    INFO(subject);
    Claims claims = ada();
    claims.subject = subject;
    CHECK(mint(first_key, claims).error().code == Errc::bad_request);
    CHECK(refusal_of(with_claims({{"sub", subject}})) == Errc::token_malformed);
  }
  CHECK(recognise_token(with_claims({{"sub", "ada.l+x@example.org"}}))->account.text ==
        "user:ada.l+x@example.org");
}

TEST_CASE("Without a token the network address is the account, where the pool allows it") {
  const Result<Caller> caller = recognise(pool(), {.peer_address = "192.0.2.7"}, now);
  REQUIRE(caller);
  CHECK(caller->account.text == "address:192.0.2.7/32");
  CHECK(caller->tier == "anonymous");
  CHECK(caller->recognised_by == "network address 192.0.2.7");
  CHECK(caller->expires == Instant::never());
}

TEST_CASE("A pool without anonymous access asks for a token") {
  Config config = pool();
  config.identity.anonymous = false;
  const Error error = recognise(config, {.peer_address = "192.0.2.7"}, now).error();
  CHECK(error.code == Errc::unauthenticated);
  CHECK(error.detail == "this pool needs a token");
}

TEST_CASE("A caller without a token and without an address is unauthenticated") {
  for (const char* address : {"", "localhost:1000:2000", "192.0.2.256", "12", "::g"})
    CHECK(recognise(pool(), {.peer_address = address}, now).error().code == Errc::unauthenticated);
}

TEST_CASE("The neighbours of one IPv6 network are one account") {
  CHECK(network_of("2001:db8:0:1::7") == "2001:db8:0:1::/64");
  CHECK(network_of("2001:DB8:0:1:ffff:ffff:ffff:ffff") == "2001:db8:0:1::/64");
  CHECK(network_of("fe80::1%eth0") == "fe80::/64");
  CHECK(network_of("::ffff:192.0.2.7") == "192.0.2.7/32");
  CHECK(recognise(pool(), {.peer_address = "2001:db8::7"}, now)->recognised_by ==
        "network address 2001:db8::/64");
}

TEST_CASE("No error repeats the token or the secret") {
  const std::string marked = "c2VjcmV0LW1hcms";
  for (const std::string& token : {marked, marked + "." + marked + "." + marked,
                                   base64(good_header) + "." + marked + "." + marked}) {
    const Error error = recognise_token(token).error();
    CHECK(error.detail.find(marked) == std::string::npos);
    CHECK(error.detail.find(secret) == std::string::npos);
  }
}

}  // namespace
}  // namespace gpupool
