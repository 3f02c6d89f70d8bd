#include "gpu/cpu/device_cpu.h"

#include <algorithm>
#include <new>
#include <optional>
#include <vector>

#include "base/ensure.h"
#include "gpu/cpu/kernels.h"
#include "gpu/cpu/threads.h"

namespace gpupool {
namespace {

// Rows in one task of a loop: a few microseconds of work, so that dealing them out costs little.
constexpr std::int64_t rows_per_task = 16;

// What a cache line and the widest vector register hold.
constexpr std::align_val_t alignment{64};
constexpr std::int64_t floats_max = std::int64_t{1} << 34;  // 64 GiB, an overflow long before

bool same_size(const ConstMatrix& a, const ConstMatrix& b) {
  return a.rows == b.rows && a.columns == b.columns;
}

// One row per sample, as many columns as the activations, and samples of equally many rows.
bool fits_samples(const ConstMatrix& per_sample, const ConstMatrix& rows) {
  return per_sample.rows > 0 && rows.rows % per_sample.rows == 0 &&
         per_sample.columns == rows.columns;
}

class DeviceCpu final : public Device {
 public:
  explicit DeviceCpu(std::int32_t threads)
      : threads_(threads), scratch_(static_cast<std::size_t>(threads)), matmul_(threads_) {}

  Result<Buffer> allocate(MatrixSize size) override;
  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights) override;
  void upload(std::span<const float> from, Matrix to) override;
  void download(ConstMatrix from, std::span<float> to) override;
  Status finish() override;

  void linear(const Linear& layer, ConstMatrix in, Matrix out, Activation activation) override;
  void modulated_norm(ConstMatrix in, const Modulation& modulation, Matrix out) override;
  void residual_norm(const Residual& residual, const Modulation& modulation, Matrix out) override;
  void attention(const AttentionInput& input, Matrix out) override;
  void patchify(ConstMatrix picture, const PatchGrid& grid, Matrix tokens) override;
  void unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) override;
  void add_positions(Matrix tokens, ConstMatrix positions) override;
  void time_features(std::span<const float> times, Matrix out) override;
  void embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens, Matrix out) override;
  void join(const Conditions& conditions, Matrix out) override;
  void guide(const Guidance& guidance, Matrix out) override;
  void euler_step(Matrix picture, ConstMatrix velocity, float step) override;
  void noise(const NoiseRange& range, Matrix out) override;

 private:
  void release(Matrix all) noexcept override { operator delete(all.values, alignment); }

  template <class Work>
  void over_rows(std::int64_t rows, const Work& work) {
    threads_.run((rows + rows_per_task - 1) / rows_per_task, [&](Task task) {
      const std::int64_t first = task.index * rows_per_task;
      work(RowRange{first, std::min(first + rows_per_task, rows)});
    });
  }

  Threads threads_;
  std::vector<std::vector<float>> scratch_;  // one per thread, grown at first use
  MatmulEngine matmul_;
  std::optional<Error> failure_;  // the first since the last finish()
};

Result<Buffer> DeviceCpu::allocate(MatrixSize size) {
  GPUPOOL_ENSURE(size.rows > 0 && size.columns > 0, size.rows, size.columns);
  GPUPOOL_ENSURE(size.columns <= floats_max / size.rows, size.rows, size.columns);
  const auto count = static_cast<std::size_t>(size.rows * size.columns);
  void* const memory = operator new(count * sizeof(float), alignment, std::nothrow);
  if (memory == nullptr) {
    return Error{.code = Errc::device_failed,
                 .detail = "no memory for " + std::to_string(count * sizeof(float)) + " bytes"};
  }
  auto* const values = static_cast<float*>(memory);
  std::fill_n(values, count, 0.0F);
  return Buffer(*this, {values, size.rows, size.columns, size.columns});
}

Result<std::unique_ptr<Linear>> DeviceCpu::make_linear(const LinearWeights& weights) {
  GPUPOOL_ENSURE(
      static_cast<std::int64_t>(weights.weight.size()) == weights.outputs * weights.inputs,
      weights.weight.size(), weights.outputs, weights.inputs);
  GPUPOOL_ENSURE(
      weights.bias.empty() || static_cast<std::int64_t>(weights.bias.size()) == weights.outputs,
      weights.bias.size(), weights.outputs);
  return matmul_.make_linear(weights);
}

void DeviceCpu::upload(std::span<const float> from, Matrix to) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(from.size()) == to.rows * to.columns, from.size());
  const float* next = from.data();
  for (std::int64_t r = 0; r < to.rows; ++r, next += to.columns) {
    std::copy_n(next, to.columns, to.row(r));
  }
}

void DeviceCpu::download(ConstMatrix from, std::span<float> to) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(to.size()) == from.rows * from.columns, to.size());
  float* next = to.data();
  for (std::int64_t r = 0; r < from.rows; ++r) next = std::copy_n(from.row(r), from.columns, next);
}

Status DeviceCpu::finish() {
  if (!failure_) return ok();
  const Error first = *failure_;
  failure_.reset();
  return first;
}

void DeviceCpu::linear(const Linear& layer, ConstMatrix in, Matrix out, Activation activation) {
  const Status done = matmul_.run(layer, in, out, activation);
  if (!done && !failure_) failure_ = done.error();
}

