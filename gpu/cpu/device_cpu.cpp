#include "gpu/cpu/device_cpu.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/threads.h"
#include "gpu/op_shapes.h"

namespace gpupool {
namespace {

// Rows in one task of a loop: a few microseconds of work, so that dealing them out costs little.
constexpr std::int64_t rows_per_task = 16;

// What a cache line and the widest vector register hold.
constexpr std::align_val_t alignment{64};

class DeviceCpu final : public Device {
 public:
  explicit DeviceCpu(const CpuOptions& options)
      : precision_(options.precision),
        threads_(options.threads),
        scratch_(static_cast<std::size_t>(options.threads)),
        matmul_(threads_, options.precision) {}

  Status pin(std::span<const std::int32_t> cores) { return threads_.pin(cores); }

  Result<Buffer> allocate(MatrixSize size) override { return allocate(size, Dtype::f32); }
  Result<Buffer> allocate_activations(MatrixSize size) override {
    return allocate(size, precision_);
  }
  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights) override;
  Result<std::unique_ptr<Linear>> part_of(const Linear& layer, OutputRange outputs) override {
    return matmul_.part_of(layer, outputs);
  }
  Result<std::unique_ptr<Comm>> meet(const CommOptions& options, Rendezvous& rendezvous) override {
    return make_gloo_comm(options, rendezvous);
  }
  void upload(std::span<const float> from, Activations to) override;
  void download(ConstActivations from, std::span<float> to) override;
  Status finish() override;
  Result<std::int32_t> pace() override;
  void repeat(const RepeatKey&, const std::function<void()>& ops) override { ops(); }

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
  Result<Buffer> allocate(MatrixSize size, Dtype dtype);
  void release(Activations all) noexcept override { operator delete(all.values, alignment); }

  template <class Work>
  void over_rows(std::int64_t rows, const Work& work) {
    threads_.run((rows + rows_per_task - 1) / rows_per_task, [&](Task task) {
      const std::int64_t first = task.index * rows_per_task;
      work(RowRange{first, std::min(first + rows_per_task, rows)});
    });
  }

  Dtype precision_;  // of activations
  Threads threads_;
  std::vector<std::vector<float>> scratch_;  // one per thread, grown at first use
  std::vector<float> map_scratch_;           // of group_norm
  MatmulEngine matmul_;
  std::optional<Error> failure_;  // the first since the last finish()
};

Result<Buffer> DeviceCpu::allocate(MatrixSize size, Dtype dtype) {
  check_allocate(size);
  const auto bytes = static_cast<std::size_t>(size.rows * size.columns * bytes_of(dtype));
  void* const memory = operator new(bytes, alignment, std::nothrow);
  if (memory == nullptr) {
    return Error{.code = Errc::device_failed,
                 .detail = "no memory for " + std::to_string(bytes) + " bytes"};
  }
  auto* const values = static_cast<std::byte*>(memory);
  std::fill_n(values, bytes, std::byte{});
  return Buffer(*this, Activations(values, size.rows, size.columns, dtype));
}

Result<std::unique_ptr<Linear>> DeviceCpu::make_linear(const LinearWeights& weights) {
  check_weights(weights);
  return matmul_.make_linear(weights);
}

void DeviceCpu::upload(std::span<const float> from, Activations to) {
  check_upload(from, to);
  const float* next = from.data();
  for (std::int64_t r = 0; r < to.rows; ++r, next += to.columns) {
    if (to.dtype == Dtype::f32)
      std::copy_n(next, to.columns, rows_of<float>(to).row(r));
    else
      convert_rows({next, 1, to.columns, to.columns}, rows_of<Bf16>(to).row(r));
  }
}

void DeviceCpu::download(ConstActivations from, std::span<float> to) {
  check_download(from, to);
  float* next = to.data();
  for (std::int64_t r = 0; r < from.rows; ++r, next += from.columns) {
    if (from.dtype == Dtype::f32)
      std::copy_n(rows_of<const float>(from).row(r), from.columns, next);
    else
      std::transform(rows_of<const Bf16>(from).row(r),
                     rows_of<const Bf16>(from).row(r) + from.columns, next,
                     [](Bf16 value) { return to_float(value); });
  }
}

Status DeviceCpu::finish() {
  if (!failure_) return ok();
  const Error first = *failure_;
  failure_.reset();
  return first;
}

Result<std::int32_t> DeviceCpu::pace() {
  const Status done = finish();
  if (!done) return done.error();
  return 0;
}

void DeviceCpu::linear(const Linear& layer, ConstActivations in, Activations out,
                       Activation activation) {
  const Status done = matmul_.run(layer, in, out, activation);
  if (!done && !failure_) failure_ = done.error();
}

void DeviceCpu::modulated_norm(ConstMatrix in, const Modulation& modulation, Activations out) {
  check_modulated_norm(in, modulation, out);
  over_rows(in.rows, [&](RowRange rows) { modulated_norm_rows(in, modulation, out, rows); });
}

void DeviceCpu::residual_norm(const Residual& residual, const Modulation& modulation,
                              Activations out) {
  check_residual_norm(residual, modulation, out);
  over_rows(out.rows, [&](RowRange rows) { residual_norm_rows(residual, modulation, out, rows); });
}

void DeviceCpu::attention(const AttentionInput& input, Activations out) {
  check_attention(input, out);
  const std::int64_t queries = input.queries.rows / input.samples;
  const std::int64_t blocks = (queries + attention_queries - 1) / attention_queries;
  const auto needed = static_cast<std::size_t>(attention_scratch(input));
  for (std::vector<float>& scratch : scratch_)
    if (scratch.size() < needed) scratch.resize(needed);
  threads_.run(input.samples * input.heads * blocks, [&](Task task) {
    const std::int64_t first = task.index % blocks * attention_queries;
    const AttentionPart part{.sample = task.index / blocks / input.heads,
                             .head = task.index / blocks % input.heads,
                             .queries = {first, std::min(first + attention_queries, queries)}};
    attend(input, out, part, scratch_[static_cast<std::size_t>(task.thread)]);
  });
}

void DeviceCpu::patchify(ConstMatrix picture, const PatchGrid& grid, std::int64_t first,
                         Matrix tokens) {
  check_patchify(picture, grid, first, tokens);
  over_rows(tokens.rows, [&](RowRange rows) { patchify_rows(picture, grid, first, tokens, rows); });
}

void DeviceCpu::unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) {
  check_unpatchify(tokens, grid, picture);
  over_rows(tokens.rows, [&](RowRange rows) { unpatchify_rows(tokens, grid, picture, rows); });
}

