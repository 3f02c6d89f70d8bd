// The kernels of the CUDA device, from the source that nvcc compiles, in the emulated grid: against
// the plain loops of reference.h at sizes that fill blocks and at sizes that don't, inside larger
// matrices, in f32 and bf16, threads in both orders; and what happens without a barrier. Attention
// has a file of its own.
#include "tests/gpu/kernels/windows.h"
// The kernels come after the grid that they run on.
#include "gpu/cuda/elementwise.h"
#include "gpu/cuda/norm.h"

namespace {

using namespace gpupool;
using namespace gpupool::cuda;
using emulated::Launch;
using reference::Values;

Launch over_elements(std::int64_t elements) {
  const auto blocks = static_cast<unsigned>((elements + element_threads - 1) / element_threads);
  return {.grid = {blocks, 1, 1}, .threads = element_threads, .backwards = GENERATE(false, true)};
}
Launch over_elements(const Values& values) { return over_elements(values.rows * values.columns); }

template <class T>
constexpr double tolerance = std::is_same_v<T, float> ? 2e-5 : 1.6e-2;  // of values up to 4

struct NormCase {
  Values in, branch, gate, shift, scale;
};

NormCase norm_case(std::int64_t samples, std::int64_t columns) {
  const std::int64_t rows = samples * 3;
  return {random_values({rows, columns}, 1), random_values({rows, columns}, 2),
          random_values({samples, columns}, 3), random_values({samples, columns}, 4),
          random_values({samples, columns}, 5)};
}

struct NormWindows {
  explicit NormWindows(const NormCase& of)
      : stream(of.in),
        gate(of.gate),
        shift(of.shift),
        scale(of.scale),
        terms{shift.in(), scale.in(), 1e-6F, of.in.rows / of.shift.rows} {}
  Window<float> stream, gate, shift, scale;
  NormTerms terms;
};

}  // namespace

TEMPLATE_TEST_CASE("The norm kernels do what the plain loop does", "", float, Bf16) {
  const auto columns = GENERATE(std::int64_t{1}, std::int64_t{31}, std::int64_t{128},
                                std::int64_t{192}, std::int64_t{1152});
  const NormCase of = norm_case(GENERATE(1, 2), columns);
  const Launch launch{.grid = {static_cast<unsigned>(of.in.rows), 1, 1},
                      .threads = norm_threads,
                      .backwards = GENERATE(false, true)};
  NormWindows windows(of);
  Window<TestType> out({of.in.rows, columns});
  SECTION("alone") {
    run(launch, [&] { modulated_norm_kernel(windows.stream.in(), windows.terms, out.view()); });
    const Values expected = reference::modulated_norm(of.in, of.shift, of.scale, 1e-6);
    CHECK(largest_difference(out.values(), expected) < tolerance<TestType>);
  }
  SECTION("behind a gated branch") {
    const Values branch = rounded<TestType>(of.branch);
    Window<TestType> branches(branch);
    run(launch, [&] {
      residual_norm_kernel(windows.stream.view(), branches.in(), windows.gate.in(), windows.terms,
                           out.view());
    });
    CHECK(largest_difference(windows.stream.values(),
                             reference::add_gated(of.in, branch, of.gate)) < 1e-6);
    const Values expected =
        reference::modulated_norm(windows.stream.values(), of.shift, of.scale, 1e-6);
    CHECK(largest_difference(out.values(), expected) < tolerance<TestType>);
  }
}

TEST_CASE("What is not a number stays in its own row of the norm") {
  NormCase of = norm_case(1, 130);
  of.in.at(1, 129) =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  NormWindows windows(of);
  Window<float> out({3, 130});
  run({.grid = {3, 1, 1}, .threads = norm_threads},
      [&] { modulated_norm_kernel(windows.stream.in(), windows.terms, out.view()); });
  const Values normed = out.values();
  for (std::int64_t c = 0; c < 130; ++c) {
    CHECK(std::isnan(normed.at(1, c)));
    CHECK(std::isfinite(normed.at(0, c)));
    CHECK(std::isfinite(normed.at(2, c)));
  }
}

TEST_CASE("Each barrier of the norm is needed: without any of them the race is told") {
  const NormCase norm = norm_case(1, 192);
  NormWindows windows(norm);
  Window<float> branches(norm.branch);
  Window<float> out({3, 192});
  check_each_line_is_needed(
      {.grid = {3, 1, 1}, .threads = norm_threads},
      [&] {
        residual_norm_kernel(windows.stream.view(), branches.in(), windows.gate.in(), windows.terms,
                             out.view());
      },
      2);
}

TEST_CASE("Pictures are cut into patches and joined again as the plain loop does it") {
  const auto grid = GENERATE(PatchGrid{3, 32, 4}, PatchGrid{1, 5, 1}, PatchGrid{2, 6, 3});
  const Values picture = random_values({1, grid.values()}, 14);
  Window<float> from(picture);
  Window<float> tokens({grid.tokens(), grid.values_per_patch()});
  run(over_elements(grid.values()), [&] { patchify_kernel(from.in(), grid, 0, tokens.view()); });
  CHECK(tokens.values().all == reference::patchify(picture, grid).all);
  Window<float> last({1, grid.values_per_patch()});
  run(over_elements(grid.values_per_patch()),
      [&] { patchify_kernel(from.in(), grid, grid.tokens() - 1, last.view()); });
  CHECK(last.values().at(0, 0) == tokens.values().at(grid.tokens() - 1, 0));

  const Values back = random_values({2 * grid.tokens(), grid.values_per_patch()}, 15);
  Window<float> two(back);
  Window<float> to({2, grid.values()});
  run(over_elements(back), [&] { unpatchify_kernel(two.in(), grid, to.view()); });
  CHECK(to.values().all == reference::unpatchify(back, grid).all);
}

