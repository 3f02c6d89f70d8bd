#pragma once
// A device: the only place where values of the network live and change. The network and the sampler
// are written against this interface and never touch a device's memory, so one source draws on
// every device. All matrices are row-major; "samples" are groups of equally many
// consecutive rows. Ops may run later than the call, but in the order of the calls; finish() waits
// for them and tells of the first that failed. Shapes that don't fit are a bug of the caller and
// end the process. One thread at a time. The plain loops in tests/gpu/reference.h are the
// specification of every op.

#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "base/result.h"
#include "gpu/comm.h"
#include "gpu/noise.h"
#include "gpu/tensor.h"

namespace gpupool {

class Device;

// Memory of a device, zero at first, given back by the destructor. It must not outlive its device.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& owner, Activations all) : owner_(&owner), all_(all) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();

  // Precondition of the first: it was made for f32.
  Matrix all() const { return all_.f32(); }
  Activations activations() const { return all_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(all_, other.all_);
  }

  Device* owner_ = nullptr;
  Activations all_{};
};

enum class Activation { none, gelu_tanh, silu };

// y = x W^T + b in whatever layout and precision its device multiplies fastest. Made once per
// layer.
class Linear {
 public:
  virtual ~Linear() = default;
};

struct LinearWeights {
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
  std::span<const float> weight;  // host, [outputs, inputs]
  std::span<const float> bias;    // host, [outputs]; empty: no bias
};

// The outputs of a layer from `first` on.
struct OutputRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

struct MatrixSize {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// One row per sample: out = norm(in) * (1 + scale) + shift (adaLN; Peebles and Xie 2023).
struct Modulation {
  ConstMatrix shift;
  ConstMatrix scale;
  float epsilon = 0;
};

// stream += gate * branch, the gate one row per sample.
struct Residual {
  Matrix stream;
  ConstActivations branch;
  ConstMatrix gate;
};

// queries, keys and values: [samples * tokens, heads * head width]. Each sample attends to itself;
// keys and values may have more tokens than queries.
struct AttentionInput {
  ConstActivations queries;
  ConstActivations keys;
  ConstActivations values;
  std::int64_t samples = 1;
  std::int64_t heads = 1;
};

// A picture is one row, [channels, side, side]; its tokens are its square patches, row by row.
struct PatchGrid {
  std::int64_t channels = 0;
  std::int64_t side = 0;   // pixels
  std::int64_t patch = 0;  // pixels, divides side

  constexpr std::int64_t tokens() const { return (side / patch) * (side / patch); }
  constexpr std::int64_t values_per_patch() const { return channels * patch * patch; }
  constexpr std::int64_t values() const { return channels * side * side; }
};

// Row i: [cos(time_i f_j), sin(time_i f_j)], f_j = 10000^(-j / (half - shift)), half of the
// columns.
struct TimeFeatures {
  std::span<const float> times;
  std::int64_t shift = 0;  // 0 in the original DiT; below half
};

// Every time with every prompt: row i * prompts.rows + j is SiLU(time i + prompt j).
struct Conditions {
  ConstMatrix times;
  ConstMatrix prompts;
};

// Classifier-free guidance (Ho and Salimans 2022): u + scale * (c - u).
struct Guidance {
  ConstMatrix conditional;
  ConstMatrix unconditional;
  float scale = 1;
};

// One step of a sampler that adds no noise, for a picture x and what the network predicts, m:
// clean = clean_x * x + clean_m * m, at most `limit` from zero; then x = keep * clean + noise_x * x
// + noise_m * m. gpu/schedule.h makes them.
struct StepTerms {
  float clean_x = 1;
  float clean_m = 0;
  float limit = std::numeric_limits<float>::infinity();
  float keep = 1;
  float noise_x = 0;
  float noise_m = 0;
};

// A square map of features: a row for each pixel, row by row, and a column for each channel.
struct MapGrid {
  std::int64_t side = 0;     // pixels
  std::int64_t enlarge = 1;  // what is read is so many times smaller: each of its pixels a square

