#pragma once
// From a prompt to the tokens the network knows: the words of a text, or the name of one class.
// Immutable after construction; usable from any thread.

#include <cstdint>
#include <map>
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

// The rules are those the model was trained with: lower case; apostrophes vanish; everything that
// is not an ASCII letter or digit parts words; stopwords are dropped. Unknown words are dropped
// too, but named, so that a person can be told.
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

// The classes of a network that draws one of them at a time. A prompt is a class's number or one of
// its names, whatever the case of its letters; an empty one is "anything".
class ClassNames {
 public:
  // names[i]: of class i, several with commas between them, or none.
  explicit ClassNames(const std::vector<std::string>& names);

  // bad_request: no such class; the detail has the nearest names.
  Result<Prompt> token_of(std::string_view text) const;
  Prompt empty() const { return {.tokens = {size()}, .unknown_words = {}}; }
  // How many classes; that number is the token of "anything".
  std::int32_t size() const { return size_; }

 private:
  std::int32_t size_ = 0;
  std::map<std::string, std::int32_t, std::less<>> classes_;  // in lower case
};

}  // namespace gpupool
