#include "gpu/model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "gpu/cpu/device_cpu.h"
#include "gpu/dit.h"
#include "gpu/text.h"
#include "gpu/weights.h"

namespace gpupool {

namespace fs = std::filesystem;

struct Model::Parts {
  std::string name;
  std::int64_t parameters = 0;
  Tokenizer tokenizer;
  std::unique_ptr<Device> device;  // outlives what is on it: members end in reverse order
  std::unique_ptr<Dit> network;
  std::unique_ptr<Sampler> sampler;
};

namespace {

using Json = nlohmann::json;

constexpr std::uintmax_t json_bytes_max = 8U << 20U;
constexpr std::string_view weights_suffix = ".safetensors";
constexpr std::string_view golden_name = "golden.safetensors";  // for tests, not a model

Error failure(Errc code, const fs::path& file, const std::string& why) {
  return {.code = code, .detail = file.string() + ": " + why};
}

Result<Json> read_json(const fs::path& file) {
  std::error_code status;
  const std::uintmax_t size = fs::file_size(file, status);
  if (status) return failure(Errc::file_unreadable, file, status.message());
  if (size > json_bytes_max) return failure(Errc::file_malformed, file, "too large");
  std::string text(size, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(size));
  if (!stream) return failure(Errc::file_unreadable, file, "could not be read to its end");
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return failure(Errc::file_malformed, file, "not JSON");
  return json;
}

// What this engine takes for granted. A config that says otherwise describes another network, whose
// pictures would come out quietly wrong; one that says nothing is not trusted either.
struct Convention {
  const char* key;
  Json value;
};

const std::vector<Convention>& conventions() {
  static const std::vector<Convention> all = {
      {"channels", 3},
      {"activation", "gelu_tanh"},
      {"objective", "rectified_flow_velocity"},
      {"x_t", "(1-t)*x0+t*noise"},
      {"text_pooling", "mean"},
      {"patch_input_order", "c,py,px"},
      {"final_output_order", "py,px,c"},
      {"pixel_range", "[-1,1]"},
      {"sampler", "euler t=1->0, x-=v/steps"},
      {"tokenizer",
       "lowercase; drop apostrophes; other punctuation and hyphen -> space; split; drop stopwords "
       "and unknown words; empty -> [null_token]"},
  };
  return all;
}

// Reads numbers out of config.json, until the first that is missing or out of its bounds.
class ConfigReader {
 public:
  explicit ConfigReader(const Json& json) : json_(json) {}

  std::int64_t whole(const char* key, std::int64_t most) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_number_unsigned() &&
        found->get<std::uint64_t>() <= static_cast<std::uint64_t>(most)) {
      return found->get<std::int64_t>();
    }
    complain(std::string(key) + " is not a whole number up to " + std::to_string(most));
    return 0;
  }
  std::int64_t positive(const char* key, std::int64_t most) {
    const std::int64_t value = whole(key, most);
    if (value == 0) complain(std::string(key) + " is zero or missing");
    return std::max<std::int64_t>(value, 1);
  }
  float real(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_number() && found->get<double>() > 0) {
      return found->get<float>();
    }
    complain(std::string(key) + " is not a number above zero");
    return 1;
  }
  std::vector<std::string> texts(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end()) {
      if (auto list = texts_of(*found)) return *std::move(list);
    }
    complain(std::string(key) + " is not a list of words");
    return {};
  }
  void complain(const std::string& why) {
    if (!complaint_) complaint_ = why;
  }
  const std::optional<std::string>& complaint() const { return complaint_; }

  static std::optional<std::vector<std::string>> texts_of(const Json& json) {
    if (!json.is_array()) return std::nullopt;
    std::vector<std::string> list;
    for (const Json& item : json) {
      if (!item.is_string()) return std::nullopt;
      list.push_back(item.get<std::string>());
    }
    return list;
  }

 private:
  const Json& json_;
  std::optional<std::string> complaint_;
};

