// The kernels for feature maps, and attention over heads as wide as theirs, in the emulated grid.
#include "tests/gpu/kernels/windows.h"
// The kernels come after the grid that they run on.
#include "gpu/cuda/attention_wide.h"
#include "gpu/cuda/feature_map.h"

namespace {

using namespace gpupool;
using namespace gpupool::cuda;
using emulated::Launch;
using reference::Values;

unsigned blocks_of(std::int64_t all, std::int64_t in_one) {
  return static_cast<unsigned>((all + in_one - 1) / in_one);
}

// The three kernels of the norm of groups, as the device starts them.
template <class Out>
struct NormOfGroups {
  NormOfGroups(const Values& map_of, const Values& weight_of, const Values& bias_of)
      : map(map_of),
        weight(weight_of),
        bias(bias_of),
        means({moments(), map_of.columns}),
        squares({moments(), map_of.columns}),
        mean({1, map_of.columns}),
        factor({1, map_of.columns}),
        out({map_of.rows, map_of.columns}) {}

  std::int64_t moments() { return blocks_of(map.view().rows, moments_rows); }
  Launch moments_launch() {
    return {.grid = {static_cast<unsigned>(moments()),
                     blocks_of(map.view().columns, element_threads), 1},
            .threads = element_threads};
  }
  std::function<void()> moments_call() {
    return [this] { moments_kernel(map.in(), {means.view(), squares.view()}); };
  }
  static Launch terms_launch(const reference::Groups& groups) {
    return {.grid = {static_cast<unsigned>(groups.count), 1, 1}, .threads = norm_threads};
  }
  std::function<void()> terms_call(const reference::Groups& groups) {
    return [this, groups] {
      channel_terms_kernel({means.in(), squares.in()}, map.view().rows, groups.count, weight.in(),
                           static_cast<float>(groups.epsilon), {mean.view(), factor.view()});
    };
  }
  std::function<void()> norm_call(const reference::Groups& groups) {
    return [this, groups] {
      group_norm_kernel(map.in(), {mean.in(), factor.in()}, bias.in(), groups.activation,
                        out.view());
    };
  }

  Window<float> map, weight, bias, means, squares, mean, factor;
  Window<Out> out;
};

template <class T>
struct WideAttention {
  WideAttention(MatrixSize queries_of, std::int64_t keys_of, reference::Heads split_)
      : split(split_),
        queries(
            rounded<T>(random_values({split.samples * queries_of.rows, queries_of.columns}, 1))),
        keys(rounded<T>(random_values({split.samples * keys_of, queries_of.columns}, 2))),
        values(rounded<T>(random_values({split.samples * keys_of, queries_of.columns}, 3))),
        q(queries),
        k(keys),
        v(values),
        out({queries.rows, queries.columns}) {}

  std::function<void()> call() {
    return [this] {
      const auto width = static_cast<int>(queries.columns / split.heads);
      attention_wide_kernel<T>({.queries = q.in(),
                                .keys = k.in(),
                                .values = v.in(),
                                .out = out.view(),
                                .queries_per_sample = queries.rows / split.samples,
                                .keys_per_sample = keys.rows / split.samples,
                                .head_width = width,
                                .scale = 1.0F / std::sqrt(static_cast<float>(width))});
    };
  }
  Launch launch() const {
    return {.grid = {static_cast<unsigned>(queries.rows / split.samples),
                     static_cast<unsigned>(split.heads), static_cast<unsigned>(split.samples)},
            .threads = norm_threads};
  }

  reference::Heads split;
  Values queries, keys, values;
  Window<T> q, k, v, out;
};

}  // namespace

