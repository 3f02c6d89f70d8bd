// The conformance of devices: every op of every device that is there against the plain loops of
// reference.h, at sizes that fill vector registers, warps and blocks and at sizes that don't,
// inside larger matrices.
#include <catch2/catch.hpp>
#include <functional>

#include "gpu/bf16.h"
#include "gpu/sampler.h"
#include "tests/gpu/reference.h"
#include "tests/gpu/small_network.h"
#include "tests/gpu/targets.h"
#include "tests/gpu/values.h"

namespace {

using namespace gpupool;
using reference::Values;

// A matrix on the device that is a window in a wider one, so that strides matter.
class Window {
 public:
  Window(Device& device, MatrixSize size)
      : Window(device, *device.allocate({size.rows + 1, size.columns + 5}), size) {}
  Window(Device& device, const Values& values) : Window(device, {values.rows, values.columns}) {
    device.upload(values.all, view_);
  }
  // Of activations.
  static Window like(Device& device, MatrixSize size) {
    return {device, *device.allocate_activations({size.rows + 1, size.columns + 5}), size};
  }
  static Window like(Device& device, const Values& values) {
    Window window = like(device, MatrixSize{values.rows, values.columns});
    device.upload(values.all, window.view_);
    return window;
  }
  Matrix view() const { return view_.f32(); }
  Activations activations() const { return view_; }
  Values values() const {
    Values out({view_.rows, view_.columns});
    device_.download(view_, out.all);
    return out;
  }

 private:
  Window(Device& device, Buffer buffer, MatrixSize size)
      : device_(device),
        buffer_(std::move(buffer)),
        view_(buffer_.activations().row_block(1, size.rows).column_block(2, size.columns)) {}

  Device& device_;
  Buffer buffer_;
  Activations view_;
};

// As the device holds activations.
Values held(const Target& target, Values values) {
  if (target.is_bf16)
    for (float& value : values.all) value = to_float(from_float<Bf16>(value));
  return values;
}

// Against values up to a few: how far off, as a part of each value where that is beyond 1.
double furthest(const Values& got, const Values& expected) {
  Values scaled = got;
  Values right = expected;
  for (std::size_t i = 0; i < got.all.size(); ++i) {
    const float scale = std::max(1.0F, std::abs(expected.all[i]));
    scaled.all[i] /= scale;
    right.all[i] /= scale;
  }
  return largest_difference(scaled, right);
}

void on_every_device(const std::function<void(const Target&, Device&)>& test) {
  for (const Target& target : all_targets()) {
    INFO(target.name);
    test(target, *target.device);
    CHECK(target.device->finish());
  }
}

}  // namespace

TEST_CASE("Devices multiply like the plain loop") {
  struct Size {
    std::int64_t rows, inputs, outputs;
  };
  const auto size = GENERATE(Size{1, 1, 1}, Size{1, 192, 576}, Size{128, 192, 768},
                             Size{33, 48, 192}, Size{70, 7, 5}, Size{2, 256, 192});
  const auto activation = GENERATE(Activation::none, Activation::gelu_tanh, Activation::silu);
  const auto bias_rows = GENERATE(std::int64_t{0}, std::int64_t{1});
  on_every_device([&](const Target& target, Device& device) {
    const Values in = held(target, random_values({size.rows, size.inputs}, 1));
    const Values weight = held(target, random_values({size.outputs, size.inputs}, 2));
    const Values bias = held(target, random_values({bias_rows, size.outputs}, 3));
    const auto layer = *device.make_linear(
        {.outputs = size.outputs, .inputs = size.inputs, .weight = weight.all, .bias = bias.all});
    const Values expected = reference::linear(in, weight, bias, activation);
    const Window from(device, in);
    const Window to(device, {size.rows, size.outputs});
    device.linear(*layer, from.view(), to.view(), activation);
    CHECK(furthest(to.values(), expected) < target.tolerance(2e-5));
    if (activation == Activation::silu) return;  // only ever in f32
    const Window halves = Window::like(device, in);
    const Window result = Window::like(device, MatrixSize{size.rows, size.outputs});
    device.linear(*layer, halves.activations(), result.activations(), activation);
    CHECK(furthest(result.values(), expected) < target.tolerance(2e-5));
  });
}

