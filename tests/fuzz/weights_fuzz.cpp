// Any bytes as a weights file: tensors whose values are finite and fill their shapes, or an error
// that says what is wrong.

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/ensure.h"
#include "gpu/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace gpupool;
  Result<Weights> weights = Weights::parse(std::as_bytes(std::span{bytes, size}));
  if (!weights) {
    GPUPOOL_ENSURE(weights.error().code == Errc::file_malformed);
    GPUPOOL_ENSURE(!weights.error().detail.empty());
    return 0;
  }
  // The values are in the file, two bytes each at least, so a small file has few of them.
  GPUPOOL_ENSURE(weights->elements() >= 0 && std::cmp_less_equal(weights->elements(), size / 2),
                 weights->elements());
  const std::optional<std::string> name = weights->any_left();
  if (!name) return 0;
  GPUPOOL_ENSURE(weights->contains(*name), *name);
  GPUPOOL_ENSURE(!weights->take(*name + "x", Shape{}) || weights->contains(*name), *name);
  return 0;
}
