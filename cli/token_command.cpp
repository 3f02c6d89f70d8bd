#include "cli/token_command.h"

#include <algorithm>

#include "actors/describe.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/say.h"
#include "cli/views.h"
#include "config/load.h"
#include "net/token.h"

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

Result<std::string> minted(const MintOptions& options) {
  const Result<Duration> lifetime = parse_lifetime(options.lifetime);
  if (!lifetime) return lifetime.error();
  const Result<Config> config = load_config(options.config);
  if (!config) return config.error();
  if (!options.tier.empty() && !config->tier(options.tier))
    return bad("the configuration has no tier \"" + options.tier + "\"");
  const Result<KeyConfig> key = key_of(*config, options.key);
  if (!key) return key.error();
  const Instant now = wall_time();
  return mint(*key, {.subject = options.user,
                     .audience = config->identity.audience,
                     .tier = options.tier,
                     .is_operator = options.role == "operator",
                     .issued = now,
                     .expires = now + *lifetime});
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
  const std::string text = decode_base64url(token.substr(begin, token.find('.', begin) - begin));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return malformed;
  return json;
}

std::string claims_view(const Json& claims) {
  std::string text = "expires at " + time_claim(claims, "exp") + "\n";
  for (const auto& [name, value] : claims.items())
    text += "  " + printable(name) + ": " +
            printable(value.dump(-1, ' ', false, Json::error_handler_t::replace)) + "\n";
  return text + "the signature was not checked; --config FILE checks it with the pool's keys\n";
}

}  // namespace

ExitCode mint_token(const Connection& connection, const MintOptions& options) {
  const Result<std::string> token = minted(options);
  if (!token) return say_usage_error(connection, token.error());
  print(connection.json ? text_of({{"token", *token}}) : *token + "\n");
  return ExitCode::done;
}

ExitCode inspect_token(const Connection& connection, const InspectOptions& options) {
  const Result<std::string> token = read_token(connection.token_file);
  if (!token) return say_usage_error(connection, token.error());
  if (token->empty())
    return say_usage_error(connection, bad("name a token with --token-file or GPUPOOL_TOKEN"));
  if (options.config.empty()) {
    const Result<Json> header = part_of(*token, 0);
    if (!header) return say_error(connection, header.error());
    const Result<Json> claims = part_of(*token, 1);
    if (!claims) return say_error(connection, claims.error());
    print(connection.json ? text_of({{"checked", false}, {"header", *header}, {"claims", *claims}})
                          : claims_view(*claims));
    return ExitCode::done;
  }
  const Result<Config> config = load_config(options.config);
  if (!config) return say_usage_error(connection, config.error());
  const Result<Caller> caller = recognise(*config, {.token = *token}, wall_time());
  if (!caller) return say_error(connection, caller.error());
  print(connection.json
            ? text_of({{"checked", true}, {"caller", json_of(*caller)}})
            : caller_text(*caller) + "; expires at " + utc_text(caller->expires) + "\n");
  return ExitCode::done;
}

std::string decode_base64url(std::string_view text) {
  constexpr std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = alphabet.find(c);
    if (digit == std::string_view::npos) return "";
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xffU);
  }
  return bytes;
}

}  // namespace gpupool