TEST_CASE("A part of a layer gives the outputs that the whole has there") {
  const auto bias_rows = GENERATE(std::int64_t{0}, std::int64_t{1});
  const auto part = GENERATE(OutputRange{0, 192}, OutputRange{192, 384}, OutputRange{5, 7},
                             OutputRange{575, 1}, OutputRange{0, 576});
  on_every_device([&](const Target& target, Device& device) {
    const Values in = held(target, random_values({35, 48}, 1));
    const Values weight = held(target, random_values({576, 48}, 2));
    const Values bias = held(target, random_values({bias_rows, 576}, 3));
    const auto whole =
        *device.make_linear({.outputs = 576, .inputs = 48, .weight = weight.all, .bias = bias.all});
    const Values expected = reference::linear(in, weight, bias, Activation::none);
    const Window from = Window::like(device, in);
    const Window to = Window::like(device, MatrixSize{35, 576});
    const auto some = *device.part_of(*whole, part);
    const Activations outputs = to.activations().column_block(part.first, part.count);
    device.linear(*some, from.activations(), outputs, Activation::none);
    Values all({35, 576});  // and nothing beside them
    for (std::int64_t r = 0; r < 35; ++r)
      for (std::int64_t c = part.first; c < part.first + part.count; ++c)
        all.at(r, c) = expected.at(r, c);
    CHECK(furthest(to.values(), all) < target.tolerance(2e-5));
  });
}

TEST_CASE("Devices norm and modulate like the plain loop, behind a gated branch too") {
  const auto columns = GENERATE(std::int64_t{1}, std::int64_t{13}, std::int64_t{16},
                                std::int64_t{100}, std::int64_t{192}, std::int64_t{1152});
  const auto samples = GENERATE(std::int64_t{1}, std::int64_t{2});
  const std::int64_t rows = samples * 19;
  on_every_device([&](const Target& target, Device& device) {
    const Values in = random_values({rows, columns}, 4);
    const Values shift = random_values({samples, columns}, 5);
    const Values scale = random_values({samples, columns}, 6);
    const Window from(device, in);
    const Window shifts(device, shift);
    const Window scales(device, scale);
    const Window to = Window::like(device, MatrixSize{rows, columns});
    const Modulation modulation{shifts.view(), scales.view(), 1e-6F};
    device.modulated_norm(from.view(), modulation, to.activations());
    CHECK(furthest(to.values(), reference::modulated_norm(in, shift, scale, 1e-6)) <
          target.tolerance(2e-5));

    const Values branch = held(target, random_values({rows, columns}, 7));
    const Values gate = random_values({samples, columns}, 8);
    const Window branches = Window::like(device, branch);
    const Window gates(device, gate);
    device.residual_norm({from.view(), branches.activations(), gates.view()}, modulation,
                         to.activations());
    CHECK(largest_difference(from.values(), reference::add_gated(in, branch, gate)) < 1e-6);
    // From the device's own stream: with one column the norm divides by almost nothing.
    const Values normed = reference::modulated_norm(from.values(), shift, scale, 1e-6);
    CHECK(furthest(to.values(), normed) < target.tolerance(2e-5));
  });
}

