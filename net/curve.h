#pragma once
// ZeroMQ's CURVE keys, with which a pool proves who it is and everything on the wire is encrypted.
// A key is 40 characters of Z85 (rfc.zeromq.org/spec/32). Pure but for the system's randomness.

#include <string>
#include <string_view>

#include "base/result.h"

namespace gpupool {

struct CurvePair {
  std::string public_key;  // for clients: --server-key
  std::string secret_key;  // for the pool: broker.curve_secret_file
};

// unsupported if this machine's ZeroMQ was built without CURVE.
Result<CurvePair> make_curve_pair();

// The public half of a secret; bad_request if `secret` is no key.
Result<std::string> curve_public_key(const std::string& secret);

// 40 characters that stand for 32 bytes.
bool is_curve_key(const std::string& text);

}  // namespace gpupool
