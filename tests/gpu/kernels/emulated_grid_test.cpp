// The emulated grid itself: what it has to tell of, and that its tensor cores, copies and atomic
// operations do what the PTX ISA and the CUDA programming guide say.
#include <array>

#include "tests/gpu/kernels/windows.h"

namespace {

using namespace gpupool;
using namespace gpupool::cuda;
using emulated::Grid;
using emulated::Launch;
using Reference = emulated::Reference<Bf16>;
using reference::Values;

std::string failure_of(const Launch& launch, const std::function<void()>& kernel) {
  return Grid::current().run(launch, kernel).value_or("");
}
const Launch one_warp{.threads = 32};
const Launch two_blocks{.grid = {2, 1, 1}, .threads = 32};

// Whole numbers up to 255, which bf16 holds, and no two alike in the rows of one matrix.
Values numbered(MatrixSize size) {
  Values out(size);
  for (std::size_t i = 0; i < out.all.size(); ++i) out.all[i] = static_cast<float>(i * 7 % 256);
  return out;
}

// Which register of a lane is taken for which of its parts.
struct Layout {
  std::array<std::size_t, 4> left{0, 1, 2, 3};
  std::array<std::size_t, 2> right{0, 1};
  std::array<std::size_t, 4> sum{0, 1, 2, 3};
};

// The product of one warp, whose lanes read and write what tensor_cores.h says is theirs.
Values product_of(const Values& left, const Values& right, const Layout& layout) {
  Window<Bf16> a(left);
  Window<Bf16> b(right);
  Window<float> out({16, 8});
  run(one_warp, [&, in = a.in(), by = b.in(), to = out.view()] {
    const unsigned g = threadIdx.x / 4;
    const unsigned t = threadIdx.x % 4 * 2;
    const auto in_row = [&](unsigned r, unsigned c) {
      return pair_of(in.at(r, c), in.at(r, c + 1));
    };
    const auto in_column = [&](unsigned r) { return pair_of(by.at(r, g), by.at(r + 1, g)); };
    const std::array of_left = {in_row(g, t), in_row(g + 8, t), in_row(g, t + 8),
                                in_row(g + 8, t + 8)};
    const std::array of_right = {in_column(t), in_column(t + 8)};
    LeftPart left_part{};
    RightPart right_part{};
    SumPart sum{{1, 1, 1, 1}};
    for (std::size_t i = 0; i < 4; ++i) left_part.pairs[i] = of_left[layout.left[i]];
    for (std::size_t i = 0; i < 2; ++i) right_part.pairs[i] = of_right[layout.right[i]];
    add_product(sum, left_part, right_part);
    for (unsigned i = 0; i < 4; ++i) to.at(g + i / 2 * 8, t + i % 2) = sum.values[layout.sum[i]];
  });
  return out.values();
}

// What blocks and threads add up, each its own number: within a block first, then among them.
__global__ void count_kernel(Memory<float> total, Memory<unsigned> threads) {
  GPUPOOL_SHARED(float, in_block, 1);
  if (threadIdx.x == 0) in_block[0] = 0;
  __syncthreads();
  atomicAdd(&in_block[0], static_cast<float>(threadIdx.x));
  atomicAdd(&threads[0], 1);
  __syncthreads();
  if (threadIdx.x != 0) return;
  const float sum = in_block[0];
  atomicAdd(&total[0], sum);
}

}  // namespace

TEST_CASE("The grid tells of accesses out of bounds, and of those that are not aligned") {
  Window<float> window({2, 32});
  const auto memory = window.view().memory;
  CHECK_THAT(failure_of(two_blocks, [&] { memory[memory.size + threadIdx.x] = 1; }),
             Catch::Contains("has no value"));
  CHECK_THAT(failure_of(two_blocks, [&] { memory[-1] = 1; }), Catch::Contains("no value -1"));
  CHECK_THAT(failure_of(two_blocks, [&] { static_cast<void>(float{memory[memory.size]}); }),
             Catch::Contains("has no value"));
  CHECK_THAT(failure_of(two_blocks,
                        [] {
                          GPUPOOL_SHARED(float, few, 4);
                          few[threadIdx.x] = 1;
                        }),
             Catch::Contains("memory of 4 values has no value 4"));

  Window<Bf16> halves({2, 64}, Place::aligned);
  const auto pairs = halves.view().memory;
  const std::int64_t size = pairs.size;
  CHECK_THAT(failure_of(one_warp, [&] { load_pair(&pairs[1]); }), Catch::Contains("not aligned"));
  CHECK_THAT(failure_of(one_warp, [&] { store_pair(&pairs[3], 0); }),
             Catch::Contains("not aligned"));
  CHECK_THAT(failure_of(one_warp, [&] { load_pair(&pairs[size - 1]); }),
             Catch::Contains("has no value"));
  CHECK_THAT(failure_of(one_warp, [&] { store_pair(&pairs[-2], 0); }),
             Catch::Contains("no value -2"));
  CHECK_THAT(failure_of(one_warp, [&] { clear_piece(&pairs[4]); }), Catch::Contains("not aligned"));
  CHECK_THAT(failure_of(one_warp, [&] { clear_piece(&pairs[size]); }),
             Catch::Contains("has no value"));
  CHECK(failure_of(one_warp, [&] { load_pair(&pairs[2 * threadIdx.x]); }).empty());
  CHECK(failure_of(one_warp, [&] { store_pair(&pairs[2 * threadIdx.x], 0); }).empty());
}

