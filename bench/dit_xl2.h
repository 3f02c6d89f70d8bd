#pragma once
// A network of DiT-XL/2's shape with random weights, to be timed: what it draws is noise.

#include "gpu/dit.h"

namespace gpupool::bench {

// Of Peebles and Xie 2023, table 1, for pictures of 256 x 256: 256 tokens of 32 x 32 x 4 latents.
inline constexpr DitShape dit_xl2 = {.grid = {.channels = 4, .side = 32, .patch = 2},
                                     .width = 1152,
                                     .depth = 28,
                                     .heads = 16,
                                     .mlp_width = 4608,
                                     .vocabulary = 1001,
                                     .time_frequencies = 256};

// The same ones every time.
Weights random_weights(const DitShape& shape);

}  // namespace gpupool::bench