struct ModelConfig {
  std::string name;
  DitShape shape;
  std::vector<std::string> stopwords;
  std::int32_t null_token = 0;
};

// The bounds keep every product of sizes far from overflow; the largest published DiT fits well.
Result<ModelConfig> parse_config(const Json& json, const fs::path& file) {
  if (!json.is_object()) return failure(Errc::file_malformed, file, "not a JSON object");
  for (const Convention& convention : conventions()) {
    const auto found = json.find(convention.key);
    if (found == json.end() || *found != convention.value) {
      return failure(Errc::unsupported, file,
                     std::string(convention.key) + " has to be " + convention.value.dump());
    }
  }
  ConfigReader reader(json);
  ModelConfig config;
  DitShape& shape = config.shape;
  shape.grid = {.channels = 3,
                .side = reader.positive("image_size", 1024),
                .patch = reader.positive("patch_size", 64)};
  shape.width = reader.positive("hidden_size", 8192);
  shape.depth = reader.positive("depth", 256);
  shape.heads = reader.positive("num_heads", 256);
  shape.mlp_width = shape.width * reader.positive("mlp_ratio", 16);
  shape.vocabulary = reader.positive("vocab_size", 1 << 20);
  shape.time_frequencies = reader.positive("frequency_embedding_size", 8192);
  shape.time_scale = reader.real("timestep_scale");
  shape.norm_epsilon = reader.real("layer_norm_eps");
  config.stopwords = reader.texts("stopwords");
  config.null_token = static_cast<std::int32_t>(reader.whole("null_token", 1 << 20));
  config.name = json.value("model", Json("unnamed")).dump();
  if (json.contains("model") && json["model"].is_string()) config.name = json["model"];
  if (shape.grid.side % shape.grid.patch != 0) reader.complain("patch_size divides no image_size");
  if (shape.width % shape.heads != 0) reader.complain("num_heads does not divide hidden_size");
  if (shape.time_frequencies % 2 != 0) reader.complain("frequency_embedding_size is odd");
  if (reader.complaint()) return failure(Errc::file_malformed, file, *reader.complaint());
  return config;
}

Result<Tokenizer> read_tokenizer(const fs::path& file, const ModelConfig& config) {
  Result<Json> json = read_json(file);
  if (!json) return json.error();
  std::optional<std::vector<std::string>> words = ConfigReader::texts_of(*json);
  if (!words) return failure(Errc::file_malformed, file, "not a list of words");
  if (static_cast<std::int64_t>(words->size()) != config.shape.vocabulary) {
    return failure(Errc::file_malformed, file,
                   std::to_string(words->size()) + " words, config.json says " +
                       std::to_string(config.shape.vocabulary));
  }
  Result<Tokenizer> tokenizer = Tokenizer::make(
      {.words = *words, .stopwords = config.stopwords, .null_token = config.null_token});
  if (!tokenizer) return failure(tokenizer.error().code, file, tokenizer.error().detail);
  return tokenizer;
}

// The one weights file of a folder: nobody has to name it, and two of them are never guessed
// between.
Result<fs::path> find_weights(const fs::path& folder) {
  std::error_code status;
  std::vector<fs::path> found;
  for (fs::directory_iterator at(folder, status), end; !status && at != end; at.increment(status)) {
    const std::string name = at->path().filename().string();
    if (name.ends_with(weights_suffix) && name != golden_name) found.push_back(at->path());
  }
  if (status) return failure(Errc::file_unreadable, folder, status.message());
  if (found.size() != 1) {
    return failure(Errc::file_unreadable, folder,
                   std::to_string(found.size()) + " weights files (*.safetensors), expected one");
  }
  return found.front();
}

Error bad_request(const std::string& why) { return {.code = Errc::bad_request, .detail = why}; }

}  // namespace

