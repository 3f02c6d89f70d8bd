// The attention kernels in the emulated grid, against the plain loop of reference.h: in f32 on
// plain threads, in bf16 on the tensor cores with both ways of moving values. Threads go backwards
// where rows are aligned.
#include "tests/gpu/kernels/windows.h"
// The kernels come after the grid that they run on.
#include "gpu/cuda/attention_bf16.h"

namespace {

using namespace gpupool;
using namespace gpupool::cuda;
using emulated::Launch;
using reference::Values;

struct Size {
  std::int64_t samples, heads, width, queries, keys;
};

// T is what its kernel computes in; rows that begin at multiples of 16 bytes can be had in pieces.
template <class T>
struct AttentionCase {
  AttentionCase(const Size& size, Place place)
      : split{size.samples, size.heads},
        place_of_rows(place),
        queries(drawn(size, size.queries, 9)),
        keys(drawn(size, size.keys, 10)),
        values(drawn(size, size.keys, 11)),
        out({queries.rows, queries.columns}, place) {}

  // Of the operands as they are now.
  Values attended() {
    q = Window<T>(queries, place_of_rows);
    k = Window<T>(keys, place_of_rows);
    v = Window<T>(values, place_of_rows);
    run(launch(), kernel());
    return out.values();
  }
  Values expected() const { return reference::attention(queries, keys, values, split); }

  AttentionTask<T> task() {
    const auto width = static_cast<int>(queries.columns / split.heads);
    return {.queries = q.in(),
            .keys = k.in(),
            .values = v.in(),
            .out = out.view(),
            .queries_per_sample = queries.rows / split.samples,
            .keys_per_sample = keys.rows / split.samples,
            .head_width = width,
            .scale = 1.0F / std::sqrt(static_cast<float>(width))};
  }
  // As the device launches it.
  std::function<void()> kernel() {
    return [of = task()] {
      for_head_width(of.head_width, [&]<int width_max>() {
        if constexpr (std::is_same_v<T, float>)
          attention_kernel<width_max>(of);
        else
          attention_bf16_kernel<width_max>(of, access_for(of));
      });
    };
  }
  Launch launch() const {
    constexpr std::int64_t tile =
        std::is_same_v<T, float> ? attention_queries : attention_bf16_queries;
    const std::int64_t tiles = (queries.rows / split.samples + tile - 1) / tile;
    return {.grid = {static_cast<unsigned>(tiles), static_cast<unsigned>(split.heads),
                     static_cast<unsigned>(split.samples)},
            .threads = std::is_same_v<T, float> ? attention_threads : attention_bf16_threads,
            .backwards = place_of_rows == Place::aligned};
  }
  static Values drawn(const Size& size, std::int64_t rows, std::uint64_t stream) {
    return rounded<T>(random_values({size.samples * rows, size.heads * size.width}, stream));
  }

  reference::Heads split;
  Place place_of_rows;
  Values queries, keys, values;
  Window<T> q{{1, 1}}, k{{1, 1}}, v{{1, 1}};
  Window<T> out;
};

// A result in bf16, below 1, is 2^-9 off at most. The weights are 2^-8 of themselves off at most,
// which evens out.
template <class T>
constexpr double tolerance = std::is_same_v<T, float> ? 2e-6 : 4e-3;

bool is_finite(float value) { return std::isfinite(value); }

}  // namespace

TEMPLATE_TEST_CASE("The attention kernels do what the plain loop does", "", float, Bf16) {
  const Place place = GENERATE(Place::anywhere, Place::aligned);
  const auto size = GENERATE(Size{2, 3, 64, 64, 64}, Size{1, 1, 1, 1, 1}, Size{3, 2, 5, 7, 7},
                             Size{1, 2, 72, 70, 130}, Size{2, 1, 16, 3, 97}, Size{1, 1, 80, 33, 1},
                             Size{1, 2, 127, 17, 65}, Size{2, 1, 128, 65, 33},
                             Size{1, 3, 81, 2, 63}, Size{1, 1, 40, 1, 1100});
  AttentionCase<TestType> of(size, place);
  CHECK(largest_difference(of.attended(), of.expected()) < tolerance<TestType>);
}

