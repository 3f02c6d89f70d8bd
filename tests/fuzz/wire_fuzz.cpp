// Any bytes at all decode to a message or to an error; and what decodes has one spelling: encoded
// again it decodes to the same bytes.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ensure.h"
#include "net/wire.h"

namespace gpupool {
namespace {

template <class Message, class Decode>
void check_spelling(const Message& message, Decode decode) {
  const Result<std::string> frame = encode(message);
  if (!frame) return;  // a longer spelling than the one that arrived, and now too long
  const auto again = decode(*frame);
  GPUPOOL_ENSURE(bool{again});
  const Result<std::string> same = encode(*again);
  GPUPOOL_ENSURE(same && *same == *frame);
}

}  // namespace
}  // namespace gpupool

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace gpupool;
  const std::string_view frame{reinterpret_cast<const char*>(bytes), size};
  if (const auto message = decode_from_client(frame)) check_spelling(*message, decode_from_client);
  if (const auto message = decode_from_pool(frame)) check_spelling(*message, decode_from_pool);
  return 0;
}
