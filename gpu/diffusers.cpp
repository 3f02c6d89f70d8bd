// The layout of a DiTPipeline as the diffusers package saves it (github.com/huggingface/diffusers,
// version 0.42: DiTTransformer2DModel, AutoencoderKL, DDIMScheduler), translated into the names and
// shapes of our network.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gpu/json_file.h"
#include "gpu/model_files.h"

namespace gpupool {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

constexpr std::int64_t time_frequencies = 256;  // fixed by that layout
constexpr std::int64_t pixels_max = 2048;
constexpr const char* weights_name = "diffusion_pytorch_model.safetensors";

Result<Json> read_object(const fs::path& file) {
  Result<Json> json = read_json(file);
  if (json && !json->is_object())
    return file_error(Errc::file_malformed, file, "not a JSON object");
  return json;
}

Result<Weights> read_weights(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::exists(folder / weights_name, ignored) &&
      fs::exists(folder / "diffusion_pytorch_model.bin", ignored))
    return file_error(Errc::unsupported, folder,
                      "its weights are a pickle (.bin), which is a program and is not read; save "
                      "them as safetensors: DiTPipeline.from_pretrained(FROM).save_pretrained(TO)");
  return Weights::read(folder / weights_name);
}

// ---- The network -------------------------------------------------------------------------------

struct Transformer {
  DitShape shape;
  bool predicts_variance = false;  // in as many channels more, which DDIM has no use for
};

Result<Transformer> read_transformer(const fs::path& file) {
  const Result<Json> json = read_object(file);
  if (!json) return json.error();
  JsonReader reader(*json);
  reader.expect("norm_type", "ada_norm_zero");
  reader.expect("activation_fn", "gelu-approximate");
  reader.expect_if_there("norm_elementwise_affine", false);
  const std::int64_t channels = reader.positive("in_channels", 64);
  const std::int64_t out_channels =
      reader.has("out_channels") ? reader.positive("out_channels", 128) : channels;
  const std::int64_t heads = reader.positive("num_attention_heads", 256);
  const std::int64_t width = heads * reader.positive("attention_head_dim", 1024);
  const Transformer transformer{
      .shape = {.grid = {.channels = channels,
                         .side = reader.positive("sample_size", 1024),
                         .patch = reader.positive("patch_size", 64)},
                .width = width,
                .depth = reader.positive("num_layers", 256),
                .heads = heads,
                .mlp_width = 4 * width,
                .vocabulary = reader.positive("num_embeds_ada_norm", 1 << 20) + 1,
                .time_frequencies = time_frequencies,
                .frequency_shift = 1,
                .time_scale = 1,
                .mlp_norm_epsilon =
                    reader.has("norm_eps") ? static_cast<float>(reader.real("norm_eps")) : 1e-5F,
                .prompts = Prompts::classes},
      .predicts_variance = out_channels == 2 * channels};
  const PatchGrid& grid = transformer.shape.grid;
  if (grid.side % grid.patch != 0)
    reader.complain(Errc::file_malformed, "patch_size divides no sample_size");
  if (width % 4 != 0 || width > 8192)
    reader.complain(Errc::unsupported, "a width that four divides, up to 8192, is needed; it is " +
                                           std::to_string(width));
  if (out_channels != channels && !transformer.predicts_variance)
    reader.complain(Errc::unsupported, "out_channels is neither in_channels nor twice that");
  if (const Status read = reader.status(file); !read) return read.error();
  return transformer;
}

// Half of a position's values are of its column, half of its row: sines, then cosines.
std::vector<float> positions_of(const DitShape& shape) {
  const std::int64_t across = shape.grid.side / shape.grid.patch;
  const std::int64_t quarter = shape.width / 4;
  std::vector<float> all;
  for (std::int64_t token = 0; token < shape.grid.tokens(); ++token) {
    for (const std::int64_t place : {token % across, token / across}) {
      std::vector<float> cosines;
      for (std::int64_t j = 0; j < quarter; ++j) {
        const double angle =
            static_cast<double>(place) /
            std::pow(10000.0, static_cast<double>(j) / static_cast<double>(quarter));
        all.push_back(static_cast<float>(std::sin(angle)));
        cosines.push_back(static_cast<float>(std::cos(angle)));
      }
      all.insert(all.end(), cosines.begin(), cosines.end());
    }
  }
  return all;
}

// Until the first tensor that is missing or has another shape.
class Translation {
 public:
  Translation(Transformer transformer, Weights from)
      : transformer_(std::move(transformer)), from_(std::move(from)) {}

