// Tokens of other issuers: by the algorithms of their keys, with accounts of their own, and never
// more than their issuer may say.
#include "net/issuer_token.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <catch2/catch.hpp>
#include <memory>

#include "config/jwks.h"
#include "tests/config/rfc_7515.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

const Instant now{1'700'000'000'500};
constexpr std::int64_t now_s = 1'700'000'000;

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

std::string number_of(const Key& key, const char* name) {
  BIGNUM* number = nullptr;
  REQUIRE(EVP_PKEY_get_bn_param(key.get(), name, &number) == 1);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(number)), '\0');
  BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
  BN_free(number);
  return bytes;
}

std::string padded(const std::string& bytes) {
  return std::string(32 - bytes.size(), '\0') + bytes;
}

// A signer of tokens, as an issuer has it. Each kind of key is made once, since RSA takes a while.
struct Signer {
  std::string algorithm;
  std::string kid;
  Key key;

  explicit Signer(const std::string& its_algorithm, std::string its_kid)
      : algorithm(its_algorithm), kid(std::move(its_kid)) {
    if (algorithm == "RS256") key.reset(EVP_RSA_gen(2048));
    if (algorithm == "ES256") key.reset(EVP_EC_gen("P-256"));
    if (algorithm == "EdDSA") key.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    REQUIRE(key);
  }

  Json jwk() const {
    Json json{{"kid", kid}, {"use", "sig"}, {"alg", algorithm}};
    if (algorithm == "RS256") {
      json["kty"] = "RSA";
      json["n"] = encode_base64url(number_of(key, OSSL_PKEY_PARAM_RSA_N));
      json["e"] = encode_base64url(number_of(key, OSSL_PKEY_PARAM_RSA_E));
    } else if (algorithm == "ES256") {
      json["kty"] = "EC";
      json["crv"] = "P-256";
      json["x"] = encode_base64url(padded(number_of(key, OSSL_PKEY_PARAM_EC_PUB_X)));
      json["y"] = encode_base64url(padded(number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y)));
    } else {
      std::string raw(32, '\0');
      std::size_t size = raw.size();
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size);
      json["kty"] = "OKP";
      json["crv"] = "Ed25519";
      json["x"] = encode_base64url(raw);
    }
    return json;
  }

  std::string signature_of(const std::string& text) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const EVP_MD* hash = algorithm == "EdDSA" ? nullptr : EVP_sha256();
    REQUIRE(EVP_DigestSignInit(context, nullptr, hash, nullptr, key.get()) == 1);
    std::string made(1'024, '\0');
    std::size_t size = made.size();
    REQUIRE(EVP_DigestSign(context, reinterpret_cast<unsigned char*>(made.data()), &size,
                           reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1);
    EVP_MD_CTX_free(context);
    made.resize(size);
    return algorithm == "ES256" ? halves_of(made) : made;
  }

  static std::string halves_of(const std::string& der) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    ECDSA_SIG* signature = d2i_ECDSA_SIG(nullptr, &bytes, static_cast<long>(der.size()));
    std::string halves(64, '\0');
    auto* out = reinterpret_cast<unsigned char*>(halves.data());
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + 32, 32);
    ECDSA_SIG_free(signature);
    return halves;
  }

  std::string token(const Json& claims, const Json& changes_of_header = Json::object()) const {
    Json header{{"alg", algorithm}, {"kid", kid}, {"typ", "JWT"}};
    header.update(changes_of_header);
    const std::string text =
        encode_base64url(header.dump()) + "." + encode_base64url(claims.dump());
    return text + "." + encode_base64url(signature_of(text));
  }
};

const Signer& signer(const std::string& algorithm) {
  static const Signer rsa("RS256", "r1");
  static const Signer curve("ES256", "e1");
  static const Signer edwards("EdDSA", "d1");
  return algorithm == "RS256" ? rsa : algorithm == "ES256" ? curve : edwards;
}

