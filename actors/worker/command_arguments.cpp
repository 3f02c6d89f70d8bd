#include "actors/worker/command_arguments.h"

#include <algorithm>
#include <numeric>

#include "config/limits.h"
#include "config/parameter.h"

namespace gpupool {
namespace {

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

const std::string* value_of(const std::vector<Argument>& arguments, const std::string& key) {
  const auto found = std::find_if(arguments.begin(), arguments.end(),
                                  [&](const Argument& one) { return one.key == key; });
  return found == arguments.end() ? nullptr : &found->value;
}

std::string names_of(const std::vector<ParameterConfig>& parameters) {
  std::string names;
  for (const ParameterConfig& one : parameters) names += (names.empty() ? "" : ", ") + one.name;
  return names.empty() ? "it takes none" : "it takes " + names;
}

Status check_arguments(const CommandConfig& command, const std::vector<Argument>& arguments) {
  for (auto one = arguments.begin(); one != arguments.end(); ++one) {
    const auto same = [&](const Argument& other) { return other.key == one->key; };
    if (std::any_of(arguments.begin(), one, same))
      return bad(in_quotes(one->key) + " is given twice");
    const auto parameter =
        std::find_if(command.parameters.begin(), command.parameters.end(),
                     [&](const ParameterConfig& known) { return known.name == one->key; });
    if (parameter == command.parameters.end())
      return bad("there is no parameter " + in_quotes(one->key) + "; " +
                 names_of(command.parameters));
    if (Status good = check_value(*parameter, one->value); !good) return good;
  }
  for (const ParameterConfig& parameter : command.parameters)
    if (!parameter.has_default && value_of(arguments, parameter.name) == nullptr)
      return bad(parameter.name + " is missing: " + expected_of(parameter));
  return ok();
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// A text that begins a word could be read as an option of the program, which its app never meant to
// offer. Behind a word "--" programs take none.
bool may_be_an_option(const ParameterConfig& parameter, const std::string& value) {
  return parameter.kind == ParameterKind::text && parameter.choices.empty() &&
         value.starts_with('-');
}

Result<std::vector<std::string>> filled_in(const CommandConfig& command,
                                           const std::vector<Argument>& arguments) {
  std::vector<std::string> words;
  bool options_are_over = false;
  for (const std::string& pattern : command.words) {
    const auto parts = parts_of(pattern);
    if (!parts) return parts.error();
    std::string word;
    for (const WordPart& part : *parts) {
      if (!part.is_parameter) {
        word += part.text;
        continue;
      }
      const auto parameter =
          std::find_if(command.parameters.begin(), command.parameters.end(),
                       [&](const ParameterConfig& known) { return known.name == part.text; });
      if (parameter == command.parameters.end())
        return bad("the app's command has a parameter that the app has not: " + part.text);
      const std::string* given = value_of(arguments, part.text);
      const std::string& value = given != nullptr ? *given : parameter->default_value;
      if (word.empty() && !options_are_over && may_be_an_option(*parameter, value))
        return bad(parameter->name + " must not begin with \"-\", which " +
                   in_quotes(command.words.front()) + " could take for an option");
      word += value;
    }
    options_are_over = options_are_over || pattern == "--";
    words.push_back(std::move(word));
  }
  return words;
}

Result<std::vector<std::string>> own_words(const std::vector<Argument>& arguments) {
  const std::string* command = value_of(arguments, command_argument);
  const std::string* files = value_of(arguments, files_argument);
  if (command == nullptr || arguments.size() != (files != nullptr ? 2U : 1U))
    return bad(
        "this app runs the command that a request brings: one argument \"command\", its words each "
        "followed by a zero byte, and if wanted \"files\", the hash of an upload (gpupool run -- "
        "CMD ...)");
  if (files != nullptr && !is_sha256(*files))
    return bad("\"files\" is the SHA-256 of an upload, 64 small hexadecimal digits");
  const std::string& packed = *command;
  if (!packed.ends_with('\0')) return bad("\"command\" must end with a zero byte");
  std::vector<std::string> words;
  for (std::size_t at = 0; at < packed.size();) {
    const std::size_t end = packed.find('\0', at);
    words.push_back(packed.substr(at, end - at));
    at = end + 1;
  }
  if (words.front().empty()) return bad("the command's first word, its program, is empty");
  return words;
}

}  // namespace

std::string files_of(const CommandConfig& command, const std::vector<Argument>& arguments) {
  const std::string* files = command.is_any() ? value_of(arguments, files_argument) : nullptr;
  return files == nullptr ? std::string() : *files;
}

std::string unset_secrets(const CommandConfig& command) {
  std::string names;
  for (const SecretConfig& secret : command.secrets)
    if (secret.value.empty()) names += (names.empty() ? "" : ", ") + secret.name;
  return names;
}

std::string packed_words(const std::vector<std::string>& words) {
  std::string packed;
  for (const std::string& word : words) packed += word + '\0';
  return packed;
}

Result<std::vector<std::string>> command_words(const CommandConfig& command,
                                               const std::vector<Argument>& arguments) {
  if (!command.is_any())
    if (const Status good = check_arguments(command, arguments); !good) return good.error();
  auto words = command.is_any() ? own_words(arguments) : filled_in(command, arguments);
  if (!words) return words;
  const auto bytes =
      std::accumulate(words->begin(), words->end(), std::size_t{0},
                      [](std::size_t sum, const std::string& one) { return sum + one.size() + 1; });
  if (std::cmp_greater(words->size(), limits::command_words_max) ||
      std::cmp_greater(bytes, limits::command_bytes_max))
    return bad("the command line has " + std::to_string(words->size()) + " words and " +
               std::to_string(bytes) + " bytes; at most " +
               std::to_string(limits::command_words_max) + " and " +
               std::to_string(limits::command_bytes_max) + " are allowed");
  return words;
}

}  // namespace gpupool
