#pragma once
// Comm over NCCL, for CUDA devices: what DeviceCuda::meet() makes, on a stream of its own beside
// the device's. Calls to NCCL never wait for other ranks; a thread looks after what is under way
// and ends it when it fails or takes longer than the timeout, so that waiting for the device has an
// end. Built where NCCL is (GPUPOOL_NCCL).

#include <cuda_runtime_api.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "gpu/comm.h"

namespace gpupool {

#if defined(GPUPOOL_NCCL)

// On the calling thread's device, whose ops are on `stream`. device_failed: the others did not come
// in time, or NCCL can't be used, with its words.
Result<std::unique_ptr<Comm>> make_nccl_comm(const CommOptions& options, Rendezvous& rendezvous,
                                             cudaStream_t stream);

// The first half of it, which needs no device: all ranks come, and rank 0 tells the others the name
// by which NCCL will know them, 256 hexadecimal digits.
Result<std::string> agree_on_name(const CommOptions& options, Rendezvous& rendezvous);

#else

inline Result<std::unique_ptr<Comm>> make_nccl_comm(const CommOptions&, Rendezvous&, cudaStream_t) {
  return Error{.code = Errc::unsupported,
               .detail =
                   "several ranks on CUDA devices need NCCL, which this build is without: "
                   "install libnccl-dev and build with GPUPOOL_NCCL=ON"};
}

#endif

}  // namespace gpupool