  constexpr std::int64_t pixels() const { return side * side; }
};

// weight and bias: one row, a column for each channel.
struct GroupNorm {
  ConstMatrix weight;
  ConstMatrix bias;
  std::int64_t groups = 1;  // divides the channels
  float epsilon = 0;
  Activation activation = Activation::none;  // none or silu
};

// A stretch of the noise that belongs to a seed.
struct NoiseRange {
  Seed seed;
  std::uint64_t first = 0;
};

// Names one stretch of ops: the numbers that they depend on.
struct RepeatKey {
  std::int64_t step = 0;  // as prepared
  std::int64_t samples = 0;
  float guidance = 0;
  friend auto operator<=>(const RepeatKey&, const RepeatKey&) = default;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual Result<Buffer> allocate(MatrixSize size) = 0;  // f32
  // For what layers pass to each other: in the precision in which this device computes.
  virtual Result<Buffer> allocate_activations(MatrixSize size) { return allocate(size); }
  virtual Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights) = 0;
  // Some outputs of a layer as a layer of their own, which may share memory with the whole.
  virtual Result<std::unique_ptr<Linear>> part_of(const Linear& layer, OutputRange outputs) = 0;
  // With the devices of the other ranks, which call this too: by gloo where the memory is the
  // host's, by NCCL on CUDA devices. The Comm must not outlive this device. Errors: device_failed,
  // unsupported (this build has no NCCL).
  virtual Result<std::unique_ptr<Comm>> meet(const CommOptions& options,
                                             Rendezvous& rendezvous) = 0;
  // Row by row, rounded to what is there; the second waits.
  virtual void upload(std::span<const float> from, Activations to) = 0;
  virtual void download(ConstActivations from, std::span<float> to) = 0;
  virtual Status finish() = 0;
  // Once for each step of a loop: a device that runs behind its caller is waited for until at most
  // one step is left. How many are, or what failed.
  virtual Result<std::int32_t> pace() = 0;
  // Does what `ops` calls. A device can record that and do the same again, without the calls, when
  // the key comes back: equal keys mean equal ops with equal arguments.
  virtual void repeat(const RepeatKey& key, const std::function<void()>& ops) = 0;

  virtual void linear(const Linear& layer, ConstActivations in, Activations out,
                      Activation activation) = 0;
  virtual void modulated_norm(ConstMatrix in, const Modulation& modulation, Activations out) = 0;
  // The residual first, then out = modulated norm of the stream: one pass over memory.
  virtual void residual_norm(const Residual& residual, const Modulation& modulation,
                             Activations out) = 0;
  virtual void attention(const AttentionInput& input, Activations out) = 0;

  // A token's values in the order (channel, row, column); unpatchify takes (row, column, channel).
  // The two orders are those of the original DiT, whose patch embedding is a convolution.
  // The tokens from `first` on, as many as there are rows for.
  virtual void patchify(ConstMatrix picture, const PatchGrid& grid, std::int64_t first,
                        Matrix tokens) = 0;
  virtual void unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) = 0;
  // stream += rows, again and again where it has more of them: a whole number of times.
  virtual void add(Matrix stream, ConstMatrix rows) = 0;

  virtual void time_features(const TimeFeatures& features, Matrix out) = 0;
  // The mean of the table's rows named by the tokens; at least one token.
  virtual void embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens,
                              Matrix out) = 0;
  virtual void join(const Conditions& conditions, Matrix out) = 0;

  virtual void guide(const Guidance& guidance, Matrix out) = 0;
  virtual void advance(Matrix picture, ConstMatrix prediction, const StepTerms& step) = 0;
  virtual void noise(const NoiseRange& range, Matrix out) = 0;  // row-major order

  // Row i: the 3 x 3 pixels about pixel first + i, in the order (row, column, channel), zeros
  // outside the map: what a convolution multiplies. As many as there are rows for.
  virtual void neighbours(ConstActivations in, const MapGrid& grid, std::int64_t first,
                          Activations out) = 0;
  // Each group of neighbouring channels is normed over all its pixels (Wu and He 2018), then
  // activation(normed * weight + bias).
  virtual void group_norm(ConstMatrix in, const GroupNorm& norm, Activations out) = 0;

 private:
  friend class Buffer;
  virtual void release(Activations all) noexcept = 0;
};

inline Buffer::~Buffer() {
  if (owner_ != nullptr) owner_->release(all_);
}

}  // namespace gpupool
