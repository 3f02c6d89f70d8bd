// Any bytes as a token, as the claims of a rightly signed token, as an Ed25519 signature, and as a
// network address: each ends in a caller or an error, and only what was signed makes a user.

#include <sodium.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/ensure.h"
#include "config/limits.h"
#include "net/token.h"

namespace gpupool {
namespace {

const Instant now{1'700'000'000'000};
const KeyConfig key{.kid = "k1", .secret = "0123456789abcdef0123456789abcdef"};
constexpr std::string_view header = R"({"alg":"HS256","kid":"k1"})";

const Config& pool() {
  static const Config config = [] {
    Config made = default_config();
    const std::string seed(32, 's');
    made.identity.keys = {
        key,
        {.kid = "k2", .algorithm = "EdDSA", .secret = {}, .public_key = ed25519_public_key(seed)}};
    return made;
  }();
  return config;
}

std::string base64(std::string_view bytes) {
  constexpr int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_encoded_len(bytes.size(), variant), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                    bytes.size(), variant);
  text.pop_back();
  return text;
}

std::string signed_token(std::string_view claims) {
  const std::string text = base64(header) + "." + base64(claims);
  std::array<unsigned char, crypto_auth_hmacsha256_BYTES> mac{};
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(key.secret.data()),
                              key.secret.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()),
                                text.size());
  crypto_auth_hmacsha256_final(&state, mac.data());
  return text + "." + base64({reinterpret_cast<const char*>(mac.data()), mac.size()});
}

void check(const Result<Caller>& caller) {
  if (!caller) {
    GPUPOOL_ENSURE(!caller.error().detail.empty());
    return;
  }
  GPUPOOL_ENSURE(caller->account.text.starts_with("user:"), caller->account);
  GPUPOOL_ENSURE(std::cmp_less_equal(caller->account.text.size(), limits::account_bytes_max));
  GPUPOOL_ENSURE(caller->expires > now && pool().tier(caller->tier));
}

}  // namespace
}  // namespace gpupool

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace gpupool;
  const std::string text{reinterpret_cast<const char*>(bytes), size};
  if (!text.empty()) check(recognise(pool(), {.token = text}, now));
  check(recognise(pool(), {.token = signed_token(text)}, now));
  const std::string forged = base64(R"({"alg":"EdDSA","kid":"k2"})") + "." +
                             base64(R"({"sub":"a","aud":"gpupool","exp":1900000000})") + "." +
                             base64(text);
  GPUPOOL_ENSURE(!recognise(pool(), {.token = forged}, now));
  const std::string network = network_of(text);
  GPUPOOL_ENSURE(network.empty() || network_of(network.substr(0, network.find('/'))) == network);
  return 0;
}
