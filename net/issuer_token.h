#pragma once
// Tokens that somebody else has signed: an OpenID Connect issuer (OpenID Connect Core 1.0) whose
// public keys the configuration has. Signed with RS256, ES256 (RFC 7518) or EdDSA (Ed25519, RFC
// 8037). Its users are accounts of their own, "user:ada@NAME", and never operators. Pure but for
// OpenSSL; any thread.

#include "config/config.h"
#include "net/token.h"
#include "net/token_parts.h"

namespace gpupool {

// Whether some issuer has the key that the header names; if it names none, whether just one key is
// of its algorithm.
bool has_issuer_key(const IdentityConfig& identity, const JwsHeader& header);

// Errors as of read_credentials(); token_signature also where the token names another issuer than
// the one whose key signed it, unauthenticated where its claims name nobody.
Result<Credentials> read_issuer_token(const IdentityConfig& identity, const JwsParts& parts,
                                      const JwsHeader& header, Instant now);

}  // namespace gpupool
