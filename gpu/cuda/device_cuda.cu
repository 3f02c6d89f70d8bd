#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "gpu/comm_nccl.h"
#include "gpu/cuda/attention_bf16.h"
#include "gpu/cuda/attention_wide.h"
#include "gpu/cuda/device_cuda.h"
#include "gpu/cuda/elementwise.h"
#include "gpu/cuda/feature_map_launch.h"
#include "gpu/cuda/matmul.h"
#include "gpu/cuda/norm.h"
#include "gpu/cuda/resources.h"
#include "gpu/cuda/views.h"
#include "gpu/op_shapes.h"

namespace gpupool {
namespace cuda {
namespace {

constexpr std::size_t recordings_max = 256;

NormTerms terms_of(const Modulation& modulation, std::int64_t rows) {
  return {rows_of(modulation.shift), rows_of(modulation.scale), modulation.epsilon,
          rows / modulation.shift.rows};
}

class DeviceCuda final : public Device {
 public:
  static Result<std::unique_ptr<Device>> make(const CudaOptions& options);
  ~DeviceCuda() override { cudaStreamSynchronize(stream_.get()); }

  Result<Buffer> allocate(MatrixSize size) override { return allocate(size, Dtype::f32); }
  Result<Buffer> allocate_activations(MatrixSize size) override {
    return allocate(size, precision_);
  }
  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights) override;
  Result<std::unique_ptr<Linear>> part_of(const Linear& layer, OutputRange outputs) override {
    return dynamic_cast<const CudaLinear&>(layer).part(outputs);
  }
  Result<std::unique_ptr<Comm>> meet(const CommOptions& options, Rendezvous& rendezvous) override {
    return make_nccl_comm(options, rendezvous, stream_.get());
  }
  void upload(std::span<const float> from, Activations to) override;
  void download(ConstActivations from, std::span<float> to) override;
  Status finish() override;
  Result<std::int32_t> pace() override;
  void repeat(const RepeatKey& key, const std::function<void()>& ops) override;

  void linear(const Linear& layer, ConstActivations in, Activations out,
              Activation activation) override;
  void modulated_norm(ConstMatrix in, const Modulation& modulation, Activations out) override;
  void residual_norm(const Residual& residual, const Modulation& modulation,
                     Activations out) override;
  void attention(const AttentionInput& input, Activations out) override;
  void patchify(ConstMatrix picture, const PatchGrid& grid, std::int64_t first,
                Matrix tokens) override;
  void unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) override;
  void add(Matrix stream, ConstMatrix rows) override;
  void time_features(const TimeFeatures& features, Matrix out) override;
  void embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens, Matrix out) override;
  void join(const Conditions& conditions, Matrix out) override;
  void guide(const Guidance& guidance, Matrix out) override;
  void advance(Matrix picture, ConstMatrix prediction, const StepTerms& step) override;
  void noise(const NoiseRange& range, Matrix out) override;
  void neighbours(ConstActivations in, const MapGrid& grid, std::int64_t first,
                  Activations out) override;
  void group_norm(ConstMatrix in, const GroupNorm& norm, Activations out) override;

 private:
  // Memory that grows when more is needed than ever before.
  struct Scratch {
    DeviceMemory memory;
    std::size_t bytes = 0;
  };
  struct Recording {
    bool ran = false;  // once, without being recorded: libraries load what they need then
    GraphExec graph;
  };

  explicit DeviceCuda(Dtype precision) : precision_(precision) {}
  void release(Activations all) noexcept override;
  Result<Buffer> allocate(MatrixSize size, Dtype dtype);
  template <class T>
  void attend(const AttentionInput& input, const Activations& out);
  ConstActivations in_precision_of(const CudaLinear& layer, const ConstActivations& in);
  void* scratch(Scratch& of, std::size_t bytes);
  void copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                 const ConstActivations& of, cudaMemcpyKind way);
  void record(Recording& recording, const std::function<void()>& ops);
  template <class Value>
  Result<DeviceMemory> copy_to_device(const std::vector<Value>& values);
  template <class Value>
  const Value* send(Scratch& to, std::span<const Value> values);

  void note(const Status& done) {
    if (!done && !failure_) failure_ = done.error();
  }
  void note(cudaError_t error, const char* what) { note(status_of(error, what)); }
  // Of a kernel that was just launched.
  void launched(const char* what) { note(cudaGetLastError(), what); }

  const Dtype precision_;
  Stream stream_;
  std::unique_ptr<Matmul> matmul_;
  std::array<Event, 2> paces_;
  std::uint64_t paced_ = 0;  // since the last finish()
  Scratch in_bf16_;
  Scratch times_;
  Scratch tokens_;
  Scratch moments_;
  std::map<RepeatKey, Recording> recordings_;
  std::optional<Error> failure_;  // the first; a context that is broken stays so
};

