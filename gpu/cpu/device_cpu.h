#pragma once
// The CPU device: a fixed set of threads, memory of the process, products by oneDNN and loops of
// our own for everything else. Work is cut into blocks whose size never depends on the number of
// threads, so that on one machine the result is the same, bit for bit, for every number of threads.

#include <cstdint>
#include <memory>

#include "gpu/device.h"

namespace gpupool {

// threads >= 1, the calling thread included.
std::unique_ptr<Device> make_cpu_device(std::int32_t threads);

}  // namespace gpupool
