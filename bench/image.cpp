// Times the engine: one guided picture, from prompt to pixels, again and again. Prints the median,
// the fastest and the slowest; --json prints one object. The PNG encoding is timed on its own.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gpu/model.h"

namespace {

using gpupool::Generated;
using gpupool::GenerateRequest;
using gpupool::Model;
using gpupool::Result;

struct Options {
  std::string model = "models/emoji";
  std::string prompt = "red heart";
  std::int32_t threads = 1;
  std::int32_t repeat = 10;
  std::int32_t steps = 30;
  bool json = false;
};

constexpr std::string_view usage =
    "usage: bench_image [--model DIR] [--threads N] [--repeat R] [--steps N] [--prompt TEXT] "
    "[--json]\n";

bool read_number(std::string_view text, std::int32_t& number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc{} && end == text.data() + text.size() && number >= 1 && number <= 1000;
}

std::optional<Options> parse(const std::vector<std::string_view>& words) {
  Options options;
  for (std::size_t i = 0; i < words.size(); ++i) {
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

Result<Times> measure(const Options& options) {
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
  std::cout << options.steps << " guided steps on " << options.threads << " thread(s): median "
            << median_s << " s, fastest " << times.picture_s.front() << " s, slowest "
            << times.picture_s.back() << " s of " << options.repeat << "\nload " << times.load_s
            << " s, PNG " << times.png_s << " s\n";
}

}  // namespace

int main(int count, char** words) {
  const std::optional<Options> options = parse({words + 1, words + count});
  if (!options) {
    std::cerr << usage;
    return 2;
  }
  const Result<Times> times = measure(*options);
  if (!times) {
    std::cerr << gpupool::name_of(times.error().code) << ": " << times.error().detail << "\n";
    return 1;
  }
  print(*options, *times);
  return 0;
}
