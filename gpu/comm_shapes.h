#pragma once
// What each operation of a Comm takes: every Comm checks it here, first of all. What does not fit
// is a bug of the caller and ends the process.

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/ensure.h"
#include "gpu/comm.h"

namespace gpupool {

inline bool has_gaps(const ConstActivations& view) {
  return view.rows > 1 && view.stride != view.columns;
}

inline std::int64_t row_bytes(const ConstActivations& view) {
  return view.columns * bytes_of(view.dtype);
}

// Where a rank's rows begin among those of all.
inline std::int64_t first_row(const std::vector<std::int64_t>& rows, std::int32_t rank) {
  return std::accumulate(rows.begin(), rows.begin() + rank, std::int64_t{0});
}

inline bool equally_many(const std::vector<std::int64_t>& rows) {
  return std::adjacent_find(rows.begin(), rows.end(), std::not_equal_to<>()) == rows.end();
}

inline void check_gather(const Comm& comm, const ConstActivations& mine,
                         const std::vector<std::int64_t>& rows, const Activations& all) {
  GPUPOOL_ENSURE(std::ssize(rows) == comm.size(), rows.size(), comm.size());
  for (const std::int64_t count : rows) GPUPOOL_ENSURE(count >= 0, count);
  GPUPOOL_ENSURE(mine.rows == rows[static_cast<std::size_t>(comm.rank())] &&
                     all.rows == first_row(rows, comm.size()) && mine.columns == all.columns &&
                     mine.dtype == all.dtype && !has_gaps(all),
                 mine.rows, all.rows, mine.columns, all.columns, all.stride);
}

inline void check_all_reduce(const Matrix& sum) {
  GPUPOOL_ENSURE(!has_gaps(sum), sum.rows, sum.columns, sum.stride);
}

inline void check_broadcast(const Comm& comm, const Activations& values, std::int32_t root) {
  GPUPOOL_ENSURE(root >= 0 && root < comm.size(), root, comm.size());
  GPUPOOL_ENSURE(!has_gaps(values), values.rows, values.columns, values.stride);
}

}  // namespace gpupool
