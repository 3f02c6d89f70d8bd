// Every op of the CPU device against the plain loops of reference.h, at sizes that fill the vector
// registers and at sizes that don't, inside larger matrices, on one thread and on three.

#include "gpu/cpu/device_cpu.h"

#include <catch2/catch.hpp>

#include "tests/gpu/reference.h"

namespace {

using namespace gpupool;
using reference::Values;

// Values in [-1, 1), different for every `stream`.
Values random_values(MatrixSize size, std::uint64_t stream) {
  Values out({size.rows, size.columns});
  for (std::size_t i = 0; i < out.all.size(); ++i) {
    const PhiloxBlock block = philox({{static_cast<std::uint32_t>(i), 0, 0, 0}}, Seed{stream});
    out.all[i] = static_cast<float>(block.word[0]) / 2147483648.0F - 1.0F;
  }
  return out;
}

// A matrix on the device that is a window in a wider one, so that strides matter.
class Window {
 public:
  Window(Device& device, MatrixSize size)
      : device_(device),
        buffer_(*device.allocate({size.rows + 1, size.columns + 5})),
        view_(buffer_.all().row_block(1, size.rows).column_block(2, size.columns)) {}
  Window(Device& device, const Values& values) : Window(device, {values.rows, values.columns}) {
    device.upload(values.all, view_);
  }
  Matrix view() const { return view_; }
  Values values() const {
    Values out({view_.rows, view_.columns});
    device_.download(view_, out.all);
    return out;
  }

