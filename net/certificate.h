#pragma once
// X.509 certificates of a pool's machines: what one says, and whether the three files of [cluster]
// make this machine a member: of one authority, matching, of the right use, valid now. What passes
// check_membership() has also shaken hands with itself, exactly as CAF will use it, since CAF ends
// the process over a file that it cannot use. Pure but for the files that are read.

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "config/config.h"

namespace gpupool {

struct CertificateFacts {
  std::string subject;  // "CN=node-2,O=gpupool"
  std::string name;     // its common name: "node-2"
  std::string issuer;
  Instant valid_from{};
  Instant valid_until{};
  bool is_authority = false;
  std::vector<std::string> addresses;  // by which the machine may be reached, for people
  std::string fingerprint;             // SHA-256, as pairs of hexadecimal digits
};

// Of the first certificate in a PEM text; file_malformed if there is none.
Result<CertificateFacts> read_certificate(const std::string& pem);

// The texts of the three files.
struct MembershipFiles {
  std::string ca;
  std::string certificate;
  std::string key;
};
// config_invalid names the key of the configuration, the file, and what to do; so below.
Result<MembershipFiles> read_membership(const ClusterConfig& cluster);

struct Membership {
  CertificateFacts certificate;
  std::string authority;      // the subject of the one that stands at the chain's end
  Instant authority_until{};  // when that one expires
  Instant until{};            // when the first certificate of the chain does
};
Result<Membership> check_membership(const MembershipFiles& files, const ClusterConfig& cluster,
                                    Instant now);

// What to do about a certificate that has expired, or will soon.
std::string renewal_advice(const CertificateFacts& facts);

// "5 days", "1 day", "3 hours".
std::string days_text(Duration left);

}  // namespace gpupool
