#pragma once
// The CUDA device: products by cuBLASLt with bias and GELU in their epilogues, everything else by
// the kernels beside this file. One stream: the ops run in the order of the calls, and nothing
// waits for them but finish(), pace() and download(). A stretch of ops that comes back is recorded
// as a CUDA graph the second time, and launched as one from then on. Memory is never made inside
// such a stretch once it has run. After a sticky error every answer is device_failed: the process
// that owns the device has to end.

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "gpu/device.h"

namespace gpupool {

struct CudaOptions {
  std::int32_t index = 0;        // as the CUDA runtime counts them
  Dtype precision = Dtype::f32;  // of weights and activations; sums are f32 always, and never TF32
};

// How many there are. device_failed: none can be asked, with the driver's words.
Result<std::int32_t> cuda_device_count();

// device_failed: no such device, or it can't be used, with the runtime's words.
Result<std::unique_ptr<Device>> make_cuda_device(const CudaOptions& options);

}  // namespace gpupool
