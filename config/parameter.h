#pragma once
// The parameters of a command app: what a value may be, and how the words of its command line take
// them. The configuration's defaults, the broker's admission and the worker share this reading, so
// what was admitted fits wherever it runs. No shell is involved: a value stays inside its word,
// whatever is in it. Pure.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace gpupool {

// "a whole number from 1 to 100": for refusals, and for who asks what an app takes.
std::string expected_of(const ParameterConfig& parameter);

// bad_request: `value` is not what this parameter takes; the detail names both.
Status check_value(const ParameterConfig& parameter, std::string_view value);

// A word of a command line in its parts: text as it stands, or the name of a parameter. "{{" and
// "}}" stand for one brace.
struct WordPart {
  std::string text;
  bool is_parameter = false;
};
// config_invalid: a brace stands alone, or has no name of a parameter in it.
Result<std::vector<WordPart>> parts_of(std::string_view word);

// Whether `pattern` is a POSIX extended regular expression that can be matched in bounded time.
bool is_pattern(const std::string& pattern);

// A caller's text as it may stand in an error: short, and plain on any terminal.
std::string in_quotes(std::string_view text);

}  // namespace gpupool
