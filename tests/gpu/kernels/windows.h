#pragma once
// Matrices for the tests of kernels, in the emulated grid's memory, and how a kernel runs there.
// Include it before the headers of kernels.

#include "tests/gpu/kernels/emulated_tensor_cores.h"
// Catch2 and the rest come after the grid.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <set>
#include <vector>

#include "gpu/cuda/grid.h"
#include "tests/gpu/reference.h"
#include "tests/gpu/values.h"

namespace gpupool {

// Where every row begins: anywhere, or at a multiple of 16 bytes.
enum class Place { anywhere, aligned };

// A window in a wider matrix of checked memory, whose rest has to stay as it is.
template <class T>
class Window {
 public:
  explicit Window(MatrixSize size, Place place = Place::anywhere)
      : size_(size),
        first_(place == Place::anywhere ? 2 : 8),
        stride_(place == Place::anywhere ? size.columns + 5 : (size.columns + 15) / 8 * 8),
        all_(static_cast<std::size_t>((size.rows + 2) * stride_), from_float<T>(sentinel)),
        shadows_(all_.size()) {}
  explicit Window(const reference::Values& values, Place place = Place::anywhere)
      : Window(MatrixSize{values.rows, values.columns}, place) {
    for (std::int64_t r = 0; r < size_.rows; ++r)
      for (std::int64_t c = 0; c < size_.columns; ++c)
        all_[place_of(r, c)] = from_float<T>(values.at(r, c));
  }
  cuda::Rows<T> view() {
    return {{all_.data() + first_, shadows_.data() + first_, left()},
            size_.rows,
            size_.columns,
            stride_};
  }
  cuda::Rows<const T> in() { return {view().memory, size_.rows, size_.columns, stride_}; }
  // And nothing about it was written.
  reference::Values values() const {
    reference::Values out({size_.rows, size_.columns});
    std::vector<T> rest = all_;
    for (std::int64_t r = 0; r < size_.rows; ++r)
      for (std::int64_t c = 0; c < size_.columns; ++c) {
        out.at(r, c) = to_float(all_[place_of(r, c)]);
        rest[place_of(r, c)] = from_float<T>(sentinel);
      }
    CHECK(
        std::all_of(rest.begin(), rest.end(), [](T value) { return to_float(value) == sentinel; }));
    return out;
  }

 private:
  static constexpr float sentinel = 1024;
  std::size_t place_of(std::int64_t r, std::int64_t c) const {
    return static_cast<std::size_t>(first_ + r * stride_ + c);
  }
  std::int64_t left() const { return static_cast<std::int64_t>(all_.size()) - first_; }

  MatrixSize size_;
  std::int64_t first_;
  std::int64_t stride_;
  std::vector<T> all_;
  std::vector<emulated::Shadow> shadows_;
};

inline void run(const emulated::Launch& launch, const std::function<void()>& kernel) {
  const auto failure = emulated::Grid::current().run(launch, kernel);
  INFO(failure.value_or(""));
  REQUIRE_FALSE(failure);
}

// As a bf16 matrix would hold them.
template <class T>
reference::Values rounded(reference::Values values) {
  for (float& value : values.all) value = to_float(from_float<T>(value));
  return values;
}

// Without any of its `count` barriers and waits for copies a kernel races, in any order.
inline void check_each_line_is_needed(emulated::Launch launch, const std::function<void()>& kernel,
                                      std::size_t count) {
  run(launch, kernel);
  const std::set<int> lines = emulated::Grid::current().lines();
  CHECK(lines.size() == count);
  for (const int line : lines)
    for (const bool backwards : {false, true}) {
      launch.without_line = line;
      launch.backwards = backwards;
      INFO("without line " << line);
      const auto failure = emulated::Grid::current().run(launch, kernel);
      REQUIRE(failure);
      CHECK_THAT(*failure, Catch::StartsWith("a race"));
    }
}

}  // namespace gpupool
