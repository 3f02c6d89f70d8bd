// Softmax attention of one head: softmax(Q K^T / sqrt(width)) V. The operands are first copied side
// by side in f32 and padded with zeros to whole lanes, so that both products run the same inner
// loop without borders, and the scores of a few queries stay in the first-level cache between them.

#include <cmath>
#include <limits>
#include <utility>

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"

namespace gpupool {
namespace {

constexpr std::int64_t block_rows = 8;  // queries in one pass of the inner loop

std::int64_t round_up(std::int64_t count, std::int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// left [block_rows, depth] times right [depth, whole lanes]; depth is the rows of right.
struct Factors {
  ConstMatrix left;
  ConstMatrix right;
};

// `vectors` lanes of the product, from `column` on. All sums live in registers: with two vectors
// they are sixteen, twice what two multiply-add units have under way.
template <std::int64_t vectors>
GPUPOOL_INLINE void product_columns(const Factors& factors, std::int64_t column,
                                    const Matrix& out) {
  Lanes sums[block_rows][vectors] = {};
  for (std::int64_t k = 0; k < factors.right.rows; ++k) {
    const float* right = factors.right.row(k) + column;
    Lanes right_row[vectors];
#pragma GCC unroll 8
    for (std::int64_t v = 0; v < vectors; ++v) right_row[v] = load(right + v * lanes);
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < block_rows; ++r) {
      const float left = factors.left.row(r)[k];
#pragma GCC unroll 8
      for (std::int64_t v = 0; v < vectors; ++v) sums[r][v] += left * right_row[v];
    }
  }
#pragma GCC unroll 8
  for (std::int64_t r = 0; r < block_rows; ++r) {
#pragma GCC unroll 8
    for (std::int64_t v = 0; v < vectors; ++v) store(sums[r][v], out.row(r) + column + v * lanes);
  }
}

GPUPOOL_INLINE void product(const Factors& factors, const Matrix& out) {
  std::int64_t column = 0;
  for (; column + 2 * lanes <= out.columns; column += 2 * lanes) {
    product_columns<2>(factors, column, out);
  }
  if (column < out.columns) product_columns<1>(factors, column, out);
}

// e^(score - highest) for the first `count` scores of each row, zero for the padding behind them.
// What makes them a softmax, one over their sum, goes to `inverse`.
GPUPOOL_INLINE void exponentiate_rows(const Matrix& scores, std::int64_t count, float* inverse) {
  const std::int64_t padded = scores.columns;
  for (std::int64_t r = 0; r < scores.rows; ++r) {
    float* row = scores.row(r);
    for (std::int64_t c = count; c < padded; ++c) row[c] = -std::numeric_limits<float>::max();
    Lanes top = load(row);
    for (std::int64_t c = lanes; c < padded; c += lanes) top = larger(top, load(row + c));
    const float highest = largest(top);
    Lanes total{};
    for (std::int64_t c = 0; c < padded; c += lanes) {
      const Lanes power = exponential(load(row + c) - highest);
      store(power, row + c);
      total += power;
    }
    inverse[r] = 1.0F / sum(total);
    for (std::int64_t c = count; c < padded; ++c) row[c] = 0;
  }
}

template <class Value>
GPUPOOL_INLINE void copy_rows(const MatrixView<const Value>& from, float factor, const Matrix& to) {
  for (std::int64_t r = 0; r < from.rows; ++r) {
    for (std::int64_t c = 0; c < to.columns; c += lanes) {
      store(load_up_to(from.row(r) + c, from.columns - c, 0) * factor, to.row(r) + c);
    }
  }
}

// Exchanges the off-diagonal quarters of every square of 2 * step lanes.
template <std::int64_t step, std::size_t... lane>
GPUPOOL_INLINE void exchange(Lanes* rows, std::index_sequence<lane...>) {
#pragma GCC unroll 16
  for (std::int64_t r = 0; r < lanes; ++r) {
    if ((r & step) != 0) continue;
    const Lanes a = rows[r];
    const Lanes b = rows[r + step];
    rows[r] = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane - step : lane)...);
    rows[r + step] = __builtin_shufflevector(a, b, ((lane & step) ? lanes + lane : lane + step)...);
  }
}

