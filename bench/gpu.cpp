// Times a guided step of a network of DiT-XL/2's shape on CUDA devices: on one, or drawn by several
// ranks together, a device each, over NCCL. Prints one JSON object; bench/gpu.sh makes the table.
//
//     bench_gpu [--ranks R] [--precision f32|bf16] [--steps N] [--repeat R]

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/dit_xl2.h"
#include "gpu/comm.h"
#include "gpu/cuda/device_cuda.h"
#include "gpu/sampler.h"

namespace {

using namespace gpupool;

struct Options {
  std::int32_t ranks = 1;
  Dtype precision = Dtype::bf16;
  std::int32_t steps = 50;
  std::int32_t repeat = 5;
};

bool read_number(std::string_view text, std::int32_t& number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc{} && end == text.data() + text.size() && number >= 1 && number <= 1000;
}

std::optional<Options> parse(const std::vector<std::string_view>& words) {
  Options options;
  if (words.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const std::string_view key = words[i];
    const std::string_view value = words[i + 1];
    if (key == "--precision" && (value == "f32" || value == "bf16")) {
      options.precision = value == "f32" ? Dtype::f32 : Dtype::bf16;
    } else if (!(key == "--ranks" && read_number(value, options.ranks)) &&
               !(key == "--steps" && read_number(value, options.steps)) &&
               !(key == "--repeat" && read_number(value, options.repeat))) {
      return std::nullopt;
    }
  }
  return options;
}

// Of one rank: seconds per guided step of each picture but the first two, in which libraries load
// and steps are recorded; and the picture.
struct Drawn {
  std::vector<double> step_s;
  std::vector<float> picture;
};

Result<Drawn> draw(const Options& options, std::int32_t rank, Rendezvous& rendezvous) {
  auto device = make_cuda_device({.index = rank, .precision = options.precision});
  if (!device) return device.error();
  Weights weights = bench::random_weights(bench::dit_xl2);
  const auto network = Dit::load(**device, bench::dit_xl2, {}, weights);
  if (!network) return network.error();
  const auto sampler = Sampler::make(**device, **network);
  if (!sampler) return sampler.error();
  std::unique_ptr<Comm> comm;
  if (options.ranks > 1) {
    auto met =
        (*device)->meet({.rank = rank, .size = options.ranks, .timeout = seconds(60)}, rendezvous);
    if (!met) return met.error();
    comm = *std::move(met);
    if (const Status used = (*network)->use(comm.get()); !used) return used.error();
  }
  const SampleRequest request{.prompt = {.tokens = {7}, .unknown_words = {}},
                              .without = {.tokens = {0}, .unknown_words = {}},
                              .steps = options.steps,
                              .guidance = 3,
                              .seed = Seed{5}};
  Drawn drawn;
  for (std::int32_t i = 0; i < options.repeat + 2; ++i) {
    if (comm != nullptr) comm->barrier();
    const auto begin = std::chrono::steady_clock::now();
    auto picture = (*sampler)->run(request, {});
    if (!picture) return picture.error();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (i >= 2) drawn.step_s.push_back(taken.count() / options.steps);
    drawn.picture = **std::move(picture);
  }
  if (comm != nullptr) comm->barrier();
  std::sort(drawn.step_s.begin(), drawn.step_s.end());
  return drawn;
}

int failed(const Error& error) {
  std::cerr << "bench_gpu: " << name_of(error.code) << ": " << error.detail << "\n";
  return 1;
}

int run(const Options& options) {
  const auto count = cuda_device_count();
  if (!count) return failed(count.error());
  if (*count < options.ranks)
    return failed({.code = Errc::device_failed,
                   .detail = std::to_string(options.ranks) + " CUDA GPUs are needed, there are " +
                             std::to_string(*count)});
  const auto rendezvous = make_shared_rendezvous();
  std::vector<std::optional<Result<Drawn>>> results(static_cast<std::size_t>(options.ranks));
  std::vector<std::thread> ranks;
  for (std::int32_t rank = 0; rank < options.ranks; ++rank)
    ranks.emplace_back(
        [&, rank] { results[static_cast<std::size_t>(rank)] = draw(options, rank, *rendezvous); });
  for (std::thread& rank : ranks) rank.join();
  for (const auto& result : results)
    if (!*result) return failed(result->error());
  const Drawn& first = **results.front();
  const bool all_alike = std::all_of(results.begin(), results.end(), [&](const auto& result) {
    return (*result)->picture == first.picture;
  });
  const nlohmann::json object = {{"ranks", options.ranks},
                                 {"precision", options.precision == Dtype::f32 ? "f32" : "bf16"},
                                 {"step_ms", first.step_s[first.step_s.size() / 2] * 1000},
                                 {"fastest_ms", first.step_s.front() * 1000},
                                 {"slowest_ms", first.step_s.back() * 1000},
                                 {"all_ranks_alike", all_alike},
                                 {"steps", options.steps},
                                 {"repeat", options.repeat}};
  std::cout << object.dump() << "\n";
  return all_alike ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  const std::optional<Options> options = parse({words + 1, words + count});
  if (options) return run(*options);
  std::cerr << "usage: bench_gpu [--ranks R] [--precision f32|bf16] [--steps N] [--repeat R]\n";
  return 2;
}
