#pragma once
// gpu/cuda/tensor_cores.h over the emulated grid: products and matrices by the formulas of the PTX
// ISA for each element of a fragment, and copies that are certain to be there when they were
// waited for and not before.

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/gpu/kernels/emulated_memory.h"
// The types come after the memory that they are used with.
#include "gpu/cuda/tensor_cores.h"

namespace gpupool::emulated {

// Of a pair's two values, the first is in the lower half.
inline float value_of(cuda::Bf16Pair pair, unsigned which) {
  return to_float(Bf16{static_cast<std::uint16_t>(pair >> (16U * which))});
}

inline std::array<Bf16, cuda::piece_values> read_piece(const Address<const Bf16>& from) {
  std::array<Bf16, cuda::piece_values> piece{};
  if (!from.has(cuda::piece_values)) return piece;
  for (std::size_t i = 0; i < piece.size(); ++i) {
    Grid::current().note_read(from.shadow(static_cast<std::int64_t>(i)));
    piece[i] = from.value()[i];
  }
  return piece;
}

// Elements (row, 2t + j) of the four matrices, or of the transposed ones.
enum class Order { as_it_is, transposed };
inline cuda::Matrices matrices(const Address<const Bf16>& row, Order order) {
  const auto mine = std::bit_cast<std::array<cuda::Bf16Pair, 4>>(read_piece(row));
  Grid& grid = Grid::current();
  const auto& all = grid.meet(Meeting::matrices, {mine[0], mine[1], mine[2], mine[3]});
  const auto element = [&](int matrix, int r, int c) {
    const Shown& of_row = all[static_cast<std::size_t>(matrix * 8 + r)];
    const std::uint32_t pair = of_row[static_cast<std::size_t>(c / 2)];
    return Bf16{static_cast<std::uint16_t>(c % 2 == 0 ? pair : pair >> 16U)};
  };
  const int group = grid.lane() / 4;
  const int column = grid.lane() % 4 * 2;
  cuda::Matrices out{};
  for (int i = 0; i < 4; ++i)
    out.pairs[i] = order == Order::as_it_is
                       ? cuda::pair_of(element(i, group, column), element(i, group, column + 1))
                       : cuda::pair_of(element(i, column, group), element(i, column + 1, group));
  return out;
}

// What the fragments of a warp say together.
struct Operands {
  float left[16][16];
  float right[16][8];
};
inline Operands operands(const std::array<Shown, 32>& lanes) {
  Operands all{};
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned group = lane >> 2U;
    const unsigned in_group = lane % 4;
    for (unsigned i = 0; i < 8; ++i) {
      const unsigned row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
      const unsigned column = in_group * 2 + (i & 1U) + (i < 4 ? 0 : 8);
      all.left[row][column] = value_of(lanes[lane][i / 2], i % 2);
    }
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = in_group * 2 + (i & 1U) + (i < 2 ? 0 : 8);
      all.right[row][group] = value_of(lanes[lane][4 + i / 2], i % 2);
    }
  }
  return all;
}

}  // namespace gpupool::emulated

namespace gpupool::cuda {

inline Bf16Pair rounded_pair(float first, float second) {
  return pair_of(from_float<Bf16>(first), from_float<Bf16>(second));
}

inline float power_of_two(float exponent) { return exponent < -126 ? 0 : std::exp2(exponent); }

inline Bf16Pair load_pair(const emulated::Address<const Bf16>& from) {
  if (!from.has(2)) return 0;
  for (const int i : {0, 1}) emulated::Grid::current().note_read(from.shadow(i));
  return pair_of(from.value()[0], from.value()[1]);
}

inline void store_pair(const emulated::Address<Bf16>& to, Bf16Pair pair) {
  if (!to.has(2)) return;
  for (const int i : {0, 1}) {
    emulated::Grid::current().note_write(to.shadow(i));
    to.value()[i] = Bf16{static_cast<std::uint16_t>(pair >> (16U * static_cast<unsigned>(i)))};
  }
}

inline void clear_piece(const emulated::Address<Bf16>& to) {
  if (!to.has(piece_values)) return;
  for (int i = 0; i < piece_values; ++i) {
    emulated::Grid::current().note_write(to.shadow(i));
    to.value()[i] = Bf16{};
  }
}

inline void add_product(SumPart& sum, const LeftPart& left, const RightPart& right) {
  auto& grid = emulated::Grid::current();
  const Bf16Pair(&a)[4] = left.pairs;
  const Bf16Pair(&b)[2] = right.pairs;
  const emulated::Operands all = emulated::operands(
      grid.meet(emulated::Meeting::product, {a[0], a[1], a[2], a[3], b[0], b[1]}));
  const auto lane = static_cast<unsigned>(grid.lane());
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = (lane >> 2U) + (i < 2 ? 0 : 8);
    const unsigned column = lane % 4 * 2 + (i & 1U);
    for (unsigned k = 0; k < 16; ++k) sum.values[i] += all.left[row][k] * all.right[k][column];
  }
}

inline Matrices load_matrices(const emulated::Address<const Bf16>& row) {
  return emulated::matrices(row, emulated::Order::as_it_is);
}
inline Matrices load_transposed(const emulated::Address<const Bf16>& row) {
  return emulated::matrices(row, emulated::Order::transposed);
}

// The hardware may write from now on, so a race with that is told now; and until the wait nobody
// may rely on it. It writes at the wait.
inline void start_copy(const emulated::Address<Bf16>& to,
                       const emulated::Address<const Bf16>& from) {
  const auto piece = emulated::read_piece(from);
  if (!to.has(piece_values)) return;
  for (int i = 0; i < piece_values; ++i) {
    emulated::Grid::current().note_write(to.shadow(i));
    to.shadow(i).in_copy = true;
  }
  emulated::Grid::current().start_copy([to, piece] {
    for (int i = 0; i < piece_values; ++i) {
      to.shadow(i).in_copy = false;
      emulated::Grid::current().note_write(to.shadow(i));
      to.value()[i] = piece[static_cast<std::size_t>(i)];
    }
  });
}

inline void wait_for_copies(int line = __builtin_LINE()) {
  emulated::Grid::current().wait_for_copies(line);
}

}  // namespace gpupool::cuda
