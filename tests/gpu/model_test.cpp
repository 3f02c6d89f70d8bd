// The shipped model: parity with the PyTorch network that trained it, and the engine's door.

#include "gpu/model.h"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gpu/cpu/device_cpu.h"
#include "gpu/weights.h"

using namespace gpupool;

namespace {

namespace fs = std::filesystem;

// GPUPOOL_PARITY_DIR tries another model folder with a golden.safetensors of its own.
fs::path model_folder() {
  if (const char* other = std::getenv("GPUPOOL_PARITY_DIR")) return other;
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  return fs::path(source != nullptr ? source : ".") / "models" / "emoji";
}

// What PyTorch computed in f32 from the same weights: four prompts' velocities, and one picture.
struct Golden {
  std::vector<float> pictures;    // [4, 3, 32, 32]
  std::vector<float> times;       // [4]
  std::vector<float> velocities;  // [4, 3, 32, 32]
  std::vector<float> noise;       // [3, 32, 32]
  std::vector<float> drawn;       // from it in 30 steps, guidance 3, the first prompt
  std::vector<std::vector<std::int32_t>> tokens;
  std::vector<std::string> prompts;
};

Golden read_golden() {
  Result<Weights> file = Weights::read(model_folder() / "golden.safetensors");
  REQUIRE(file);
  Golden golden{.pictures = *file->take("x", {4, 3, 32, 32}),
                .times = *file->take("t", {4}),
                .velocities = *file->take("v", {4, 3, 32, 32}),
                .noise = *file->take("sample_noise", {1, 3, 32, 32}),
                .drawn = *file->take("sample_image", {1, 3, 32, 32}),
                .tokens = nlohmann::json::parse(file->metadata().at("tokens"))};
  const std::string prompts = file->metadata().at("prompts");
  for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
    end = prompts.find('|', at);
    golden.prompts.push_back(prompts.substr(at, end - at));
  }
  REQUIRE(golden.prompts.size() == 4);
  REQUIRE(golden.tokens.size() == 4);
  return golden;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? 1e30 : difference;
  }
  return largest;
}

std::unique_ptr<Model> shipped_model(std::int32_t threads) {
  Result<std::unique_ptr<Model>> model = Model::load(model_folder(), threads);
  if (!model) FAIL(model.error().detail);
  return *std::move(model);
}

