#pragma once
// CUDA as the kernels of gpu/cuda see it, over the emulated grid: include it before their headers,
// and they compile as plain functions. Memory is checked at every access, for bounds too; shared
// memory is poisoned for each block. An address is what & makes of a value in such memory.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "tests/gpu/kernels/emulated_grid.h"

#define GPUPOOL_EMULATED_GRID
#define __global__ inline
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define GPUPOOL_UNROLL

namespace gpupool::emulated {

// Of value `place` of checked memory, which need not be there until it is touched.
template <class T>
struct Address {
  using Value = std::remove_const_t<T>;

  T* values = nullptr;
  Shadow* shadows = nullptr;
  std::int64_t size = 0;
  std::int64_t place = 0;

  operator Address<const T>() const requires(!std::is_const_v<T>) {
    return {values, shadows, size, place};
  }
  T* value() const { return values + place; }
  Shadow& shadow(std::int64_t i = 0) const { return shadows[place + i]; }

  // Whether `count` values are there, the first at a multiple of all their bytes.
  bool has(std::int64_t count) const {
    Grid& grid = Grid::current();
    if (place < 0 || place + count > size) {
      grid.fail("memory of " + std::to_string(size) + " values has no value " +
                std::to_string(place < 0 ? place : place + count - 1));
      return false;
    }
    if (reinterpret_cast<std::uintptr_t>(value()) % (sizeof(T) * static_cast<std::size_t>(count)) !=
        0) {
      grid.fail("value " + std::to_string(place) + " is not aligned for " + std::to_string(count));
      return false;
    }
    return true;
  }
};

// One value in checked memory: what it does is what its thread did.
template <class T>
class Reference {
 public:
  using Value = std::remove_const_t<T>;

  explicit Reference(const Address<T>& at) : at_(at) {}
  operator Value() const {
    if (!at_.has(1)) return {};
    Grid::current().note_read(at_.shadow());
    return *at_.value();
  }
  const Reference& operator=(Value value) const {
    if (!at_.has(1)) return *this;
    Grid::current().note_write(at_.shadow());
    *at_.value() = value;
    return *this;
  }
  const Reference& operator=(const Reference& other) const {
    return *this = static_cast<Value>(other);
  }
  Reference(const Reference&) = default;
  Address<T> operator&() const { return at_; }

 private:
  Address<T> at_;
};

template <class T, int size>
class SharedArray {
 public:
  Reference<T> operator[](std::int64_t i) {
    return Reference<T>({values_.data(), shadows_.data(), size, i});
  }
  // Of this block: what an earlier one left is poison, which is not a number.
  SharedArray& for_block() {
    const Grid& grid = Grid::current();
    if (launch_ == grid.launch() && block_ == grid.block()) return *this;
    launch_ = grid.launch();
    block_ = grid.block();
    std::memset(static_cast<void*>(values_.data()), 0xFF, sizeof values_);
    shadows_.fill({});
    return *this;
  }

 private:
  alignas(16) std::array<T, size> values_{};
  std::array<Shadow, size> shadows_{};
  std::uint64_t launch_ = 0;
  std::int64_t block_ = 0;
};

}  // namespace gpupool::emulated

namespace gpupool::cuda {

// Memory of the device.
template <class T>
struct Memory {
  T* values = nullptr;
  emulated::Shadow* shadows = nullptr;
  std::int64_t size = 0;

  template <class Other>
  operator Memory<const Other>() const
      requires(!std::is_const_v<Other> && std::is_same_v<T, Other>) {
    return {values, shadows, size};
  }
  emulated::Reference<T> operator[](std::int64_t i) const {
    return emulated::Reference<T>({values, shadows, size, i});
  }
};

template <class T, int size>
using SharedArray = emulated::SharedArray<T, size>&;

// Of half turns.
inline double cospi(double x) { return std::cos(x * 3.141592653589793); }
inline double sinpi(double x) { return std::sin(x * 3.141592653589793); }

}  // namespace gpupool::cuda

#define GPUPOOL_SHARED(type, name, size)                            \
  static ::gpupool::emulated::SharedArray<type, (size)> name##_all; \
  auto& name = name##_all.for_block()

inline void __syncthreads(int line = __builtin_LINE()) {
  gpupool::emulated::Grid::current().barrier(line);
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  static_assert(sizeof(T) <= sizeof(gpupool::emulated::Shown));
  auto& grid = gpupool::emulated::Grid::current();
  gpupool::emulated::Shown shown{};
  std::memcpy(shown.data(), &value, sizeof value);
  const auto other = static_cast<std::size_t>(grid.lane() ^ lane_mask);
  shown = grid.meet(gpupool::emulated::Meeting::shuffle, shown)[other];
  std::memcpy(&value, shown.data(), sizeof value);
  return value;
}

// Of float and unsigned values; what was there before.
template <class T>
T atomicAdd(const gpupool::emulated::Address<T>& to, std::type_identity_t<T> value) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, unsigned>);
  if (!to.has(1)) return {};
  gpupool::emulated::Grid::current().note_atomic(to.shadow());
  const T before = *to.value();
  *to.value() = before + value;
  return before;
}
