#include "net/token.h"

#include <arpa/inet.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "config/limits.h"
#include "net/issuer_token.h"
#include "net/token_parts.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

constexpr std::string_view hs256 = "HS256";
constexpr std::string_view eddsa = "EdDSA";

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string hmac_sha256(const std::string& secret, std::string_view text) {
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, bytes_of(secret), secret.size());
  crypto_auth_hmacsha256_update(&state, bytes_of(text), text.size());
  std::string signature(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256_final(&state, bytes_of(signature));
  sodium_memzero(&state, sizeof state);
  return signature;
}

// An Ed25519 key pair; the secret half is gone when it goes.
struct KeyPair {
  std::array<unsigned char, crypto_sign_PUBLICKEYBYTES> public_key{};
  std::array<unsigned char, crypto_sign_SECRETKEYBYTES> secret_key{};

  explicit KeyPair(const std::string& seed) {
    GPUPOOL_ENSURE(seed.size() == crypto_sign_SEEDBYTES, seed.size());
    crypto_sign_seed_keypair(public_key.data(), secret_key.data(), bytes_of(seed));
  }
  ~KeyPair() { sodium_memzero(secret_key.data(), secret_key.size()); }
  KeyPair(const KeyPair&) = delete;
  KeyPair& operator=(const KeyPair&) = delete;

  std::string public_text() const {
    return {reinterpret_cast<const char*>(public_key.data()), public_key.size()};
  }
};

// Whether the key made this signature of the text, by the key's own algorithm. The bytes of a
// public key are never taken for a secret: an EdDSA key has no way into the HS256 branch.
bool verifies(const KeyConfig& key, std::string_view text, const std::string& signature) {
  if (key.algorithm == hs256) {
    if (key.secret.empty() || signature.size() != crypto_auth_hmacsha256_BYTES) return false;
    const std::string expected = hmac_sha256(key.secret, text);
    return sodium_memcmp(signature.data(), expected.data(), expected.size()) == 0;
  }
  if (key.algorithm != eddsa) return false;
  return key.public_key.size() == crypto_sign_PUBLICKEYBYTES &&
         signature.size() == crypto_sign_BYTES &&
         crypto_sign_verify_detached(bytes_of(signature), bytes_of(text), text.size(),
                                     bytes_of(key.public_key)) == 0;
}

Result<std::string> sign(const KeyConfig& key, std::string_view text) {
  const auto unusable = [&](const std::string& why) {
    return Error{.code = Errc::unsupported, .detail = "key " + key.kid + " " + why};
  };
  if (key.secret.empty()) return unusable("has no secret here, so it can only check tokens");
  if (key.algorithm == hs256) return hmac_sha256(key.secret, text);
  if (key.algorithm != eddsa) return unusable("is of an algorithm that this build does not know");
  if (key.secret.size() != crypto_sign_SEEDBYTES) return unusable("has a secret of another length");
  const KeyPair pair{key.secret};
  if (pair.public_text() != key.public_key)
    return unusable("has the secret of another public key; name the two files of one pair");
  std::string signature(crypto_sign_BYTES, '\0');
  crypto_sign_detached(bytes_of(signature), nullptr, bytes_of(text), text.size(),
                       pair.secret_key.data());
  return signature;
}

// A token without a key id is for pools where exactly one key is of its algorithm. The algorithm
// chooses among keys here and nothing more: verifies() goes by the key's.
const KeyConfig* key_for(const IdentityConfig& identity, const std::string& kid,
                         const std::string& algorithm) {
  const auto fits = [&](const KeyConfig& key) {
    return kid.empty() ? key.algorithm == algorithm : key.kid == kid;
  };
  const auto end = identity.keys.end();
  const auto found = std::find_if(identity.keys.begin(), end, fits);
  return found == end || std::find_if(found + 1, end, fits) != end ? nullptr : &*found;
}

// The key that signed the token. Nothing in the claims is looked at before this has succeeded.
Result<const KeyConfig*> verify(const IdentityConfig& identity, const JwsParts& parts,
                                const JwsHeader& header) {
  const KeyConfig* key = key_for(identity, header.kid, header.algorithm);
  if (!key && header.kid.empty())
    return bad_signature("the token names no key, and not exactly one key of this pool fits it");
  if (!key) return bad_signature("the token names a key that this pool does not have");
  if (header.algorithm != key->algorithm)
    return bad_signature("the token's algorithm is not that of its key");
  const std::optional<std::string> signature = decode_base64url(parts.signature);
  if (!signature || !verifies(*key, parts.signed_text, *signature))
    return bad_signature("the token's signature is not that of its key");
  return key;
}

