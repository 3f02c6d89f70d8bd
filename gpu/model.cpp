#include "gpu/model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "gpu/cpu/device_cpu.h"
#include "gpu/model_files.h"

namespace gpupool {

namespace fs = std::filesystem;

struct Model::Parts {
  std::string name;
  std::int64_t parameters = 0;
  std::variant<Tokenizer, ClassNames> prompts;
  std::int32_t steps_most = steps_max;
  std::unique_ptr<Device> device;  // outlives what is on it: members end in reverse order
  std::unique_ptr<Dit> network;
  std::unique_ptr<Decoder> decoder;  // none: the network draws pixels
  std::unique_ptr<Sampler> sampler;
};

namespace {

constexpr std::int32_t pixels_wanted = 256;  // of a request that names none

Error bad_request(const std::string& why) { return {.code = Errc::bad_request, .detail = why}; }

}  // namespace

Model::Model(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Model::~Model() = default;

Result<std::unique_ptr<Model>> Model::load(const fs::path& folder, std::int32_t threads) {
  return load(folder, make_cpu_device(threads));
}

Result<std::unique_ptr<Model>> Model::load(const fs::path& folder, std::unique_ptr<Device> device) {
  Result<ModelFiles> files = read_model_files(folder);
  if (!files) return files.error();
  auto parts = std::make_unique<Parts>(Parts{.name = files->name,
                                             .parameters = files->weights.elements(),
                                             .prompts = std::move(files->prompts),
                                             .device = std::move(device)});
  const auto in_file = [](const fs::path& file, const Error& error) {
    return Error{.code = error.code, .detail = file.string() + ": " + error.detail};
  };
  SamplerOptions options;
  if (const auto* ddim = std::get_if<DdimOptions>(&files->schedule)) {
    parts->steps_most = std::min(steps_max, ddim->train_steps);
    options.schedule = [of = *ddim](std::int32_t steps) { return ddim_schedule(of, steps); };
  }
  Result<std::unique_ptr<Dit>> network =
      Dit::load(*parts->device, files->shape, DitCapacity{}, files->weights);
  if (!network) return in_file(files->weights_file, network.error());
  parts->network = *std::move(network);
  if (files->decoder) {
    DecoderFiles& from = *files->decoder;
    parts->parameters += from.weights.elements();
    auto decoder = Decoder::load(*parts->device, from.shape, from.weights);
    if (!decoder) return in_file(from.weights_file, decoder.error());
    parts->decoder = *std::move(decoder);
    options.decoder = parts->decoder.get();
  }
  Result<std::unique_ptr<Sampler>> sampler =
      Sampler::make(*parts->device, *parts->network, std::move(options));
  if (!sampler) return sampler.error();
  parts->sampler = *std::move(sampler);
  return std::unique_ptr<Model>(new Model(std::move(parts)));
}

Status Model::check(const GenerateRequest& request) const {
  if (request.prompt.size() > prompt_bytes_max) {
    return bad_request("a prompt of " + std::to_string(request.prompt.size()) +
                       " bytes, the longest has " + std::to_string(prompt_bytes_max));
  }
  if (request.steps < 1 || request.steps > parts_->steps_most) {
    return bad_request(std::to_string(request.steps) + " steps, allowed are 1 to " +
                       std::to_string(parts_->steps_most));
  }
  // Written so that a guidance which is not a number fails too.
  if (!(request.guidance >= 0 && request.guidance <= guidance_max)) {
    return bad_request("guidance " + std::to_string(request.guidance) + ", allowed is 0 to " +
                       std::to_string(guidance_max));
  }
  const std::int32_t native = native_pixels();
  const std::int32_t pixels = pixels_of(request);
  if (pixels < native || pixels > pixels_max || pixels % native != 0) {
    return bad_request(std::to_string(pixels) + " pixels, allowed are multiples of " +
                       std::to_string(native) + " up to " + std::to_string(pixels_max));
  }
  if (const Result<Prompt> prompt = read_prompt(request.prompt); !prompt) return prompt.error();
  return ok();
}

Result<std::optional<Generated>> Model::generate(const GenerateRequest& request,
                                                 const OnStep& on_step, Comm* ranks) {
  const Status allowed = check(request);
  if (!allowed) return allowed.error();
  if (const Status used = parts_->network->use(ranks); !used) return used.error();
  const SampleRequest sample{.prompt = *read_prompt(request.prompt),
                             .without = no_prompt(),
                             .steps = request.steps,
                             .guidance = request.guidance,
                             .seed = Seed{request.seed}};
  Result<std::optional<std::vector<float>>> planes = parts_->sampler->run(sample, on_step);
  if (!planes) return planes.error();
  if (!planes->has_value()) return std::optional<Generated>{};
  const std::int32_t native = native_pixels();
  return std::optional(
      Generated{.picture = to_picture({.values = **planes, .side = native},
                                      pixels_of(request) / native, Enlarge::smooth),
                .unknown_words = sample.prompt.unknown_words});
}

std::optional<Picture> Model::preview() {
  constexpr float latents_full = 3;  // they vary by about 1 around 0
  constexpr std::size_t colours = 3;
  std::vector<float> values = parts_->sampler->foreseen();
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    return std::nullopt;
  const auto side = static_cast<std::int32_t>(parts_->network->shape().grid.side);
  const auto pixels = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
  if (parts_->decoder)
    for (float& value : values) value /= latents_full;
  values.resize(values.size() < colours * pixels ? pixels : colours * pixels);
  return to_picture({.values = values, .side = side}, 1, Enlarge::nearest);
}

Result<Prompt> Model::read_prompt(std::string_view text) const {
  if (const auto* classes = std::get_if<ClassNames>(&parts_->prompts))
    return classes->token_of(text);
  return std::get<Tokenizer>(parts_->prompts).tokens_of(text);
}

Prompt Model::no_prompt() const {
  return std::visit([](const auto& prompts) { return prompts.empty(); }, parts_->prompts);
}

bool Model::draws_classes() const { return std::holds_alternative<ClassNames>(parts_->prompts); }

std::int32_t Model::native_pixels() const {
  const Decoder* const decoder = parts_->decoder.get();
  return static_cast<std::int32_t>(decoder != nullptr ? decoder->shape().side()
                                                      : parts_->network->shape().grid.side);
}

std::int32_t Model::pixels_of(const GenerateRequest& request) const {
  const std::int32_t native = native_pixels();
  if (request.pixels != 0) return request.pixels;
  return (pixels_wanted + native - 1) / native * native;
}

std::int64_t Model::parameters() const { return parts_->parameters; }
const std::string& Model::name() const { return parts_->name; }

Device& Model::device() { return *parts_->device; }
Dit& Model::network() { return *parts_->network; }
Sampler& Model::sampler() { return *parts_->sampler; }

}  // namespace gpupool
