// Softmax attention of one head: softmax(Q K^T / sqrt(width)) V. The operands are first copied side
// by side and padded with zeros to whole lanes, so that both products run the same inner loop
// without borders, and the scores of four queries stay in the first-level cache between them.

#include <cmath>
#include <limits>

#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"

namespace gpupool {
namespace {

constexpr std::int64_t block_rows = 4;  // queries in one pass of the inner loop

std::int64_t round_up(std::int64_t count, std::int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// left [block_rows, depth] times right [depth, whole lanes]; depth is the rows of right.
struct Factors {
  ConstMatrix left;
  ConstMatrix right;
};

// `vectors` lanes of the product, from `column` on. All sums live in registers: with two vectors
// they are eight independent ones, enough to keep two multiply-add units busy.
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

// Softmax over the first `count` scores of each row; the padding behind them becomes zero.
GPUPOOL_INLINE void softmax_rows(const Matrix& scores, std::int64_t count) {
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
    const float inverse = 1.0F / sum(total);
    for (std::int64_t c = 0; c < padded; c += lanes) store(load(row + c) * inverse, row + c);
    for (std::int64_t c = count; c < padded; ++c) row[c] = 0;
  }
}

GPUPOOL_INLINE void copy_rows(ConstMatrix from, float factor, const Matrix& to) {
  for (std::int64_t r = 0; r < from.rows; ++r) {
    for (std::int64_t c = 0; c < to.columns; c += lanes) {
      store(load_up_to(from.row(r) + c, from.columns - c, 0) * factor, to.row(r) + c);
    }
  }
}

// In strips of `lanes` rows, so that reads and writes both stay on few cache lines.
GPUPOOL_INLINE void copy_transposed(ConstMatrix from, const Matrix& to) {
  for (std::int64_t first = 0; first < to.columns; first += lanes) {
    const std::int64_t end = first + lanes < from.rows ? first + lanes : from.rows;
    for (std::int64_t c = 0; c < from.columns; ++c) {
      float* row = to.row(c);
      for (std::int64_t r = first; r < end; ++r) row[r] = from.row(r)[c];
      for (std::int64_t r = end; r < first + lanes; ++r) row[r] = 0;
    }
  }
}

// The rows of one sample and the columns of one head.
template <class View>
View head_of(const View& all, const AttentionInput& input, const AttentionPart& part) {
  const std::int64_t tokens = all.rows / input.samples;
  const std::int64_t width = all.columns / input.heads;
  return all.row_block(part.sample * tokens, tokens).column_block(part.head * width, width);
}

// One head's operands, padded: lanes in the columns, block_rows in the rows of the queries.
struct Workspace {
  Matrix queries;
  Matrix keys_transposed;
  Matrix values;
  Matrix scores;  // of block_rows queries
  Matrix mixed;   // of block_rows queries

  Workspace(MatrixSize query_size, std::int64_t keys, std::vector<float>& scratch) {
    const std::int64_t width = round_up(query_size.columns, lanes);
    const std::int64_t keys_padded = round_up(keys, lanes);
    std::int64_t used = 0;
    const auto plan = [&used](Matrix& matrix, MatrixSize size) {
      matrix = {nullptr, size.rows, size.columns, size.columns};
      used += size.rows * size.columns;
    };
    plan(queries, {round_up(query_size.rows, block_rows), width});
    plan(keys_transposed, {query_size.columns, keys_padded});
    plan(values, {keys, width});
    plan(scores, {block_rows, keys_padded});
    plan(mixed, {block_rows, width});
    if (static_cast<std::int64_t>(scratch.size()) < used) {
      scratch.resize(static_cast<std::size_t>(used));
    }
    float* next = scratch.data();
    for (Matrix* matrix : {&queries, &keys_transposed, &values, &scores, &mixed}) {
      matrix->values = next;
      next += matrix->rows * matrix->columns;
    }
  }
};

}  // namespace

GPUPOOL_CLONES
void attend(const AttentionInput& input, Matrix out, const AttentionPart& part,
            std::vector<float>& scratch) {
  const std::int64_t count = part.queries.end - part.queries.first;
  const ConstMatrix queries =
      head_of(input.queries.f32(), input, part).row_block(part.queries.first, count);
  const ConstMatrix keys = head_of(input.keys.f32(), input, part);
  const Matrix target = head_of(out, input, part).row_block(part.queries.first, count);
  const Workspace work({count, queries.columns}, keys.rows, scratch);

  copy_rows(queries, 1.0F / std::sqrt(static_cast<float>(queries.columns)), work.queries);
  copy_transposed(keys, work.keys_transposed);
  copy_rows(head_of(input.values.f32(), input, part), 1.0F, work.values);
  for (std::int64_t first = 0; first < count; first += block_rows) {
    // The last block may read rows that an earlier call left here; their results are not copied.
    product({work.queries.row_block(first, block_rows), work.keys_transposed}, work.scores);
    softmax_rows(work.scores, keys.rows);
    product({work.scores, work.values}, work.mixed);
    const std::int64_t rows = count - first < block_rows ? count - first : block_rows;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < target.columns; c += lanes) {
        store_up_to(load(work.mixed.row(r) + c), target.row(first + r) + c, target.columns - c);
      }
    }
  }
}

}  // namespace gpupool
