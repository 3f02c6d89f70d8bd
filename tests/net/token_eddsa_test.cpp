// Ed25519 tokens beside HS256 ones: the algorithm is the key's, whatever a token says.

#include <sodium.h>

#include <catch2/catch.hpp>

#include "net/token.h"

namespace gpupool {
namespace {

const Instant now{1'700'000'000'500};
const std::string seed(32, 's');

KeyConfig pair_key(const std::string& kid, const std::string& its_seed = seed) {
  return {.kid = kid,
          .algorithm = "EdDSA",
          .secret = its_seed,
          .public_key = ed25519_public_key(its_seed)};
}

const KeyConfig secret_key{.kid = "h", .secret = "0123456789abcdef0123456789abcdef"};

Config pool(std::vector<KeyConfig> keys) {
  Config config = default_config();
  config.identity.keys = std::move(keys);
  return config;
}

Claims ada() { return {.subject = "ada", .issued = now, .expires = now + hours(1)}; }

Errc refusal_of(const Config& config, const std::string& token) {
  const Result<Caller> caller = recognise(config, {.token = token}, now);
  return caller ? Errc{} : caller.error().code;
}

std::string base64(const std::string& bytes) {
  constexpr int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_encoded_len(bytes.size(), variant), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), variant);
  text.pop_back();
  return text;
}

const unsigned char* raw(const std::string& bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

std::string unsigned_text(const std::string& header) {
  return base64(header) + "." +
         base64(R"({"sub":"ada","aud":"gpupool","iat":1700000000,"exp":1700003600})");
}

std::string with_hmac(const std::string& header, const std::string& secret) {
  const std::string text = unsigned_text(header);
  std::string mac(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(secret), secret.size());
  crypto_auth_hmacsha256_update(&state, raw(text), text.size());
  crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char*>(mac.data()));
  return text + "." + base64(mac);
}

std::string with_ed25519(const std::string& header, const std::string& its_seed = seed) {
  const std::string text = unsigned_text(header);
  std::string public_key(crypto_sign_PUBLICKEYBYTES, '\0');
  std::string secret(crypto_sign_SECRETKEYBYTES, '\0');
  crypto_sign_seed_keypair(reinterpret_cast<unsigned char*>(public_key.data()),
                           reinterpret_cast<unsigned char*>(secret.data()), raw(its_seed));
  std::string signature(crypto_sign_BYTES, '\0');
  crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr, raw(text),
                       text.size(), raw(secret));
  return text + "." + base64(signature);
}

