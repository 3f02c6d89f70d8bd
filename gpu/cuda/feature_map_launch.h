#pragma once
// Starts the kernels of feature_map.h on a stream. Shapes were checked; how the launch went is for
// the caller to ask CUDA.

#include <cuda_runtime.h>

#include <cstddef>

#include "gpu/device.h"

namespace gpupool::cuda {

void launch_neighbours(const ConstActivations& in, const MapGrid& grid, std::int64_t first,
                       const Activations& out, cudaStream_t stream);

// Memory of the device that group_norm needs for a map.
std::size_t group_norm_bytes(MatrixSize map);
void launch_group_norm(const ConstMatrix& in, const GroupNorm& norm, void* memory,
                       const Activations& out, cudaStream_t stream);

}  // namespace gpupool::cuda
