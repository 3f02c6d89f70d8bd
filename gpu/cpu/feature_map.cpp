// What a convolution and a norm need of a feature map: its neighbourhoods, and the moments of its
// channels. Activations may be in either precision.

#include <cmath>

#include "gpu/bf16.h"
#include "gpu/cpu/kernels.h"
#include "gpu/cpu/lanes.h"

namespace gpupool {
namespace {

template <class From, class To>
void copy_values(const From* from, To* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<To>(to_float(from[i]));
}

// Calls work with a pointer to the first value of a row, in the type that the view has.
template <class View, class Work>
void with_row(const View& view, std::int64_t row, const Work& work) {
  const auto* bytes = view.values + row * view.stride * bytes_of(view.dtype);
  if (view.dtype == Dtype::f32)
    work(reinterpret_cast<const float*>(bytes));
  else
    work(reinterpret_cast<const Bf16*>(bytes));
}
template <class Work>
void with_own_row(const Activations& view, std::int64_t row, const Work& work) {
  std::byte* bytes = view.values + row * view.stride * bytes_of(view.dtype);
  if (view.dtype == Dtype::f32)
    work(reinterpret_cast<float*>(bytes));
  else
    work(reinterpret_cast<Bf16*>(bytes));
}

struct NormedRow {
  const float* in;
  const float* mean;
  const float* factor;
  const float* bias;
  float* out;
};

GPUPOOL_INLINE void norm_row(const NormedRow& row, std::int64_t columns, Activation activation) {
  for (std::int64_t c = 0; c < columns; c += lanes) {
    const std::int64_t left = columns - c;
    const Lanes centred = load_up_to(row.in + c, left, 0) - load_up_to(row.mean + c, left, 0);
    Lanes value = centred * load_up_to(row.factor + c, left, 0) + load_up_to(row.bias + c, left, 0);
    if (activation == Activation::silu) value = value / (1.0F + exponential(-value));
    store_up_to(value, row.out + c, left);
  }
}

}  // namespace

void neighbours_rows(ConstActivations in, const MapGrid& grid, std::int64_t first, Activations out,
                     RowRange rows) {
  const std::int64_t across = grid.side / grid.enlarge;
  for (std::int64_t row = rows.first; row < rows.end; ++row) {
    const std::int64_t y = (first + row) / grid.side;
    const std::int64_t x = (first + row) % grid.side;
    with_own_row(out, row, [&](auto* to) {
      for (std::int64_t ny = y - 1; ny <= y + 1; ++ny) {
        for (std::int64_t nx = x - 1; nx <= x + 1; ++nx, to += in.columns) {
          if (ny < 0 || nx < 0 || ny >= grid.side || nx >= grid.side) {
            std::fill_n(to, in.columns, std::remove_pointer_t<decltype(to)>{});
            continue;
          }
          with_row(in, ny / grid.enlarge * across + nx / grid.enlarge,
                   [&](const auto* from) { copy_values(from, to, in.columns); });
        }
      }
    });
  }
}

GPUPOOL_CLONES
void moments_of_block(ConstMatrix in, std::int64_t block, const MapMoments& out) {
  const std::int64_t first = block * moments_rows;
  const std::int64_t end = first + moments_rows < in.rows ? first + moments_rows : in.rows;
  const float share = 1.0F / static_cast<float>(end - first);
  for (std::int64_t c = 0; c < in.columns; c += lanes) {
    const std::int64_t left = in.columns - c;
    Lanes total{};
    for (std::int64_t r = first; r < end; ++r) total += load_up_to(in.row(r) + c, left, 0);
    const Lanes mean = total * share;
    Lanes squares{};
    for (std::int64_t r = first; r < end; ++r) {
      const Lanes centred = load_up_to(in.row(r) + c, left, 0) - mean;
      squares += centred * centred;
    }
    store_up_to(mean, out.mean.row(block) + c, left);
    store_up_to(squares, out.squares.row(block) + c, left);
  }
}

// The moments of parts make those of the whole (Chan, Golub and LeVeque 1983): the squares about
// each part's mean, and each part's count times its mean's square about the mean of all.
void channel_terms(const MapMoments& all, std::int64_t pixels, const GroupNorm& norm,
                   const ChannelTerms& out) {
  const std::int64_t channels = out.factor.columns / norm.groups;
  const auto count_in = [&](std::int64_t block) {
    const std::int64_t left = pixels - block * moments_rows;
    return static_cast<double>(left < moments_rows ? left : moments_rows);
  };
  const auto values = static_cast<double>(pixels * channels);
  for (std::int64_t first = 0; first < out.factor.columns; first += channels) {
    double total = 0;
    for (std::int64_t b = 0; b < all.mean.rows; ++b)
      for (std::int64_t c = first; c < first + channels; ++c)
        total += count_in(b) * static_cast<double>(all.mean.row(b)[c]);
    const double mean = total / values;
    double squares = 0;
    for (std::int64_t b = 0; b < all.mean.rows; ++b)
      for (std::int64_t c = first; c < first + channels; ++c) {
        const double distance = static_cast<double>(all.mean.row(b)[c]) - mean;
        squares += static_cast<double>(all.squares.row(b)[c]) + count_in(b) * distance * distance;
      }
    const double inverse = 1 / std::sqrt(squares / values + static_cast<double>(norm.epsilon));
    for (std::int64_t c = first; c < first + channels; ++c) {
      out.mean.values[c] = static_cast<float>(mean);
      out.factor.values[c] =
          static_cast<float>(inverse * static_cast<double>(norm.weight.values[c]));
    }
  }
}

GPUPOOL_CLONES
void group_norm_rows(ConstMatrix in, const ChannelTerms& terms, const GroupNorm& norm,
                     Activations out, RowRange rows) {
  constexpr std::int64_t piece = 256;
  for (std::int64_t r = rows.first; r < rows.end; ++r) {
    for (std::int64_t c = 0; c < in.columns; c += piece) {
      const std::int64_t count = in.columns - c < piece ? in.columns - c : piece;
      float normed[piece];
      norm_row({in.row(r) + c, terms.mean.values + c, terms.factor.values + c, norm.bias.values + c,
                normed},
               count, norm.activation);
      with_own_row(out, r, [&](auto* to) { copy_values(normed, to + c, count); });
    }
  }
}

}  // namespace gpupool
