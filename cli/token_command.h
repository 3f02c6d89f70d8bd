#pragma once
// `gpupool token`: mints tokens with a key of the pool's configuration, shows what is in one, and
// revokes them. No secret is ever printed, and a token only by `mint`.

#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct MintOptions {
  std::string config = "config/gpupool.toml";
  std::string user;
  std::string tier;              // empty: the pool's default
  std::string lifetime = "24h";  // as typed
  std::string role;              // "operator" or empty
  std::string key;               // its kid; empty: the first key
  std::string actor;             // who uses it on the user's behalf; empty: the user
};

ExitCode mint_token(const Connection& connection, const MintOptions& options);

// With a configuration the signature is checked, as the pool would; without one it is not, and the
// answer says so.
struct InspectOptions {
  std::string config;
};
ExitCode inspect_token(const Connection& connection, const InspectOptions& options);

// By the token's id, by a file that holds the token, or all tokens of a user issued until now. Asks
// the pool, as an operator: exactly one of the three is given.
struct RevokeOptions {
  std::string token_id;
  std::string file;
  std::string user;
};
ExitCode revoke_token(const Connection& connection, const RevokeOptions& options);

}  // namespace gpupool