Result<std::unique_ptr<Device>> DeviceCuda::make(const CudaOptions& options) {
  if (const Status set = status_of(cudaSetDevice(options.index), "the CUDA device can't be used");
      !set)
    return set.error();
  std::unique_ptr<DeviceCuda> device(new DeviceCuda(options.precision));
  cudaStream_t stream = nullptr;
  if (const Status made =
          status_of(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "no stream");
      !made)
    return made.error();
  device->stream_.reset(stream);
  for (Event& event : device->paces_) {
    cudaEvent_t made = nullptr;
    const unsigned flags = cudaEventDisableTiming | cudaEventBlockingSync;
    if (const Status done = status_of(cudaEventCreateWithFlags(&made, flags), "no event"); !done)
      return done.error();
    event.reset(made);
  }
  Result<std::unique_ptr<Matmul>> matmul = Matmul::make(stream);
  if (!matmul) return matmul.error();
  device->matmul_ = *std::move(matmul);
  return std::unique_ptr<Device>(std::move(device));
}

// ---- Memory ------------------------------------------------------------------------------------

Result<Buffer> DeviceCuda::allocate(MatrixSize size, Dtype dtype) {
  check_allocate(size);
  const auto bytes = static_cast<std::size_t>(size.rows * size.columns * bytes_of(dtype));
  Result<DeviceMemory> memory = allocate_bytes(bytes);
  if (!memory) return memory.error();
  note(cudaMemsetAsync(memory->get(), 0, bytes, stream_.get()), "memory can't be cleared");
  auto* const values = static_cast<std::byte*>(memory->release());
  return Buffer(*this, Activations(values, size.rows, size.columns, dtype));
}

// What was recorded may name this memory.
void DeviceCuda::release(Activations all) noexcept {
  cudaStreamSynchronize(stream_.get());
  recordings_.clear();
  cudaFree(all.values);
}

void* DeviceCuda::scratch(Scratch& of, std::size_t bytes) {
  if (of.bytes >= bytes) return of.memory.get();
  cudaStreamSynchronize(stream_.get());
  recordings_.clear();
  Result<DeviceMemory> memory = allocate_bytes(bytes);
  if (!memory) {
    note(memory.error());
    return nullptr;
  }
  of.memory = *std::move(memory);
  of.bytes = bytes;
  return of.memory.get();
}

template <class Value>
Result<DeviceMemory> DeviceCuda::copy_to_device(const std::vector<Value>& values) {
  Result<DeviceMemory> memory = allocate_bytes(values.size() * sizeof(Value));
  if (!memory) return memory.error();
  const Status copied = status_of(cudaMemcpy(memory->get(), values.data(),
                                             values.size() * sizeof(Value), cudaMemcpyHostToDevice),
                                  "weights can't be copied");
  if (!copied) return copied.error();
  return memory;
}

// The values have left the caller's memory when this returns.
template <class Value>
const Value* DeviceCuda::send(Scratch& to, std::span<const Value> values) {
  void* const memory = scratch(to, values.size_bytes());
  if (memory == nullptr) return nullptr;
  note(cudaMemcpyAsync(memory, values.data(), values.size_bytes(), cudaMemcpyHostToDevice,
                       stream_.get()),
       "values can't be sent");
  return static_cast<const Value*>(memory);
}

// The rows lie one behind the other in the host's memory.
void DeviceCuda::copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                           const ConstActivations& of, cudaMemcpyKind way) {
  const auto width = static_cast<std::size_t>(of.columns * bytes_of(of.dtype));
  note(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, static_cast<std::size_t>(of.rows),
                         way, stream_.get()),
       "a copy failed");
}

