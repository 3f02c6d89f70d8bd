#pragma once
// The specification of every Device op: plain loops over plain vectors, in double, each as close to
// its formula as a loop can be. Slow, obvious and never shared with a device. Header-only.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gpu/device.h"

namespace gpupool::reference {

// Row-major, owning.
struct Values {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<float> all{};

  explicit Values(MatrixSize size)
      : rows(size.rows),
        columns(size.columns),
        all(static_cast<std::size_t>(size.rows * size.columns)) {}
  float& at(std::int64_t r, std::int64_t c) {
    return all[static_cast<std::size_t>(r * columns + c)];
  }
  float at(std::int64_t r, std::int64_t c) const {
    return all[static_cast<std::size_t>(r * columns + c)];
  }
};

inline double activated(double x, Activation activation) {
  if (activation == Activation::silu) return x / (1 + std::exp(-x));
  if (activation == Activation::none) return x;
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
}

// bias: one row, or no rows.
inline Values linear(const Values& in, const Values& weight, const Values& bias,
                     Activation activation) {
  Values out({in.rows, weight.rows});
  for (std::int64_t r = 0; r < in.rows; ++r) {
    for (std::int64_t o = 0; o < weight.rows; ++o) {
      double sum = bias.rows > 0 ? bias.at(0, o) : 0;
      for (std::int64_t i = 0; i < in.columns; ++i) sum += double{in.at(r, i)} * weight.at(o, i);
      out.at(r, o) = static_cast<float>(activated(sum, activation));
    }
  }
  return out;
}

inline Values modulated_norm(const Values& in, const Values& shift, const Values& scale,
                             double epsilon) {
  Values out({in.rows, in.columns});
  const auto columns = static_cast<double>(in.columns);
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const std::int64_t sample = r / (in.rows / shift.rows);
    double mean = 0;
    for (std::int64_t c = 0; c < in.columns; ++c) mean += in.at(r, c) / columns;
    double variance = 0;
    for (std::int64_t c = 0; c < in.columns; ++c) {
      variance += (in.at(r, c) - mean) * (in.at(r, c) - mean) / columns;
    }
    for (std::int64_t c = 0; c < in.columns; ++c) {
      const double normed = (in.at(r, c) - mean) / std::sqrt(variance + epsilon);
      out.at(r, c) = static_cast<float>(normed * (1 + scale.at(sample, c)) + shift.at(sample, c));
    }
  }
  return out;
}

inline Values add_gated(const Values& stream, const Values& branch, const Values& gate) {
  Values out = stream;
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const std::int64_t sample = r / (out.rows / gate.rows);
    for (std::int64_t c = 0; c < out.columns; ++c) {
      out.at(r, c) += gate.at(sample, c) * branch.at(r, c);
    }
  }
  return out;
}

struct Heads {
  std::int64_t samples = 1;
  std::int64_t heads = 1;
};

inline Values attention(const Values& queries, const Values& keys, const Values& values,
                        Heads split) {
  Values out({queries.rows, queries.columns});
  const std::int64_t width = queries.columns / split.heads;
  const std::int64_t tokens = keys.rows / split.samples;
  for (std::int64_t q = 0; q < queries.rows; ++q) {
    const std::int64_t first = q / (queries.rows / split.samples) * tokens;
    for (std::int64_t left = 0; left < queries.columns; left += width) {
      std::vector<double> weight(static_cast<std::size_t>(tokens));
      for (std::int64_t k = 0; k < tokens; ++k) {
        double score = 0;
        for (std::int64_t c = left; c < left + width; ++c) {
          score += double{queries.at(q, c)} * keys.at(first + k, c);
        }
        weight[static_cast<std::size_t>(k)] = score / std::sqrt(static_cast<double>(width));
      }
      const double top = *std::max_element(weight.begin(), weight.end());
      double total = 0;
      for (double& w : weight) total += w = std::exp(w - top);
      for (std::int64_t c = left; c < left + width; ++c) {
        double sum = 0;
        for (std::int64_t k = 0; k < tokens; ++k) {
          sum += weight[static_cast<std::size_t>(k)] / total * values.at(first + k, c);
        }
        out.at(q, c) = static_cast<float>(sum);
      }
    }
  }
  return out;
}

