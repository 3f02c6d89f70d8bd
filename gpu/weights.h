#pragma once
// A model's weights: named tensors of finite f32 values in host memory, read from a safetensors
// file (github.com/huggingface/safetensors: 8 bytes of header length, a JSON header, the values).
// The file is not trusted: every length, offset, shape and value is checked before it is used, and
// an error names the tensor. BF16 and F16 are widened, which is exact. Owns the values; take()
// moves them out, so that what is left over can be found. Usable from one thread at a time.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gpu/tensor.h"

namespace gpupool {

inline constexpr std::uint64_t weights_header_bytes_max = 16U << 20U;
inline constexpr std::uint64_t weights_file_bytes_max = std::uint64_t{16} << 30U;
inline constexpr std::size_t weights_tensors_max = 65'536;

class Weights {
 public:
  // Errors: file_unreadable; file_malformed with the offending bytes in want and have.
  static Result<Weights> read(const std::filesystem::path& file);
  static Result<Weights> parse(std::span<const std::byte> file);

  // For weights that are made, not read. The name must be new and the sizes must agree.
  void put(const std::string& name, const Shape& shape, std::vector<float> values);

  // The values of one tensor; it is gone from here afterwards. Errors: file_malformed if there is
  // no such tensor or it has another shape.
  Result<std::vector<float>> take(const std::string& name, const Shape& shape);
  void drop(const std::string& prefix);  // of the names
  // Does nothing if there is no such tensor, or one of the new name.
  void rename(const std::string& name, const std::string& to);
  bool contains(const std::string& name) const { return tensors_.count(name) > 0; }
  std::optional<std::string> any_left() const;  // the name of a tensor that nobody took

  std::int64_t elements() const;  // in the tensors still here
  // Free text of the writer's, by key.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  struct Tensor {
    Shape shape;
    std::vector<float> values;
  };

  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace gpupool
