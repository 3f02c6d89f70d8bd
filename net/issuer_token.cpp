#include "net/issuer_token.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/freed_by.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

constexpr std::size_t p256_bytes = 32;  // of each half of an ES256 signature (RFC 7518, 3.4)

using Key = std::unique_ptr<EVP_PKEY, FreedBy<EVP_PKEY_free>>;
using Digest = std::unique_ptr<EVP_MD_CTX, FreedBy<EVP_MD_CTX_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, FreedBy<ECDSA_SIG_free>>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// The two halves as OpenSSL wants them (RFC 3279); empty: they are none.
std::string der_of_halves(const std::string& halves) {
  if (halves.size() != 2 * p256_bytes) return {};
  const Signature signature{ECDSA_SIG_new()};
  BIGNUM* r = BN_bin2bn(bytes_of(halves), p256_bytes, nullptr);
  BIGNUM* s = BN_bin2bn(bytes_of(halves) + p256_bytes, p256_bytes, nullptr);
  if (!signature || !r || !s || ECDSA_SIG_set0(signature.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return {};
  }
  unsigned char* bytes = nullptr;
  const int size = i2d_ECDSA_SIG(signature.get(), &bytes);
  if (size <= 0) return {};
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

// By the key's own algorithm; the token's has been compared with it.
bool verifies(const IssuerKey& key, std::string_view text, const std::string& signature) {
  const unsigned char* der = bytes_of(key.der);
  const Key public_key{d2i_PUBKEY(nullptr, &der, static_cast<long>(key.der.size()))};
  const Digest digest{EVP_MD_CTX_new()};
  const EVP_MD* hash = key.algorithm == "EdDSA" ? nullptr : EVP_sha256();
  const std::string made = key.algorithm == "ES256" ? der_of_halves(signature) : signature;
  const bool is_good =
      public_key && digest && !made.empty() &&
      EVP_DigestVerifyInit(digest.get(), nullptr, hash, nullptr, public_key.get()) == 1 &&
      EVP_DigestVerify(digest.get(), bytes_of(made), made.size(), bytes_of(text), text.size()) == 1;
  ERR_clear_error();  // what failed here is no news to who uses OpenSSL next on this thread
  return is_good;
}

bool may_be_meant(const IssuerKey& key, const JwsHeader& header) {
  return key.algorithm == header.algorithm && (header.kid.empty() || header.kid == key.kid);
}

bool has_signed(const IssuerConfig& issuer, const JwsParts& parts, const JwsHeader& header,
                const std::string& signature) {
  return std::any_of(issuer.keys.begin(), issuer.keys.end(), [&](const IssuerKey& key) {
    return may_be_meant(key, header) && verifies(key, parts.signed_text, signature);
  });
}

// Issuers may have keys in common, as the tenants of one service do: then the claims tell which it
// is. They are not looked at before some key has verified.
Result<const IssuerConfig*> issuer_of(const IdentityConfig& identity, const JwsParts& parts,
                                      const JwsHeader& header) {
  const std::optional<std::string> signature = decode_base64url(parts.signature);
  bool is_signed = false;
  for (const IssuerConfig& issuer : identity.issuers) {
    if (!signature || !has_signed(issuer, parts, header, *signature)) continue;
    is_signed = true;
    const Result<Json> claims = read_claims(parts);
    if (!claims) return claims.error();
    if (text_claim(*claims, "iss") == issuer.issuer) return &issuer;
  }
  return bad_signature(is_signed
                           ? "the token names another issuer (iss) than the one whose key signed it"
                           : "the token's signature is not that of its key");
}

// A name that anybody could have typed in is none: addresses count once they are verified.
Result<std::string> user_of(const IssuerConfig& issuer, const Json& claims) {
  const std::optional<std::string> name = text_claim(claims, issuer.user_claim.c_str());
  const std::string user = name.value_or("") + "@" + issuer.name;
  if (!name || name->empty() || !names_a_user(user))
    return Error{.code = Errc::unauthenticated,
                 .detail = "the token's " + issuer.user_claim +
                           " is no user name of letters, digits and ._@+-; the pool's operator can "
                           "name another user_claim"};
  const auto verified = claims.find("email_verified");
  if (issuer.user_claim == "email" && (verified == claims.end() || *verified != true))
    return Error{.code = Errc::unauthenticated,
                 .detail = "the token's email is not verified by " + issuer.name};
  return user;
}

// Empty: none of those that the configuration knows.
std::string tier_of(const IssuerConfig& issuer, const Json& claims) {
  if (issuer.tier_claim.empty()) return {};
  for (const IssuerTier& one : issuer.tiers)
    if (claim_has(claims, issuer.tier_claim.c_str(), one.value).value_or(false)) return one.tier;
  return {};
}

}  // namespace

// Without a kid exactly one key has to fit, as of the pool's own; issuers may have it in common.
bool has_issuer_key(const IdentityConfig& identity, const JwsHeader& header) {
  const IssuerKey* found = nullptr;
  for (const IssuerConfig& issuer : identity.issuers)
    for (const IssuerKey& key : issuer.keys) {
      if (!may_be_meant(key, header)) continue;
      if (found && header.kid.empty() && found->der != key.der) return false;
      found = &key;
    }
  return found != nullptr;
}

Result<Credentials> read_issuer_token(const IdentityConfig& identity, const JwsParts& parts,
                                      const JwsHeader& header, Instant now) {
  const Result<const IssuerConfig*> issuer = issuer_of(identity, parts, header);
  if (!issuer) return issuer.error();
  const Result<Json> claims = read_claims(parts);
  if (!claims) return claims.error();
  const Result<TokenTimes> times = check_times(*claims, now);
  if (!times) return times.error();
  const IssuerConfig& from = **issuer;
  if (!claim_has(*claims, "aud", from.audience).value_or(false))
    return Error{.code = Errc::token_audience,
                 .detail = "the token of " + from.name + " is not for " + from.audience};
  const Result<std::string> user = user_of(from, *claims);
  if (!user) return user.error();
  const std::string tier = tier_of(from, *claims);
  const std::string token_id = text_claim(*claims, "jti").value_or("");
  return Credentials{.caller = {.account = {std::string{user_prefix} + *user},
                                .tier = tier.empty() ? identity.default_tier : tier,
                                .recognised_by = "token for " + *user + ", issuer " + from.issuer,
                                .expires = times->expires,
                                .token_id = is_token_id(token_id) ? token_id : std::string{}},
                     .issued = times->issued};
}

}  // namespace gpupool
