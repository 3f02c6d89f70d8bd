#pragma once
// The public keys of an issuer of tokens, as a JWK Set has them (RFC 7517, 7518, 8037). Pure but
// for OpenSSL; nothing here is kept or fetched: the text is that of a file.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gpupool {

struct IssuerKey {
  std::string kid;        // empty: the set names none
  std::string algorithm;  // "RS256", "ES256" or "EdDSA" (Ed25519)
  std::string der;        // SubjectPublicKeyInfo (RFC 5280)
  friend bool operator==(const IssuerKey&, const IssuerKey&) = default;
};

// Those keys that check signatures of these algorithms; others are passed over, as the standard
// wants, secrets among them. RSA keys have 2048 to 8192 bits. file_malformed: it is no JWK Set, a
// key of these algorithms is broken or weak, none is usable, or there are more than 64.
Result<std::vector<IssuerKey>> read_jwks(std::string_view text);

}  // namespace gpupool