Json claims_of(const std::string& user) {
  return {{"iss", "https://id.example.org"},
          {"aud", {"gpupool-client", "other"}},
          {"sub", user},
          {"iat", now_s},
          {"exp", now_s + 3'600}};
}

std::vector<IssuerKey> keys_of(const std::vector<const Signer*>& signers) {
  Json set{{"keys", Json::array()}};
  for (const Signer* one : signers) set["keys"].push_back(one->jwk());
  const auto keys = read_jwks(set.dump());
  REQUIRE(keys);
  return *keys;
}

Config pool() {
  Config config = default_config();
  config.identity.issuers = {
      {.name = "uni",
       .issuer = "https://id.example.org",
       .audience = "gpupool-client",
       .keys = keys_of({&signer("RS256"), &signer("ES256"), &signer("EdDSA")})}};
  return config;
}

Error refusal_of(const Config& config, const std::string& token) {
  const Result<Caller> caller = recognise(config, {.token = token}, now);
  REQUIRE_FALSE(caller);
  return caller.error();
}

bool says(const Error& error, const std::string& words) {
  INFO(error.detail);
  return error.detail.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("A user of another issuer has an account with the issuer's name, by each algorithm") {
  for (const std::string algorithm : {"RS256", "ES256", "EdDSA"}) {
    INFO(algorithm);
    const auto caller =
        recognise(pool(), {.token = signer(algorithm).token(claims_of("ada"))}, now);
    REQUIRE(caller);
    CHECK(caller->account.text == "user:ada@uni");
    CHECK(caller->tier == "free");
    CHECK(caller->recognised_by == "token for ada@uni, issuer https://id.example.org");
    CHECK(caller->expires == Instant{(now_s + 3'600) * 1000});
    CHECK_FALSE(caller->is_operator);
  }
}

TEST_CASE("A token names its key, unless there is just one of its algorithm") {
  const Signer& rsa = signer("RS256");
  Json header{{"alg", "RS256"}};
  const std::string text =
      encode_base64url(header.dump()) + "." + encode_base64url(claims_of("ada").dump());
  const std::string token = text + "." + encode_base64url(rsa.signature_of(text));
  CHECK(recognise(pool(), {.token = token}, now));
  Config config = pool();
  const Signer another("RS256", "r2");
  config.identity.issuers.front().keys = keys_of({&rsa, &another});
  CHECK(says(refusal_of(config, token), "names no key"));
}

TEST_CASE("The pool's own tokens name no user of an issuer") {
  Config config = pool();
  const KeyConfig key{.kid = "k1", .secret = "0123456789abcdef0123456789abcdef"};
  config.identity.keys = {key};
  for (const std::string user : {"ada@uni", "ada@example.org"}) {
    const auto token = mint(key, {.subject = user, .issued = now, .expires = now + hours(1)});
    REQUIRE(token);
    CHECK(bool{recognise(config, {.token = *token}, now)} == (user != "ada@uni"));
  }
}

TEST_CASE("An issuer makes nobody an operator, and its address claims count for nothing") {
  Json claims = claims_of("root");
  claims["role"] = "operator";
  claims["ip"] = "192.0.2.7";
  claims["tier"] = "pro";
  const auto caller = recognise(pool(), {.token = signer("RS256").token(claims)}, now);
  REQUIRE(caller);
  CHECK_FALSE(caller->is_operator);
  CHECK(caller->tier == "free");
  CHECK(caller->account.text == "user:root@uni");
}

TEST_CASE("A bit of the signature or of the claims that is another makes the token worthless") {
  for (const std::string algorithm : {"RS256", "ES256", "EdDSA"}) {
    INFO(algorithm);
    const std::string token = signer(algorithm).token(claims_of("ada"));
    const std::size_t dot = token.rfind('.');
    std::string forged = token;
    forged[dot + 3] = forged[dot + 3] == 'A' ? 'B' : 'A';
    CHECK(refusal_of(pool(), forged).code == Errc::token_signature);
    CHECK(says(refusal_of(pool(), token.substr(0, dot + 1)), "signature"));
    CHECK(says(refusal_of(pool(), token.substr(0, token.size() - 4)), "signature"));
  }
}

TEST_CASE("The algorithm is the key's: no token brings another one with it") {
  const Json claims = claims_of("ada");
  for (const char* other : {"none", "HS256", "ES256", "RS512", "PS256", "EdDSA", "rs256"}) {
    INFO(other);
    CHECK(refusal_of(pool(), signer("RS256").token(claims, {{"alg", other}})).code != Errc{});
  }
}

TEST_CASE("A token is good for its time, its issuer and this pool alone") {
  const Signer& by = signer("ES256");
  const auto with = [&](const char* name, const Json& value) {
    Json claims = claims_of("ada");
    claims[name] = value;
    return refusal_of(pool(), by.token(claims));
  };
  CHECK(says(with("exp", now_s - 1), "expired"));
  CHECK(says(with("nbf", now_s + 60), "becomes valid in"));
  CHECK(says(with("iat", now_s + 3'000), "in the future"));
  CHECK(says(with("aud", "another-client"), "is not for gpupool-client"));
  CHECK(says(with("iss", "https://evil.example.org"), "names another issuer"));
  CHECK(says(with("iss", "https://id.example.org/"), "names another issuer"));
  CHECK(says(with("sub", "ada/../root"), "no user name"));
  CHECK(says(with("sub", ""), "no user name"));
  CHECK(says(with("sub", 7), "no user name"));
  Json without_end = claims_of("ada");
  without_end.erase("exp");
  CHECK(says(refusal_of(pool(), by.token(without_end)), "no end"));
}

TEST_CASE("The claim that is the user's name, and the one that says the tier, are the operator's") {
  Config config = pool();
  IssuerConfig& uni = config.identity.issuers.front();
  uni.user_claim = "preferred_username";
  uni.tier_claim = "groups";
  uni.tiers = {{.value = "gpu-staff", .tier = "pro"}, {.value = "guests", .tier = "anonymous"}};
  Json claims = claims_of("f81d4fae-7dec");
  claims["preferred_username"] = "ada";
  const auto tier_with = [&](const Json& groups) {
    claims["groups"] = groups;
    const auto caller = recognise(config, {.token = signer("RS256").token(claims)}, now);
    REQUIRE(caller);
    CHECK(caller->account.text == "user:ada@uni");
    return caller->tier;
  };
  CHECK(tier_with(Json::array({"students", "gpu-staff"})) == "pro");
  CHECK(tier_with(Json::array({"guests", "gpu-staff"})) == "pro");  // in the configuration's order
  CHECK(tier_with("guests") == "anonymous");
  CHECK(tier_with(Json::array({"students"})) == "free");
  CHECK(tier_with(42) == "free");
}

TEST_CASE("An e-mail address that its issuer has not verified is nobody's name") {
  Config config = pool();
  config.identity.issuers.front().user_claim = "email";
  Json claims = claims_of("1");
  claims["email"] = "ada@example.org";
  CHECK(says(refusal_of(config, signer("RS256").token(claims)), "not verified"));
  claims["email_verified"] = "true";
  CHECK(says(refusal_of(config, signer("RS256").token(claims)), "not verified"));
  claims["email_verified"] = true;
  const auto caller = recognise(config, {.token = signer("RS256").token(claims)}, now);
  REQUIRE(caller);
  CHECK(caller->account.text == "user:ada@example.org@uni");
}

TEST_CASE("Issuers with keys in common are told apart by their names") {
  Config config = pool();
  IssuerConfig second = config.identity.issuers.front();
  second.name = "lab";
  second.issuer = "https://id.example.org/tenant-2";
  config.identity.issuers.push_back(second);
  Json claims = claims_of("ada");
  claims["iss"] = second.issuer;
  const auto caller = recognise(config, {.token = signer("EdDSA").token(claims)}, now);
  REQUIRE(caller);
  CHECK(caller->account.text == "user:ada@lab");
}

TEST_CASE("A key of the pool's own goes before an issuer's of the same name") {
  Config config = pool();
  config.identity.keys = {{.kid = "r1", .secret = "0123456789abcdef0123456789abcdef"}};
  CHECK(says(refusal_of(config, signer("RS256").token(claims_of("ada"))),
             "algorithm is not that of its key"));
  const auto own = mint(config.identity.keys.front(),
                        {.subject = "ada", .issued = now, .expires = now + hours(1)});
  REQUIRE(own);
  CHECK(recognise(config, {.token = *own}, now)->account.text == "user:ada");
}

TEST_CASE("A token's user can be named with who acts for them, who never acts for an operator") {
  const KeyConfig key{.kid = "k1", .secret = "0123456789abcdef0123456789abcdef"};
  Config config = default_config();
  config.identity.keys = {key};
  Claims claims{.subject = "ada", .issued = now, .expires = now + hours(1), .actor = "portal"};
  const auto token = mint(key, claims);
  REQUIRE(token);
  const auto caller = recognise(config, {.token = *token}, now);
  REQUIRE(caller);
  CHECK(caller->account.text == "user:ada");
  CHECK(caller->recognised_by == "token for ada, used by portal, key k1");
  claims.is_operator = true;
  CHECK_FALSE(mint(key, claims));
  claims = {.issued = now, .expires = now + hours(1), .address = "192.0.2.7", .actor = "portal"};
  CHECK_FALSE(mint(key, claims));
  claims = {.subject = "ada", .issued = now, .expires = now + hours(1), .actor = "a b"};
  CHECK_FALSE(mint(key, claims));
}

// RFC 7515, appendices A.2 and A.3: keys and signatures that nobody here has made. Their claims are
// of the year 2011 and name no audience, which is looked at after the signature and the times.
TEST_CASE("The examples of RFC 7515 verify") {
  const Json set{{"keys",
                  {{{"kty", "RSA"}, {"e", "AQAB"}, {"n", rfc_7515::modulus}},
                   {{"kty", "EC"}, {"crv", "P-256"}, {"x", rfc_7515::x}, {"y", rfc_7515::y}}}}};
  const auto keys = read_jwks(set.dump());
  REQUIRE(keys);
  Config config = default_config();
  config.identity.issuers = {{.name = "rfc", .issuer = "joe", .audience = "x", .keys = *keys}};
  const std::string claims =
      "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cn"
      "VlfQ.";
  const std::string rs256 =
      "eyJhbGciOiJSUzI1NiJ9." + claims +
      "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"
      "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQB"
      "MHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeY"
      "I2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
  const std::string es256 =
      "eyJhbGciOiJFUzI1NiJ9." + claims +
      "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
  for (const std::string& token : {rs256, es256}) {
    const auto caller = recognise(config, {.token = token}, Instant{1'300'819'379'000});
    REQUIRE_FALSE(caller);
    CHECK(says(caller.error(), "is not for x"));
  }
}

}  // namespace gpupool
