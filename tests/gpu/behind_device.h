#pragma once
// A device that runs one step behind its caller, as one with a queue of its own does: everything is
// done by the device inside, only pace() tells that a step is left until finish() has come.

#include <utility>

#include "gpu/device.h"

namespace gpupool {

class BehindDevice : public Device {
 public:
  explicit BehindDevice(std::unique_ptr<Device> inside) : inside_(std::move(inside)) {}

  Result<Buffer> allocate(MatrixSize size) override { return inside_->allocate(size); }
  Result<std::unique_ptr<Linear>> make_linear(const LinearWeights& weights) override {
    return inside_->make_linear(weights);
  }
  Result<std::unique_ptr<Linear>> part_of(const Linear& layer, OutputRange outputs) override {
    return inside_->part_of(layer, outputs);
  }
  Result<std::unique_ptr<Comm>> meet(const CommOptions& options, Rendezvous& rendezvous) override {
    return inside_->meet(options, rendezvous);
  }
  void upload(std::span<const float> from, Activations to) override { inside_->upload(from, to); }
  void download(ConstActivations from, std::span<float> to) override {
    inside_->download(from, to);
  }
  Status finish() override { return inside_->finish(); }
  Result<std::int32_t> pace() override {
    const Result<std::int32_t> left = inside_->pace();
    if (!left) return left.error();
    return *left + 1;
  }
  void repeat(const RepeatKey& key, const std::function<void()>& ops) override {
    inside_->repeat(key, ops);
  }
  void linear(const Linear& layer, ConstActivations in, Activations out,
              Activation activation) override {
    inside_->linear(layer, in, out, activation);
  }
  void modulated_norm(ConstMatrix in, const Modulation& modulation, Activations out) override {
    inside_->modulated_norm(in, modulation, out);
  }
  void residual_norm(const Residual& residual, const Modulation& modulation,
                     Activations out) override {
    inside_->residual_norm(residual, modulation, out);
  }
  void attention(const AttentionInput& input, Activations out) override {
    inside_->attention(input, out);
  }
  void patchify(ConstMatrix picture, const PatchGrid& grid, std::int64_t first,
                Matrix tokens) override {
    inside_->patchify(picture, grid, first, tokens);
  }
  void unpatchify(ConstMatrix tokens, const PatchGrid& grid, Matrix picture) override {
    inside_->unpatchify(tokens, grid, picture);
  }
  void add(Matrix stream, ConstMatrix rows) override { inside_->add(stream, rows); }
  void time_features(const TimeFeatures& features, Matrix out) override {
    inside_->time_features(features, out);
  }
  void embedding_mean(ConstMatrix table, std::span<const std::int32_t> tokens,
                      Matrix out) override {
    inside_->embedding_mean(table, tokens, out);
  }
  void join(const Conditions& conditions, Matrix out) override { inside_->join(conditions, out); }
  void guide(const Guidance& guidance, Matrix out) override { inside_->guide(guidance, out); }
  void advance(Matrix picture, ConstMatrix prediction, const StepTerms& step) override {
    inside_->advance(picture, prediction, step);
  }
  void noise(const NoiseRange& range, Matrix out) override { inside_->noise(range, out); }
  void neighbours(ConstActivations in, const MapGrid& grid, std::int64_t first,
                  Activations out) override {
    inside_->neighbours(in, grid, first, out);
  }
  void group_norm(ConstMatrix in, const GroupNorm& norm, Activations out) override {
    inside_->group_norm(in, norm, out);
  }

 private:
  void release(Activations) noexcept override {}  // buffers belong to the device inside

  std::unique_ptr<Device> inside_;
};

}  // namespace gpupool
