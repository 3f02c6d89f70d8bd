#include "gpu/cuda/feature_map.h"
#include "gpu/cuda/feature_map_launch.h"
#include "gpu/cuda/views.h"

namespace gpupool::cuda {
namespace {

std::int64_t moments_blocks(std::int64_t rows) { return (rows + moments_rows - 1) / moments_rows; }

}  // namespace

void launch_neighbours(const ConstActivations& in, const MapGrid& grid, std::int64_t first,
                       const Activations& out, cudaStream_t stream) {
  with_type(in.dtype, [&]<class From>() {
    with_type(out.dtype, [&]<class To>() {
      const Rows<To> to = rows_of<To>(out);
      neighbours_kernel<From, To>
          <<<blocks_for(to), element_threads, 0, stream>>>(rows_of<From>(in), grid, first, to);
    });
  });
}

std::size_t group_norm_bytes(MatrixSize map) {
  return static_cast<std::size_t>((2 * moments_blocks(map.rows) + 2) * map.columns) * sizeof(float);
}

void launch_group_norm(const ConstMatrix& in, const GroupNorm& norm, void* memory,
                       const Activations& out, cudaStream_t stream) {
  const std::int64_t blocks = moments_blocks(in.rows);
  const std::int64_t width = in.columns;
  const Matrix rows{static_cast<float*>(memory), 2 * blocks + 2, width, width};
  const Matrix means = rows.row_block(0, blocks);
  const Matrix squares = rows.row_block(blocks, blocks);
  const Matrix mean = rows.row_block(2 * blocks, 1);
  const Matrix factor = rows.row_block(2 * blocks + 1, 1);
  const dim3 grid(static_cast<unsigned>(blocks),
                  static_cast<unsigned>((width + element_threads - 1) / element_threads));
  moments_kernel<<<grid, element_threads, 0, stream>>>(rows_of(in),
                                                       {rows_of(means), rows_of(squares)});
  channel_terms_kernel<<<static_cast<unsigned>(norm.groups), norm_threads, 0, stream>>>(
      {rows_of(ConstMatrix(means)), rows_of(ConstMatrix(squares))}, in.rows, norm.groups,
      rows_of(norm.weight), norm.epsilon, {rows_of(mean), rows_of(factor)});
  with_type(out.dtype, [&]<class Out>() {
    const Rows<Out> to = rows_of<Out>(out);
    group_norm_kernel<Out><<<blocks_for(to), element_threads, 0, stream>>>(
        rows_of(in), {rows_of(ConstMatrix(mean)), rows_of(ConstMatrix(factor))}, rows_of(norm.bias),
        norm.activation, to);
  });
}

}  // namespace gpupool::cuda