TEST_CASE("The grid tells of races of blocks and of lanes that never meet") {
  Window<float> window({2, 32});
  const Rows<float> all = window.view();
  CHECK_THAT(failure_of(two_blocks, [&] { all.memory[threadIdx.x] = 1; }),
             Catch::Contains("two blocks"));
  CHECK_THAT(failure_of(two_blocks,
                        [&] {  // read by both, written by the second
                          const float before = all.at(0, threadIdx.x);
                          if (blockIdx.x == 1) all.at(0, threadIdx.x) = before;
                        }),
             Catch::Contains("two blocks"));
  CHECK_THAT(failure_of(two_blocks,
                        [&] {  // written by the first, read by the second
                          if (blockIdx.x == 0) all.at(0, threadIdx.x) = 1;
                          if (blockIdx.x == 1) static_cast<void>(float{all.at(0, threadIdx.x)});
                        }),
             Catch::Contains("two blocks"));
  CHECK_THAT(failure_of(two_blocks,
                        [&] {
                          if (threadIdx.x == 0) __shfl_xor_sync(0xFFFFFFFFU, 1, 1);
                        }),
             Catch::Contains("never come"));
  CHECK_THAT(failure_of(one_warp,
                        [&] {
                          SumPart sum{};
                          if (threadIdx.x == 0) __shfl_xor_sync(0xFFFFFFFFU, 1, 1);
                          if (threadIdx.x != 0) add_product(sum, {}, {});
                        }),
             Catch::Contains("different things"));
  CHECK_THAT(failure_of({.threads = 48}, [] {}), Catch::Contains("whole warps"));
  CHECK(failure_of(two_blocks, [&] { all.at(blockIdx.x, threadIdx.x) = 1; }).empty());
}

TEST_CASE("Atomic operations add up, and race with plain accesses but not with each other") {
  std::vector<float> total(1);
  std::vector<unsigned> threads(1);
  std::vector<emulated::Shadow> shadows(2);
  const Memory<float> sum{total.data(), shadows.data(), 1};
  const Memory<unsigned> count{threads.data(), shadows.data() + 1, 1};
  const Launch launch{.grid = {3, 1, 1}, .threads = 64, .backwards = GENERATE(false, true)};
  run(launch, [&] { count_kernel(sum, count); });
  CHECK(total[0] == 3 * 63 * 64 / 2);
  CHECK(threads[0] == 3 * 64);
  check_each_line_is_needed(
      launch, [&] { count_kernel(sum, count); }, 2);

  const auto both = [&](const std::function<void()>& plain) {
    return failure_of(launch, [&] {
      if (blockIdx.x == 0 && threadIdx.x == 1) plain();
      if (blockIdx.x == 0) atomicAdd(&count[0], 1);
    });
  };
  CHECK(both([] {}).empty());
  CHECK_THAT(both([&] { count[0] = 0; }), Catch::StartsWith("a race"));
  CHECK_THAT(both([&] { static_cast<void>(unsigned{count[0]}); }), Catch::StartsWith("a race"));
  CHECK_THAT(failure_of(launch,
                        [&] {
                          if (blockIdx.x == 0) atomicAdd(&count[0], 1);
                          if (blockIdx.x == 1) static_cast<void>(unsigned{count[0]});
                        }),
             Catch::Contains("two blocks"));
  CHECK_THAT(failure_of(launch, [&] { atomicAdd(&count[1], 1); }), Catch::Contains("no value 1"));
}

