#include "cli/token_command.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/operator.h"
#include "cli/say.h"
#include "cli/views.h"
#include "config/load.h"
#include "net/token.h"
#include "net/token_parts.h"

namespace gpupool {
namespace {

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

Result<KeyConfig> key_of(const Config& config, const std::string& kid) {
  const auto& keys = config.identity.keys;
  if (keys.empty()) return bad("the configuration has no key to sign tokens with");
  if (kid.empty()) return keys.front();
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const KeyConfig& key) { return key.kid == kid; });
  if (found == keys.end()) return bad("the configuration has no key \"" + kid + "\"");
  return *found;
}

std::string drawn_token_id() {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string id;
  for (const std::uint64_t bits : {draw_random(), draw_random()})
    for (unsigned shift = 0; shift < 64; shift += 4) id += digits[bits >> shift & 15U];
  return id;
}

struct Minted {
  std::string token;
  Claims claims;
  std::string kid;
};

Result<Minted> minted(const MintOptions& options) {
  const Result<Duration> lifetime = parse_lifetime(options.lifetime);
  if (!lifetime) return lifetime.error();
  const Result<Config> config = load_config(options.config);
  if (!config) return config.error();
  if (!options.tier.empty() && !config->tier(options.tier))
    return bad("the configuration has no tier \"" + options.tier + "\"");
  const Result<KeyConfig> key = key_of(*config, options.key);
  if (!key) return key.error();
  const Instant now = wall_time();
  const Claims claims{.subject = options.user,
                      .audience = config->identity.audience,
                      .tier = options.tier,
                      .is_operator = options.role == "operator",
                      .issued = now,
                      .expires = now + *lifetime,
                      .token_id = drawn_token_id(),
                      .actor = options.actor};
  Result<std::string> token = mint(*key, claims);
  if (!token) return token.error();
  return Minted{.token = std::move(*token), .claims = claims, .kid = key->kid};
}

// A claim of seconds since 1970 as a time people can read.
std::string time_claim(const Json& claims, const char* name) {
  const auto claim = claims.find(name);
  if (claim == claims.end() || !claim->is_number_integer()) return "none";
  const auto s = claim->get<std::int64_t>();
  return s < 0 || s > Instant::never().ms / 1000 ? "never" : utc_text(Instant{s * 1000});
}

Result<Json> part_of(const std::string& token, std::size_t number) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < number && begin != std::string::npos; ++i) {
    begin = token.find('.', begin);
    if (begin != std::string::npos) ++begin;
  }
  const Error malformed{.code = Errc::token_malformed, .detail = "this is no JSON Web Token"};
  if (begin == std::string::npos) return malformed;
  const auto text = decode_base64url(token.substr(begin, token.find('.', begin) - begin));
  Json json = Json::parse(text.value_or(""), nullptr, false);
  if (!json.is_object()) return malformed;
  return json;
}

// "in 1:02:03" or "0:00:12 ago", by this machine's clock.
std::string distance_text(Instant then, Instant now) {
  return then > now ? "in " + countdown_text(then - now) : countdown_text(now - then) + " ago";
}

std::string times_view(const Json& claims, Instant now) {
  std::string text;
  for (const auto& [name, words] :
       {std::pair{"iat", "issued"}, std::pair{"nbf", "valid from"}, std::pair{"exp", "expires"}}) {
    const std::string moment = time_claim(claims, name);
    text += std::string(words) + ": " + moment;
    if (moment != "none" && moment != "never")
      text += " (" + distance_text(Instant{claims.at(name).get<std::int64_t>() * 1000}, now) + ")";
    text += "\n";
  }
  return text;
}

std::string plain_claim(const Json& object, const char* name) {
  const auto claim = object.find(name);
  return claim == object.end() || !claim->is_string() ? "" : claim->get<std::string>();
}

std::string claim_text(const Json& object, const char* name) {
  const std::string text = plain_claim(object, name);
  return text.empty() ? "none" : printable(text);
}

