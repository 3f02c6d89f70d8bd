// Times the engine: one guided picture, from prompt to pixels, again and again. Prints the median,
// the fastest and the slowest; --json prints one object. What is timed:
//     picture    the model's, on so many threads; the PNG encoding is timed on its own
//     ranks      the same, drawn by as many ranks of one thread each, over gloo's loopback
//     dit-xl2    a guided step of a network of DiT-XL/2's shape with random weights
//     products   the products of both networks beside oneDNN's own threading

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/dit_xl2.h"
#include "bench/image_products.h"
#include "gpu/cpu/device_cpu.h"
#include "gpu/model.h"

namespace {

using namespace gpupool;

struct Options {
  std::string what = "picture";
  std::string model = "models/emoji";
  std::string prompt = "red heart";
  std::int32_t threads = 1;
  std::int32_t repeat = 10;
  std::int32_t steps = 30;
  bool json = false;
};

constexpr std::string_view usage =
    "usage: bench_image [picture|ranks|dit-xl2|products] [--model DIR] [--threads N] [--repeat R] "
    "[--steps N] [--prompt TEXT] [--json]\n";

bool read_number(std::string_view text, std::int32_t& number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc{} && end == text.data() + text.size() && number >= 1 && number <= 1000;
}

std::optional<Options> parse(const std::vector<std::string_view>& words) {
  Options options;
  std::size_t first = 0;
  if (!words.empty() && !words.front().starts_with("--")) options.what = words[first++];
  for (std::size_t i = first; i < words.size(); ++i) {
    if (words[i] == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 == words.size()) return std::nullopt;
    const std::string_view key = words[i];
    const std::string_view value = words[++i];
    if (key == "--model") {
      options.model = value;
    } else if (key == "--prompt") {
      options.prompt = value;
    } else if (!(key == "--threads" && read_number(value, options.threads)) &&
               !(key == "--repeat" && read_number(value, options.repeat)) &&
               !(key == "--steps" && read_number(value, options.steps))) {
      return std::nullopt;
    }
  }
  return options;
}

template <class Work>
double seconds_of(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Times {
  double load_s = 0;
  std::vector<double> picture_s;  // sorted
  double png_s = 0;
};

Result<Times> measure_picture(const Options& options) {
  Times times;
  std::optional<Result<std::unique_ptr<Model>>> loaded;
  times.load_s = seconds_of([&] { loaded = Model::load(options.model, options.threads); });
  if (!*loaded) return loaded->error();
  Model& model = ***loaded;
  const GenerateRequest request{.prompt = options.prompt, .steps = options.steps};
  // Once beforehand: the first picture makes the products' primitives.
  Result<std::optional<Generated>> last = model.generate(request, {});
  for (std::int32_t i = 0; i < options.repeat && last; ++i) {
    times.picture_s.push_back(seconds_of([&] { last = model.generate(request, {}); }));
  }
  if (!last) return last.error();
  std::sort(times.picture_s.begin(), times.picture_s.end());
  std::optional<Result<std::string>> png;
  times.png_s = seconds_of([&] { png = gpupool::encode_png((*last)->picture); });
  if (!*png) return png->error();
  return times;
}

// As many ranks as options say threads, in this process, each with a model of its own.
Result<Times> measure_ranks(const Options& options) {
  const std::int32_t size = options.threads;
  const auto rendezvous = make_shared_rendezvous();
  const GenerateRequest request{.prompt = options.prompt, .steps = options.steps};
  std::vector<std::optional<Result<Times>>> results(static_cast<std::size_t>(size));
  std::vector<std::thread> ranks;
  const auto draw = [&](std::int32_t rank) -> Result<Times> {
    auto model = Model::load(options.model, 1);
    if (!model) return model.error();
    auto comm = make_gloo_comm({.rank = rank, .size = size, .timeout = seconds(60)}, *rendezvous);
    if (!comm) return comm.error();
    Times times;
    for (std::int32_t i = 0; i <= options.repeat; ++i) {
      (*comm)->barrier();
      std::optional<Result<std::optional<Generated>>> drawn;
      const double taken_s =
          seconds_of([&] { drawn = (*model)->generate(request, {}, comm->get()); });
      if (!*drawn) return drawn->error();
      if (i > 0) times.picture_s.push_back(taken_s);
    }
    (*comm)->barrier();
    std::sort(times.picture_s.begin(), times.picture_s.end());
    return times;
  };
  for (std::int32_t rank = 0; rank < size; ++rank)
    ranks.emplace_back([&, rank] { results[static_cast<std::size_t>(rank)] = draw(rank); });
  for (std::thread& rank : ranks) rank.join();
  for (const auto& result : results)
    if (!*result) return result->error();
  return *std::move(results.front());
}

// ---- DiT-XL/2 ----------------------------------------------------------------------------------

// Per guided step: a picture's time by its steps.
Result<Times> measure_dit_xl2(const Options& options) {
  Times times;
  const auto device = make_cpu_device(options.threads);
  std::optional<Result<std::unique_ptr<Dit>>> network;
  times.load_s = seconds_of([&] {
    Weights weights = bench::random_weights(bench::dit_xl2);
    network = Dit::load(*device, bench::dit_xl2, {}, weights);
  });
  if (!*network) return network->error();
  const auto sampler = Sampler::make(*device, ***network);
  if (!sampler) return sampler.error();
  SampleRequest request{.prompt = {.tokens = {7}, .unknown_words = {}},
                        .without = {.tokens = {0}, .unknown_words = {}},
                        .steps = options.steps,
                        .guidance = 3,
                        .seed = Seed{5}};
  for (std::int32_t i = 0; i <= options.repeat; ++i) {
    std::optional<Result<std::optional<std::vector<float>>>> drawn;
    const double taken_s = seconds_of([&] { drawn = (*sampler)->run(request, {}); });
    if (!*drawn) return drawn->error();
    if (i > 0) times.picture_s.push_back(taken_s / options.steps);
  }
  std::sort(times.picture_s.begin(), times.picture_s.end());
  return times;
}

// ---- What is printed ---------------------------------------------------------------------------

int print_products(const Options& options) {
  nlohmann::json object;
  for (const bench::Network network : {bench::Network::emoji, bench::Network::dit_xl2}) {
    const auto speed = bench::measure_products(network, options.threads, options.repeat);
    if (!speed) {
      std::cerr << name_of(speed.error().code) << ": " << speed.error().detail << "\n";
      return 1;
    }
    object[network == bench::Network::emoji ? "emoji" : "dit_xl2"] = {
        {"ours_gflops", speed->ours_gflops}, {"onednn_gflops", speed->onednn_gflops}};
  }
  std::cout << object.dump(options.json ? -1 : 1) << "\n";
  return 0;
}

void print(const Options& options, const Times& times) {
  const double median_s = times.picture_s[times.picture_s.size() / 2];
  if (options.json) {
    const nlohmann::json object = {{"ours_s", median_s},
                                   {"fastest_s", times.picture_s.front()},
                                   {"slowest_s", times.picture_s.back()},
                                   {"load_s", times.load_s},
                                   {"png_s", times.png_s},
                                   {"threads", options.threads},
                                   {"steps", options.steps},
                                   {"repeat", options.repeat}};
    std::cout << object.dump() << "\n";
    return;
  }
  std::cout << options.what << ", " << options.steps << " guided steps on " << options.threads
            << " thread(s): median " << median_s << " s, fastest " << times.picture_s.front()
            << " s, slowest " << times.picture_s.back() << " s of " << options.repeat << "\nload "
            << times.load_s << " s, PNG " << times.png_s << " s\n";
}

}  // namespace

int main(int count, char** words) {
  const std::optional<Options> options = parse({words + 1, words + count});
  if (!options) {
    std::cerr << usage;
    return 2;
  }
  if (options->what == "products") return print_products(*options);
  const std::map<std::string, Result<Times> (*)(const Options&)> measures = {
      {"picture", measure_picture}, {"ranks", measure_ranks}, {"dit-xl2", measure_dit_xl2}};
  const auto measure = measures.find(options->what);
  if (measure == measures.end()) {
    std::cerr << usage;
    return 2;
  }
  const Result<Times> times = measure->second(*options);
  if (!times) {
    std::cerr << name_of(times.error().code) << ": " << times.error().detail << "\n";
    return 1;
  }
  print(*options, *times);
  return 0;
}
