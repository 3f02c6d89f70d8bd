#pragma once
// Products by cuBLASLt: y = x W^T + b, GELU in the epilogue where it is wanted. Which algorithm
// suits a layer and a number of rows is asked once. Owned by a device, on its thread.

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "gpu/cuda/resources.h"
#include "gpu/device.h"

namespace gpupool::cuda {

class CudaLinear final : public Linear {
 public:
  // What makes one product another one than the last.
  struct Key {
    std::int64_t rows = 0;
    std::int64_t in_stride = 0;
    std::int64_t out_stride = 0;
    std::uint32_t in_alignment = 0;
    std::uint32_t out_alignment = 0;
    Dtype out = Dtype::f32;
    Activation activation = Activation::none;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Product {
    MatmulDescription description;
    MatrixLayout weight;
    MatrixLayout in;
    MatrixLayout out;
    cublasLtMatmulAlgo_t algorithm{};
  };

  MatrixSize size{};         // outputs, inputs
  Dtype dtype = Dtype::f32;  // of the weight, and of what it is multiplied with
  // Shared with the layers that are a part of this one.
  std::shared_ptr<void> weight;     // [outputs, inputs]
  std::shared_ptr<void> bias;       // f32; nullptr: none
  std::shared_ptr<void> bias_bf16;  // the same, for results in bf16
  std::map<Key, Product> products;

  std::unique_ptr<Linear> part(OutputRange outputs) const;
};

class Matmul {
 public:
  static Result<std::unique_ptr<Matmul>> make(cudaStream_t stream);

  // `in` is of the layer's dtype. SiLU is left to the caller.
  Status run(CudaLinear& layer, const ConstActivations& in, const Activations& out,
             Activation activation);

 private:
  explicit Matmul(cudaStream_t stream) : stream_(stream) {}
  Result<CudaLinear::Product> plan(const CudaLinear& layer, const CudaLinear::Key& key) const;

  cudaStream_t stream_;
  BlasHandle blas_;
  DeviceMemory workspace_;
};

}  // namespace gpupool::cuda