TEST_CASE("The small kernels follow their formulas") {
  SECTION("positions, repeated for each sample") {
    const Values tokens = random_values({3 * 11, 50}, 16);
    const Values positions = random_values({11, 50}, 17);
    Window<float> to(tokens);
    Window<float> from(positions);
    run(over_elements(tokens), [&] { add_kernel(to.view(), from.in()); });
    Values expected = tokens;
    for (std::int64_t r = 0; r < 33; ++r)
      for (std::int64_t c = 0; c < 50; ++c) expected.at(r, c) += positions.at(r % 11, c);
    CHECK(to.values().all == expected.all);
  }
  SECTION("the cosines and sines of times") {
    Values times({1, 3});
    times.all = {0.0F, 1000.0F, 333.25F};
    Window<float> from(times);
    Window<float> to({3, 256});
    run(over_elements(3 * 256), [&] { time_features_kernel(from.in().memory, 0, to.view()); });
    CHECK(largest_difference(to.values(), reference::time_features(times.all, 256)) < 1e-6);
  }
  SECTION("the mean of some rows of a table") {
    const Values table = random_values({9, 300}, 18);
    std::vector<std::int32_t> tokens = {8, 0, 8};
    std::vector<emulated::Shadow> shadows(3);
    Window<float> from(table);
    Window<float> to({1, 300});
    const Memory<const std::int32_t> named{tokens.data(), shadows.data(), 3};
    run(over_elements(300), [&] { embedding_mean_kernel(from.in(), named, 3, to.view()); });
    const Values got = to.values();
    for (std::int64_t c = 0; c < 300; ++c)
      CHECK(got.at(0, c) == Approx((2 * table.at(8, c) + table.at(0, c)) / 3).margin(1e-6));
  }
  SECTION("every time with every prompt, and SiLU alone") {
    const Values times = random_values({3, 100}, 19);
    const Values prompts = random_values({2, 100}, 20);
    Window<float> t(times);
    Window<float> p(prompts);
    Window<float> to({6, 100});
    run(over_elements(600), [&] { join_kernel(t.in(), p.in(), to.view()); });
    run(over_elements(300), [&] { silu_kernel(t.view()); });
    const auto silu = [](double x) { return static_cast<float>(x / (1 + std::exp(-x))); };
    for (std::int64_t c = 0; c < 100; ++c) {
      CHECK(to.values().at(5, c) ==
            Approx(silu(double{times.at(2, c)} + prompts.at(1, c))).margin(1e-6));
      CHECK(t.values().at(1, c) == Approx(silu(times.at(1, c))).margin(1e-6));
    }
  }
  SECTION("guidance and a step") {
    const Values with = random_values({1, 300}, 21);
    const Values without = random_values({1, 300}, 22);
    const Values picture = random_values({1, 300}, 23);
    Window<float> c(with);
    Window<float> u(without);
    Window<float> x(picture);
    run(over_elements(300), [&] { guide_kernel(c.in(), u.in(), 3.0F, c.view()); });
    run(over_elements(300), [&] { advance_kernel(x.view(), c.in(), {.clean_m = -0.25F}); });
    for (std::int64_t i = 0; i < 300; ++i) {
      const float velocity = without.at(0, i) + 3 * (with.at(0, i) - without.at(0, i));
      CHECK(c.values().at(0, i) == Approx(velocity).margin(1e-6));
      CHECK(x.values().at(0, i) == Approx(picture.at(0, i) - velocity / 4).margin(1e-6));
    }
  }
  SECTION("noise, bit for bit the host's") {
    Window<float> to({5, 133});
    run(over_elements(5 * 133), [&] { noise_kernel({Seed{7}, 1000}, to.view()); });
    const Values got = to.values();
    for (std::size_t i = 0; i < got.all.size(); ++i)
      REQUIRE(got.all[i] == noise_at(Seed{7}, 1000 + i));
  }
  SECTION("copies from one precision to the other") {
    const Values given = random_values({4, 99}, 26);
    Window<float> from(given);
    Window<Bf16> half({4, 99});
    Window<float> back({4, 99});
    run(over_elements(given), [&] { copy_kernel(from.in(), half.view()); });
    run(over_elements(given), [&] { copy_kernel(half.in(), back.view()); });
    CHECK(back.values().all == rounded<Bf16>(given).all);
  }
}

TEST_CASE("bfloat16 rounds to the nearest, to even in the middle, and keeps what is no number") {
  const auto round_trip = [](float value) { return to_float(from_float<Bf16>(value)); };
  CHECK(round_trip(1.0F) == 1.0F);
  CHECK(round_trip(1.00390625F) == 1.0F);        // half a step above 1, whose last bit is even
  CHECK(round_trip(1.01171875F) == 1.015625F);   // half a step above an odd one
  CHECK(round_trip(1.00390649F) == 1.0078125F);  // just above the half
  CHECK(round_trip(-0.0F) == 0.0F);
  CHECK(std::signbit(round_trip(-0.0F)));
  CHECK(std::isinf(round_trip(3.4e38F)));
  CHECK(std::isnan(round_trip(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(round_trip(std::bit_cast<float>(0x7F800001U))));
}
