#include "gpu/text.h"

#include <algorithm>
#include <charconv>
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

// Without what is blank at both ends, in lower case.
std::string plain_name(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  std::string name(text.substr(first, text.find_last_not_of(" \t") - first + 1));
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return name;
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

// A name that two classes have belongs to the later one, as in the diffusers package.
ClassNames::ClassNames(const std::vector<std::string>& names)
    : size_(static_cast<std::int32_t>(names.size())) {
  for (std::int32_t i = 0; i < size_; ++i) {
    std::string_view left = names[static_cast<std::size_t>(i)];
    for (bool more = true; more;) {
      const std::size_t comma = left.find(',');
      more = comma != std::string_view::npos;
      if (std::string name = plain_name(left.substr(0, comma)); !name.empty())
        classes_[std::move(name)] = i;
      if (more) left.remove_prefix(comma + 1);
    }
  }
}

Result<Prompt> ClassNames::token_of(std::string_view text) const {
  const std::string name = plain_name(text);
  if (name.empty()) return empty();
  if (const auto known = classes_.find(name); known != classes_.end())
    return Prompt{.tokens = {known->second}, .unknown_words = {}};
  std::int32_t number = -1;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (failure == std::errc{} && end == name.data() + name.size() && number >= 0 && number < size_)
    return Prompt{.tokens = {number}, .unknown_words = {}};
  constexpr int named_most = 5;
  std::string alike;
  int named = 0;
  for (const auto& [other, token] : classes_) {
    if (other.find(name) == std::string::npos || ++named > named_most) continue;
    alike += (alike.empty() ? ": perhaps " : ", ") + other;
  }
  return Error{.code = Errc::bad_request,
               .detail = "\"" + std::string(text) +
                         "\" is no class of this model, which has 0 to " +
                         std::to_string(size_ - 1) + " and their names" + alike};
}

}  // namespace gpupool