  Status run() {
    DitShape& shape = transformer_.shape;
    const PatchGrid& grid = shape.grid;
    move("pos_embed.proj", "x_embedder.proj", {shape.width, grid.channels, grid.patch, grid.patch});
    const Shape positions{1, grid.tokens(), shape.width};
    put("pos_embed", positions,
        from_.contains("pos_embed.pos_embed") ? take("pos_embed.pos_embed", positions)
                                              : positions_of(shape));
    for (std::int64_t i = 0; i < shape.depth; ++i) move_block(i);
    put_embedders();
    move("proj_out_1", "final_layer.adaLN_modulation.1", {2 * shape.width, shape.width});
    move_projection();
    if (failure_) return *failure_;
    if (const auto left = from_.any_left())
      return Error{.code = Errc::file_malformed,
                   .detail = "tensor \"" + *left + "\" has no place in this network"};
    return ok();
  }
  const DitShape& shape() const { return transformer_.shape; }
  Weights take_weights() { return std::move(to_); }

 private:
  using Embedder = std::vector<std::pair<std::string, std::vector<float>>>;  // by its new names

  std::vector<float> take(const std::string& name, const Shape& shape) {
    if (failure_) return {};
    Result<std::vector<float>> taken = from_.take(name, shape);
    if (taken) return *std::move(taken);
    failure_ = taken.error();
    return {};
  }
  void put(const std::string& name, const Shape& shape, std::vector<float> values) {
    if (!failure_) to_.put(name, shape, std::move(values));
  }

  void move(const std::string& name, const std::string& to, const Shape& shape) {
    put(to + ".weight", shape, take(name + ".weight", shape));
    if (from_.contains(name + ".bias"))
      put(to + ".bias", {shape[0]}, take(name + ".bias", {shape[0]}));
  }

  void move_block(std::int64_t i) {
    const std::int64_t width = transformer_.shape.width;
    const std::string from = "transformer_blocks." + std::to_string(i) + ".";
    const std::string to = "blocks." + std::to_string(i) + ".";
    move(from + "norm1.linear", to + "adaLN_modulation.1", {6 * width, width});
    move_qkv(from + "attn1.", to + "attn.qkv");
    move(from + "attn1.to_out.0", to + "attn.proj", {width, width});
    move(from + "ff.net.0.proj", to + "mlp.fc1", {4 * width, width});
    move(from + "ff.net.2", to + "mlp.fc2", {width, 4 * width});
    Embedder embedder = take_embedder(from + "norm1.emb.");
    const bool as_the_first = i > 0 && embedder == embedders_.front();
    embedders_.push_back(as_the_first ? Embedder{} : std::move(embedder));
  }

  void move_qkv(const std::string& from, const std::string& to) {
    const std::int64_t width = transformer_.shape.width;
    const bool has_bias = from_.contains(from + "to_q.bias");
    std::vector<float> weight;
    std::vector<float> bias;
    for (const char* part : {"to_q", "to_k", "to_v"}) {
      const std::vector<float> values = take(from + part + ".weight", {width, width});
      weight.insert(weight.end(), values.begin(), values.end());
      if (!has_bias) continue;
      const std::vector<float> added = take(from + part + ".bias", {width});
      bias.insert(bias.end(), added.begin(), added.end());
    }
    put(to + ".weight", {3 * width, width}, std::move(weight));
    if (has_bias) put(to + ".bias", {3 * width}, std::move(bias));
  }

  Embedder take_embedder(const std::string& from) {
    const DitShape& shape = transformer_.shape;
    const std::string time = from + "timestep_embedder.";
    return {
        {"t_embedder.mlp.0.weight",
         take(time + "linear_1.weight", {shape.width, time_frequencies})},
        {"t_embedder.mlp.0.bias", take(time + "linear_1.bias", {shape.width})},
        {"t_embedder.mlp.2.weight", take(time + "linear_2.weight", {shape.width, shape.width})},
        {"t_embedder.mlp.2.bias", take(time + "linear_2.bias", {shape.width})},
        {"y_embedder.embedding_table.weight",
         take(from + "class_embedder.embedding_table.weight", {shape.vocabulary, shape.width})}};
  }

  // That layout has one in every block; a network that was trained with one has it there as often.
  void put_embedders() {
    if (failure_) return;
    DitShape& shape = transformer_.shape;
    const bool all_alike = std::all_of(embedders_.begin() + 1, embedders_.end(),
                                       [](const Embedder& one) { return one.empty(); });
    shape.embedders = all_alike ? 1 : shape.depth;
    for (std::int64_t i = shape.embedders - 1; i >= 0; --i) {
      Embedder& own = embedders_[static_cast<std::size_t>(i)];
      Embedder used = own.empty() ? embedders_.front() : std::move(own);
      const std::string of = i == 0 ? "" : "blocks." + std::to_string(i) + ".";
      for (auto& [name, values] : used) {
        const auto count = static_cast<std::int64_t>(values.size());
        const bool is_bias = name.ends_with("bias");
        const Shape in_file = is_bias ? Shape{count} : Shape{rows_of(name), count / rows_of(name)};
        to_.put(of + name, in_file, std::move(values));
      }
    }
  }
  std::int64_t rows_of(const std::string& name) const {
    return name.starts_with("y_") ? transformer_.shape.vocabulary : transformer_.shape.width;
  }

