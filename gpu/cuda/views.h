#pragma once
// Views of matrices as kernels take them.

#include <type_traits>

#include "base/ensure.h"
#include "gpu/bf16.h"
#include "gpu/cuda/element.h"
#include "gpu/tensor.h"

namespace gpupool::cuda {

template <class T>
constexpr Dtype dtype_of = std::is_same_v<std::remove_const_t<T>, float> ? Dtype::f32 : Dtype::bf16;

inline Rows<float> rows_of(const Matrix& matrix) {
  return {{matrix.values}, matrix.rows, matrix.columns, matrix.stride};
}
inline Rows<const float> rows_of(const ConstMatrix& matrix) {
  return {{matrix.values}, matrix.rows, matrix.columns, matrix.stride};
}
template <class T>
Rows<T> rows_of(const Activations& view) {
  GPUPOOL_ENSURE(view.dtype == dtype_of<T>, view.rows, view.columns);
  return {{reinterpret_cast<T*>(view.values)}, view.rows, view.columns, view.stride};
}
template <class T>
Rows<const T> rows_of(const ConstActivations& view) {
  GPUPOOL_ENSURE(view.dtype == dtype_of<T>, view.rows, view.columns);
  return {{reinterpret_cast<const T*>(view.values)}, view.rows, view.columns, view.stride};
}

// Calls work.operator()<T>() with the type of a dtype's values.
template <class Work>
void with_type(Dtype dtype, const Work& work) {
  if (dtype == Dtype::f32)
    work.template operator()<float>();
  else
    work.template operator()<Bf16>();
}

// Of element_threads, a thread for each value.
template <class T>
unsigned blocks_for(const Rows<T>& all) {
  return static_cast<unsigned>((all.rows * all.columns + element_threads - 1) / element_threads);
}

}  // namespace gpupool::cuda
