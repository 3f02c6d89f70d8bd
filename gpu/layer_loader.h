#pragma once
// Makes a network's layers of a weights file. Takes tensors until the first error; after it
// everything that is asked for stays empty, so that the caller asks once, at the end. One thread.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "gpu/device.h"
#include "gpu/weights.h"

namespace gpupool {

class LayerLoader {
 public:
  LayerLoader(Device& device, Weights& weights) : device_(device), weights_(weights) {}

  // "<name>.weight", and "<name>.bias" where there is one.
  std::unique_ptr<Linear> linear(const std::string& name, MatrixSize size) {
    return linear(name, size, Shape{size.rows, size.columns});
  }
  // A weight that the file keeps in another shape, with its values in the same order.
  std::unique_ptr<Linear> linear(const std::string& name, MatrixSize size, const Shape& in_file) {
    return linear(take(name + ".weight", in_file), bias(name, size.rows), size);
  }
  std::unique_ptr<Linear> linear(const std::vector<float>& weight, const std::vector<float>& bias,
                                 MatrixSize size) {
    if (failure_) return nullptr;
    return kept(device_.make_linear(
        {.outputs = size.rows, .inputs = size.columns, .weight = weight, .bias = bias}));
  }
  Buffer table(const std::string& name, MatrixSize size, const Shape& in_file) {
    const std::vector<float> values = take(name, in_file);
    Buffer buffer = allocate(size);
    if (!failure_) device_.upload(values, buffer.all());
    return buffer;
  }
  Buffer allocate(MatrixSize size) { return failure_ ? Buffer{} : kept(device_.allocate(size)); }
  Buffer allocate_activations(MatrixSize size) {
    return failure_ ? Buffer{} : kept(device_.allocate_activations(size));
  }

  std::vector<float> take(const std::string& name, const Shape& shape) {
    return failure_ ? std::vector<float>{} : kept(weights_.take(name, shape));
  }
  // Empty: the file has none.
  std::vector<float> bias(const std::string& name, std::int64_t outputs) {
    if (!weights_.contains(name + ".bias")) return {};
    return take(name + ".bias", Shape{outputs});
  }

  Status finish() {
    if (failure_) return *failure_;
    if (const auto left = weights_.any_left()) {
      return Error{.code = Errc::file_malformed,
                   .detail = "tensor \"" + *left + "\" has no place in this network"};
    }
    return device_.finish();
  }

 private:
  template <class Value>
  Value kept(Result<Value> result) {
    if (result) return *std::move(result);
    failure_ = result.error();
    return {};
  }

  Device& device_;
  Weights& weights_;
  std::optional<Error> failure_;
};

}  // namespace gpupool