TEST_CASE("Values move in pieces exactly where all rows of all heads begin and end at one") {
  const auto access = [](const Size& size, Place place) {
    return access_for(AttentionCase<Bf16>(size, place).task());
  };
  CHECK(access({1, 2, 72, 4, 4}, Place::anywhere) == Access::one_by_one);
  AttentionCase<Bf16> of({1, 2, 72, 4, 4}, Place::aligned);
  of.attended();
  const AttentionTask<Bf16> task = of.task();
  CHECK(access_for(task) == Access::in_pieces);
  AttentionTask<Bf16> other = task;
  other.head_width = 36;
  CHECK(access_for(other) == Access::one_by_one);
  for (const auto rows :
       {&AttentionTask<Bf16>::queries, &AttentionTask<Bf16>::keys, &AttentionTask<Bf16>::values}) {
    other = task;
    (other.*rows).stride += 4;
    CHECK(access_for(other) == Access::one_by_one);
    other = task;
    (other.*rows).memory.values += 1;
    CHECK(access_for(other) == Access::one_by_one);
  }
  other = task;
  other.out.memory.values += 4;
  CHECK(access_for(other) == Access::one_by_one);
}

TEMPLATE_TEST_CASE("Attention stays finite when one score towers over the others", "", float,
                   Bf16) {
  AttentionCase<TestType> of({1, 1, 16, 4, 140}, GENERATE(Place::anywhere, Place::aligned));
  for (float& value : of.queries.all) value *= 500;
  of.queries = rounded<TestType>(of.queries);
  CHECK(largest_difference(of.attended(), of.expected()) <
        (std::is_same_v<TestType, float> ? 1e-4 : 4e-3));
}

TEMPLATE_TEST_CASE("What is not a number reaches what the plain loop lets it reach", "", float,
                   Bf16) {
  AttentionCase<TestType> of({2, 2, 24, 20, 70}, GENERATE(Place::anywhere, Place::aligned));
  const float bad =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  SECTION("from a query: its own row of its head") { of.queries.at(23, 30) = bad; }
  SECTION("from a key: all rows of its sample and head") { of.keys.at(139, 47) = bad; }
  SECTION("from a value: its column of its sample") { of.values.at(69, 0) = bad; }
  const Values expected = of.expected();
  const Values got = of.attended();
  CHECK_FALSE(std::all_of(expected.all.begin(), expected.all.end(), is_finite));
  for (std::size_t i = 0; i < got.all.size(); ++i) {
    INFO("value " << i);
    REQUIRE(std::isnan(got.all[i]) == std::isnan(expected.all[i]));
    if (!std::isnan(expected.all[i]))
      REQUIRE(got.all[i] == Approx(expected.all[i]).margin(tolerance<TestType>));
  }
}

TEST_CASE("Each barrier of the attention kernels is needed, and each wait for copies") {
  AttentionCase<float> plain({1, 1, 16, 33, 65}, Place::anywhere);
  plain.attended();
  check_each_line_is_needed(plain.launch(), plain.kernel(), 4);
  AttentionCase<Bf16> products({1, 1, 16, 33, 129}, Place::aligned);
  products.attended();
  check_each_line_is_needed(products.launch(), products.kernel(), 2);
}

TEST_CASE("Without pieces there is nothing to wait for, but for the other threads") {
  AttentionCase<Bf16> of({1, 1, 15, 33, 129}, Place::anywhere);
  of.attended();
  Launch launch = of.launch();
  const std::set<int> lines = emulated::Grid::current().lines();
  std::vector<std::string> failures;
  for (const int line : lines) {
    launch.without_line = line;
    if (const auto failure = emulated::Grid::current().run(launch, of.kernel()))
      failures.push_back(*failure);
  }
  REQUIRE(failures.size() == 1);
  CHECK_THAT(failures[0], Catch::StartsWith("a race"));
}
