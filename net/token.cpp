#include "net/token.h"

#include <arpa/inet.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "config/limits.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;
using Signature = std::array<unsigned char, crypto_auth_hmacsha256_BYTES>;

constexpr std::string_view only_algorithm = "HS256";
constexpr std::string_view user_prefix = "user:";
constexpr std::string_view address_prefix = "address:";
constexpr int base64_variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
// The year 9999: later times are mistakes, and in milliseconds they would still fit.
constexpr double time_s_max = 253'402'300'799.0;

Error malformed(std::string detail) {
  return Error{.code = Errc::token_malformed, .detail = std::move(detail)};
}

Error bad_signature(std::string detail) {
  return Error{.code = Errc::token_signature, .detail = std::move(detail)};
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Signature sign(const KeyConfig& key, std::string_view text) {
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, bytes_of(key.secret), key.secret.size());
  crypto_auth_hmacsha256_update(&state, bytes_of(text), text.size());
  Signature signature;
  crypto_auth_hmacsha256_final(&state, signature.data());
  sodium_memzero(&state, sizeof state);
  return signature;
}

std::string encode_base64(std::string_view bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), base64_variant), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes_of(bytes), bytes.size(), base64_variant);
  text.pop_back();  // the terminating zero
  return text;
}

// Strict: no padding, no white space, no bits left over, so each value has one spelling.
std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes(text.size(), '\0');
  std::size_t size = 0;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                        text.size(), nullptr, &size, nullptr, base64_variant) != 0)
    return std::nullopt;
  bytes.resize(size);
  return bytes;
}

// An object whose keys are all different: two readers must not see two different tokens.
std::optional<Json> parse_object(std::string_view text) {
  std::vector<std::set<std::string>> open;
  bool repeated = false;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key)
      repeated = !open.back().insert(value.get<std::string>()).second || repeated;
    return true;
  };
  Json object = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (object.is_discarded() || !object.is_object() || repeated) return std::nullopt;
  return object;
}

// An absent claim is empty; one of another type is nothing.
std::optional<std::string> text_claim(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return std::string{};
  if (!found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

// Seconds since 1970, possibly with a fraction, which is cut off. An absent claim is 0.
std::optional<Instant> time_claim(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return Instant{};
  if (!found->is_number()) return std::nullopt;
  const double value = found->get<double>();
  if (!(value >= 1.0 && value <= time_s_max)) return std::nullopt;
  return Instant{static_cast<std::int64_t>(std::floor(value)) * 1000};
}

bool names_audience(const Json& claims, const std::string& audience) {
  const auto found = claims.find("aud");
  if (found == claims.end()) return false;
  if (found->is_string()) return found->get<std::string>() == audience;
  return found->is_array() && std::find(found->begin(), found->end(), audience) != found->end();
}

// Letters, digits and what e-mail addresses and login names are made of, in ASCII: one account has
// one spelling, and it can stand in logs, tables and URLs as it is.
bool names_a_user(std::string_view subject) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"._@+-"}.find(c) != std::string_view::npos;
  };
  return !subject.empty() &&
         std::cmp_less_equal(subject.size() + user_prefix.size(), limits::account_bytes_max) &&
         std::all_of(subject.begin(), subject.end(), allowed);
}

// The three parts of a compact JWS, still encoded, and the text that the signature covers.
struct Parts {
  std::string_view header;
  std::string_view claims;
  std::string_view signature;
  std::string_view signed_text;
};

std::optional<Parts> split(std::string_view token) {
  const std::size_t first = token.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = token.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  return Parts{.header = token.substr(0, first),
               .claims = token.substr(first + 1, second - first - 1),
               .signature = token.substr(second + 1),
               .signed_text = token.substr(0, second)};
}

std::optional<Json> decode_object(std::string_view part) {
  const std::optional<std::string> text = decode_base64(part);
  return text ? parse_object(*text) : std::nullopt;
}

// A token without a key id is for pools with one key.
const KeyConfig* key_named(const IdentityConfig& identity, const std::string& kid) {
  if (kid.empty()) return identity.keys.size() == 1 ? &identity.keys.front() : nullptr;
  const auto found = std::find_if(identity.keys.begin(), identity.keys.end(),
                                  [&](const KeyConfig& key) { return key.kid == kid; });
  return found == identity.keys.end() ? nullptr : &*found;
}

// The key that signed the token. Nothing in the claims is looked at before this has succeeded.
Result<const KeyConfig*> verify(const IdentityConfig& identity, const Parts& parts) {
  const std::optional<Json> header = decode_object(parts.header);
  if (!header) return malformed("the token's header cannot be read");
  const std::optional<std::string> algorithm = text_claim(*header, "alg");
  const std::optional<std::string> kid = text_claim(*header, "kid");
  if (!algorithm || !kid || header->contains("crit"))
    return malformed("the token's header asks for something that this pool does not know");
  const KeyConfig* key = key_named(identity, *kid);
  if (!key) return bad_signature("the token names a key that this pool does not have");
  if (*algorithm != key->algorithm || key->algorithm != only_algorithm || key->secret.empty())
    return bad_signature("the token's algorithm is not that of its key");
  const std::optional<std::string> signature = decode_base64(parts.signature);
  const Signature expected = sign(*key, parts.signed_text);
  if (!signature || signature->size() != expected.size() ||
      sodium_memcmp(signature->data(), expected.data(), expected.size()) != 0)
    return bad_signature("the token's signature is not that of its key");
  return key;
}