void DeviceCuda::upload(std::span<const float> from, Activations to) {
  check_upload(from, to);
  const auto pitch = static_cast<std::size_t>(to.stride * bytes_of(to.dtype));
  const auto host_pitch = static_cast<std::size_t>(to.columns * bytes_of(to.dtype));
  if (to.dtype == Dtype::f32)
    return copy_rows(to.values, pitch, from.data(), host_pitch, to, cudaMemcpyHostToDevice);
  std::vector<Bf16> half;
  for (const float value : from) half.push_back(from_float<Bf16>(value));
  copy_rows(to.values, pitch, half.data(), host_pitch, to, cudaMemcpyHostToDevice);
  note(cudaStreamSynchronize(stream_.get()), "the device failed");
}

void DeviceCuda::download(ConstActivations from, std::span<float> to) {
  check_download(from, to);
  const auto pitch = static_cast<std::size_t>(from.stride * bytes_of(from.dtype));
  const auto host_pitch = static_cast<std::size_t>(from.columns * bytes_of(from.dtype));
  std::vector<Bf16> half(from.dtype == Dtype::bf16 ? to.size() : 0);
  void* const into = half.empty() ? static_cast<void*>(to.data()) : half.data();
  copy_rows(into, host_pitch, from.values, pitch, from, cudaMemcpyDeviceToHost);
  note(cudaStreamSynchronize(stream_.get()), "the device failed");
  for (std::size_t i = 0; i < half.size(); ++i) to[i] = to_float(half[i]);
}

// ---- Order -------------------------------------------------------------------------------------

Status DeviceCuda::finish() {
  note(cudaStreamSynchronize(stream_.get()), "the device failed");
  paced_ = 0;
  if (failure_) return *failure_;
  return ok();
}

Result<std::int32_t> DeviceCuda::pace() {
  note(cudaEventRecord(paces_[paced_ % 2].get(), stream_.get()), "a step can't be marked");
  if (paced_ > 0) note(cudaEventSynchronize(paces_[(paced_ - 1) % 2].get()), "the device failed");
  ++paced_;
  if (failure_) return *failure_;
  return 1;
}

void DeviceCuda::repeat(const RepeatKey& key, const std::function<void()>& ops) {
  if (recordings_.size() >= recordings_max && !recordings_.contains(key)) recordings_.clear();
  if (!recordings_[key].ran) {
    ops();  // can make scratch memory, which forgets all recordings
    recordings_[key].ran = true;
    return;
  }
  Recording& recording = recordings_[key];
  if (!recording.graph) record(recording, ops);
  if (recording.graph)
    note(cudaGraphLaunch(recording.graph.get(), stream_.get()), "a recorded step failed");
}

void DeviceCuda::record(Recording& recording, const std::function<void()>& ops) {
  note(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
       "a step can't be recorded");
  ops();
  cudaGraph_t captured = nullptr;
  note(cudaStreamEndCapture(stream_.get(), &captured), "a step can't be recorded");
  const Graph graph(captured);
  if (failure_) return;
  cudaGraphExec_t made = nullptr;
  note(cudaGraphInstantiate(&made, graph.get(), 0), "a recorded step can't be used");
  recording.graph.reset(made);
}

// ---- Ops ---------------------------------------------------------------------------------------

Result<std::unique_ptr<Linear>> DeviceCuda::make_linear(const LinearWeights& weights) {
  check_weights(weights);
  auto layer = std::make_unique<CudaLinear>();
  layer->size = {weights.outputs, weights.inputs};
  layer->dtype = precision_;
  const auto place = [&](std::shared_ptr<void>& to, std::span<const float> values,
                         Dtype dtype) -> Status {
    Result<DeviceMemory> copied =
        dtype == Dtype::f32 ? copy_to_device(std::vector<float>(values.begin(), values.end()))
                            : [&] {
                                std::vector<Bf16> half;
                                for (const float value : values)
                                  half.push_back(from_float<Bf16>(value));
                                return copy_to_device(half);
                              }();
    if (!copied) return copied.error();
    to = *std::move(copied);
    return ok();
  };
  if (const Status done = place(layer->weight, weights.weight, precision_); !done)
    return done.error();
  if (!weights.bias.empty()) {
    if (const Status done = place(layer->bias, weights.bias, Dtype::f32); !done)
      return done.error();
    if (const Status done = place(layer->bias_bf16, weights.bias, Dtype::bf16); !done)
      return done.error();
  }
  return std::unique_ptr<Linear>(std::move(layer));
}

