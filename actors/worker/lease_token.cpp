#include "actors/worker/lease_token.h"

#include <sodium.h>

#include <array>

#include "base/ensure.h"

namespace gpupool {

std::string lease_token(const std::string& secret, JobId job, std::uint32_t attempt) {
  GPUPOOL_ENSURE(secret.size() == crypto_generichash_KEYBYTES, secret.size());
  const std::string lease = std::to_string(job.value) + "/" + std::to_string(attempt);
  std::array<unsigned char, 24> hash{};
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(lease.data()),
                     lease.size(), reinterpret_cast<const unsigned char*>(secret.data()),
                     secret.size());
  std::string text(hash.size() * 2 + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  text.pop_back();
  return text;
}

bool is_same_secret(const std::string& one, const std::string& other) {
  return one.size() == other.size() && sodium_memcmp(one.data(), other.data(), one.size()) == 0;
}

}  // namespace gpupool
