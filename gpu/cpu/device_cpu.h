#pragma once
// The CPU device: a fixed set of threads, memory of the process, products by oneDNN and loops of
// our own for everything else. Work is cut into blocks whose size never depends on the number of
// threads, so that on one machine the result is the same, bit for bit, for every number of threads.

#include <cstdint>
#include <memory>
#include <vector>

#include "gpu/device.h"

namespace gpupool {

struct CpuOptions {
  std::int32_t threads = 1;  // the calling one included
  // Of weights and of what layers pass to each other; sums are f32. bf16 pays on machines with AMX
  // only (docs/benchmarks.md).
  Dtype precision = Dtype::f32;
  // One for each thread, the calling one first, which stays there. Empty: wherever the system
  // likes.
  std::vector<std::int32_t> cores{};
};

// threads >= 1. In f32, without cores.
std::unique_ptr<Device> make_cpu_device(std::int32_t threads);
// Errors: unsupported (no bf16 on this CPU; cores that this process may not use).
Result<std::unique_ptr<Device>> make_cpu_device(const CpuOptions& options);

}  // namespace gpupool