void DeviceCpu::modulated_norm(ConstMatrix in, const Modulation& modulation, Matrix out) {
  GPUPOOL_ENSURE(same_size(in, out) && fits_samples(modulation.shift, in) &&
                     same_size(modulation.shift, modulation.scale),
                 in.rows, in.columns, modulation.shift.rows, modulation.shift.columns);
  over_rows(in.rows, [&](RowRange rows) { modulated_norm_rows(in, modulation, out, rows); });
}

void DeviceCpu::residual_norm(const Residual& residual, const Modulation& modulation, Matrix out) {
  const ConstMatrix stream = residual.stream;
  GPUPOOL_ENSURE(same_size(stream, residual.branch) && same_size(stream, out) &&
                     fits_samples(residual.gate, stream) &&
                     same_size(residual.gate, modulation.shift) &&
                     same_size(residual.gate, modulation.scale),
                 stream.rows, stream.columns, residual.gate.rows, residual.gate.columns);
  over_rows(stream.rows,
            [&](RowRange rows) { residual_norm_rows(residual, modulation, out, rows); });
}

void DeviceCpu::attention(const AttentionInput& input, Matrix out) {
  GPUPOOL_ENSURE(
      input.samples > 0 && input.heads > 0 && same_size(input.queries, out) &&
          same_size(input.keys, input.values) && input.keys.columns == input.queries.columns &&
          input.queries.columns % input.heads == 0 && input.queries.rows % input.samples == 0 &&
          input.keys.rows % input.samples == 0 && input.keys.rows > 0,
      input.samples, input.heads, input.queries.rows, input.keys.rows);
  const std::int64_t queries = input.queries.rows / input.samples;
  const std::int64_t blocks = (queries + attention_queries - 1) / attention_queries;
  threads_.run(input.samples * input.heads * blocks, [&](Task task) {
    const std::int64_t first = task.index % blocks * attention_queries;
    const AttentionPart part{.sample = task.index / blocks / input.heads,
                             .head = task.index / blocks % input.heads,
                             .queries = {first, std::min(first + attention_queries, queries)}};
    attend(input, out, part, scratch_[static_cast<std::size_t>(task.thread)]);
  });
}

void DeviceCpu::patchify(ConstMatrix picture, const PatchGrid& grid, Matrix tokens) {
  GPUPOOL_ENSURE(picture.rows == 1 && picture.columns == grid.values() &&
                     tokens.rows == grid.tokens() && tokens.columns == grid.values_per_patch(),
                 picture.rows, picture.columns, tokens.rows, tokens.columns);
  over_rows(tokens.rows, [&](RowRange rows) { patchify_rows(picture, grid, tokens, rows); });
}

void DeviceCpu::unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) {
  GPUPOOL_ENSURE(tokens.rows == picture.rows * grid.tokens() && picture.columns == grid.values() &&
                     tokens.columns == grid.values_per_patch(),
                 picture.rows, picture.columns, tokens.rows, tokens.columns);
  over_rows(tokens.rows, [&](RowRange rows) { unpatchify_rows(tokens, grid, picture, rows); });
}

void DeviceCpu::add_positions(Matrix tokens, ConstMatrix positions) {
  GPUPOOL_ENSURE(positions.rows > 0 && tokens.rows % positions.rows == 0 &&
                     tokens.columns == positions.columns,
                 tokens.rows, tokens.columns, positions.rows, positions.columns);
  over_rows(tokens.rows, [&](RowRange rows) { add_positions_rows(tokens, positions, rows); });
}

void DeviceCpu::time_features(std::span<const float> times, Matrix out) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(times.size()) == out.rows && out.columns % 2 == 0,
                 times.size(), out.rows, out.columns);
  for (std::size_t i = 0; i < times.size(); ++i) {
    time_features_row(times[i], out.row(static_cast<std::int64_t>(i)), out.columns);
  }
}

void DeviceCpu::embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens,
                               Matrix out) {
  GPUPOOL_ENSURE(!tokens.empty() && out.rows == 1 && out.columns == table.columns, out.rows,
                 out.columns);
  for (const std::int32_t token : tokens) {
    GPUPOOL_ENSURE(token >= 0 && token < table.rows, token, table.rows);
  }
  embedding_mean_row(table, tokens, out.values);
}

void DeviceCpu::join(const Conditions& conditions, Matrix out) {
  GPUPOOL_ENSURE(out.rows == conditions.times.rows * conditions.prompts.rows &&
                     out.columns == conditions.times.columns &&
                     out.columns == conditions.prompts.columns,
                 out.rows, out.columns, conditions.times.rows, conditions.prompts.rows);
  over_rows(out.rows, [&](RowRange rows) { join_rows(conditions, out, rows); });
}

void DeviceCpu::guide(const Guidance& guidance, Matrix out) {
  GPUPOOL_ENSURE(same_size(guidance.conditional, guidance.unconditional) &&
                     same_size(guidance.conditional, out),
                 out.rows, out.columns);
  over_rows(out.rows, [&](RowRange rows) { guide_rows(guidance, out, rows); });
}

void DeviceCpu::euler_step(Matrix picture, ConstMatrix velocity, float step) {
  GPUPOOL_ENSURE(same_size(picture, velocity), picture.rows, picture.columns);
  over_rows(picture.rows, [&](RowRange rows) { euler_step_rows(picture, velocity, step, rows); });
}

void DeviceCpu::noise(const NoiseRange& range, Matrix out) {
  over_rows(out.rows, [&](RowRange rows) { noise_rows(range, out, rows); });
}

}  // namespace

std::unique_ptr<Device> make_cpu_device(std::int32_t threads) {
  return std::make_unique<DeviceCpu>(threads);
}

}  // namespace gpupool
