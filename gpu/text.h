#pragma once
// From a prompt to the tokens the network knows. The rules are those the model was trained with:
// lower case; apostrophes vanish; everything that is not an ASCII letter or digit parts words;
// stopwords are dropped. Unknown words are dropped too, but named, so that a person can be told.
// Immutable after construction; usable from any thread.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace gpupool {

struct Prompt {
  std::vector<std::int32_t> tokens;        // never empty: nothing known is the null token
  std::vector<std::string> unknown_words;  // in their order, each once
};

struct Vocabulary {
  std::vector<std::string> words;  // the index is the token
  std::vector<std::string> stopwords;
  std::int32_t null_token = 0;  // stands for "no prompt"; its word can't be typed
};

class Tokenizer {
 public:
  // Errors: file_malformed if a word occurs twice or the null token is no index.
  static Result<Tokenizer> make(const Vocabulary& vocabulary);

  // As many tokens as the text has known words: the caller bounds the text.
  Prompt tokens_of(std::string_view text) const;
  Prompt empty() const { return {.tokens = {null_token_}, .unknown_words = {}}; }
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

 private:
  Tokenizer() = default;

  std::unordered_map<std::string, std::int32_t> tokens_;
  std::set<std::string, std::less<>> stopwords_;
  std::int32_t null_token_ = 0;
};

}  // namespace gpupool
