// Pipelines of the diffusers package: its pictures, and files that are not as they should be.
// tests/gpu/golden/diffusers_golden.py made them, and makes others.

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gpu/model.h"
#include "gpu/weights.h"
#include "tests/gpu/values.h"

using namespace gpupool;

namespace {

namespace fs = std::filesystem;

fs::path golden_folder() {
  if (const char* other = std::getenv("GPUPOOL_GOLDEN_DIR")) return other;
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  return fs::path(source != nullptr ? source : ".") / "tests" / "gpu" / "golden";
}

std::unique_ptr<Model> model_in(const fs::path& folder) {
  Result<std::unique_ptr<Model>> model = Model::load(folder, 2);
  if (!model) FAIL(model.error().detail);
  return *std::move(model);
}

// The small files of a pipeline in a folder of their own, and its weights by links.
class Copy {
 public:
  Copy() : path_(fs::temp_directory_path() / ("gpupool_pipeline" + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::copy(golden_folder() / "like_dit_xl2", path_, fs::copy_options::recursive);
  }
  ~Copy() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

  // With one value of one file changed.
  Error with(const std::string& file, const std::string& key, const nlohmann::json& value) const {
    const nlohmann::json good = nlohmann::json::parse(std::ifstream(path_ / file));
    nlohmann::json changed = good;
    changed[key] = value;
    std::ofstream(path_ / file) << changed.dump();
    const auto model = Model::load(path_, 1);
    std::ofstream(path_ / file) << good.dump();
    INFO(file << ": " << key << " = " << value);
    REQUIRE_FALSE(model);
    CHECK(model.error().detail.starts_with((path_ / file).string()));
    CHECK(model.error().detail.find(key) != std::string::npos);
    return model.error();
  }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("A pipeline of the diffusers package gives its picture to 1e-3", "[diffusers]") {
  const std::string name = GENERATE("like_dit_xl2", "otherwise");
  const fs::path folder = golden_folder() / name;
  Result<Weights> golden = Weights::read(folder / "golden.safetensors");
  REQUIRE(golden);
  const std::unique_ptr<Model> model = model_in(folder);
  const std::int64_t side = model->native_pixels();
  const PatchGrid& latents = model->network().shape().grid;
  const std::vector<float> noise =
      *golden->take("latents", {1, latents.channels, latents.side, latents.side});
  const std::vector<float> expected = *golden->take("picture", {1, 3, side, side});
  const auto told = golden->metadata();
  const auto drawn = model->sampler().run_from(noise,
                                               {.prompt = *model->read_prompt(told.at("class")),
                                                .without = model->no_prompt(),
                                                .steps = std::stoi(told.at("steps")),
                                                .guidance = std::stof(told.at("guidance"))},
                                               {});
  REQUIRE(drawn);
  REQUIRE((*drawn)->size() == expected.size());
  double furthest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float shown = std::clamp((**drawn)[i] / 2 + 0.5F, 0.0F, 1.0F);
    furthest = std::max(furthest, std::abs(double{shown} - expected[i]));
  }
  INFO(name << ": " << furthest);
  CHECK(furthest < 1e-4);
}

TEST_CASE("A pipeline's progress counts the decoder's stages, and it stops in them") {
  const std::unique_ptr<Model> model = model_in(golden_folder() / "like_dit_xl2");
  std::vector<std::int32_t> seen;
  std::int32_t of = 0;
  const GenerateRequest request{.prompt = "cock", .steps = 3, .guidance = 4};
  const auto drawn = model->generate(request, [&](StepProgress progress) {
    seen.push_back(progress.finished);
    of = progress.of;
    return StepVerdict::go_on;
  });
  REQUIRE(drawn);
  CHECK((*drawn)->picture.width == 256);
  // Entry, the middle's three, two levels of two with one enlargement, exit.
  CHECK(of == 3 + 1 + 3 + 5 + 1);
  REQUIRE(seen.size() == static_cast<std::size_t>(of));
  CHECK(seen.back() == of);
  const auto stopped = model->generate(request, [&](StepProgress progress) {
    return progress.finished == 5 ? StepVerdict::stop : StepVerdict::go_on;
  });
  REQUIRE(stopped);
  CHECK_FALSE(stopped->has_value());
}

TEST_CASE("A pipeline's prompt is a class, by number or by name") {
  const std::unique_ptr<Model> model = model_in(golden_folder() / "like_dit_xl2");
  const auto token = [&](const char* text) { return model->read_prompt(text)->tokens.front(); };
  CHECK(token("207") == 207);
  CHECK(token(" Golden Retriever ") == 207);
  CHECK(token("Tinca tinca") == 0);
  CHECK(token("") == 1000);
  CHECK(model->no_prompt().tokens == std::vector<std::int32_t>{1000});
  for (const char* unknown : {"1000", "-1", "7.5", "poodle"}) {
    const Status allowed = model->check({.prompt = unknown});
    REQUIRE_FALSE(allowed);
    CHECK(allowed.error().code == Errc::bad_request);
  }
  CHECK(model->check({.prompt = "retriever"}).error().detail.ends_with("perhaps golden retriever"));
  CHECK(model->check({.prompt = "7", .steps = 1001}).error().detail ==
        "1001 steps, allowed are 1 to 1000");
}

TEST_CASE("A pipeline with another convention than ours is refused by its key") {
  const Copy copy;
  const std::string network = "transformer/config.json";
  CHECK(copy.with("model_index.json", "_class_name", "FluxPipeline").code == Errc::unsupported);
  CHECK(copy.with("model_index.json", "id2label", {{"1000", "x"}}).code == Errc::file_malformed);
  CHECK(copy.with("model_index.json", "id2label", {{"one", "x"}}).code == Errc::file_malformed);
  CHECK(copy.with(network, "norm_type", "layer_norm").code == Errc::unsupported);
  CHECK(copy.with(network, "activation_fn", "geglu").code == Errc::unsupported);
  CHECK(copy.with(network, "out_channels", 5).code == Errc::unsupported);
  CHECK(copy.with(network, "patch_size", 3).code == Errc::file_malformed);
  CHECK(copy.with(network, "num_layers", -1).code == Errc::file_malformed);
  CHECK(copy.with(network, "num_layers", "2").code == Errc::file_malformed);
  const std::string scheduler = "scheduler/scheduler_config.json";
  CHECK(copy.with(scheduler, "_class_name", "EulerDiscreteScheduler").code == Errc::unsupported);
  CHECK(copy.with(scheduler, "beta_schedule", "sigmoid").code == Errc::unsupported);
  CHECK(copy.with(scheduler, "beta_end", 2).code == Errc::file_malformed);
  CHECK(copy.with(scheduler, "thresholding", true).code == Errc::unsupported);
  CHECK(copy.with(scheduler, "clip_sample", "no").code == Errc::file_malformed);
  const std::string decoder = "vae/config.json";
  CHECK(copy.with(decoder, "act_fn", "relu").code == Errc::unsupported);
  CHECK(copy.with(decoder, "latent_channels", 16).code == Errc::unsupported);
  CHECK(copy.with(decoder, "block_out_channels", {8, 18}).code == Errc::file_malformed);
  CHECK(copy.with(decoder, "block_out_channels", {8, 16, 16}).code == Errc::unsupported);
  CHECK(copy.with(decoder, "block_out_channels", nullptr).code == Errc::unsupported);
}

TEST_CASE("A pipeline whose weights are not there, or not those of its configuration, is refused") {
  const Copy copy;
  const auto refusal = [&] {
    const auto model = Model::load(copy.path(), 1);
    REQUIRE_FALSE(model);
    return model.error();
  };
  const auto change = [&](const char* file, const char* key, const nlohmann::json& value) {
    nlohmann::json changed = nlohmann::json::parse(std::ifstream(copy.path() / file));
    changed[key] = value;
    std::ofstream(copy.path() / file) << changed.dump();
  };
  change("transformer/config.json", "num_layers", 3);
  CHECK(refusal().detail.find("no tensor \"transformer_blocks.2.") != std::string::npos);
  change("transformer/config.json", "num_layers", 1);
  CHECK(refusal().detail.find("\"transformer_blocks.1.") != std::string::npos);
  change("transformer/config.json", "num_layers", 2);
  change("vae/config.json", "layers_per_block", 2);
  CHECK(refusal().detail.find("no tensor \"decoder.up_blocks.0.resnets.2.") != std::string::npos);
  const fs::path weights = copy.path() / "vae" / "diffusion_pytorch_model.safetensors";
  fs::rename(weights, copy.path() / "vae" / "diffusion_pytorch_model.bin");
  CHECK(refusal().code == Errc::unsupported);
  CHECK(refusal().detail.find("save_pretrained") != std::string::npos);
  fs::remove(copy.path() / "vae" / "diffusion_pytorch_model.bin");
  CHECK(refusal().code == Errc::file_unreadable);
}