std::string in_seconds(Duration time) {
  const std::int64_t tenths = time.ms / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

Result<Instant> check_times(const Json& claims, Instant now) {
  const std::optional<Instant> expires = time_claim(claims, "exp");
  const std::optional<Instant> not_before = time_claim(claims, "nbf");
  if (!expires || !*expires || !not_before)
    return malformed("the token has no end (exp), or its times are no seconds since 1970");
  if (now >= *expires) {
    const Duration ago = now - *expires;
    return Error{.code = Errc::token_expired,
                 .want = ago.ms,
                 .detail = "the token expired " + in_seconds(ago) + " ago"};
  }
  if (now < *not_before) {
    const Duration in = *not_before - now;
    return Error{.code = Errc::token_not_yet_valid,
                 .want = in.ms,
                 .detail = "the token becomes valid in " + in_seconds(in)};
  }
  return *expires;
}

Result<Caller> caller_of(const Config& config, const Json& claims, const KeyConfig& key) {
  const std::optional<std::string> subject = text_claim(claims, "sub");
  const std::optional<std::string> tier = text_claim(claims, "tier");
  const std::optional<std::string> role = text_claim(claims, "role");
  if (!subject || !names_a_user(*subject))
    return malformed("the token's subject is no user name: letters, digits and ._@+-");
  if (!tier || !role) return malformed("the token's tier and role are texts");
  Caller caller{.account = {std::string{user_prefix} + *subject},
                .tier = tier->empty() ? config.identity.default_tier : *tier,
                .recognised_by = "token for " + *subject + ", key " + key.kid,
                .is_operator = *role == "operator"};
  if (!config.tier(caller.tier))
    return Error{.code = Errc::unauthenticated,
                 .detail = "the token is for a tier that this pool does not have"};
  return caller;
}

Result<Caller> recognise_token(const Config& config, std::string_view token, Instant now) {
  if (std::cmp_greater(token.size(), limits::token_bytes_max))
    return malformed("the token has more than " + std::to_string(limits::token_bytes_max) +
                     " bytes");
  const std::optional<Parts> parts = split(token);
  if (!parts) return malformed("a token has three parts with dots between them");
  const Result<const KeyConfig*> key = verify(config.identity, *parts);
  if (!key) return key.error();
  const std::optional<Json> claims = decode_object(parts->claims);
  if (!claims) return malformed("the token's claims cannot be read");
  const Result<Instant> expires = check_times(*claims, now);
  if (!expires) return expires.error();
  if (!names_audience(*claims, config.identity.audience))
    return Error{.code = Errc::token_audience,
                 .detail = "the token is not for " + config.identity.audience};
  Result<Caller> caller = caller_of(config, *claims, **key);
  if (caller) caller->expires = *expires;
  return caller;
}

Result<Caller> recognise_address(const Config& config, std::string_view address) {
  const IdentityConfig& identity = config.identity;
  if (!identity.anonymous)
    return Error{.code = Errc::unauthenticated, .detail = "this pool needs a token"};
  const std::string network = network_of(address);
  if (network.empty())
    return Error{.code = Errc::unauthenticated,
                 .detail = "there is no token, and no network address to go by"};
  if (!config.tier(identity.anonymous_tier))
    return Error{.code = Errc::unauthenticated,
                 .detail = "this pool has no tier for callers without a token"};
  // One IPv4 address is said without its "/32".
  const bool single = network.ends_with("/32");
  const std::string shown = single ? network.substr(0, network.size() - 3) : network;
  return Caller{.account = {std::string{address_prefix} + network},
                .tier = identity.anonymous_tier,
                .recognised_by = "network address " + shown};
}

}  // namespace

Result<Caller> recognise(const Config& config, const Introduction& introduction, Instant now) {
  if (introduction.token.empty()) return recognise_address(config, introduction.peer_address);
  return recognise_token(config, introduction.token, now);
}

Result<std::string> mint(const KeyConfig& key, const Claims& claims) {
  if (key.algorithm != only_algorithm || key.secret.empty())
    return Error{.code = Errc::unsupported, .detail = "key " + key.kid + " is no HS256 key"};
  if (!names_a_user(claims.subject))
    return Error{.code = Errc::bad_request,
                 .detail = "a user name has letters, digits and ._@+- only"};
  const Json header = {{"alg", only_algorithm}, {"typ", "JWT"}, {"kid", key.kid}};
  Json body = {{"sub", claims.subject},
               {"aud", claims.audience},
               {"iat", claims.issued.ms / 1000},
               {"exp", claims.expires.ms / 1000}};
  if (claims.not_before) body["nbf"] = claims.not_before.ms / 1000;
  if (!claims.tier.empty()) body["tier"] = claims.tier;
  if (claims.is_operator) body["role"] = "operator";
  // Names that are not UTF-8 are written with replacement characters: dump() must not throw.
  const auto text_of = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  const std::string text = encode_base64(text_of(header)) + "." + encode_base64(text_of(body));
  const Signature signature = sign(key, text);
  return text + "." +
         encode_base64({reinterpret_cast<const char*>(signature.data()), signature.size()});
}

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