TEST_CASE("A warp multiplies matrices that lie in its registers as documented, in no other way") {
  const Values left = numbered({16, 16});
  const Values right = numbered({16, 8});
  Values expected({16, 8});
  for (std::int64_t r = 0; r < 16; ++r)
    for (std::int64_t c = 0; c < 8; ++c) {
      expected.at(r, c) = 1;
      for (std::int64_t k = 0; k < 16; ++k) expected.at(r, c) += left.at(r, k) * right.at(k, c);
    }
  CHECK(product_of(left, right, {}).all == expected.all);
  const auto others_differ = [&](auto Layout::*part) {
    Layout layout;
    while (std::next_permutation((layout.*part).begin(), (layout.*part).end()))
      CHECK(product_of(left, right, layout).all != expected.all);
  };
  others_differ(&Layout::left);
  others_differ(&Layout::right);
  others_differ(&Layout::sum);
}

TEST_CASE("A warp loads four matrices whose rows its lanes name, as they are or transposed") {
  const Values rows = numbered({32, 8});
  Window<Bf16> from(rows, Place::aligned);
  const bool is_transposed = GENERATE(false, true);
  const auto load = [&](std::int64_t offset) {
    Values got({32, 8});  // row l: what lane l has, one matrix after the other
    const std::string failure = failure_of(one_warp, [&, all = from.in()] {
      GPUPOOL_SHARED(Bf16, tile, 32 * 16);
      for (int i = 0; i < 8; ++i) tile[threadIdx.x * 16 + i] = all.at(threadIdx.x, i);
      __syncthreads();
      // Lane l names row 31 - l, so that matrix 0 has the last rows, the last one first.
      const auto row = &tile[(31 - threadIdx.x) * 16 + offset];
      const Matrices loaded = is_transposed ? load_transposed(row) : load_matrices(row);
      for (unsigned i = 0; i < 8; ++i)
        got.at(threadIdx.x, i) = emulated::value_of(loaded.pairs[i / 2], i % 2);
    });
    if (offset == 0) CHECK(failure == "");
    if (offset != 0) CHECK_THAT(failure, Catch::Contains("not aligned"));
    return got;
  };
  const Values got = load(0);
  for (std::int64_t lane = 0; lane < 32; ++lane)
    for (std::int64_t i = 0; i < 8; ++i) {
      const std::int64_t row = is_transposed ? lane % 4 * 2 + i % 2 : lane / 4;
      const std::int64_t column = is_transposed ? lane / 4 : lane % 4 * 2 + i % 2;
      REQUIRE(got.at(lane, i) == rows.at(31 - (i / 2 * 8 + row), column));
    }
  load(4);
}

TEST_CASE("A copy is there after the wait, for others after a barrier, and for nobody before") {
  const Values sent = numbered({32, 8});
  Window<Bf16> from(sent, Place::aligned);
  const auto all = from.in();
  std::array<Bf16, 32> got{};
  // Each lane copies a piece and reads what another lane copied.
  const auto copied = [&](std::int64_t to_offset, std::int64_t from_offset) {
    GPUPOOL_SHARED(Bf16, tile, 32 * 8 + 4);
    start_copy(&tile[threadIdx.x * 8 + to_offset], &all.memory[threadIdx.x * 16 + from_offset]);
    wait_for_copies();
    __syncthreads();
    got[31 - threadIdx.x] = tile[(31 - threadIdx.x) * 8];
  };
  run(one_warp, [&] { copied(0, 0); });
  for (std::int64_t i = 0; i < 32; ++i)
    CHECK(to_float(got[static_cast<std::size_t>(i)]) == sent.at(i, 0));
  check_each_line_is_needed(
      one_warp, [&] { copied(0, 0); }, 2);
  CHECK_THAT(failure_of(one_warp, [&] { copied(4, 0); }), Catch::Contains("not aligned"));
  CHECK_THAT(failure_of(one_warp, [&] { copied(0, 1); }), Catch::Contains("not aligned"));
  CHECK_THAT(failure_of(one_warp, [&] { copied(8, 0); }), Catch::Contains("has no value"));
  CHECK_THAT(failure_of(one_warp, [&] { copied(0, all.memory.size); }),
             Catch::Contains("has no value"));
  const auto beside_a_copy = [&](const std::function<void(Reference)>& touch) {
    return failure_of(one_warp, [&] {
      GPUPOOL_SHARED(Bf16, tile, 32 * 8);
      start_copy(&tile[threadIdx.x * 8], &all.memory[threadIdx.x * 16]);
      touch(tile[threadIdx.x * 8 + 7]);
    });
  };
  CHECK(beside_a_copy([](const Reference&) {}).empty());
  CHECK_THAT(beside_a_copy([](const Reference& last) { static_cast<Bf16>(last); }),
             Catch::Contains("read before the copy"));
  CHECK_THAT(beside_a_copy([](const Reference& last) { last = Bf16{}; }),
             Catch::Contains("written before the copy"));
}
