#pragma once
// Request ids as text and as a client makes them: UUIDs of version 7 (RFC 9562), lower-case,
// "0190a6c1-2f3a-7b10-8c4d-5e6f70819293". Pure: the time and the random bits are arguments.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace gpupool {

// 74 random bits are used: the low 12 of `first` and the low 62 of `second`.
struct RandomBits {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

RequestId make_request_id(Instant now, const RandomBits& random);

// Version 7 and the RFC's variant. The pool refuses any other id as a bad request.
bool well_formed(const RequestId& id);

std::string format_request_id(const RequestId& id);

// Exactly the canonical form, in either case of letters, and well formed; else bad_request.
Result<RequestId> parse_request_id(std::string_view text);

}  // namespace gpupool