ConstActivations DeviceCuda::in_precision_of(const CudaLinear& layer, const ConstActivations& in) {
  if (in.dtype == layer.dtype) return in;
  void* const memory =
      scratch(in_bf16_, static_cast<std::size_t>(in.rows * in.columns) * sizeof(Bf16));
  if (memory == nullptr) return in;
  const Activations copy(static_cast<std::byte*>(memory), in.rows, in.columns, Dtype::bf16);
  const Rows<Bf16> to = rows_of<Bf16>(copy);
  copy_kernel<float, Bf16>
      <<<blocks_for(to), element_threads, 0, stream_.get()>>>(rows_of<float>(in), to);
  launched("copy");
  return copy;
}

void DeviceCuda::linear(const Linear& layer, ConstActivations in, Activations out,
                        Activation activation) {
  // Layers are only made above; keeping what was planned doesn't change what a layer is.
  auto& is = const_cast<CudaLinear&>(dynamic_cast<const CudaLinear&>(layer));
  const ConstActivations from = in_precision_of(is, in);
  if (failure_) return;
  note(matmul_->run(is, from, out, activation));
  if (activation != Activation::silu) return;
  const Rows<float> all = rows_of(out.f32());
  silu_kernel<<<blocks_for(all), element_threads, 0, stream_.get()>>>(all);
  launched("silu");
}

void DeviceCuda::modulated_norm(ConstMatrix in, const Modulation& modulation, Activations out) {
  check_modulated_norm(in, modulation, out);
  with_type(out.dtype, [&]<class T>() {
    modulated_norm_kernel<T><<<static_cast<unsigned>(in.rows), norm_threads, 0, stream_.get()>>>(
        rows_of(in), terms_of(modulation, in.rows), rows_of<T>(out));
  });
  launched("modulated_norm");
}

void DeviceCuda::residual_norm(const Residual& residual, const Modulation& modulation,
                               Activations out) {
  check_residual_norm(residual, modulation, out);
  with_type(out.dtype, [&]<class T>() {
    residual_norm_kernel<T><<<static_cast<unsigned>(out.rows), norm_threads, 0, stream_.get()>>>(
        rows_of(residual.stream), rows_of<T>(residual.branch), rows_of(residual.gate),
        terms_of(modulation, out.rows), rows_of<T>(out));
  });
  launched("residual_norm");
}

template <class T>
void DeviceCuda::attend(const AttentionInput& input, const Activations& out) {
  const std::int64_t width = input.queries.columns / input.heads;
  const AttentionTask<T> task{.queries = rows_of<T>(input.queries),
                              .keys = rows_of<T>(input.keys),
                              .values = rows_of<T>(input.values),
                              .out = rows_of<T>(out),
                              .queries_per_sample = input.queries.rows / input.samples,
                              .keys_per_sample = input.keys.rows / input.samples,
                              .head_width = static_cast<int>(width),
                              .scale = 1.0F / std::sqrt(static_cast<float>(width))};
  constexpr bool is_f32 = std::is_same_v<T, float>;
  constexpr std::int64_t tile = is_f32 ? attention_queries : attention_bf16_queries;
  const std::int64_t tiles = (task.queries_per_sample + tile - 1) / tile;
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(input.heads),
                  static_cast<unsigned>(input.samples));
  if (width > attention_width_max)
    return note(Error{.code = Errc::device_failed,
                      .detail = "attention of heads wider than " +
                                std::to_string(attention_width_max) + ", here " +
                                std::to_string(width)});
  if (width > head_width_max) {
    const dim3 queries(static_cast<unsigned>(task.queries_per_sample), grid.y, grid.z);
    attention_wide_kernel<T><<<queries, norm_threads, 0, stream_.get()>>>(task);
    return launched("attention");
  }
  for_head_width(width, [&]<int width_max>() {
    if constexpr (is_f32)
      attention_kernel<width_max><<<grid, attention_threads, 0, stream_.get()>>>(task);
    else
      attention_bf16_kernel<width_max>
          <<<grid, attention_bf16_threads, 0, stream_.get()>>>(task, access_for(task));
  });
  launched("attention");
}

