#pragma once
// What the engine computes with. A Shape describes a tensor in a weights file; a Matrix is a
// non-owning view of f32 values on a device, one row per token (or per sample, or per picture);
// Activations are one in the device's own precision.
// A view is an address, never a right to read: only the device it came from may follow it.
// Plain values, usable from any thread.

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "base/ensure.h"

namespace gpupool {

enum class Dtype : std::uint8_t { f32, bf16 };

constexpr std::int64_t bytes_of(Dtype dtype) { return dtype == Dtype::f32 ? 4 : 2; }

// Up to four dimensions, outermost first. Rank 0 is a single value.
class Shape {
 public:
  static constexpr std::size_t rank_max = 4;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<std::int64_t> sizes) {
    for (const std::int64_t size : sizes) append(size);
  }

  constexpr void append(std::int64_t size) {
    GPUPOOL_ENSURE(rank_ < rank_max, rank_);
    sizes_[rank_++] = size;
  }
  constexpr std::size_t rank() const { return rank_; }
  constexpr std::int64_t operator[](std::size_t i) const { return sizes_[i]; }
  constexpr std::int64_t elements() const {
    std::int64_t product = 1;
    for (std::size_t i = 0; i < rank_; ++i) product *= sizes_[i];
    return product;
  }
  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, rank_max> sizes_{};
  std::size_t rank_ = 0;
};

// "[192, 3, 4, 4]", for messages.
inline std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

// Row r begins at values + r * stride; the first `columns` values there belong to the view.
template <class Value>
struct MatrixView {
  Value* values = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;

  MatrixView row_block(std::int64_t first, std::int64_t count) const {
    GPUPOOL_ENSURE(first >= 0 && count >= 0 && first + count <= rows, first, count, rows);
    return {values + first * stride, count, columns, stride};
  }
  MatrixView column_block(std::int64_t first, std::int64_t count) const {
    GPUPOOL_ENSURE(first >= 0 && count >= 0 && first + count <= columns, first, count, columns);
    return {values + first, rows, count, stride};
  }
  // The first values in another shape. Precondition: the rows lie one behind the other.
  MatrixView shaped(std::int64_t new_rows, std::int64_t new_columns) const {
    GPUPOOL_ENSURE(stride == columns && new_rows * new_columns <= rows * columns, rows, columns,
                   stride, new_rows, new_columns);
    return {values, new_rows, new_columns, new_columns};
  }
  Value* row(std::int64_t r) const { return values + r * stride; }

  operator MatrixView<const Value>() const requires(!std::is_const_v<Value>) {
    return {values, rows, columns, stride};
  }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;

// A view of values between two layers, in the precision in which their device computes. A Matrix is
// one, in f32.
template <class Byte>
struct ActivationsView {
  template <class Value>
  using Like = std::conditional_t<std::is_const_v<Byte>, const Value, Value>;

  Byte* values = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  Dtype dtype = Dtype::f32;

  ActivationsView() = default;
  ActivationsView(Byte* first, std::int64_t row_count, std::int64_t column_count, Dtype of)
      : values(first), rows(row_count), columns(column_count), stride(column_count), dtype(of) {}
  template <class Value>
  ActivationsView(const MatrixView<Value>& matrix)
      : values(reinterpret_cast<Byte*>(matrix.values)),
        rows(matrix.rows),
        columns(matrix.columns),
        stride(matrix.stride) {}

  operator ActivationsView<const Byte>() const requires(!std::is_const_v<Byte>) {
    ActivationsView<const Byte> view(values, rows, columns, dtype);
    view.stride = stride;
    return view;
  }
  ActivationsView row_block(std::int64_t first, std::int64_t count) const {
    GPUPOOL_ENSURE(first >= 0 && count >= 0 && first + count <= rows, first, count, rows);
    ActivationsView block = *this;
    block.values += first * stride * bytes_of(dtype);
    block.rows = count;
    return block;
  }
  ActivationsView column_block(std::int64_t first, std::int64_t count) const {
    GPUPOOL_ENSURE(first >= 0 && count >= 0 && first + count <= columns, first, count, columns);
    ActivationsView block = *this;
    block.values += first * bytes_of(dtype);
    block.columns = count;
    return block;
  }
  // As of a MatrixView.
  ActivationsView shaped(std::int64_t new_rows, std::int64_t new_columns) const {
    GPUPOOL_ENSURE(stride == columns && new_rows * new_columns <= rows * columns, rows, columns,
                   stride, new_rows, new_columns);
    return {values, new_rows, new_columns, dtype};
  }
  // Precondition: they are f32.
  MatrixView<Like<float>> f32() const {
    GPUPOOL_ENSURE(dtype == Dtype::f32, rows, columns);
    return {reinterpret_cast<Like<float>*>(values), rows, columns, stride};
  }
};

using Activations = ActivationsView<std::byte>;
using ConstActivations = ActivationsView<const std::byte>;

}  // namespace gpupool