// Token (row, column) of the grid, value (channel, y, x): the pixel at (row p + y, column p + x).
inline Values patchify(const Values& picture, const PatchGrid& grid) {
  Values out({grid.tokens(), grid.values_per_patch()});
  const std::int64_t p = grid.patch;
  for (std::int64_t channel = 0; channel < grid.channels; ++channel) {
    for (std::int64_t y = 0; y < grid.side; ++y) {
      for (std::int64_t x = 0; x < grid.side; ++x) {
        out.at(y / p * (grid.side / p) + x / p, (channel * p + y % p) * p + x % p) =
            picture.at(0, (channel * grid.side + y) * grid.side + x);
      }
    }
  }
  return out;
}

// The way back, for a token's values in the order (y, x, channel).
inline Values unpatchify(const Values& tokens, const PatchGrid& grid) {
  Values out({tokens.rows / grid.tokens(), grid.values()});
  const std::int64_t p = grid.patch;
  for (std::int64_t picture = 0; picture < out.rows; ++picture) {
    for (std::int64_t channel = 0; channel < grid.channels; ++channel) {
      for (std::int64_t y = 0; y < grid.side; ++y) {
        for (std::int64_t x = 0; x < grid.side; ++x) {
          const std::int64_t token = y / p * (grid.side / p) + x / p;
          out.at(picture, (channel * grid.side + y) * grid.side + x) = tokens.at(
              picture * grid.tokens() + token, (y % p * p + x % p) * grid.channels + channel);
        }
      }
    }
  }
  return out;
}

inline Values time_features(const std::vector<float>& times, std::int64_t columns,
                            std::int64_t shift = 0) {
  Values out({static_cast<std::int64_t>(times.size()), columns});
  const std::int64_t half = columns / 2;
  for (std::int64_t r = 0; r < out.rows; ++r) {
    for (std::int64_t j = 0; j < half; ++j) {
      const double angle =
          times[static_cast<std::size_t>(r)] *
          std::pow(10000.0, -static_cast<double>(j) / static_cast<double>(half - shift));
      out.at(r, j) = static_cast<float>(std::cos(angle));
      out.at(r, half + j) = static_cast<float>(std::sin(angle));
    }
  }
  return out;
}

// Of a map of side x side pixels, each of which is one of `map` made enlarge x enlarge.
inline Values neighbours(const Values& map, std::int64_t side, std::int64_t enlarge) {
  Values out({side * side, 9 * map.columns});
  for (std::int64_t pixel = 0; pixel < out.rows; ++pixel) {
    for (std::int64_t i = 0; i < 9; ++i) {
      const std::int64_t y = pixel / side + i / 3 - 1;
      const std::int64_t x = pixel % side + i % 3 - 1;
      if (y < 0 || x < 0 || y >= side || x >= side) continue;
      const std::int64_t from = y / enlarge * (side / enlarge) + x / enlarge;
      for (std::int64_t c = 0; c < map.columns; ++c)
        out.at(pixel, i * map.columns + c) = map.at(from, c);
    }
  }
  return out;
}

struct Groups {
  std::int64_t count = 1;
  double epsilon = 0;
  Activation activation = Activation::none;
};

inline Values group_norm(const Values& map, const Values& weight, const Values& bias,
                         const Groups& groups) {
  Values out({map.rows, map.columns});
  const std::int64_t channels = map.columns / groups.count;
  const auto values = static_cast<double>(map.rows * channels);
  for (std::int64_t first = 0; first < map.columns; first += channels) {
    double mean = 0;
    double variance = 0;
    for (std::int64_t r = 0; r < map.rows; ++r)
      for (std::int64_t c = first; c < first + channels; ++c) mean += map.at(r, c) / values;
    for (std::int64_t r = 0; r < map.rows; ++r)
      for (std::int64_t c = first; c < first + channels; ++c)
        variance += (map.at(r, c) - mean) * (map.at(r, c) - mean) / values;
    for (std::int64_t r = 0; r < map.rows; ++r)
      for (std::int64_t c = first; c < first + channels; ++c) {
        const double normed = (map.at(r, c) - mean) / std::sqrt(variance + groups.epsilon);
        out.at(r, c) = static_cast<float>(
            activated(normed * weight.at(0, c) + bias.at(0, c), groups.activation));
      }
  }
  return out;
}

}  // namespace gpupool::reference
