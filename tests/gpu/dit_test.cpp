#include <catch2/catch.hpp>
#include <cmath>

#include "tests/gpu/small_network.h"

using namespace gpupool;

namespace {

using Picture8 = std::vector<float>;  // 3 x 8 x 8

constexpr std::int64_t values = 3 * 8 * 8;

Picture8 noise_picture() {
  Picture8 picture(values);
  for (std::size_t i = 0; i < picture.size(); ++i) picture[i] = noise_at(Seed{99}, i);
  return picture;
}

// The velocity of each prompt at times[step], all times prepared together.
Picture8 velocity(Dit& network, Device& device, std::vector<float> times, std::int64_t step,
                  std::vector<Prompt> prompts) {
  const Buffer picture = *device.allocate({1, values});
  const Buffer out = *device.allocate({static_cast<std::int64_t>(prompts.size()), values});
  device.upload(noise_picture(), picture.all());
  network.condition(times, prompts);
  network.velocity(picture.all(), step, out.all());
  REQUIRE(device.finish());
  Picture8 result(prompts.size() * values);
  device.download(out.all(), result);
  return result;
}

double largest_difference(const Picture8& a, const Picture8& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(double{a[i]} - b[i]));
  }
  return largest;
}

std::string refusal(Weights weights) {
  const auto device = make_cpu_device(1);
  const auto network = Dit::load(*device, small_shape(), {}, weights);
  REQUIRE_FALSE(network);
  CHECK(network.error().code == Errc::file_malformed);
  return network.error().detail;
}

}  // namespace

TEST_CASE("A network with a missing, misshapen or unexpected tensor is refused by name") {
  Weights missing = small_weights();
  REQUIRE(missing.take("blocks.1.mlp.fc2.weight", {32, 64}));
  CHECK(refusal(std::move(missing)) == "no tensor \"blocks.1.mlp.fc2.weight\"");
  Weights misshapen = small_weights();
  REQUIRE(misshapen.take("pos_embed", {1, 16, 32}));
  misshapen.put("pos_embed", {16, 32}, std::vector<float>(512));
  CHECK(refusal(std::move(misshapen)).starts_with("tensor \"pos_embed\" is [16, 32]"));
  Weights unexpected = small_weights();
  unexpected.put("blocks.2.attn.qkv.weight", {1}, {1.0F});
  CHECK(refusal(std::move(unexpected)) ==
        "tensor \"blocks.2.attn.qkv.weight\" has no place in this network");
}

TEST_CASE("A prompt's velocity doesn't depend on its neighbours in the batch") {
  const auto device = make_cpu_device(2);
  Weights weights = small_weights();
  const auto network = *Dit::load(*device, small_shape(), {}, weights);
  const Prompt first = prompt_of({1, 2});
  const Prompt second = prompt_of({0});
  const Picture8 together = velocity(*network, *device, {0.5F}, 0, {first, second});
  Picture8 alone = velocity(*network, *device, {0.5F}, 0, {first});
  const Picture8 other = velocity(*network, *device, {0.5F}, 0, {second});
  CHECK(largest_difference(alone, other) > 1e-3);
  alone.insert(alone.end(), other.begin(), other.end());
  CHECK(largest_difference(together, alone) < 1e-5);
}

TEST_CASE("Times prepared together give the velocities of each time alone") {
  const auto device = make_cpu_device(1);
  Weights weights = small_weights();
  const auto network = *Dit::load(*device, small_shape(), {}, weights);
  const std::vector<float> times = {1.0F, 0.7F, 0.1F};
  const std::vector<Prompt> prompts = {prompt_of({3}), prompt_of({0})};
  for (std::int64_t step = 0; step < 3; ++step) {
    const Picture8 together = velocity(*network, *device, times, step, prompts);
    const float time = times[static_cast<std::size_t>(step)];
    CHECK(largest_difference(together, velocity(*network, *device, {time}, 0, prompts)) < 1e-5);
  }
}

TEST_CASE("A bias that the file has is used") {
  const auto device = make_cpu_device(1);
  Weights plain = small_weights();
  Weights biased = small_weights();
  biased.put("blocks.0.attn.proj.bias", {32}, std::vector<float>(32, 0.5F));
  const auto without = *Dit::load(*device, small_shape(), {}, plain);
  const auto with = *Dit::load(*device, small_shape(), {}, biased);
  const std::vector<Prompt> prompts = {prompt_of({3})};
  CHECK(largest_difference(velocity(*without, *device, {0.5F}, 0, prompts),
                           velocity(*with, *device, {0.5F}, 0, prompts)) > 1e-3);
}
