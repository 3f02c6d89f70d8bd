#include "gpu/text.h"

#include <algorithm>
#include <utility>

namespace gpupool {
namespace {

// The bytes of the apostrophe that starts here, or 0: ', and the curved ones that text editors make
// of it, U+2018 and U+2019 in UTF-8.
std::size_t apostrophe_bytes(std::string_view rest) {
  if (rest.front() == '\'') return 1;
  const bool curved = rest.starts_with("\xE2\x80\x98") || rest.starts_with("\xE2\x80\x99");
  return curved ? 3 : 0;
}

// Lower case, or 0 for what parts words. Not <cctype>, whose answer depends on the locale.
char letter_or_digit(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  return kept ? c : '\0';
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  };
  while (!text.empty()) {
    if (const std::size_t skipped = apostrophe_bytes(text)) {
      text.remove_prefix(skipped);
      continue;
    }
    const char c = letter_or_digit(text.front());
    text.remove_prefix(1);
    if (c != '\0') {
      word += c;
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

}  // namespace

Result<Tokenizer> Tokenizer::make(const Vocabulary& vocabulary) {
  Tokenizer tokenizer;
  for (const std::string& word : vocabulary.words) {
    const auto token = static_cast<std::int32_t>(tokenizer.tokens_.size());
    if (!tokenizer.tokens_.emplace(word, token).second) {
      return Error{.code = Errc::file_malformed, .detail = "the word \"" + word + "\" is twice"};
    }
  }
  if (vocabulary.null_token < 0 || vocabulary.null_token >= tokenizer.size()) {
    return Error{.code = Errc::file_malformed, .detail = "the null token is not in the list"};
  }
  tokenizer.null_token_ = vocabulary.null_token;
  tokenizer.stopwords_.insert(vocabulary.stopwords.begin(), vocabulary.stopwords.end());
  return tokenizer;
}

Prompt Tokenizer::tokens_of(std::string_view text) const {
  Prompt prompt;
  for (std::string& word : words_of(text)) {
    if (stopwords_.count(word) > 0) continue;
    if (const auto known = tokens_.find(word); known != tokens_.end()) {
      prompt.tokens.push_back(known->second);
      continue;
    }
    auto& unknown = prompt.unknown_words;
    if (std::find(unknown.begin(), unknown.end(), word) == unknown.end()) {
      unknown.push_back(std::move(word));
    }
  }
  if (prompt.tokens.empty()) prompt.tokens = empty().tokens;
  return prompt;
}

}  // namespace gpupool
