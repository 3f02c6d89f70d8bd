#include "config/jwks.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/freed_by.h"
#include "config/key_file.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

constexpr std::size_t keys_max = 64;
constexpr int rsa_bits_min = 2048;
constexpr int rsa_bits_max = 8192;
constexpr std::size_t coordinate_bytes = 32;  // of P-256 and of Ed25519

using Key = std::unique_ptr<EVP_PKEY, FreedBy<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, FreedBy<EVP_PKEY_CTX_free>>;
using Builder = std::unique_ptr<OSSL_PARAM_BLD, FreedBy<OSSL_PARAM_BLD_free>>;
using Parameters = std::unique_ptr<OSSL_PARAM, FreedBy<OSSL_PARAM_free>>;
using Number = std::unique_ptr<BIGNUM, FreedBy<BN_free>>;

Error malformed(std::string detail) {
  return {.code = Errc::file_malformed, .detail = std::move(detail)};
}

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// Empty: it is absent or no text.
std::string text_of(const Json& key, const char* name) {
  const auto found = key.find(name);
  return found != key.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::string bytes_at(const Json& key, const char* name) {
  return base64_bytes(text_of(key, name)).value_or(std::string{});
}

Key key_of(const char* type, OSSL_PARAM_BLD* builder) {
  const Parameters parameters{OSSL_PARAM_BLD_to_param(builder)};
  const KeyContext context{EVP_PKEY_CTX_new_from_name(nullptr, type, nullptr)};
  EVP_PKEY* made = nullptr;
  if (parameters && context && EVP_PKEY_fromdata_init(context.get()) == 1)
    EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY, parameters.get());
  return Key{made};
}

Key rsa_key(const Json& key) {
  const std::string modulus = bytes_at(key, "n");
  const std::string exponent = bytes_at(key, "e");
  if (modulus.empty() || exponent.empty() || modulus.size() > rsa_bits_max / 8 ||
      exponent.size() > 8)
    return {};
  const Builder builder{OSSL_PARAM_BLD_new()};
  const Number n{BN_bin2bn(bytes_of(modulus), static_cast<int>(modulus.size()), nullptr)};
  const Number e{BN_bin2bn(bytes_of(exponent), static_cast<int>(exponent.size()), nullptr)};
  if (!builder || !n || !e || BN_is_odd(e.get()) == 0 || BN_is_one(e.get()) == 1 ||
      BN_num_bits(n.get()) < rsa_bits_min ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, n.get()) == 0 ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_E, e.get()) == 0)
    return {};
  return key_of("RSA", builder.get());
}

// A point that is not on the curve is refused.
Key p256_key(const Json& key) {
  const std::string x = bytes_at(key, "x");
  const std::string y = bytes_at(key, "y");
  const Builder builder{OSSL_PARAM_BLD_new()};
  if (!builder || x.size() != coordinate_bytes || y.size() != coordinate_bytes) return {};
  const std::string point = "\x04" + x + y;  // uncompressed (SEC 1, section 2.3.3)
  if (OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 0 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) == 0)
    return {};
  Key made = key_of("EC", builder.get());
  const KeyContext check{made ? EVP_PKEY_CTX_new_from_pkey(nullptr, made.get(), nullptr) : nullptr};
  return check && EVP_PKEY_public_check(check.get()) == 1 ? std::move(made) : Key{};
}

Key ed25519_key(const Json& key) {
  const std::string x = bytes_at(key, "x");
  if (x.size() != coordinate_bytes) return {};
  return Key{EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(x), x.size())};
}

// How a kind of key is recognised, and the one algorithm that it is used with here.
struct Kind {
  const char* type;   // "kty"
  const char* curve;  // "crv"; empty: it has none
  const char* algorithm;
  Key (*read)(const Json& key);
};
constexpr Kind kinds[] = {{"RSA", "", "RS256", rsa_key},
                          {"EC", "P-256", "ES256", p256_key},
                          {"OKP", "Ed25519", "EdDSA", ed25519_key}};

const Kind* kind_of(const Json& key) {
  for (const Kind& kind : kinds)
    if (text_of(key, "kty") == kind.type && text_of(key, "crv") == kind.curve) return &kind;
  return nullptr;
}

bool is_for_signatures(const Json& key, const Kind& kind) {
  const std::string use = text_of(key, "use");
  const std::string algorithm = text_of(key, "alg");
  const auto operations = key.find("key_ops");
  const bool may_verify =
      operations == key.end() ||
      (operations->is_array() &&
       std::find(operations->begin(), operations->end(), "verify") != operations->end());
  return may_verify && (use.empty() || use == "sig") &&
         (algorithm.empty() || algorithm == kind.algorithm);
}

std::string der_of(const Key& key) {
  unsigned char* bytes = nullptr;
  const int size = key ? i2d_PUBKEY(key.get(), &bytes) : 0;
  if (size <= 0) return {};
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

Result<std::vector<IssuerKey>> keys_in(std::string_view text) {
  const Json set = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto keys = set.is_object() ? set.find("keys") : set.end();
  if (!set.is_object() || keys == set.end() || !keys->is_array())
    return malformed("no JWK Set: an object with a list \"keys\" (RFC 7517)");
  std::vector<IssuerKey> found;
  for (const Json& key : *keys) {
    const Kind* kind = key.is_object() ? kind_of(key) : nullptr;
    if (!kind || !is_for_signatures(key, *kind)) continue;
    IssuerKey one{
        .kid = text_of(key, "kid"), .algorithm = kind->algorithm, .der = der_of(kind->read(key))};
    if (one.der.empty())
      return malformed("key \"" + one.kid + "\" is no sound " + kind->algorithm +
                       " key (RSA: 2048 to 8192 bits)");
    if (std::find(found.begin(), found.end(), one) == found.end()) found.push_back(std::move(one));
  }
  if (found.empty())
    return malformed("no key for RS256, ES256 or EdDSA (Ed25519) signatures in it");
  if (found.size() > keys_max) return malformed("more than 64 keys in it");
  return found;
}

}  // namespace

Result<std::vector<IssuerKey>> read_jwks(std::string_view text) {
  Result<std::vector<IssuerKey>> keys = keys_in(text);
  ERR_clear_error();  // what failed here is no news to who uses OpenSSL next on this thread
  return keys;
}

}  // namespace gpupool