  // Rows in the order (row of the patch, column, channel); without those of the variance.
  void move_projection() {
    const DitShape& shape = transformer_.shape;
    const std::int64_t kept = shape.grid.channels;
    const std::int64_t all = transformer_.predicts_variance ? 2 * kept : kept;
    const std::int64_t pixels = shape.grid.patch * shape.grid.patch;
    const std::vector<float> weight = take("proj_out_2.weight", {pixels * all, shape.width});
    const std::vector<float> bias = take("proj_out_2.bias", {pixels * all});
    if (failure_) return;
    std::vector<float> kept_weight;
    std::vector<float> kept_bias;
    for (std::int64_t row = 0; row < pixels * all; ++row) {
      if (row % all >= kept) continue;
      const auto first = weight.begin() + row * shape.width;
      kept_weight.insert(kept_weight.end(), first, first + shape.width);
      kept_bias.push_back(bias[static_cast<std::size_t>(row)]);
    }
    to_.put("final_layer.linear.weight", {pixels * kept, shape.width}, std::move(kept_weight));
    to_.put("final_layer.linear.bias", {pixels * kept}, std::move(kept_bias));
  }

  Transformer transformer_;
  Weights from_;
  Weights to_;
  std::vector<Embedder> embedders_;  // of each block; empty: the first one's
  std::optional<Error> failure_;
};

// ---- The other parts ---------------------------------------------------------------------------