 private:
  Device& device_;
  Buffer buffer_;
  Matrix view_;
};

double largest_difference(const Values& a, const Values& b) {
  REQUIRE(a.rows == b.rows);
  REQUIRE(a.columns == b.columns);
  double largest = 0;
  for (std::size_t i = 0; i < a.all.size(); ++i) {
    // A value that is not a number must count as far away.
    const double difference = std::abs(double{a.all[i]} - b.all[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? 1e30 : difference;
  }
  return largest;
}

std::unique_ptr<Device> device_of(std::int32_t threads) { return make_cpu_device(threads); }

}  // namespace

TEST_CASE("The CPU device multiplies like the plain loop") {
  const auto threads = GENERATE(1, 3);
  const auto device = device_of(threads);
  struct Size {
    std::int64_t rows, inputs, outputs;
  };
  const auto size = GENERATE(Size{1, 1, 1}, Size{1, 192, 576}, Size{128, 192, 768},
                             Size{33, 48, 192}, Size{70, 7, 5}, Size{2, 256, 192});
  const auto activation = GENERATE(Activation::none, Activation::gelu_tanh, Activation::silu);
  const auto bias_rows = GENERATE(std::int64_t{0}, std::int64_t{1});
  const Values in = random_values({size.rows, size.inputs}, 1);
  const Values weight = random_values({size.outputs, size.inputs}, 2);
  const Values bias = random_values({bias_rows, size.outputs}, 3);
  const auto layer = *device->make_linear(
      {.outputs = size.outputs, .inputs = size.inputs, .weight = weight.all, .bias = bias.all});
  const Window from(*device, in);
  const Window to(*device, {size.rows, size.outputs});
  device->linear(*layer, from.view(), to.view(), activation);
  REQUIRE(device->finish());
  CHECK(largest_difference(to.values(), reference::linear(in, weight, bias, activation)) < 2e-5);
}

TEST_CASE("The CPU device norms and modulates like the plain loop") {
  const auto device = device_of(GENERATE(1, 3));
  const auto columns = GENERATE(std::int64_t{1}, std::int64_t{13}, std::int64_t{16},
                                std::int64_t{100}, std::int64_t{192});
  const auto samples = GENERATE(std::int64_t{1}, std::int64_t{2});
  const std::int64_t rows = samples * 19;
  const Values in = random_values({rows, columns}, 4);
  const Values shift = random_values({samples, columns}, 5);
  const Values scale = random_values({samples, columns}, 6);
  const Window from(*device, in);
  const Window shifts(*device, shift);
  const Window scales(*device, scale);
  const Window to(*device, {rows, columns});
  const Modulation modulation{shifts.view(), scales.view(), 1e-6F};
  device->modulated_norm(from.view(), modulation, to.view());
  CHECK(largest_difference(to.values(), reference::modulated_norm(in, shift, scale, 1e-6)) < 2e-5);

  SECTION("and adds a gated branch first") {
    const Values branch = random_values({rows, columns}, 7);
    const Values gate = random_values({samples, columns}, 8);
    const Window branches(*device, branch);
    const Window gates(*device, gate);
    device->residual_norm({from.view(), branches.view(), gates.view()}, modulation, to.view());
    const Values stream = reference::add_gated(in, branch, gate);
    CHECK(largest_difference(from.values(), stream) < 1e-6);
    // From the device's own stream: with one column the norm divides by almost nothing.
    const Values normed = reference::modulated_norm(from.values(), shift, scale, 1e-6);
    CHECK(largest_difference(to.values(), normed) < 2e-5);
  }
}

TEST_CASE("The CPU device attends like the plain loop") {
  const auto device = device_of(GENERATE(1, 3));
  struct Size {
    std::int64_t samples, heads, width, queries, keys;
  };
  const auto size = GENERATE(Size{2, 3, 64, 64, 64}, Size{1, 1, 1, 1, 1}, Size{3, 2, 5, 7, 7},
                             Size{1, 2, 72, 130, 130}, Size{2, 1, 16, 3, 21});
  const std::int64_t columns = size.heads * size.width;
  const Values queries = random_values({size.samples * size.queries, columns}, 9);
  const Values keys = random_values({size.samples * size.keys, columns}, 10);
  const Values values = random_values({size.samples * size.keys, columns}, 11);
  const Window q(*device, queries);
  const Window k(*device, keys);
  const Window v(*device, values);
  const Window to(*device, queries);
  device->attention({q.view(), k.view(), v.view(), size.samples, size.heads}, to.view());
  const Values expected = reference::attention(queries, keys, values, {size.samples, size.heads});
  CHECK(largest_difference(to.values(), expected) < 2e-6);
}

TEST_CASE("Attention stays finite when one score towers over the others") {
  const auto device = device_of(1);
  Values queries = random_values({4, 16}, 12);
  for (float& value : queries.all) value *= 500;
  const Values keys = random_values({4, 16}, 13);
  const Window q(*device, queries);
  const Window k(*device, keys);
  const Window to(*device, {4, 16});
  device->attention({q.view(), k.view(), k.view(), 1, 1}, to.view());
  const Values expected = reference::attention(queries, keys, keys, {1, 1});
  CHECK(largest_difference(to.values(), expected) < 1e-4);
}

TEST_CASE("The CPU device cuts pictures into patches and joins them like the plain loop") {
  const auto device = device_of(GENERATE(1, 3));
  const auto grid = GENERATE(PatchGrid{3, 32, 4}, PatchGrid{1, 5, 1}, PatchGrid{2, 6, 3});
  const Values picture = random_values({1, grid.values()}, 14);
  const Window from(*device, picture);
  const Window tokens(*device, {grid.tokens(), grid.values_per_patch()});
  device->patchify(from.view(), grid, tokens.view());
  CHECK(tokens.values().all == reference::patchify(picture, grid).all);

  const Values back = random_values({2 * grid.tokens(), grid.values_per_patch()}, 15);
  const Window two(*device, back);
  const Window to(*device, {2, grid.values()});
  device->unpatchify(two.view(), grid, to.view());
  CHECK(to.values().all == reference::unpatchify(back, grid).all);
}

TEST_CASE("The CPU device adds positions to every sample") {
  const auto device = device_of(GENERATE(1, 3));
  const auto columns = GENERATE(std::int64_t{3}, std::int64_t{16}, std::int64_t{50});
  const Values tokens = random_values({3 * 11, columns}, 16);
  const Values positions = random_values({11, columns}, 17);
  const Window to(*device, tokens);
  const Window from(*device, positions);
  device->add_positions(to.view(), from.view());
  Values expected = tokens;
  for (std::int64_t r = 0; r < expected.rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) expected.at(r, c) += positions.at(r % 11, c);
  }
  CHECK(to.values().all == expected.all);
}

TEST_CASE("The CPU device makes the time embedding's cosines and sines") {
  const auto device = device_of(1);
  const std::vector<float> times = {0.0F, 1000.0F, 333.25F};
  const Window to(*device, {3, 256});
  device->time_features(times, to.view());
  CHECK(largest_difference(to.values(), reference::time_features(times, 256)) < 1e-6);
  CHECK(to.values().at(0, 0) == 1.0F);
  CHECK(to.values().at(0, 128) == 0.0F);
}

TEST_CASE("The CPU device takes the mean of the prompt's embeddings") {
  const auto device = device_of(1);
  const Values table = random_values({9, 20}, 18);
  const Window from(*device, table);
  const Window to(*device, {1, 20});
  device->embedding_mean(from.view(), std::vector<std::int32_t>{8, 0, 8}, to.view());
  Values expected({1, 20});
  for (std::int64_t c = 0; c < 20; ++c) {
    expected.at(0, c) = (2 * table.at(8, c) + table.at(0, c)) / 3;
  }
  CHECK(largest_difference(to.values(), expected) < 1e-6);
}

TEST_CASE("The CPU device joins every time with every prompt") {
  const auto device = device_of(1);
  const Values times = random_values({3, 10}, 19);
  const Values prompts = random_values({2, 10}, 20);
  const Window t(*device, times);
  const Window p(*device, prompts);
  const Window to(*device, {6, 10});
  device->join({t.view(), p.view()}, to.view());
  Values expected({6, 10});
  for (std::int64_t r = 0; r < 6; ++r) {
    for (std::int64_t c = 0; c < 10; ++c) {
      expected.at(r, c) = static_cast<float>(reference::activated(
          double{times.at(r / 2, c)} + prompts.at(r % 2, c), Activation::silu));
    }
  }
  CHECK(largest_difference(to.values(), expected) < 1e-6);
}

TEST_CASE("The CPU device guides and steps by their formulas") {
  const auto device = device_of(1);
  const Values with = random_values({1, 30}, 21);
  const Values without = random_values({1, 30}, 22);
  const Values picture = random_values({1, 30}, 23);
  const Window c(*device, with);
  const Window u(*device, without);
  const Window x(*device, picture);
  const Window v(*device, {1, 30});
  device->guide({c.view(), u.view(), 3.0F}, v.view());
  device->euler_step(x.view(), v.view(), 0.25F);
  Values velocity({1, 30});
  Values stepped({1, 30});
  for (std::int64_t i = 0; i < 30; ++i) {
    velocity.at(0, i) = without.at(0, i) + 3 * (with.at(0, i) - without.at(0, i));
    stepped.at(0, i) = picture.at(0, i) - velocity.at(0, i) / 4;
  }
  CHECK(largest_difference(v.values(), velocity) < 1e-6);
  CHECK(largest_difference(x.values(), stepped) < 1e-6);
}

TEST_CASE("The CPU device's noise is the function of seed and index") {
  const auto device = device_of(GENERATE(1, 3));
  const Window to(*device, {5, 33});
  device->noise({Seed{7}, 1000}, to.view());
  const Values got = to.values();
  for (std::size_t i = 0; i < got.all.size(); ++i) {
    REQUIRE(got.all[i] == noise_at(Seed{7}, 1000 + i));
  }
}

TEST_CASE("The CPU device gives the same bits on one thread and on three") {
  const Values in = random_values({128, 192}, 24);
  const Values weight = random_values({576, 192}, 25);
  std::vector<Values> results;
  for (const std::int32_t threads : {1, 3}) {
    const auto device = device_of(threads);
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

TEST_CASE("The CPU device starts with zeros and gives back what was uploaded") {
  const auto device = device_of(1);
  const Buffer buffer = *device->allocate({3, 4});
  std::vector<float> values(12, 1.0F);
  device->download(buffer.all(), values);
  CHECK(values == std::vector<float>(12, 0.0F));
  const Values given = random_values({3, 4}, 26);
  device->upload(given.all, buffer.all());
  device->download(buffer.all(), values);
  CHECK(values == given.all);
}