TEST_CASE("Devices attend like the plain loop") {
  struct Size {
    std::int64_t samples, heads, width, queries, keys;
  };
  const auto size = GENERATE(
      Size{2, 3, 64, 64, 64}, Size{1, 1, 1, 1, 1}, Size{3, 2, 5, 7, 7}, Size{1, 2, 72, 130, 130},
      Size{2, 1, 16, 3, 21}, Size{1, 1, 128, 33, 65}, Size{2, 1, 300, 17, 40},
      Size{1, 1, 512, 64, 64}, Size{1, 3, 81, 2, 63}, Size{1, 1, 40, 1, 1100});
  const std::int64_t columns = size.heads * size.width;
  on_every_device([&](const Target& target, Device& device) {
    const auto drawn = [&](std::int64_t rows, std::uint64_t stream) {
      return held(target, random_values({size.samples * rows, columns}, stream));
    };
    const Values queries = drawn(size.queries, 9);
    const Values keys = drawn(size.keys, 10);
    const Values values = drawn(size.keys, 11);
    const Window q = Window::like(device, queries);
    const Window k = Window::like(device, keys);
    const Window v = Window::like(device, values);
    const Window to = Window::like(device, MatrixSize{queries.rows, columns});
    device.attention({q.activations(), k.activations(), v.activations(), size.samples, size.heads},
                     to.activations());
    const Values expected = reference::attention(queries, keys, values, {size.samples, size.heads});
    CHECK(largest_difference(to.values(), expected) < target.tolerance(2e-6));
  });
}

TEST_CASE("Devices attend like the plain loop where queries, keys and values share their rows") {
  struct Size {
    std::int64_t samples, heads, width, tokens;
  };
  const auto size = GENERATE(Size{2, 3, 64, 64}, Size{2, 2, 72, 70}, Size{1, 1, 128, 33});
  const std::int64_t columns = size.heads * size.width;
  on_every_device([&](const Target& target, Device& device) {
    std::vector<Values> parts;
    const Buffer packed = *device.allocate_activations({size.samples * size.tokens, 3 * columns});
    const auto place = [&](std::int64_t i) {
      return packed.activations().column_block(i * columns, columns);
    };
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto stream = static_cast<std::uint64_t>(9 + i);
      parts.push_back(held(target, random_values({size.samples * size.tokens, columns}, stream)));
      device.upload(parts.back().all, place(i));
    }
    const Buffer out = *device.allocate_activations({parts[0].rows, columns});
    device.attention({place(0), place(1), place(2), size.samples, size.heads}, out.activations());
    Values got({parts[0].rows, columns});
    device.download(out.activations(), got.all);
    const Values expected =
        reference::attention(parts[0], parts[1], parts[2], {size.samples, size.heads});
    CHECK(largest_difference(got, expected) < target.tolerance(2e-6));
  });
}

TEST_CASE("A key that is not a number spoils its own sample and head, and no other") {
  on_every_device([&](const Target& target, Device& device) {
    const Values queries = held(target, random_values({2 * 20, 2 * 24}, 12));
    Values keys = held(target, random_values({2 * 70, 2 * 24}, 13));
    keys.at(139, 30) = std::numeric_limits<float>::quiet_NaN();
    const Window q = Window::like(device, queries);
    const Window k = Window::like(device, keys);
    const Window v = Window::like(device, held(target, random_values({2 * 70, 2 * 24}, 14)));
    const Window to = Window::like(device, MatrixSize{queries.rows, queries.columns});
    device.attention({q.activations(), k.activations(), v.activations(), 2, 2}, to.activations());
    const Values got = to.values();
    for (std::int64_t r = 0; r < got.rows; ++r)
      for (std::int64_t c = 0; c < got.columns; ++c)
        REQUIRE(std::isnan(got.at(r, c)) == (r >= 20 && c >= 24));
  });
}