// A copy of the model folder's small files, to break one of them.
class BrokenFolder {
 public:
  explicit BrokenFolder(const std::string& name)
      : path_(fs::temp_directory_path() / (name + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::create_directory(path_);
    for (const char* file : {"config.json", "vocab.json"}) {
      fs::copy_file(model_folder() / file, path_ / file);
    }
  }
  ~BrokenFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void write(const std::string& file, const std::string& text) const {
    std::ofstream(path_ / file) << text;
  }
  nlohmann::json config() const {
    return nlohmann::json::parse(std::ifstream(path_ / "config.json"));
  }
  Error refusal() const {
    const auto model = Model::load(path_, 1);
    REQUIRE_FALSE(model);
    return model.error();
  }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("The network's velocities equal PyTorch's to 1e-4") {
  const Golden golden = read_golden();
  const auto threads = GENERATE(1, 2);
  const std::unique_ptr<Model> model = shipped_model(threads);
  for (std::size_t i = 0; i < 4; ++i) {
    const Prompt prompt = *model->read_prompt(golden.prompts[i]);
    CHECK(prompt.tokens == golden.tokens[i]);
    Device& device = model->device();
    const Buffer picture = *device.allocate({1, 3072});
    const Buffer velocities = *device.allocate({2, 3072});
    device.upload(std::span(golden.pictures).subspan(i * 3072, 3072), picture.all());
    // Not alone and not first, as in a guided step.
    const std::vector<Prompt> prompts = {model->no_prompt(), prompt};
    const std::vector<float> times = {0.25F, golden.times[i]};
    model->network().condition(times, prompts);
    model->network().velocity(picture.all(), 1, velocities.all());
    REQUIRE(device.finish());
    std::vector<float> got(3072);
    device.download(velocities.all().row_block(1, 1), got);
    const double error =
        largest_difference(got, std::span(golden.velocities).subspan(i * 3072, 3072));
    INFO("prompt " << golden.prompts[i] << ", largest difference " << error);
    CHECK(error < 1e-4);
  }
}

TEST_CASE("A picture of 30 guided steps equals PyTorch's to 1e-4") {
  const Golden golden = read_golden();
  const std::unique_ptr<Model> model = shipped_model(1);
  const SampleRequest request{.prompt = *model->read_prompt(golden.prompts[0]),
                              .without = model->no_prompt(),
                              .steps = 30,
                              .guidance = 3};
  std::vector<float> drawn = **model->sampler().run_from(golden.noise, request, {});
  // The golden picture is cut to what a screen can show.
  std::vector<float> expected = golden.drawn;
  for (float& value : drawn) value = std::clamp(value, -1.0F, 1.0F);
  for (float& value : expected) value = std::clamp(value, -1.0F, 1.0F);
  const double error = largest_difference(drawn, expected);
  INFO("largest difference " << error);
  CHECK(error < 1e-4);
}

TEST_CASE("A picture in bf16 looks like the one in f32, on any number of threads") {
  const GenerateRequest request{.prompt = "red heart", .steps = 10, .seed = 7};
  const auto exact = shipped_model(1)->generate(request, {});
  REQUIRE(exact);
  std::vector<std::vector<std::uint8_t>> pictures;
  for (const std::int32_t threads : {1, 3}) {
    auto device = make_cpu_device(CpuOptions{.threads = threads, .precision = Dtype::bf16});
    if (!device) {
      CHECK(device.error().code == Errc::unsupported);
      return;
    }
    const auto model = Model::load(model_folder(), *std::move(device));
    REQUIRE(model);
    const auto drawn = (*model)->generate(request, {});
    REQUIRE(drawn);
    pictures.push_back((*drawn)->picture.rgb);
  }
  CHECK(pictures[0] == pictures[1]);
  const std::vector<std::uint8_t>& right = (*exact)->picture.rgb;
  REQUIRE(pictures[0].size() == right.size());
  double total = 0;
  for (std::size_t i = 0; i < right.size(); ++i) total += std::abs(pictures[0][i] - right[i]);
  CHECK(total > 0);  // it did compute in bf16
  CHECK(total / static_cast<double>(right.size()) < 1);
}

TEST_CASE("A picture is the same on one thread and on three") {
  const GenerateRequest request{.prompt = "red heart", .steps = 4, .seed = 7, .pixels = 32};
  const auto one = *shipped_model(1)->generate(request, {});
  const auto three = *shipped_model(3)->generate(request, {});
  REQUIRE(one.has_value());
  REQUIRE(three.has_value());
  CHECK(one->picture.rgb == three->picture.rgb);
}

TEST_CASE("A model draws the asked size, names unknown words and repeats itself") {
  const std::unique_ptr<Model> model = shipped_model(1);
  CHECK(model->native_pixels() == 32);
  CHECK(model->parameters() > 6'000'000);
  GenerateRequest request{.prompt = "a red qwertz heart", .steps = 2, .seed = 1, .pixels = 64};
  const auto first = *model->generate(request, {});
  REQUIRE(first.has_value());
  CHECK(first->picture.width == 64);
  CHECK(first->picture.height == 64);
  CHECK(first->picture.rgb.size() == 64 * 64 * 3);
  CHECK(first->unknown_words == std::vector<std::string>{"qwertz"});
  CHECK((*model->generate(request, {}))->picture.rgb == first->picture.rgb);
  request.seed = 2;
  CHECK((*model->generate(request, {}))->picture.rgb != first->picture.rgb);
}

TEST_CASE("A preview comes ever nearer to the picture, and after the last step it is the picture") {
  const auto model = shipped_model(1);
  const std::int32_t native = model->native_pixels();
  std::vector<Picture> previews;
  const auto drawn = model->generate(
      {.prompt = "a red heart", .steps = 12, .seed = 7, .pixels = native}, [&](StepProgress) {
        const auto preview = model->preview();
        REQUIRE(preview);
        CHECK(preview->width == native);
        previews.push_back(*preview);
        return StepVerdict::go_on;
      });
  REQUIRE((drawn && *drawn));
  const Picture& picture = (*drawn)->picture;
  REQUIRE(previews.size() >= 3);
  const auto apart = [&](const Picture& preview) {
    double sum = 0;
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
      const double difference = static_cast<double>(preview.rgb[i]) - picture.rgb[i];
      sum += difference * difference;
    }
    return sum / static_cast<double>(picture.rgb.size());
  };
  CHECK(apart(previews[previews.size() / 2]) < apart(previews.front()));
  CHECK(previews.back().rgb == picture.rgb);
  CHECK(apart(previews.front()) < 60 * 60);  // noise is some 90 apart
}

TEST_CASE("A model stops when it is told to") {
  const std::unique_ptr<Model> model = shipped_model(1);
  int steps = 0;
  const auto stopped = model->generate({.prompt = "cat"}, [&](StepProgress) {
    return ++steps == 3 ? StepVerdict::stop : StepVerdict::go_on;
  });
  REQUIRE(stopped);
  CHECK_FALSE(stopped->has_value());
  CHECK(steps == 3);
}

TEST_CASE("Requests beyond the bounds are refused with their numbers") {
  const std::unique_ptr<Model> model = shipped_model(1);
  const auto refused = [&](const GenerateRequest& request) {
    CHECK_FALSE(model->check(request));
    const auto picture = model->generate(request, {});
    REQUIRE_FALSE(picture);
    CHECK(picture.error().code == Errc::bad_request);
    return picture.error().detail;
  };
  CHECK(model->check({}));
  CHECK(refused({.steps = 0}) == "0 steps, allowed are 1 to 10000");
  CHECK(refused({.steps = steps_max + 1}).starts_with("10001 steps"));
  CHECK(refused({.guidance = -1}).starts_with("guidance -1"));
  CHECK(refused({.guidance = std::nanf("")}).starts_with("guidance nan"));
  CHECK(refused({.pixels = 100}).starts_with("100 pixels, allowed are multiples of 32"));
  CHECK(model->pixels_of({}) == 256);
  CHECK(refused({.pixels = 1 << 20}).starts_with("1048576 pixels"));
  CHECK(
      refused({.prompt = std::string(prompt_bytes_max + 1, 'a')}).starts_with("a prompt of 1025"));
}

TEST_CASE("A model folder without its files is unreadable, and the file is named") {
  CHECK(Model::load("/nonexistent", 1).error().detail.starts_with("/nonexistent/config.json"));
  const BrokenFolder folder("gpupool_model_without_weights");
  CHECK(folder.refusal().code == Errc::file_unreadable);
  CHECK(folder.refusal().detail.ends_with("0 weights files (*.safetensors), expected one"));
  folder.write("one.safetensors", "");
  CHECK(folder.refusal().detail.find("one.safetensors: no room") != std::string::npos);
  folder.write("two.safetensors", "");
  CHECK(folder.refusal().detail.ends_with("2 weights files (*.safetensors), expected one"));
}

TEST_CASE("A config that is broken or of another kind of network is refused by its key") {
  const BrokenFolder folder("gpupool_model_with_broken_config");
  const nlohmann::json good = folder.config();
  const auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = good;
    changed[key] = value;
    folder.write("config.json", changed.dump());
    return folder.refusal();
  };
  CHECK(with("activation", "relu").code == Errc::unsupported);
  CHECK(with("patch_input_order", "py,px,c").detail.find("patch_input_order") != std::string::npos);
  CHECK(with("hidden_size", -192).code == Errc::file_malformed);
  CHECK(with("hidden_size", 0).code == Errc::file_malformed);
  CHECK(with("hidden_size", 1e9).code == Errc::file_malformed);
  CHECK(with("depth", "8").code == Errc::file_malformed);
  CHECK(with("num_heads", 5).detail.find("num_heads") != std::string::npos);
  CHECK(with("patch_size", 5).detail.find("patch_size") != std::string::npos);
  CHECK(with("layer_norm_eps", -1).code == Errc::file_malformed);
  CHECK(with("stopwords", "the").code == Errc::file_malformed);
  CHECK(with("vocab_size", 7).detail.find("vocab.json") != std::string::npos);
  CHECK(with("null_token", 1 << 20).code == Errc::file_malformed);
  folder.write("config.json", "{");
  CHECK(folder.refusal().detail.ends_with("not JSON"));
  folder.write("config.json", "[]");
  CHECK(folder.refusal().code == Errc::file_malformed);
}
