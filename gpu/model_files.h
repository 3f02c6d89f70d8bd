#pragma once
// What the files of a model's folder say, before anything of it is on a device. Two layouts are
// read: ours (config.json, vocab.json and one *.safetensors), and that of a DiTPipeline saved by
// the diffusers package (model_index.json and a folder for each part). The files are not trusted.
// Plain values.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"
#include "gpu/decoder.h"
#include "gpu/dit.h"
#include "gpu/schedule.h"
#include "gpu/text.h"
#include "gpu/weights.h"

namespace gpupool {

struct EvenSteps {};  // rectified flow

struct DecoderFiles {
  DecoderShape shape;
  Weights weights;
  std::filesystem::path weights_file;
};

struct ModelFiles {
  std::string name;
  DitShape shape;
  Weights weights;
  std::filesystem::path weights_file;
  std::variant<Tokenizer, ClassNames> prompts;
  std::variant<EvenSteps, DdimOptions> schedule;
  std::optional<DecoderFiles> decoder;  // none: the network draws pixels
};

// Errors: file_unreadable, file_malformed, unsupported (a convention that this engine doesn't
// know); detail names the file and what is wrong in it.
Result<ModelFiles> read_model_files(const std::filesystem::path& folder);

// diffusers.cpp: of a folder that has a model_index.json.
Result<ModelFiles> read_diffusers_files(const std::filesystem::path& folder);

}  // namespace gpupool
