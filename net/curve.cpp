#include "net/curve.h"

#include <zmq.h>

#include <array>
#include <cstdint>

namespace gpupool {
namespace {

constexpr std::size_t text_bytes = 40;
constexpr std::size_t key_bytes = 32;
using KeyText = std::array<char, text_bytes + 1>;

}  // namespace

Result<CurvePair> make_curve_pair() {
  KeyText public_key{};
  KeyText secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0)
    return Error{.code = Errc::unsupported,
                 .detail = "this machine's ZeroMQ was built without CURVE encryption"};
  return CurvePair{.public_key = public_key.data(), .secret_key = secret_key.data()};
}

Result<std::string> curve_public_key(const std::string& secret) {
  KeyText public_key{};
  if (!is_curve_key(secret) || zmq_curve_public(public_key.data(), secret.c_str()) != 0)
    return Error{.code = Errc::bad_request,
                 .detail = "a CURVE key is 40 characters of Z85; gpupool keys curve makes one"};
  return std::string{public_key.data()};
}

bool is_curve_key(const std::string& text) {
  std::array<std::uint8_t, key_bytes> key{};
  return text.size() == text_bytes && zmq_z85_decode(key.data(), text.c_str()) != nullptr;
}

}  // namespace gpupool
