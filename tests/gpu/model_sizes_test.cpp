// Models of our layout in other sizes than the one that is shipped, from files made here.

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gpu/model.h"
#include "tests/gpu/small_network.h"

using namespace gpupool;

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// The network of small_network.h as a model's folder.
class SmallModel {
 public:
  explicit SmallModel(std::int64_t channels)
      : path_(fs::temp_directory_path() / ("gpupool_small_model" + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::create_directory(path_);
    const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
    const fs::path shipped =
        fs::path(source != nullptr ? source : ".") / "models/emoji/config.json";
    config = json::parse(std::ifstream(shipped));
    config.update({{"model", "small"},
                   {"image_size", 8},
                   {"patch_size", 2},
                   {"channels", channels},
                   {"hidden_size", 32},
                   {"depth", 2},
                   {"num_heads", 2},
                   {"mlp_ratio", 2},
                   {"vocab_size", 10},
                   {"frequency_embedding_size", 16}});
    json words = {"<null>"};
    for (int i = 1; i < 10; ++i) words.push_back("word" + std::to_string(i));
    write("vocab.json", words.dump());
    write_weights(small_tensors(channels));
  }
  ~SmallModel() { fs::remove_all(path_); }

  Result<std::unique_ptr<Model>> load() const {
    write("config.json", config.dump());
    return Model::load(path_, 2);
  }

  json config;

 private:
  void write(const std::string& file, const std::string& bytes) const {
    std::ofstream(path_ / file, std::ios::binary) << bytes;
  }
  void write_weights(const std::vector<NamedTensor>& tensors) const {
    json header;
    std::string values;
    for (const NamedTensor& tensor : tensors) {
      json sizes = json::array();
      for (std::size_t i = 0; i < tensor.shape.rank(); ++i) sizes.push_back(tensor.shape[i]);
      const std::size_t begin = values.size();
      values.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * 4);
      header[tensor.name] = {
          {"dtype", "F32"}, {"shape", sizes}, {"data_offsets", {begin, values.size()}}};
    }
    const std::string text = header.dump();
    const std::uint64_t length = text.size();
    std::string prefix(sizeof length, '\0');
    std::memcpy(prefix.data(), &length, sizeof length);
    write("small.safetensors", prefix + text + values);
  }

  fs::path path_;
};

}  // namespace

TEST_CASE("A model of another depth, width, patch and resolution draws as its config says") {
  const SmallModel files(3);
  const auto model = files.load();
  REQUIRE(model);
  CHECK((*model)->native_pixels() == 8);
  const DitShape& shape = (*model)->network().shape();
  CHECK(shape.depth == 2);
  CHECK(shape.width == 32);
  CHECK(shape.heads == 2);
  CHECK(shape.grid.tokens() == 16);
  const auto drawn = (*model)->generate({.prompt = "word1 word2", .steps = 3, .pixels = 16}, {});
  REQUIRE(drawn);
  CHECK((*drawn)->picture.width == 16);
  // The network in memory is the same one.
  Weights weights = small_weights();
  const auto device = make_cpu_device(1);
  const auto network = *Dit::load(*device, small_shape(), {}, weights);
  const auto sampler = *Sampler::make(*device, *network);
  const SampleRequest request{
      .prompt = prompt_of({1, 2}), .without = prompt_of({0}), .steps = 3, .guidance = 3};
  CHECK(**sampler->run(request, {}) == **(*model)->sampler().run(request, {}));
}

TEST_CASE("A model of one channel draws in gray, and one of two is refused") {
  SmallModel files(1);
  const auto model = files.load();
  REQUIRE(model);
  const auto drawn = (*model)->generate({.prompt = "word1", .steps = 3, .pixels = 8}, {});
  REQUIRE(drawn);
  const std::vector<std::uint8_t>& rgb = (*drawn)->picture.rgb;
  REQUIRE(rgb.size() == 8 * 8 * 3);
  for (std::size_t i = 0; i < rgb.size(); i += 3) {
    REQUIRE(rgb[i] == rgb[i + 1]);
    REQUIRE(rgb[i] == rgb[i + 2]);
  }
  CHECK(std::any_of(rgb.begin(), rgb.end(), [&](std::uint8_t value) { return value != rgb[0]; }));

  for (const int channels : {0, 2, 4}) {
    files.config["channels"] = channels;
    const auto refused = files.load();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::file_malformed);
    CHECK(refused.error().detail.find("channels") != std::string::npos);
  }
}

TEST_CASE("A model whose sizes are beyond any device's memory is refused, not tried") {
  SmallModel files(3);
  files.config.update({{"image_size", 1024}, {"patch_size", 1}, {"mlp_ratio", 16}});
  files.config["hidden_size"] = 8192;
  const auto refused = files.load();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == Errc::unsupported);
  CHECK(refused.error().detail.find("1048576 tokens") != std::string::npos);
}