TEST_CASE("The first test vector of Ed25519 gives the public key of RFC 8032") {
  std::string bytes(32, '\0');
  std::string expected(32, '\0');
  const auto from_hex = [](std::string& target, const std::string& hex) {
    sodium_hex2bin(reinterpret_cast<unsigned char*>(target.data()), target.size(), hex.data(),
                   hex.size(), nullptr, nullptr, nullptr);
  };
  from_hex(bytes, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
  from_hex(expected, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  CHECK(ed25519_public_key(bytes) == expected);
}

TEST_CASE("A token signed with Ed25519 is recognised by its public key alone") {
  const std::string token = *mint(pair_key("e"), ada());
  KeyConfig reader = pair_key("e");
  reader.secret.clear();
  const Result<Caller> caller = recognise(pool({reader}), {.token = token}, now);
  REQUIRE(caller);
  CHECK(caller->recognised_by == "token for ada, key e");
  CHECK(mint(reader, ada()).error().code == Errc::unsupported);
}

TEST_CASE("Both algorithms serve side by side, each token by its key id") {
  const Config config = pool({secret_key, pair_key("e1"), pair_key("e2", std::string(32, 't'))});
  CHECK(refusal_of(config, *mint(secret_key, ada())) == Errc{});
  CHECK(refusal_of(config, *mint(pair_key("e1"), ada())) == Errc{});
  CHECK(refusal_of(config, *mint(pair_key("e2", std::string(32, 't')), ada())) == Errc{});
  CHECK(refusal_of(config, *mint(pair_key("e2"), ada())) == Errc::token_signature);
}

TEST_CASE("A token without a key id needs exactly one key of its algorithm") {
  const std::string token = with_ed25519(R"({"alg":"EdDSA"})");
  CHECK(refusal_of(pool({secret_key, pair_key("e")}), token) == Errc{});
  CHECK(refusal_of(pool({pair_key("e"), pair_key("f")}), token) == Errc::token_signature);
  CHECK(refusal_of(pool({secret_key}), token) == Errc::token_signature);
}

TEST_CASE("A public key's bytes are never an HS256 secret") {
  const Config config = pool({pair_key("e")});
  const std::string public_key = ed25519_public_key(seed);
  for (const char* header :
       {R"({"alg":"HS256","kid":"e"})", R"({"alg":"HS256"})", R"({"alg":"EdDSA","kid":"e"})"}) {
    INFO(header);
    CHECK(refusal_of(config, with_hmac(header, public_key)) == Errc::token_signature);
  }
}

TEST_CASE("An HS256 key takes no EdDSA token, and its secret is no seed") {
  const Config config = pool({secret_key});
  CHECK(refusal_of(config, with_ed25519(R"({"alg":"EdDSA","kid":"h"})", secret_key.secret)) ==
        Errc::token_signature);
  CHECK(refusal_of(config, with_hmac(R"({"alg":"EdDSA","kid":"h"})", secret_key.secret)) ==
        Errc::token_signature);
}

TEST_CASE("An EdDSA key takes no other algorithm's name, no other case, and no missing one") {
  const Config config = pool({pair_key("e")});
  for (const char* header :
       {R"({"alg":"none","kid":"e"})", R"({"alg":"eddsa","kid":"e"})",
        R"({"alg":"EDDSA","kid":"e"})", R"({"alg":"Ed25519","kid":"e"})", R"({"kid":"e"})",
        R"({"alg":"","kid":"e"})", R"({"alg":"HS256","kid":"e"})"}) {
    INFO(header);
    CHECK(refusal_of(config, with_ed25519(header)) == Errc::token_signature);
  }
  CHECK(refusal_of(config, unsigned_text(R"({"alg":"none","kid":"e"})") + ".") ==
        Errc::token_signature);
  CHECK(refusal_of(config, with_ed25519(R"({"alg":["EdDSA"],"kid":"e"})")) ==
        Errc::token_malformed);
}

TEST_CASE("A public key of small order verifies nothing") {
  KeyConfig weak = pair_key("e");
  weak.public_key = std::string(32, '\0');
  CHECK(refusal_of(pool({weak}), unsigned_text(R"({"alg":"EdDSA","kid":"e"})") + "." +
                                     base64(std::string(64, '\0'))) == Errc::token_signature);
}

TEST_CASE("The files of two pairs mint nothing together") {
  KeyConfig mixed = pair_key("e");
  mixed.public_key = ed25519_public_key(std::string(32, 't'));
  CHECK(mint(mixed, ada()).error().detail ==
        "key e has the secret of another public key; name the two files of one pair");
}

TEST_CASE("No bit of an Ed25519 signature can be changed") {
  const Config config = pool({pair_key("e")});
  const std::string token = *mint(pair_key("e"), ada());
  for (std::size_t place = token.rfind('.') + 1; place < token.size(); ++place) {
    std::string changed = token;
    changed[place] = changed[place] == 'A' ? 'B' : 'A';
    INFO(place);
    CHECK(refusal_of(config, changed) == Errc::token_signature);
  }
}

TEST_CASE("A token issued in the future is refused, a little ahead it is not") {
  Claims claims = ada();
  claims.issued = now + seconds(200);
  CHECK(refusal_of(pool({secret_key}), *mint(secret_key, claims)) == Errc{});
  claims.issued = now + seconds(400);
  claims.expires = now + hours(2);
  CHECK(refusal_of(pool({secret_key}), *mint(secret_key, claims)) == Errc::token_not_yet_valid);
}

}  // namespace
}  // namespace gpupool
