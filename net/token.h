#pragma once
// Who the caller is: JSON Web Tokens (RFC 7519) signed with HS256 or EdDSA (Ed25519, RFC 8037)
// under the keys of the configuration, those of other issuers (issuer_token.h), or, without a token
// and only where the pool allows it, the network address. A token that is bad in any way is an
// error and never makes its bearer anonymous; a key's algorithm comes from the configuration and
// never from the token. Errors' details are plain sentences for the caller; no token and no secret
// is ever in them. Pure but for libsodium; any thread.

#include <cstdint>
#include <string>
#include <string_view>

#include "actors/messages.h"
#include "base/result.h"
#include "config/config.h"
#include "net/rulings.h"

namespace gpupool {

// What a connection shows of its user.
struct Introduction {
  std::string token;         // empty: none
  std::string peer_address;  // "192.0.2.7", "2001:db8::7"; anything else has no address
};

// What a token or an address proves by itself, before the word of operators.
struct Credentials {
  Caller caller;
  Instant issued{};  // 0: the token does not say, or there is none
};

// Errors: token_malformed, token_signature, token_expired (want: how long ago),
// token_not_yet_valid (want: in how long), token_audience, and unauthenticated where there is no
// token and no anonymous access.
Result<Credentials> read_credentials(const Config& config, const Introduction& introduction,
                                     Instant now);

// The caller to the pool as it is now: with the tier that an operator chose, if any.
// unauthenticated for a token that was revoked, and where the tier is not one of the pool's.
Result<Caller> admit(const Config& config, const Rulings& rulings, const Credentials& credentials);

// Both of them.
Result<Caller> recognise(const Config& config, const Introduction& introduction, Instant now,
                         const Rulings& rulings = {});

// What `gpupool token` writes into a token. Times are kept in whole seconds.
struct Claims {
  std::string subject;  // "ada" becomes account "user:ada"
  std::string audience = "gpupool";
  std::string tier;  // empty: the pool's default tier
  bool is_operator = false;
  Instant issued{};
  Instant not_before{};  // 0: at once
  Instant expires{};
  std::string token_id;  // "jti": what the token can be revoked by; empty: none
  std::string address;   // "ip": in place of a subject, of somebody known by their address alone
  std::string actor;     // "act": who uses it on its subject's behalf; empty: the subject
  std::string error;     // why it is of an address: Spaces tell their visitors; empty: nothing
};

// Errors: bad_request for a subject that no account can have, or an id that is too long;
// unsupported for a key that cannot sign: without its secret, or with that of another key.
Result<std::string> mint(const KeyConfig& key, const Claims& claims);

// The public half of the Ed25519 key whose seed these 32 bytes are.
std::string ed25519_public_key(const std::string& seed);

// The account that anonymous callers from an address share: one IPv4 address or one IPv6 /64, as
// "192.0.2.7/32" or "2001:db8::/64". An IPv4 address mapped into IPv6 is that IPv4 address. Empty
// if `address` is no address.
std::string network_of(std::string_view address);

}  // namespace gpupool
