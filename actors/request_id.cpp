#include "actors/request_id.h"

namespace gpupool {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::size_t text_bytes = 36;
constexpr std::uint64_t version_bits = 0x7000U;
constexpr std::uint64_t variant_bits = 0x8000'0000'0000'0000U;
constexpr std::uint64_t low_random_mask = 0x3fff'ffff'ffff'ffffU;

constexpr bool is_dash(std::size_t place) {
  return place == 8 || place == 13 || place == 18 || place == 23;
}

// -1 if `c` is no hexadecimal digit.
int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

RequestId make_request_id(Instant now, const RandomBits& random) {
  const auto milliseconds = static_cast<std::uint64_t>(now.ms) << 16U;
  return {.high = milliseconds | version_bits | (random.first & 0xfffU),
          .low = variant_bits | (random.second & low_random_mask)};
}

bool well_formed(const RequestId& id) {
  return (id.high & 0xf000U) == version_bits && (id.low & ~low_random_mask) == variant_bits;
}

std::string format_request_id(const RequestId& id) {
  std::string text;
  text.reserve(text_bytes);
  int nibble = 0;
  for (std::size_t place = 0; place < text_bytes; ++place) {
    if (is_dash(place)) {
      text.push_back('-');
      continue;
    }
    const std::uint64_t word = nibble < 16 ? id.high : id.low;
    text.push_back(hex_digits[(word >> (60 - 4 * (nibble % 16))) & 0xfU]);
    ++nibble;
  }
  return text;
}

Result<RequestId> parse_request_id(std::string_view text) {
  const Error wrong{.code = Errc::bad_request, .detail = "a request id is a UUID of version 7"};
  if (text.size() != text_bytes) return wrong;
  RequestId id;
  int nibble = 0;
  for (std::size_t place = 0; place < text_bytes; ++place) {
    if (is_dash(place)) {
      if (text[place] != '-') return wrong;
      continue;
    }
    const int digit = digit_of(text[place]);
    if (digit < 0) return wrong;
    std::uint64_t& word = nibble < 16 ? id.high : id.low;
    word = (word << 4U) | static_cast<std::uint64_t>(digit);
    ++nibble;
  }
  if (!well_formed(id)) return wrong;
  return id;
}

}  // namespace gpupool
