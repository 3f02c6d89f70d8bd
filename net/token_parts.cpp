#include "net/token_parts.h"

#include <sodium.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "config/limits.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

constexpr int base64_variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
// The year 9999: later times are mistakes, and in milliseconds they would still fit.
constexpr double time_s_max = 253'402'300'799.0;
// How far the clock of who mints may be ahead of ours.
constexpr Duration issuer_ahead_max = Duration{limits::id_future_ms_max};

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

std::optional<Json> decode_object(std::string_view part) {
  const std::optional<std::string> text = decode_base64url(part);
  return text ? parse_object(*text) : std::nullopt;
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

std::string in_seconds(Duration time) {
  const std::int64_t tenths = time.ms / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

Error malformed_token(std::string detail) {
  return Error{.code = Errc::token_malformed, .detail = std::move(detail)};
}

Error bad_signature(std::string detail) {
  return Error{.code = Errc::token_signature, .detail = std::move(detail)};
}

std::string encode_base64url(std::string_view bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), base64_variant), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), base64_variant);
  text.pop_back();  // the terminating zero
  return text;
}

std::optional<std::string> decode_base64url(std::string_view text) {
  std::string bytes(text.size(), '\0');
  std::size_t size = 0;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                        text.size(), nullptr, &size, nullptr, base64_variant) != 0)
    return std::nullopt;
  bytes.resize(size);
  return bytes;
}

Result<JwsParts> split_token(std::string_view token) {
  const std::size_t first = token.find('.');
  const std::size_t second = first == token.npos ? token.npos : token.find('.', first + 1);
  if (second == token.npos)
    return malformed_token("a token has three parts with dots between them");
  return JwsParts{.header = token.substr(0, first),
                  .claims = token.substr(first + 1, second - first - 1),
                  .signature = token.substr(second + 1),
                  .signed_text = token.substr(0, second)};
}

Result<JwsHeader> read_header(const JwsParts& parts) {
  const std::optional<Json> header = decode_object(parts.header);
  if (!header) return malformed_token("the token's header cannot be read");
  std::optional<std::string> algorithm = text_claim(*header, "alg");
  std::optional<std::string> kid = text_claim(*header, "kid");
  if (!algorithm || !kid || header->contains("crit"))
    return malformed_token("the token's header asks for something that this pool does not know");
  return JwsHeader{.algorithm = *std::move(algorithm), .kid = *std::move(kid)};
}

Result<Json> read_claims(const JwsParts& parts) {
  std::optional<Json> claims = decode_object(parts.claims);
  if (!claims) return malformed_token("the token's claims cannot be read");
  return *std::move(claims);
}

std::optional<std::string> text_claim(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return std::string{};
  if (!found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<bool> claim_has(const Json& claims, const char* name, const std::string& wanted) {
  const auto found = claims.find(name);
  if (found == claims.end()) return false;
  if (found->is_string()) return found->get_ref<const std::string&>() == wanted;
  const auto is_text = [](const Json& one) { return one.is_string(); };
  if (!found->is_array() || !std::all_of(found->begin(), found->end(), is_text))
    return std::nullopt;
  return std::find(found->begin(), found->end(), wanted) != found->end();
}

bool is_token_id(std::string_view id) {
  return std::cmp_less_equal(id.size(), limits::name_bytes_max) &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

bool names_a_user(std::string_view subject) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"._@+-"}.find(c) != std::string_view::npos;
  };
  return !subject.empty() &&
         std::cmp_less_equal(subject.size() + user_prefix.size(), limits::account_bytes_max) &&
         std::all_of(subject.begin(), subject.end(), allowed);
}

Result<TokenTimes> check_times(const Json& claims, Instant now) {
  const std::optional<Instant> expires = time_claim(claims, "exp");
  const std::optional<Instant> not_before = time_claim(claims, "nbf");
  const std::optional<Instant> issued = time_claim(claims, "iat");
  if (!expires || !*expires || !not_before || !issued)
    return malformed_token("the token has no end (exp), or its times are no seconds since 1970");
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
  // A token from the future would outlive the revocation of everything issued before now.
  if (*issued > now + issuer_ahead_max) {
    const Duration in = *issued - now;
    return Error{.code = Errc::token_not_yet_valid,
                 .want = in.ms,
                 .detail = "the token was issued " + in_seconds(in) +
                           " in the future; the clock of who minted it is wrong"};
  }
  return TokenTimes{.issued = *issued, .expires = *expires};
}

}  // namespace gpupool