TEST_CASE(
    "Attention stays finite when one score towers over the others, and keeps NaN in its row") {
  on_every_device([&](const Target& target, Device& device) {
    Values queries = random_values({40, 16}, 12);
    for (float& value : queries.all) value *= 500;
    queries = held(target, queries);
    const Values keys = held(target, random_values({40, 16}, 13));
    const auto attended = [&] {
      const Window q = Window::like(device, queries);
      const Window k = Window::like(device, keys);
      const Window to = Window::like(device, MatrixSize{40, 16});
      device.attention({q.activations(), k.activations(), k.activations(), 1, 1}, to.activations());
      return to.values();
    };
    const Values expected = reference::attention(queries, keys, keys, {1, 1});
    CHECK(largest_difference(attended(), expected) < target.tolerance(1e-4));
    queries.at(33, 5) = std::numeric_limits<float>::quiet_NaN();
    const Values got = attended();
    for (std::int64_t c = 0; c < 16; ++c) {
      CHECK(std::isnan(got.at(33, c)));
      CHECK(std::isfinite(got.at(32, c)));
      CHECK(std::isfinite(got.at(34, c)));
    }
  });
}

TEST_CASE("Devices cut pictures into patches and join them like the plain loop") {
  const auto grid = GENERATE(PatchGrid{3, 32, 4}, PatchGrid{1, 5, 1}, PatchGrid{2, 6, 3});
  on_every_device([&](const Target&, Device& device) {
    const Values picture = random_values({1, grid.values()}, 14);
    const Window from(device, picture);
    const Window tokens(device, {grid.tokens(), grid.values_per_patch()});
    device.patchify(from.view(), grid, 0, tokens.view());
    CHECK(tokens.values().all == reference::patchify(picture, grid).all);
    device.patchify(from.view(), grid, 1, tokens.view().row_block(0, grid.tokens() - 1));
    CHECK(tokens.values().at(0, 0) == reference::patchify(picture, grid).at(1, 0));

    const Values back = random_values({2 * grid.tokens(), grid.values_per_patch()}, 15);
    const Window two(device, back);
    const Window to(device, {2, grid.values()});
    device.unpatchify(two.view(), grid, to.view());
    CHECK(to.values().all == reference::unpatchify(back, grid).all);
  });
}

TEST_CASE("Devices add rows to a stream, again and again") {
  const auto columns = GENERATE(std::int64_t{3}, std::int64_t{16}, std::int64_t{50});
  on_every_device([&](const Target&, Device& device) {
    const Values tokens = random_values({3 * 11, columns}, 16);
    const Values positions = random_values({11, columns}, 17);
    const Window to(device, tokens);
    const Window from(device, positions);
    device.add(to.view(), from.view());
    Values expected = tokens;
    for (std::int64_t r = 0; r < expected.rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) expected.at(r, c) += positions.at(r % 11, c);
    }
    CHECK(to.values().all == expected.all);
  });
}

TEST_CASE("Devices make the time embedding's cosines and sines") {
  on_every_device([&](const Target&, Device& device) {
    const std::vector<float> times = {0.0F, 1000.0F, 333.25F};
    const Window to(device, {3, 256});
    const std::int64_t shift = GENERATE(0, 1);
    device.time_features({.times = times, .shift = shift}, to.view());
    CHECK(largest_difference(to.values(), reference::time_features(times, 256, shift)) < 1e-6);
    CHECK(to.values().at(0, 0) == 1.0F);
    CHECK(to.values().at(0, 128) == 0.0F);
  });
}

TEST_CASE("Devices take the mean of the prompt's embeddings") {
  on_every_device([&](const Target&, Device& device) {
    const Values table = random_values({9, 20}, 18);
    const Window from(device, table);
    const Window to(device, {1, 20});
    device.embedding_mean(from.view(), std::vector<std::int32_t>{8, 0, 8}, to.view());
    Values expected({1, 20});
    for (std::int64_t c = 0; c < 20; ++c) {
      expected.at(0, c) = (2 * table.at(8, c) + table.at(0, c)) / 3;
    }
    CHECK(largest_difference(to.values(), expected) < 1e-6);
  });
}