TEMPLATE_TEST_CASE("The neighbours kernel gathers what the plain loop gathers", "", float, Bf16) {
  struct Case {
    std::int64_t side, enlarge, channels;
  };
  const auto of = GENERATE(Case{5, 1, 3}, Case{6, 2, 16}, Case{1, 1, 1}, Case{6, 3, 33});
  const std::int64_t inner = of.side / of.enlarge;
  const Values map = rounded<TestType>(random_values({inner * inner, of.channels}, 27));
  const Values expected = reference::neighbours(map, of.side, of.enlarge);
  const std::int64_t first = GENERATE_COPY(std::int64_t{0}, of.side * of.side - 1);
  Window<TestType> from(map);
  Window<TestType> to({of.side * of.side - first, 9 * of.channels});
  const Launch launch{
      .grid = {blocks_of(to.view().rows * to.view().columns, element_threads), 1, 1},
      .threads = element_threads,
      .backwards = GENERATE(false, true)};
  const MapGrid grid{of.side, of.enlarge};
  run(launch, [&] { neighbours_kernel<TestType, TestType>(from.in(), grid, first, to.view()); });
  const Values got = to.values();
  for (std::int64_t r = 0; r < got.rows; ++r)
    for (std::int64_t c = 0; c < got.columns; ++c)
      REQUIRE(got.at(r, c) == expected.at(first + r, c));
}

TEMPLATE_TEST_CASE("The kernels of group norm do what the plain loop does", "", float, Bf16) {
  struct Case {
    std::int64_t pixels, channels, groups;
  };
  const auto of = GENERATE(Case{16, 32, 32}, Case{1, 6, 2}, Case{130, 24, 4}, Case{200, 300, 1});
  const reference::Groups groups{of.groups, 1e-3, GENERATE(Activation::none, Activation::silu)};
  Values map = random_values({of.pixels, of.channels}, 28);
  for (float& value : map.all) value += 3;  // far from zero against its deviation
  const Values weight = random_values({1, of.channels}, 29);
  const Values bias = random_values({1, of.channels}, 30);
  NormOfGroups<TestType> norm(map, weight, bias);
  Launch moments = norm.moments_launch();
  Launch terms = norm.terms_launch(groups);
  Launch values{.grid = {blocks_of(of.pixels * of.channels, element_threads), 1, 1},
                .threads = element_threads};
  moments.backwards = terms.backwards = values.backwards = GENERATE(false, true);
  run(moments, norm.moments_call());
  run(terms, norm.terms_call(groups));
  run(values, norm.norm_call(groups));
  const double tolerance = std::is_same_v<TestType, float> ? 5e-5 : 1.6e-2;
  CHECK(largest_difference(norm.out.values(), reference::group_norm(map, weight, bias, groups)) <
        tolerance);
}

TEST_CASE("Without any of its barriers group norm races") {
  const Values map = random_values({300, 8}, 28);
  const Values weight = random_values({1, 8}, 29);
  NormOfGroups<float> norm(map, weight, weight);
  const reference::Groups groups{1, 1e-3, Activation::none};
  run(norm.moments_launch(), norm.moments_call());
  // Two sums over the block, with the same two barriers.
  check_each_line_is_needed(norm.terms_launch(groups), norm.terms_call(groups), 2);
}

TEMPLATE_TEST_CASE("Attention over wide heads does what the plain loop does", "", float, Bf16) {
  struct Size {
    std::int64_t samples, heads, width, queries, keys;
  };
  const auto size = GENERATE(Size{1, 1, 512, 5, 20}, Size{2, 2, 130, 3, 7}, Size{1, 1, 1024, 1, 1},
                             Size{1, 1, 3, 2, 2});
  WideAttention<TestType> of({size.queries, size.heads * size.width}, size.keys,
                             {size.samples, size.heads});
  Launch launch = of.launch();
  launch.backwards = GENERATE(false, true);
  run(launch, of.call());
  const Values expected = reference::attention(of.queries, of.keys, of.values, of.split);
  CHECK(largest_difference(of.out.values(), expected) <
        (std::is_same_v<TestType, float> ? 2e-6 : 4e-3));
}

TEST_CASE("Attention over wide heads stays finite beside a towering score, and races unguarded") {
  WideAttention<float> of({4, 200}, 12, {1, 1});
  for (float& value : of.queries.all) value *= 500;
  of.q = Window<float>(of.queries);
  run(of.launch(), of.call());
  const Values expected = reference::attention(of.queries, of.keys, of.values, of.split);
  CHECK(largest_difference(of.out.values(), expected) < 1e-4);
  check_each_line_is_needed(of.launch(), of.call(), 2);
}