// Of somebody without an account, whom a proxy knows by a network address and says so: as anonymous
// as if the connection came from there.
Result<Credentials> credentials_of_address(const Config& config, const Json& claims,
                                           const KeyConfig& key, const TokenTimes& times) {
  const std::optional<std::string> address = text_claim(claims, "ip");
  const std::string network = address ? network_of(*address) : std::string{};
  if (network.empty() || claims.contains("sub") || claims.contains("role") ||
      claims.contains("tier"))
    return malformed_token(
        "a token with an address (ip) is of nobody else, and has no tier or role");
  if (!config.identity.anonymous)
    return Error{.code = Errc::unauthenticated,
                 .detail = "this pool needs a token of a user, and this one is of an address"};
  return Credentials{
      .caller = {.account = {std::string{address_prefix} + network},
                 .tier = config.identity.anonymous_tier,
                 .recognised_by = "network address " + *address + " by a token, key " + key.kid,
                 .expires = times.expires},
      .issued = times.issued};
}

// Who uses the token on its subject's behalf (RFC 8693, section 4.1). Empty: its subject does.
// Nothing: it cannot be read. Whom that one acts for in turn is said there and no matter here.
std::optional<std::string> actor_of(const Json& claims) {
  const auto found = claims.find("act");
  if (found == claims.end()) return std::string{};
  if (!found->is_object()) return std::nullopt;
  std::optional<std::string> actor = text_claim(*found, "sub");
  return actor && names_a_user(*actor) ? actor : std::nullopt;
}

Result<Credentials> credentials_of(const Config& config, const Json& claims, const KeyConfig& key,
                                   const TokenTimes& times) {
  if (claims.contains("ip")) return credentials_of_address(config, claims, key, times);
  const std::optional<std::string> subject = text_claim(claims, "sub");
  const std::optional<std::string> tier = text_claim(claims, "tier");
  const std::optional<std::string> token_id = text_claim(claims, "jti");
  const std::optional<bool> is_operator = claim_has(claims, "role", "operator");
  if (!subject || !names_a_user(*subject))
    return malformed_token("the token's subject is no user name: letters, digits and ._@+-");
  for (const IssuerConfig& issuer : config.identity.issuers)
    if (subject->ends_with("@" + issuer.name))
      return malformed_token("the token's subject is a user of issuer " + issuer.name +
                             ", whose own tokens alone name those");
  if (!tier || !is_operator) return malformed_token("the token's tier and role are texts");
  const std::optional<std::string> actor = actor_of(claims);
  if (!actor || (*is_operator && !actor->empty()))
    return malformed_token(
        "who acts for the token's user (act) is an object whose sub is a name, and never acts for "
        "an operator");
  if (!token_id || !is_token_id(*token_id))
    return malformed_token("the token's id (jti) is no text of at most " +
                           std::to_string(limits::name_bytes_max) + " visible characters");
  return Credentials{.caller = {.account = {std::string{user_prefix} + *subject},
                                .tier = tier->empty() ? config.identity.default_tier : *tier,
                                .recognised_by = "token for " + *subject +
                                                 (actor->empty() ? "" : ", used by " + *actor) +
                                                 ", key " + key.kid,
                                .is_operator = *is_operator,
                                .expires = times.expires,
                                .token_id = *token_id},
                     .issued = times.issued};
}

Result<Credentials> read_token(const Config& config, std::string_view token, Instant now) {
  if (std::cmp_greater(token.size(), limits::token_bytes_max))
    return malformed_token("the token has more than " + std::to_string(limits::token_bytes_max) +
                           " bytes");
  const Result<JwsParts> parts = split_token(token);
  if (!parts) return parts.error();
  const Result<JwsHeader> header = read_header(*parts);
  if (!header) return header.error();
  const IdentityConfig& identity = config.identity;
  // A key of the pool's own goes before those of others, whatever they call theirs.
  if (!key_for(identity, header->kid, header->algorithm) && has_issuer_key(identity, *header))
    return read_issuer_token(identity, *parts, *header, now);
  const Result<const KeyConfig*> key = verify(identity, *parts, *header);
  if (!key) return key.error();
  const Result<Json> claims = read_claims(*parts);
  if (!claims) return claims.error();
  const Result<TokenTimes> times = check_times(*claims, now);
  if (!times) return times.error();
  if (!claim_has(*claims, "aud", identity.audience).value_or(false))
    return Error{.code = Errc::token_audience,
                 .detail = "the token is not for " + identity.audience};
  return credentials_of(config, *claims, **key, *times);
}

Result<Credentials> read_address(const Config& config, std::string_view address) {
  const IdentityConfig& identity = config.identity;
  if (!identity.anonymous)
    return Error{.code = Errc::unauthenticated, .detail = "this pool needs a token"};
  const std::string network = network_of(address);
  if (network.empty())
    return Error{.code = Errc::unauthenticated,
                 .detail = "there is no token, and no network address to go by"};
  // One IPv4 address is said without its "/32".
  const bool single = network.ends_with("/32");
  const std::string shown = single ? network.substr(0, network.size() - 3) : network;
  return Credentials{.caller = {.account = {std::string{address_prefix} + network},
                                .tier = identity.anonymous_tier,
                                .recognised_by = "network address " + shown}};
}

}  // namespace