TEST_CASE("Devices join every time with every prompt") {
  on_every_device([&](const Target&, Device& device) {
    const Values times = random_values({3, 10}, 19);
    const Values prompts = random_values({2, 10}, 20);
    const Window t(device, times);
    const Window p(device, prompts);
    const Window to(device, {6, 10});
    device.join({t.view(), p.view()}, to.view());
    Values expected({6, 10});
    for (std::int64_t r = 0; r < 6; ++r) {
      for (std::int64_t c = 0; c < 10; ++c) {
        expected.at(r, c) = static_cast<float>(reference::activated(
            double{times.at(r / 2, c)} + prompts.at(r % 2, c), Activation::silu));
      }
    }
    CHECK(largest_difference(to.values(), expected) < 1e-6);
  });
}

TEST_CASE("Devices guide and step by their formulas") {
  on_every_device([&](const Target&, Device& device) {
    const Values with = random_values({1, 30}, 21);
    const Values without = random_values({1, 30}, 22);
    const Values picture = random_values({1, 30}, 23);
    const Window c(device, with);
    const Window u(device, without);
    const Window x(device, picture);
    const Window v(device, {1, 30});
    device.guide({c.view(), u.view(), 3.0F}, v.view());
    device.advance(x.view(), v.view(), {.clean_m = -0.25F});
    Values velocity({1, 30});
    Values stepped({1, 30});
    for (std::int64_t i = 0; i < 30; ++i) {
      velocity.at(0, i) = without.at(0, i) + 3 * (with.at(0, i) - without.at(0, i));
      stepped.at(0, i) = picture.at(0, i) - velocity.at(0, i) / 4;
    }
    CHECK(largest_difference(v.values(), velocity) < 1e-6);
    CHECK(largest_difference(x.values(), stepped) < 1e-6);

    const StepTerms step{.clean_x = 2,
                         .clean_m = -1.5F,
                         .limit = 0.75F,
                         .keep = 0.5F,
                         .noise_x = 0.25F,
                         .noise_m = -1};
    Values other = picture;
    other.at(0, 4) = std::numeric_limits<float>::quiet_NaN();
    const Window y(device, other);
    device.advance(y.view(), c.view(), step);
    CHECK(std::isnan(y.values().at(0, 4)));
    for (std::int64_t i = 0; i < 30; ++i) {
      if (i == 4) continue;
      const float clean = std::clamp(2 * other.at(0, i) - 1.5F * with.at(0, i), -0.75F, 0.75F);
      CHECK(y.values().at(0, i) ==
            Approx(0.5F * clean + 0.25F * other.at(0, i) - with.at(0, i)).margin(1e-6));
    }
  });
}

TEST_CASE("Devices gather the neighbourhoods of a map's pixels, also of an enlarged one") {
  struct Case {
    std::int64_t side, enlarge, channels;
  };
  const auto of = GENERATE(Case{5, 1, 3}, Case{6, 2, 16}, Case{1, 1, 1}, Case{12, 3, 33});
  on_every_device([&](const Target& target, Device& device) {
    const std::int64_t inner = of.side / of.enlarge;
    const Values map = held(target, random_values({inner * inner, of.channels}, 27));
    const Values expected = reference::neighbours(map, of.side, of.enlarge);
    const Window from = Window::like(device, map);
    const Window plain(device, map);
    const Window to = Window::like(device, MatrixSize{of.side * of.side, 9 * of.channels});
    const MapGrid grid{of.side, of.enlarge};
    device.neighbours(from.activations(), grid, 0, to.activations());
    CHECK(to.values().all == expected.all);
    device.neighbours(plain.view(), grid, 0, to.activations());
    CHECK(to.values().all == expected.all);
    const std::int64_t first = of.side * of.side / 2;
    const Window some = Window::like(device, MatrixSize{1, 9 * of.channels});
    device.neighbours(from.activations(), grid, first, some.activations());
    for (std::int64_t c = 0; c < 9 * of.channels; ++c)
      REQUIRE(some.values().at(0, c) == expected.at(first, c));
  });
}

