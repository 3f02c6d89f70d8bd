#include "gpu/model_files.h"

#include <utility>
#include <vector>

#include "gpu/json_file.h"

namespace gpupool {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

constexpr std::string_view weights_suffix = ".safetensors";
constexpr std::string_view golden_name = "golden.safetensors";  // for tests, not a model

// What this engine takes for granted. A config that says otherwise describes another network, whose
// pictures would come out quietly wrong.
void expect_conventions(JsonReader& reader) {
  reader.expect("activation", "gelu_tanh");
  reader.expect("objective", "rectified_flow_velocity");
  reader.expect("x_t", "(1-t)*x0+t*noise");
  reader.expect("text_pooling", "mean");
  reader.expect("patch_input_order", "c,py,px");
  reader.expect("final_output_order", "py,px,c");
  reader.expect("pixel_range", "[-1,1]");
  reader.expect("sampler", "euler t=1->0, x-=v/steps");
  reader.expect("tokenizer",
                "lowercase; drop apostrophes; other punctuation and hyphen -> space; split; drop "
                "stopwords and unknown words; empty -> [null_token]");
}

struct ModelConfig {
  std::string name = "unnamed";
  DitShape shape;
  std::vector<std::string> stopwords;
  std::int32_t null_token = 0;
};

// The bounds keep every product of sizes far from overflow; the largest published DiT fits well.
Result<ModelConfig> read_config(const fs::path& file) {
  Result<Json> json = read_json(file);
  if (!json) return json.error();
  if (!json->is_object()) return file_error(Errc::file_malformed, file, "not a JSON object");
  JsonReader reader(*json);
  expect_conventions(reader);
  ModelConfig config;
  DitShape& shape = config.shape;
  shape.grid = {.channels = reader.positive("channels", 3),
                .side = reader.positive("image_size", 1024),
                .patch = reader.positive("patch_size", 64)};
  shape.width = reader.positive("hidden_size", 8192);
  shape.depth = reader.positive("depth", 256);
  shape.heads = reader.positive("num_heads", 256);
  shape.mlp_width = shape.width * reader.positive("mlp_ratio", 16);
  shape.vocabulary = reader.positive("vocab_size", 1 << 20);
  shape.time_frequencies = reader.positive("frequency_embedding_size", 8192);
  shape.time_scale = static_cast<float>(reader.real("timestep_scale"));
  shape.norm_epsilon = static_cast<float>(reader.real("layer_norm_eps"));
  shape.mlp_norm_epsilon = shape.norm_epsilon;
  config.stopwords = reader.texts("stopwords");
  config.null_token = static_cast<std::int32_t>(reader.whole("null_token", 1 << 20));
  if (const auto name = json->find("model"); name != json->end() && name->is_string())
    config.name = *name;
  const auto complain_if = [&](bool wrong, const char* why) {
    if (wrong) reader.complain(Errc::file_malformed, why);
  };
  complain_if(shape.grid.side % shape.grid.patch != 0, "patch_size divides no image_size");
  complain_if(shape.grid.channels == 2, "channels is neither 1 (gray) nor 3 (red, green, blue)");
  complain_if(shape.width % shape.heads != 0, "num_heads does not divide hidden_size");
  complain_if(shape.time_frequencies % 2 != 0, "frequency_embedding_size is odd");
  if (const Status read = reader.status(file); !read) return read.error();
  return config;
}

Result<Tokenizer> read_tokenizer(const fs::path& file, const ModelConfig& config) {
  Result<Json> json = read_json(file);
  if (!json) return json.error();
  std::optional<std::vector<std::string>> words = texts_of(*json);
  if (!words) return file_error(Errc::file_malformed, file, "not a list of words");
  if (static_cast<std::int64_t>(words->size()) != config.shape.vocabulary) {
    return file_error(Errc::file_malformed, file,
                      std::to_string(words->size()) + " words, config.json says " +
                          std::to_string(config.shape.vocabulary));
  }
  Result<Tokenizer> tokenizer = Tokenizer::make(
      {.words = *words, .stopwords = config.stopwords, .null_token = config.null_token});
  if (!tokenizer) return file_error(tokenizer.error().code, file, tokenizer.error().detail);
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
  if (status) return file_error(Errc::file_unreadable, folder, status.message());
  if (found.size() != 1) {
    return file_error(
        Errc::file_unreadable, folder,
        std::to_string(found.size()) + " weights files (*.safetensors), expected one");
  }
  return found.front();
}

}  // namespace

Result<ModelFiles> read_model_files(const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / "model_index.json", ignored)) return read_diffusers_files(folder);
  Result<ModelConfig> config = read_config(folder / "config.json");
  if (!config) return config.error();
  Result<Tokenizer> tokenizer = read_tokenizer(folder / "vocab.json", *config);
  if (!tokenizer) return tokenizer.error();
  Result<fs::path> weights_file = find_weights(folder);
  if (!weights_file) return weights_file.error();
  Result<Weights> weights = Weights::read(*weights_file);
  if (!weights) return weights.error();
  return ModelFiles{.name = config->name,
                    .shape = config->shape,
                    .weights = *std::move(weights),
                    .weights_file = *std::move(weights_file),
                    .prompts = *std::move(tokenizer),
                    .schedule = EvenSteps{}};
}

}  // namespace gpupool
