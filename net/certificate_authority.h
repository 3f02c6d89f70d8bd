#pragma once
// Makes a pool's own authority and the certificates that it signs: Ed25519 keys, X.509 in PEM. What
// a certificate proves is membership of the pool. Pure but for the system's randomness; keys are
// never logged.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

struct CertifiedKey {
  std::string certificate;  // PEM
  std::string key;          // PEM, PKCS #8
};

struct AuthorityWish {
  std::string pool;
  Instant now{};
  std::int64_t days = 3'650;
};
Result<CertifiedKey> make_authority(const AuthorityWish& wish);

struct NodeWish {
  std::string name;
  std::vector<std::string> addresses;  // DNS names and IP addresses, beside the name
  Instant now{};
  std::int64_t days = 365;  // but never longer than the authority's own
};
// file_malformed if `authority` is none, or its key is another's; bad_request names an address that
// is none.
Result<CertifiedKey> make_node(const NodeWish& wish, const CertifiedKey& authority);

}  // namespace gpupool
