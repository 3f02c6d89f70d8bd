#include "config/parameter.h"

#include <regex.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "config/limits.h"
#include "config/text_rules.h"

namespace gpupool {
namespace {

constexpr std::size_t number_bytes_max = 32;
constexpr std::size_t pattern_bytes_max = 255;

class Pattern {
 public:
  // All of a text has to match, not a part of it.
  explicit Pattern(const std::string& pattern)
      : compiled_(::regcomp(&regex_, ("^(" + pattern + ")$").c_str(), REG_EXTENDED | REG_NOSUB) ==
                  0) {}
  ~Pattern() {
    if (compiled_) ::regfree(&regex_);
  }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  bool is_good() const { return compiled_; }
  bool matches(const std::string& text) const {
    return compiled_ && ::regexec(&regex_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t regex_{};
  bool compiled_;
};

std::string number_text(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.12g", number);
  return text.data();
}

template <class Number>
bool read_whole(std::string_view text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, number);
  return !text.empty() && failure == std::errc{} && stop == end;
}

// from_chars alone would also take "inf" and "nan".
bool read_number(std::string_view text, double& number) {
  return text.size() <= number_bytes_max &&
         text.find_first_not_of("0123456789.eE+-") == std::string_view::npos &&
         read_whole(text, number) && std::isfinite(number);
}

bool is_text(const ParameterConfig& parameter, std::string_view value) {
  if (std::cmp_greater(value.size(), parameter.bytes_max)) return false;
  if (value.find('\0') != std::string_view::npos) return false;  // it would end there
  const auto& choices = parameter.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end())
    return false;
  return parameter.pattern.empty() || Pattern(parameter.pattern).matches(std::string(value));
}

bool fits(const ParameterConfig& parameter, std::string_view value) {
  switch (parameter.kind) {
    case ParameterKind::text:
      return is_text(parameter, value);
    case ParameterKind::integer: {
      std::int64_t number = 0;
      return read_whole(value, number) && number >= parameter.least && number <= parameter.most;
    }
    case ParameterKind::number: {
      double number = 0;
      return read_number(value, number) && number >= parameter.low && number <= parameter.high;
    }
    case ParameterKind::boolean:
      return value == "true" || value == "false";
  }
  return false;
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 40;
  std::string shown = "\"";
  for (const char c : text.substr(0, shown_max)) shown += c >= ' ' && c <= '~' ? c : '?';
  return shown + (text.size() > shown_max ? "...\"" : "\"");
}

bool is_pattern(const std::string& pattern) {
  // A reference back ("\1") makes matching take exponential time.
  for (std::size_t i = 0; i + 1 < pattern.size(); ++i)
    if (pattern[i] == '\\' && pattern[i++ + 1] >= '1' && pattern[i] <= '9') return false;
  return pattern.size() <= pattern_bytes_max && Pattern(pattern).is_good();
}

std::string expected_of(const ParameterConfig& parameter) {
  switch (parameter.kind) {
    case ParameterKind::text: {
      if (!parameter.choices.empty()) {
        std::string words = "one of";
        for (const std::string& choice : parameter.choices)
          words += (words.size() > 6 ? ", " : " ") + in_quotes(choice);
        return words;
      }
      const std::string length =
          "text of at most " + std::to_string(parameter.bytes_max) + " bytes";
      return parameter.pattern.empty() ? length : length + " that matches " + parameter.pattern;
    }
    case ParameterKind::integer:
      return "a whole number from " + std::to_string(parameter.least) + " to " +
             std::to_string(parameter.most);
    case ParameterKind::number:
      return "a number from " + number_text(parameter.low) + " to " + number_text(parameter.high);
    case ParameterKind::boolean:
      return "true or false";
  }
  return {};
}

Status check_value(const ParameterConfig& parameter, std::string_view value) {
  if (fits(parameter, value)) return ok();
  return Error{.code = Errc::bad_request,
               .detail = parameter.name + " must be " + expected_of(parameter) + ", not " +
                         in_quotes(value)};
}

Result<std::vector<WordPart>> parts_of(std::string_view word) {
  const auto wrong = [&](const std::string& what) {
    return Error{.code = Errc::config_invalid, .detail = in_quotes(word) + ", " + what};
  };
  std::vector<WordPart> parts;
  std::string text;
  for (std::size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    if (c != '{' && c != '}') {
      text += c;
      continue;
    }
    if (i + 1 < word.size() && word[i + 1] == c) {
      text += c;
      ++i;
      continue;
    }
    const auto end = c == '{' ? word.find('}', i) : std::string_view::npos;
    if (end == std::string_view::npos) return wrong("in which a brace stands alone");
    const std::string_view name = word.substr(i + 1, end - i - 1);
    if (!is_name(name)) return wrong("in which braces hold no name");
    if (!text.empty()) parts.push_back({std::exchange(text, {})});
    parts.push_back({std::string(name), true});
    i = end;
  }
  if (!text.empty() || parts.empty()) parts.push_back({std::move(text)});
  return parts;
}

}  // namespace gpupool