template <class Value>
GPUPOOL_INLINE void copy_transposed(const MatrixView<const Value>& from, const Matrix& to) {
  constexpr auto all = std::make_index_sequence<lanes>{};
  for (std::int64_t first = 0; first < to.columns; first += lanes) {
    for (std::int64_t c = 0; c < from.columns; c += lanes) {
      Lanes square[lanes];
      for (std::int64_t r = 0; r < lanes; ++r)
        square[r] = first + r < from.rows ? load_up_to(from.row(first + r) + c, from.columns - c, 0)
                                          : Lanes{};
      exchange<8>(square, all);
      exchange<4>(square, all);
      exchange<2>(square, all);
      exchange<1>(square, all);
      const std::int64_t count = from.columns - c < lanes ? from.columns - c : lanes;
      for (std::int64_t r = 0; r < count; ++r) store(square[r], to.row(c + r) + first);
    }
  }
}

// The rows of one sample and the columns of one head.
template <class Value, class View>
MatrixView<Value> head_of(const View& all, const AttentionInput& input, const AttentionPart& part) {
  const std::int64_t tokens = all.rows / input.samples;
  const std::int64_t width = all.columns / input.heads;
  return rows_of<Value>(
      all.row_block(part.sample * tokens, tokens).column_block(part.head * width, width));
}

// One head's operands and results, padded: lanes in the columns.
struct Workspace {
  Matrix queries;  // block_rows of them
  Matrix keys_transposed;
  Matrix values;
  Matrix scores;  // of the queries
  Matrix mixed;   // of the queries
  std::int64_t size = 0;

  explicit Workspace(const AttentionInput& input) {
    const std::int64_t width = input.queries.columns / input.heads;
    const std::int64_t padded = round_up(width, lanes);
    const std::int64_t keys = input.keys.rows / input.samples;
    queries = matrix({block_rows, padded});
    keys_transposed = matrix({width, round_up(keys, lanes)});
    values = matrix({keys, padded});
    scores = matrix({block_rows, round_up(keys, lanes)});
    mixed = matrix({block_rows, padded});
  }
  void place(float* at) {
    for (Matrix* one : {&queries, &keys_transposed, &values, &scores, &mixed}) {
      one->values = at;
      at += one->rows * one->columns;
    }
  }

 private:
  Matrix matrix(MatrixSize of) {
    size += of.rows * of.columns;
    return {nullptr, of.rows, of.columns, of.columns};
  }
};

template <class Value>
GPUPOOL_INLINE void attend_in(const AttentionInput& input, const Activations& out,
                              const AttentionPart& part, const Workspace& work) {
  const std::int64_t count = part.queries.end - part.queries.first;
  const auto queries =
      head_of<const Value>(input.queries, input, part).row_block(part.queries.first, count);
  const auto keys = head_of<const Value>(input.keys, input, part);
  const auto target = head_of<Value>(out, input, part).row_block(part.queries.first, count);
  const float factor = 1.0F / std::sqrt(static_cast<float>(queries.columns));

  copy_transposed(keys, work.keys_transposed);
  copy_rows(head_of<const Value>(input.values, input, part), 1.0F, work.values);
  for (std::int64_t first = 0; first < count; first += block_rows) {
    // In the last block some rows may be of an earlier one; their results are not copied.
    const std::int64_t rows = count - first < block_rows ? count - first : block_rows;
    copy_rows(queries.row_block(first, rows), factor, work.queries);
    product({work.queries, work.keys_transposed}, work.scores);
    float inverse[block_rows];
    exponentiate_rows(work.scores, keys.rows, inverse);
    product({work.scores, work.values}, work.mixed);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < target.columns; c += lanes) {
        store_up_to(load(work.mixed.row(r) + c) * inverse[r], target.row(first + r) + c,
                    target.columns - c);
      }
    }
  }
}

}  // namespace

std::int64_t attention_scratch(const AttentionInput& input) { return Workspace(input).size; }

GPUPOOL_CLONES
void attend(const AttentionInput& input, Activations out, const AttentionPart& part,
            std::span<float> scratch) {
  Workspace work(input);
  work.place(scratch.data());
  if (out.dtype == Dtype::f32)
    attend_in<float>(input, out, part, work);
  else
    attend_in<Bf16>(input, out, part, work);
}

}  // namespace gpupool