void DeviceCpu::add(Matrix stream, ConstMatrix rows) {
  check_add(stream, rows);
  over_rows(stream.rows, [&](RowRange of) { add_rows(stream, rows, of); });
}

void DeviceCpu::time_features(const TimeFeatures& features, Matrix out) {
  check_time_features(features, out);
  time_features_rows(features, out);
}

void DeviceCpu::embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens,
                               Matrix out) {
  check_embedding_mean(table, tokens, out);
  embedding_mean_row(table, tokens, out.values);
}

void DeviceCpu::join(const Conditions& conditions, Matrix out) {
  check_join(conditions, out);
  over_rows(out.rows, [&](RowRange rows) { join_rows(conditions, out, rows); });
}

void DeviceCpu::guide(const Guidance& guidance, Matrix out) {
  check_guide(guidance, out);
  over_rows(out.rows, [&](RowRange rows) { guide_rows(guidance, out, rows); });
}

void DeviceCpu::advance(Matrix picture, ConstMatrix prediction, const StepTerms& step) {
  check_advance(picture, prediction);
  over_rows(picture.rows, [&](RowRange rows) { advance_rows(picture, prediction, step, rows); });
}

void DeviceCpu::noise(const NoiseRange& range, Matrix out) {
  over_rows(out.rows, [&](RowRange rows) { noise_rows(range, out, rows); });
}

void DeviceCpu::neighbours(ConstActivations in, const MapGrid& grid, std::int64_t first,
                           Activations out) {
  check_neighbours(in, grid, first, out);
  over_rows(out.rows, [&](RowRange rows) { neighbours_rows(in, grid, first, out, rows); });
}

// In blocks of a fixed size, so that the sums are the same however many threads there are.
void DeviceCpu::group_norm(ConstMatrix in, const GroupNorm& norm, Activations out) {
  check_group_norm(in, norm, out);
  const std::int64_t blocks = (in.rows + moments_rows - 1) / moments_rows;
  const std::int64_t width = in.columns;
  map_scratch_.resize(static_cast<std::size_t>((2 * blocks + 2) * width));
  const Matrix rows{map_scratch_.data(), 2 * blocks + 2, width, width};
  const MapMoments moments{rows.row_block(0, blocks), rows.row_block(blocks, blocks)};
  const ChannelTerms terms{rows.row_block(2 * blocks, 1), rows.row_block(2 * blocks + 1, 1)};
  threads_.run(blocks, [&](Task task) { moments_of_block(in, task.index, moments); });
  channel_terms(moments, in.rows, norm, terms);
  over_rows(in.rows, [&](RowRange of) { group_norm_rows(in, terms, norm, out, of); });
}

}  // namespace

std::unique_ptr<Device> make_cpu_device(std::int32_t threads) {
  return std::make_unique<DeviceCpu>(CpuOptions{.threads = threads});
}

Result<std::unique_ptr<Device>> make_cpu_device(const CpuOptions& options) {
  if (options.precision == Dtype::bf16 && !MatmulEngine::multiplies_bf16())
    return Error{.code = Errc::unsupported,
                 .detail = "products in bf16 need AVX-512 or AMX, which this CPU lacks; use f32"};
  auto device = std::make_unique<DeviceCpu>(options);
  if (!options.cores.empty()) {
    if (const Status pinned = device->pin(options.cores); !pinned) return pinned.error();
  }
  return std::unique_ptr<Device>(std::move(device));
}

}  // namespace gpupool
