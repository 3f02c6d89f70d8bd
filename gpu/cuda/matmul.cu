#include <bit>
#include <utility>

#include "gpu/cuda/matmul.h"
#include "gpu/op_shapes.h"

namespace gpupool::cuda {
namespace {

// What NVIDIA's manual names for Hopper.
constexpr std::size_t workspace_bytes = std::size_t{32} << 20U;
constexpr std::uint32_t alignment_max = 256;

cudaDataType type_of(Dtype dtype) { return dtype == Dtype::f32 ? CUDA_R_32F : CUDA_R_16BF; }

// Of the first value of every row.
std::uint32_t alignment_of(const void* values, std::int64_t stride, Dtype dtype) {
  const auto bits = reinterpret_cast<std::uintptr_t>(values) |
                    static_cast<std::uintptr_t>(stride * bytes_of(dtype)) | alignment_max;
  return std::uint32_t{1} << static_cast<unsigned>(std::countr_zero(bits));
}

cublasLtEpilogue_t epilogue_of(bool has_bias, Activation activation) {
  if (activation == Activation::gelu_tanh)
    return has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  return has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

// The first thing that went wrong.
class Trial {
 public:
  Trial& operator<<(cublasStatus_t status) {
    if (first_ == CUBLAS_STATUS_SUCCESS) first_ = status;
    return *this;
  }
  Status status(const char* what) const { return status_of(first_, what); }

 private:
  cublasStatus_t first_ = CUBLAS_STATUS_SUCCESS;
};

// A matrix of ours is row-major: for cuBLAS it is its own transpose, column-major.
MatrixLayout layout_of(Dtype dtype, MatrixSize size, std::int64_t stride, Trial& trial) {
  cublasLtMatrixLayout_t layout = nullptr;
  trial << cublasLtMatrixLayoutCreate(&layout, type_of(dtype),
                                      static_cast<std::uint64_t>(size.columns),
                                      static_cast<std::uint64_t>(size.rows), stride);
  return MatrixLayout(layout);
}

template <class Value>
void set(const MatmulDescription& of, cublasLtMatmulDescAttributes_t which, const Value& value,
         Trial& trial) {
  trial << cublasLtMatmulDescSetAttribute(of.get(), which, &value, sizeof value);
}
template <class Value>
void set(const Preference& of, cublasLtMatmulPreferenceAttributes_t which, const Value& value,
         Trial& trial) {
  trial << cublasLtMatmulPreferenceSetAttribute(of.get(), which, &value, sizeof value);
}

// The same memory from a value on.
std::shared_ptr<void> from_value(const std::shared_ptr<void>& memory, std::int64_t index,
                                 Dtype dtype) {
  if (memory == nullptr) return nullptr;
  return {memory, static_cast<std::byte*>(memory.get()) + index * bytes_of(dtype)};
}

}  // namespace

std::unique_ptr<Linear> CudaLinear::part(OutputRange outputs) const {
  check_part(size, outputs);
  auto some = std::make_unique<CudaLinear>();
  some->size = {outputs.count, size.columns};
  some->dtype = dtype;
  some->weight = from_value(weight, outputs.first * size.columns, dtype);
  some->bias = from_value(bias, outputs.first, Dtype::f32);
  some->bias_bf16 = from_value(bias_bf16, outputs.first, Dtype::bf16);
  return some;
}

Result<std::unique_ptr<Matmul>> Matmul::make(cudaStream_t stream) {
  std::unique_ptr<Matmul> matmul(new Matmul(stream));
  cublasLtHandle_t handle = nullptr;
  const Status made = status_of(cublasLtCreate(&handle), "cuBLASLt can't be used");
  if (!made) return made.error();
  matmul->blas_.reset(handle);
  Result<DeviceMemory> workspace = allocate_bytes(workspace_bytes);
  if (!workspace) return workspace.error();
  matmul->workspace_ = *std::move(workspace);
  return Result<std::unique_ptr<Matmul>>(std::move(matmul));
}

// y^T = W x^T, all column-major: W is read transposed, so that its rows lie as they are.
Result<CudaLinear::Product> Matmul::plan(const CudaLinear& layer,
                                         const CudaLinear::Key& key) const {
  Trial trial;
  CudaLinear::Product product;
  product.weight = layout_of(layer.dtype, layer.size, layer.size.columns, trial);
  product.in = layout_of(layer.dtype, {key.rows, layer.size.columns}, key.in_stride, trial);
  product.out = layout_of(key.out, {key.rows, layer.size.rows}, key.out_stride, trial);
  cublasLtMatmulDesc_t description = nullptr;
  trial << cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  product.description.reset(description);
  cublasLtMatmulPreference_t preference_made = nullptr;
  trial << cublasLtMatmulPreferenceCreate(&preference_made);
  const Preference preference(preference_made);
  if (const Status made = trial.status("a product can't be described"); !made) return made.error();

  set(product.description, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T, trial);
  set(product.description, CUBLASLT_MATMUL_DESC_EPILOGUE,
      epilogue_of(layer.bias != nullptr, key.activation), trial);
  if (layer.bias) {
    const void* bias = key.out == Dtype::f32 ? layer.bias.get() : layer.bias_bf16.get();
    set(product.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias, trial);
    set(product.description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(key.out), trial);
  }
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes}, trial);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
      alignment_of(layer.weight.get(), layer.size.columns, layer.dtype), trial);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.in_alignment, trial);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.out_alignment, trial);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.out_alignment, trial);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  trial << cublasLtMatmulAlgoGetHeuristic(blas_.get(), product.description.get(),
                                          product.weight.get(), product.in.get(), product.out.get(),
                                          product.out.get(), preference.get(), 1, &best, &found);
  if (const Status asked = trial.status("a product can't be planned"); !asked) return asked.error();
  if (found == 0)
    return Error{.code = Errc::device_failed, .detail = "cuBLASLt has no such product"};
  product.algorithm = best.algo;
  return Result<CudaLinear::Product>(std::move(product));
}

Status Matmul::run(CudaLinear& layer, const ConstActivations& in, const Activations& out,
                   Activation activation) {
  check_linear(layer.size, in, out);
  GPUPOOL_ENSURE(in.dtype == layer.dtype, in.rows, in.columns);
  const CudaLinear::Key key{.rows = in.rows,
                            .in_stride = in.stride,
                            .out_stride = out.stride,
                            .in_alignment = alignment_of(in.values, in.stride, in.dtype),
                            .out_alignment = alignment_of(out.values, out.stride, out.dtype),
                            .out = out.dtype,
                            .activation = activation};
  auto product = layer.products.find(key);
  if (product == layer.products.end()) {
    Result<CudaLinear::Product> planned = plan(layer, key);
    if (!planned) return planned.error();
    product = layer.products.emplace(key, *std::move(planned)).first;
  }
  const CudaLinear::Product& is = product->second;
  const float one = 1;
  const float zero = 0;
  return status_of(
      cublasLtMatmul(blas_.get(), is.description.get(), &one, layer.weight.get(), is.weight.get(),
                     in.values, is.in.get(), &zero, out.values, is.out.get(), out.values,
                     is.out.get(), &is.algorithm, workspace_.get(), workspace_bytes, stream_),
      "a product failed");
}

}  // namespace gpupool::cuda