Result<DdimOptions> read_scheduler(const fs::path& file) {
  const Result<Json> json = read_object(file);
  if (!json) return json.error();
  JsonReader reader(*json);
  reader.expect("_class_name", "DDIMScheduler");
  reader.expect_if_there("thresholding", false);
  reader.expect_if_there("rescale_betas_zero_snr", false);
  if (reader.has("trained_betas"))
    reader.complain(Errc::unsupported, "trained_betas have to be null");
  // One of some words, by its place among them.
  const auto one_of = [&](const char* key, const std::vector<std::string>& words) {
    if (!reader.has(key)) return 0;
    const auto found = std::find(words.begin(), words.end(), (*json)[key]);
    if (found == words.end()) {
      std::string list;
      for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
      reader.complain(Errc::unsupported, std::string(key) + " has to be one of " + list);
      return 0;
    }
    return static_cast<int>(found - words.begin());
  };
  const auto flag = [&](const char* key, bool otherwise) {
    if (!reader.has(key)) return otherwise;
    if ((*json)[key].is_boolean()) return (*json)[key].get<bool>();
    reader.complain(Errc::file_malformed, std::string(key) + " is neither true nor false");
    return otherwise;
  };
  DdimOptions options{
      .train_steps = static_cast<std::int32_t>(reader.positive("num_train_timesteps", 100'000)),
      .beta_start = reader.real("beta_start"),
      .beta_end = reader.real("beta_end"),
      .betas = static_cast<Betas>(
          one_of("beta_schedule", {"linear", "scaled_linear", "squaredcos_cap_v2"})),
      .predicts =
          static_cast<Predicts>(one_of("prediction_type", {"epsilon", "sample", "v_prediction"})),
      .spacing =
          static_cast<Spacing>(one_of("timestep_spacing", {"leading", "trailing", "linspace"})),
      .offset = reader.has("steps_offset")
                    ? static_cast<std::int32_t>(reader.whole("steps_offset", 1000))
                    : 0,
      .ends_clean = flag("set_alpha_to_one", true)};
  if (flag("clip_sample", true))
    options.limit =
        reader.has("clip_sample_range") ? static_cast<float>(reader.real("clip_sample_range")) : 1;
  if (options.beta_end >= 1 || options.beta_start > options.beta_end)
    reader.complain(Errc::file_malformed, "beta_start and beta_end don't rise below 1");
  if (const Status read = reader.status(file); !read) return read.error();
  return options;
}

Result<DecoderShape> read_decoder(const fs::path& file, const DitShape& network) {
  const Result<Json> json = read_object(file);
  if (!json) return json.error();
  JsonReader reader(*json);
  reader.expect("_class_name", "AutoencoderKL");
  reader.expect("act_fn", "silu");
  reader.expect("out_channels", 3);
  reader.expect("latent_channels", network.grid.channels);
  DecoderShape shape{
      .latent_channels = network.grid.channels,
      .latent_side = network.grid.side,
      .resnets = reader.positive("layers_per_block", 16) + 1,
      .groups = reader.positive("norm_num_groups", 1024),
      .scaling = reader.has("scaling_factor") ? static_cast<float>(reader.real("scaling_factor"))
                                              : 0.18215F,
      .attends =
          !(reader.has("mid_block_add_attention") && (*json)["mid_block_add_attention"] == false),
      .mixes_latents =
          !(reader.has("use_post_quant_conv") && (*json)["use_post_quant_conv"] == false)};
  constexpr std::size_t levels_max = 8;
  const Json widths = json->value("block_out_channels", Json::array());
  const Json blocks = json->value("up_block_types", Json::array());
  if (!widths.is_array() || widths.empty() || widths.size() > levels_max ||
      blocks != Json(std::vector<std::string>(widths.size(), "UpDecoderBlock2D")))
    reader.complain(Errc::unsupported,
                    "it needs 1 to 8 block_out_channels, and an UpDecoderBlock2D for each");
  for (const Json& width : widths) {
    const bool fits = width.is_number_unsigned() && width.get<std::uint64_t>() > 0 &&
                      width.get<std::uint64_t>() <= 2048 &&
                      width.get<std::int64_t>() % shape.groups == 0;
    if (fits)
      shape.widths.push_back(width.get<std::int64_t>());
    else
      reader.complain(Errc::file_malformed,
                      "block_out_channels are not multiples of norm_num_groups up to 2048");
  }
  if (const Status read = reader.status(file); !read) return read.error();
  if (shape.side() > pixels_max)
    return file_error(Errc::unsupported, file,
                      "pictures of " + std::to_string(shape.side()) + " pixels, the most are " +
                          std::to_string(pixels_max));
  return shape;
}

// The encoder's part is left out, and the attention's names of before 2023 get their later ones.
Result<DecoderFiles> read_decoder_files(const fs::path& folder, const DitShape& network) {
  Result<DecoderShape> shape = read_decoder(folder / "config.json", network);
  if (!shape) return shape.error();
  Result<Weights> weights = read_weights(folder);
  if (!weights) return weights.error();
  weights->drop("encoder.");
  weights->drop("quant_conv.");
  const std::string attention = "decoder.mid_block.attentions.0.";
  for (const auto& [old_name, name] :
       {std::pair{"query", "to_q"}, {"key", "to_k"}, {"value", "to_v"}, {"proj_attn", "to_out.0"}})
    for (const char* part : {".weight", ".bias"})
      weights->rename(attention + old_name + part, attention + name + part);
  return DecoderFiles{.shape = *std::move(shape),
                      .weights = *std::move(weights),
                      .weights_file = folder / weights_name};
}

Result<ClassNames> read_classes(const fs::path& file, const Json& index, std::int64_t classes) {
  std::vector<std::string> names(static_cast<std::size_t>(classes));
  const Json labels = index.value("id2label", Json());
  const auto wrong = [&] {
    return file_error(
        Errc::file_malformed, file,
        "id2label is not a name for each of some classes below " + std::to_string(classes));
  };
  if (!labels.is_null() && !labels.is_object()) return wrong();
  for (const auto& [key, name] : labels.items()) {
    const bool is_number =
        !key.empty() && key.size() < 8 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number || std::stoll(key) >= classes || !name.is_string()) return wrong();
    names[static_cast<std::size_t>(std::stoll(key))] = name.get<std::string>();
  }
  return ClassNames(names);
}

}  // namespace

Result<ModelFiles> read_diffusers_files(const fs::path& folder) {
  const fs::path index_file = folder / "model_index.json";
  const Result<Json> index = read_object(index_file);
  if (!index) return index.error();
  JsonReader reader(*index);
  reader.expect("_class_name", "DiTPipeline");
  if (const Status read = reader.status(index_file); !read) return read.error();
  Result<Transformer> transformer = read_transformer(folder / "transformer" / "config.json");
  if (!transformer) return transformer.error();
  const DitShape& network = transformer->shape;
  Result<ClassNames> classes = read_classes(index_file, *index, network.vocabulary - 1);
  if (!classes) return classes.error();
  Result<DdimOptions> schedule = read_scheduler(folder / "scheduler" / "scheduler_config.json");
  if (!schedule) return schedule.error();
  Result<DecoderFiles> decoder = read_decoder_files(folder / "vae", network);
  if (!decoder) return decoder.error();
  Result<Weights> weights = read_weights(folder / "transformer");
  if (!weights) return weights.error();
  const fs::path weights_file = folder / "transformer" / weights_name;
  Translation translation(*transformer, *std::move(weights));
  if (const Status done = translation.run(); !done)
    return file_error(done.error().code, weights_file, done.error().detail);
  return ModelFiles{.name = fs::weakly_canonical(folder).filename().string(),
                    .shape = translation.shape(),
                    .weights = translation.take_weights(),
                    .weights_file = weights_file,
                    .prompts = *std::move(classes),
                    .schedule = *std::move(schedule),
                    .decoder = *std::move(decoder)};
}

}  // namespace gpupool