TEST_CASE("Devices norm the groups of a map's channels like the plain loop") {
  struct Case {
    std::int64_t pixels, channels, groups;
  };
  const auto of = GENERATE(Case{16, 32, 32}, Case{1, 6, 2}, Case{300, 24, 4}, Case{1024, 40, 8},
                           Case{600, 300, 1});
  const auto activation = GENERATE(Activation::none, Activation::silu);
  on_every_device([&](const Target& target, Device& device) {
    Values map = random_values({of.pixels, of.channels}, 28);
    for (float& value : map.all) value += 3;  // far from zero against its deviation
    const Values weight = random_values({1, of.channels}, 29);
    const Values bias = random_values({1, of.channels}, 30);
    const Window from(device, map);
    const Window weights(device, weight);
    const Window biases(device, bias);
    const Window to = Window::like(device, map);
    device.group_norm(from.view(),
                      {.weight = weights.view(),
                       .bias = biases.view(),
                       .groups = of.groups,
                       .epsilon = 1e-3F,
                       .activation = activation},
                      to.activations());
    const Values expected = reference::group_norm(map, weight, bias, {of.groups, 1e-3, activation});
    CHECK(furthest(to.values(), expected) < target.tolerance(5e-5));
  });
}

TEST_CASE("Noise is everywhere the function of seed and index") {
  on_every_device([&](const Target&, Device& device) {
    const Window to(device, {5, 33});
    device.noise({Seed{7}, 1000}, to.view());
    const Values got = to.values();
    for (std::size_t i = 0; i < got.all.size(); ++i) {
      REQUIRE(got.all[i] == Approx(noise_at(Seed{7}, 1000 + i)).epsilon(2e-7));
    }
  });
}

TEST_CASE("The CPU device gives the same bits on one thread and on three") {
  const Values in = random_values({128, 192}, 24);
  const Values weight = random_values({576, 192}, 25);
  std::vector<Values> results;
  for (const std::int32_t threads : {1, 3}) {
    const auto device = make_cpu_device(threads);
    const auto layer =
        *device->make_linear({.outputs = 576, .inputs = 192, .weight = weight.all, .bias = {}});
    const Window from(*device, in);
    const Window qkv(*device, {128, 576});
    const Window to(*device, {128, 192});
    device->linear(*layer, from.view(), qkv.view(), Activation::gelu_tanh);
    device->attention({qkv.view().column_block(0, 192), qkv.view().column_block(192, 192),
                       qkv.view().column_block(384, 192), 2, 3},
                      to.view());
    results.push_back(to.values());
  }
  CHECK(results[0].all == results[1].all);
}

TEST_CASE("Devices start with zeros and give back what was uploaded") {
  on_every_device([&](const Target&, Device& device) {
    const Buffer buffer = *device.allocate({3, 4});
    std::vector<float> values(12, 1.0F);
    device.download(buffer.all(), values);
    CHECK(values == std::vector<float>(12, 0.0F));
    const Values given = random_values({3, 4}, 26);
    device.upload(given.all, buffer.all());
    device.download(buffer.all(), values);
    CHECK(values == given.all);
  });
}

TEST_CASE("A network gives the same picture on every device, the second time from recordings") {
  std::vector<float> expected;
  on_every_device([&](const Target& target, Device& device) {
    Weights weights = small_weights();
    const auto network = *Dit::load(device, small_shape(), {}, weights);
    const auto sampler = *Sampler::make(device, *network);
    const SampleRequest request{.prompt = prompt_of({1, 2}),
                                .without = prompt_of({0}),
                                .steps = 20,
                                .guidance = 3,
                                .seed = Seed{5}};
    for (int run = 0; run < 3; ++run) {
      std::int32_t last = 0;
      const auto picture = sampler->run(request, [&](StepProgress progress) {
        CHECK(progress.finished == ++last);
        return StepVerdict::go_on;
      });
      REQUIRE(picture);
      CHECK(last == 20);
      if (expected.empty()) expected = **picture;
      for (std::size_t i = 0; i < expected.size(); ++i)
        REQUIRE((**picture)[i] == Approx(expected[i]).margin(target.is_bf16 ? 5e-2 : 1e-4));
    }
  });
}