Model::Model(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::load(const fs::path& folder, std::int32_t threads) {
  const fs::path config_file = folder / "config.json";
  Result<Json> json = read_json(config_file);
  if (!json) return json.error();
  Result<ModelConfig> config = parse_config(*json, config_file);
  if (!config) return config.error();
  Result<Tokenizer> tokenizer = read_tokenizer(folder / "vocab.json", *config);
  if (!tokenizer) return tokenizer.error();
  Result<fs::path> weights_file = find_weights(folder);
  if (!weights_file) return weights_file.error();
  Result<Weights> weights = Weights::read(*weights_file);
  if (!weights) return weights.error();

  auto parts = std::make_unique<Parts>(Parts{.name = config->name,
                                             .parameters = weights->elements(),
                                             .tokenizer = *std::move(tokenizer),
                                             .device = make_cpu_device(threads)});
  Result<std::unique_ptr<Dit>> network =
      Dit::load(*parts->device, config->shape, DitCapacity{}, *weights);
  if (!network) return failure(network.error().code, *weights_file, network.error().detail);
  parts->network = *std::move(network);
  Result<std::unique_ptr<Sampler>> sampler = Sampler::make(*parts->device, *parts->network);
  if (!sampler) return sampler.error();
  parts->sampler = *std::move(sampler);
  return std::unique_ptr<Model>(new Model(std::move(parts)));
}

Status Model::check(const GenerateRequest& request) const {
  if (request.prompt.size() > prompt_bytes_max) {
    return bad_request("a prompt of " + std::to_string(request.prompt.size()) +
                       " bytes, the longest has " + std::to_string(prompt_bytes_max));
  }
  if (request.steps < 1 || request.steps > steps_max) {
    return bad_request(std::to_string(request.steps) + " steps, allowed are 1 to " +
                       std::to_string(steps_max));
  }
  // Written so that a guidance which is not a number fails too.
  if (!(request.guidance >= 0 && request.guidance <= guidance_max)) {
    return bad_request("guidance " + std::to_string(request.guidance) + ", allowed is 0 to " +
                       std::to_string(guidance_max));
  }
  const std::int32_t native = native_pixels();
  if (request.pixels < native || request.pixels > pixels_max || request.pixels % native != 0) {
    return bad_request(std::to_string(request.pixels) + " pixels, allowed are multiples of " +
                       std::to_string(native) + " up to " + std::to_string(pixels_max));
  }
  return ok();
}

Result<std::optional<Generated>> Model::generate(const GenerateRequest& request,
                                                 const OnStep& on_step, Comm* ranks) {
  const Status allowed = check(request);
  if (!allowed) return allowed.error();
  if (const Status used = parts_->network->use(ranks); !used) return used.error();
  const Tokenizer& tokenizer = parts_->tokenizer;
  const SampleRequest sample{.prompt = tokenizer.tokens_of(request.prompt),
                             .without = tokenizer.empty(),
                             .steps = request.steps,
                             .guidance = request.guidance,
                             .seed = Seed{request.seed}};
  Result<std::optional<std::vector<float>>> planes = parts_->sampler->run(sample, on_step);
  if (!planes) return planes.error();
  if (!planes->has_value()) return std::optional<Generated>{};
  const std::int32_t native = native_pixels();
  return std::optional(Generated{.picture = to_picture({.values = **planes, .side = native},
                                                       request.pixels / native, Enlarge::smooth),
                                 .unknown_words = sample.prompt.unknown_words});
}

std::int32_t Model::native_pixels() const {
  return static_cast<std::int32_t>(parts_->network->shape().grid.side);
}
std::int64_t Model::parameters() const { return parts_->parameters; }
const std::string& Model::name() const { return parts_->name; }

Device& Model::device() { return *parts_->device; }
Dit& Model::network() { return *parts_->network; }
Sampler& Model::sampler() { return *parts_->sampler; }
const Tokenizer& Model::tokenizer() const { return parts_->tokenizer; }

}  // namespace gpupool