void DeviceCuda::attention(const AttentionInput& input, Activations out) {
  check_attention(input, out);
  with_type(out.dtype, [&]<class T>() { attend<T>(input, out); });
}

void DeviceCuda::patchify(ConstMatrix picture, const PatchGrid& grid, std::int64_t first,
                          Matrix tokens) {
  check_patchify(picture, grid, first, tokens);
  const Rows<float> to = rows_of(tokens);
  patchify_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>(rows_of(picture), grid,
                                                                         first, to);
  launched("patchify");
}

void DeviceCuda::unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) {
  check_unpatchify(tokens, grid, picture);
  const Rows<const float> from = rows_of(tokens);
  unpatchify_kernel<<<blocks_for(from), element_threads, 0, stream_.get()>>>(from, grid,
                                                                             rows_of(picture));
  launched("unpatchify");
}

void DeviceCuda::add(Matrix stream, ConstMatrix rows) {
  check_add(stream, rows);
  const Rows<float> all = rows_of(stream);
  add_kernel<<<blocks_for(all), element_threads, 0, stream_.get()>>>(all, rows_of(rows));
  launched("add");
}

void DeviceCuda::time_features(const TimeFeatures& features, Matrix out) {
  check_time_features(features, out);
  const float* const sent = send(times_, features.times);
  if (sent == nullptr) return;
  const Rows<float> to = rows_of(out);
  time_features_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>({sent},
                                                                              features.shift, to);
  launched("time_features");
}

void DeviceCuda::embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens,
                                Matrix out) {
  check_embedding_mean(table, tokens, out);
  const std::int32_t* const sent = send(tokens_, tokens);
  if (sent == nullptr) return;
  const Rows<float> to = rows_of(out);
  embedding_mean_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>(
      rows_of(table), {sent}, static_cast<int>(tokens.size()), to);
  launched("embedding_mean");
}

void DeviceCuda::join(const Conditions& conditions, Matrix out) {
  check_join(conditions, out);
  const Rows<float> to = rows_of(out);
  join_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>(
      rows_of(conditions.times), rows_of(conditions.prompts), to);
  launched("join");
}

void DeviceCuda::guide(const Guidance& guidance, Matrix out) {
  check_guide(guidance, out);
  const Rows<float> to = rows_of(out);
  guide_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>(
      rows_of(guidance.conditional), rows_of(guidance.unconditional), guidance.scale, to);
  launched("guide");
}

void DeviceCuda::advance(Matrix picture, ConstMatrix prediction, const StepTerms& step) {
  check_advance(picture, prediction);
  const Rows<float> all = rows_of(picture);
  advance_kernel<<<blocks_for(all), element_threads, 0, stream_.get()>>>(all, rows_of(prediction),
                                                                         step);
  launched("advance");
}

void DeviceCuda::noise(const NoiseRange& range, Matrix out) {
  const Rows<float> to = rows_of(out);
  noise_kernel<<<blocks_for(to), element_threads, 0, stream_.get()>>>(range, to);
  launched("noise");
}

void DeviceCuda::neighbours(ConstActivations in, const MapGrid& grid, std::int64_t first,
                            Activations out) {
  check_neighbours(in, grid, first, out);
  launch_neighbours(in, grid, first, out, stream_.get());
  launched("neighbours");
}

void DeviceCuda::group_norm(ConstMatrix in, const GroupNorm& norm, Activations out) {
  check_group_norm(in, norm, out);
  void* const memory = scratch(moments_, group_norm_bytes({in.rows, in.columns}));
  if (memory == nullptr) return;
  launch_group_norm(in, norm, memory, out, stream_.get());
  launched("group_norm");
}

}  // namespace
}  // namespace cuda

Result<std::int32_t> cuda_device_count() {
  int count = 0;
  const Status asked =
      cuda::status_of(cudaGetDeviceCount(&count), "no CUDA device can be asked for");
  if (!asked) return asked.error();
  return count;
}

Result<std::unique_ptr<Device>> make_cuda_device(const CudaOptions& options) {
  return cuda::DeviceCuda::make(options);
}

}  // namespace gpupool
