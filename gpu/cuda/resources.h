#pragma once
// What the CUDA libraries hand out and want back, and their errors as ours. Each is owned by one
// device and used on its thread.

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

#include "base/result.h"

namespace gpupool::cuda {

inline Status status_of(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return ok();
  return Error{.code = Errc::device_failed,
               .detail = std::string(what) + ": " + cudaGetErrorString(error)};
}
inline Status status_of(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return ok();
  return Error{.code = Errc::device_failed,
               .detail = std::string(what) + ": " + cublasLtGetStatusString(status)};
}

// Frees by a function of the library; what that says then is of no use any more.
template <auto free>
struct Free {
  template <class T>
  void operator()(T* owned) const noexcept {
    static_cast<void>(free(owned));
  }
};
template <class Handle, auto free>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Free<free>>;

using DeviceMemory = Owned<void*, cudaFree>;
using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using BlasHandle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using MatmulDescription = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

inline Result<DeviceMemory> allocate_bytes(std::size_t bytes) {
  void* memory = nullptr;
  const std::string what = "no memory for " + std::to_string(bytes) + " bytes";
  const Status done = status_of(cudaMalloc(&memory, bytes), what.c_str());
  if (!done) return done.error();
  return DeviceMemory(memory);
}

}  // namespace gpupool::cuda
