#pragma once
// The pieces of a compact JWS (RFC 7515) and the claims in it, read strictly: for tokens of the
// pool's own keys (token.h) and of other issuers (issuer_token.h). Pure; any thread.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

inline constexpr std::string_view user_prefix = "user:";
inline constexpr std::string_view address_prefix = "address:";

// The three parts, still encoded, and the text that the signature covers.
struct JwsParts {
  std::string_view header;
  std::string_view claims;
  std::string_view signature;
  std::string_view signed_text;
};

// Which key made the signature, by its own word. Not to be believed before it has verified.
struct JwsHeader {
  std::string algorithm;
  std::string kid;  // empty: it names none
};

struct TokenTimes {
  Instant issued{};  // 0: it does not say
  Instant expires{};
};

// token_malformed: it has not three parts; its header cannot be read or asks for more ("crit").
Result<JwsParts> split_token(std::string_view token);
Result<JwsHeader> read_header(const JwsParts& parts);
// Call once the signature has verified.
Result<nlohmann::json> read_claims(const JwsParts& parts);

// Errors: token_malformed, token_expired (want: how long ago), token_not_yet_valid (want: in how
// long), also of a token that was issued more than five minutes in the future.
Result<TokenTimes> check_times(const nlohmann::json& claims, Instant now);

// An absent claim is empty; one of another type is nothing.
std::optional<std::string> text_claim(const nlohmann::json& object, const char* name);
// Whether a claim that is a text or a list of texts has `wanted`. Nothing: it is something else.
std::optional<bool> claim_has(const nlohmann::json& claims, const char* name,
                              const std::string& wanted);

// Visible ASCII: it is typed into commands and stands in logs. Empty: the token has none.
bool is_token_id(std::string_view id);
// Letters, digits and what e-mail addresses and login names are made of, in ASCII: one account has
// one spelling, and it can stand in logs, tables and URLs as it is.
bool names_a_user(std::string_view subject);

std::string encode_base64url(std::string_view bytes);
// Strict: no padding, no white space, no bits left over, so each value has one spelling.
std::optional<std::string> decode_base64url(std::string_view text);

Error malformed_token(std::string detail);
Error bad_signature(std::string detail);

}  // namespace gpupool