std::string claims_view(const Json& header, const Json& claims, Instant now) {
  std::string text = "algorithm: " + claim_text(header, "alg") +
                     "\nkey: " + claim_text(header, "kid") + "\nid: " + claim_text(claims, "jti") +
                     "\n" + times_view(claims, now) + "claims:\n";
  for (const auto& [name, value] : claims.items())
    text += "  " + printable(name) + ": " +
            printable(value.dump(-1, ' ', false, Json::error_handler_t::replace)) + "\n";
  return text;
}

// What the console is told: {"revoke", "--token", ID} or {"revoke", "--user", NAME}.
Result<std::vector<std::string>> words_of(const RevokeOptions& options) {
  const int given =
      int{!options.token_id.empty()} + int{!options.file.empty()} + int{!options.user.empty()};
  if (given != 1) return bad("name one of --token-id, --file and --user");
  if (!options.user.empty()) return std::vector<std::string>{"revoke", "--user", options.user};
  if (!options.token_id.empty())
    return std::vector<std::string>{"revoke", "--token", options.token_id};
  const Result<std::string> token = read_token(options.file);
  if (!token) return token.error();
  const Result<Json> claims = part_of(*token, 1);
  if (!claims) return claims.error();
  const std::string id = plain_claim(*claims, "jti");
  if (id.empty())
    return bad("this token has no id (jti); --user NAME revokes all tokens of its user");
  return std::vector<std::string>{"revoke", "--token", id};
}

}  // namespace

ExitCode mint_token(const Connection& connection, const MintOptions& options) {
  const Result<Minted> made = minted(options);
  if (!made) return say_usage_error(connection, made.error());
  print(connection.json ? text_of({{"token", made->token},
                                   {"token_id", made->claims.token_id},
                                   {"kid", made->kid},
                                   {"expires_at", utc_text(made->claims.expires)}})
                        : made->token + "\n");
  return ExitCode::done;
}

ExitCode revoke_token(const Connection& connection, const RevokeOptions& options) {
  const Result<std::vector<std::string>> words = words_of(options);
  if (!words) return say_usage_error(connection, words.error());
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  const InterruptGuard interrupts(**client);
  const Result<Table> answer = (*client)->operate(*words);
  if (!answer) return say_console_error(connection, answer.error());
  const std::string& note = answer->note;
  if (connection.json)
    print(text_of({{"revoked", {{words->at(1).substr(2), words->at(2)}}}, {"note", note}}));
  else
    print((note.empty() ? "revoked" : printable(note)) + "\n");
  return ExitCode::done;
}

ExitCode inspect_token(const Connection& connection, const InspectOptions& options) {
  const Result<std::string> token = read_token(connection.token_file);
  if (!token) return say_usage_error(connection, token.error());
  if (token->empty())
    return say_usage_error(connection, bad("name a token with --token-file or GPUPOOL_TOKEN"));
  const Result<Json> header = part_of(*token, 0);
  if (!header) return say_error(connection, header.error());
  const Result<Json> claims = part_of(*token, 1);
  if (!claims) return say_error(connection, claims.error());
  const Instant now = wall_time();
  const std::string view = claims_view(*header, *claims, now);
  if (options.config.empty()) {
    print(connection.json ? text_of({{"checked", false}, {"header", *header}, {"claims", *claims}})
                          : view +
                                "the signature was not checked; --config FILE checks it with "
                                "the pool's keys\n");
    return ExitCode::done;
  }
  const Result<Config> config = load_config(options.config);
  if (!config) return say_usage_error(connection, config.error());
  const Result<Caller> caller = recognise(*config, {.token = *token}, now);
  if (!caller) return say_error(connection, caller.error());
  print(connection.json ? text_of({{"checked", true},
                                   {"header", *header},
                                   {"claims", *claims},
                                   {"caller", json_of(*caller)}})
                        : view + "good for " + caller_text(*caller) +
                              "; only the pool knows whether it was revoked\n");
  return ExitCode::done;
}

}  // namespace gpupool