Result<Credentials> read_credentials(const Config& config, const Introduction& introduction,
                                     Instant now) {
  if (introduction.token.empty()) return read_address(config, introduction.peer_address);
  return read_token(config, introduction.token, now);
}

Result<Caller> admit(const Config& config, const Rulings& rulings, const Credentials& credentials) {
  Caller caller = credentials.caller;
  const bool has_token = caller.expires != Instant::never();
  if (has_token)
    if (auto why = rulings.revocation_of(caller, credentials.issued))
      return Error{.code = Errc::unauthenticated, .detail = std::move(*why)};
  const std::string* chosen = rulings.tier_of(caller.account);
  if (chosen) caller.tier = *chosen;
  if (config.tier(caller.tier)) return caller;
  return Error{.code = Errc::unauthenticated,
               .detail = chosen ? "an operator set " + caller.account.text +
                                      " to a tier that this " + "pool does not have any more"
                         : has_token ? "the token is for a tier that this pool does not have"
                                     : "this pool has no tier for callers without a token"};
}

Result<Caller> recognise(const Config& config, const Introduction& introduction, Instant now,
                         const Rulings& rulings) {
  const Result<Credentials> credentials = read_credentials(config, introduction, now);
  if (!credentials) return credentials.error();
  return admit(config, rulings, *credentials);
}

Result<std::string> mint(const KeyConfig& key, const Claims& claims) {
  if (claims.address.empty() && !names_a_user(claims.subject))
    return Error{.code = Errc::bad_request,
                 .detail = "a user name has letters, digits and ._@+- only"};
  if (!is_token_id(claims.token_id))
    return Error{.code = Errc::bad_request,
                 .detail = "a token's id has at most " + std::to_string(limits::name_bytes_max) +
                           " visible characters"};
  if (!claims.actor.empty() &&
      (!names_a_user(claims.actor) || claims.subject.empty() || claims.is_operator))
    return Error{.code = Errc::bad_request,
                 .detail =
                     "who acts for a user has a name of letters, digits and ._@+-, and never "
                     "acts for an operator or an address"};
  const Json header = {{"alg", key.algorithm}, {"typ", "JWT"}, {"kid", key.kid}};
  if (!claims.address.empty() && (network_of(claims.address).empty() || !claims.subject.empty() ||
                                  !claims.tier.empty() || claims.is_operator))
    return Error{.code = Errc::bad_request,
                 .detail = "a token is of a user, or of a network address and of nobody else"};
  Json body = {{"aud", claims.audience},
               {"iat", claims.issued.ms / 1000},
               {"exp", claims.expires.ms / 1000}};
  if (claims.address.empty())
    body["sub"] = claims.subject;
  else
    body["ip"] = claims.address;
  if (!claims.actor.empty()) body["act"] = {{"sub", claims.actor}};
  if (!claims.error.empty()) body["error"] = claims.error;
  if (claims.not_before) body["nbf"] = claims.not_before.ms / 1000;
  if (!claims.tier.empty()) body["tier"] = claims.tier;
  if (claims.is_operator) body["role"] = "operator";
  if (!claims.token_id.empty()) body["jti"] = claims.token_id;
  // Names that are not UTF-8 are written with replacement characters: dump() must not throw.
  const auto text_of = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  const std::string text =
      encode_base64url(text_of(header)) + "." + encode_base64url(text_of(body));
  const Result<std::string> signature = sign(key, text);
  if (!signature) return signature.error();
  return text + "." + encode_base64url(*signature);
}

std::string ed25519_public_key(const std::string& seed) { return KeyPair{seed}.public_text(); }

std::string network_of(std::string_view address) {
  const std::string text{address.substr(0, address.find('%'))};  // without an interface's name
  if (text.find('\0') != std::string::npos) return {};
  std::array<unsigned char, 16> bytes{};
  std::array<char, INET6_ADDRSTRLEN> canonical{};
  if (inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) {
    inet_ntop(AF_INET, bytes.data(), canonical.data(), canonical.size());
    return std::string{canonical.data()} + "/32";
  }
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return {};
  constexpr std::array<unsigned char, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::memcmp(bytes.data(), mapped.data(), mapped.size()) == 0) {
    inet_ntop(AF_INET, bytes.data() + mapped.size(), canonical.data(), canonical.size());
    return std::string{canonical.data()} + "/32";
  }
  std::fill(bytes.begin() + 8, bytes.end(), static_cast<unsigned char>(0));
  inet_ntop(AF_INET6, bytes.data(), canonical.data(), canonical.size());
  return std::string{canonical.data()} + "/64";
}

}  // namespace gpupool
