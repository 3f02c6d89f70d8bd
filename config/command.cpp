#include "config/command.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "config/limits.h"
#include "config/parameter.h"
#include "config/small_file.h"
#include "config/text_rules.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

constexpr double whole_max = 9007199254740992.0;  // every whole number up to it is a double too
constexpr std::string_view keys[] = {
    "command",   "any_command",      "parameters",    "environment",   "sandbox", "network",
    "read_only", "memory_max_bytes", "scratch_bytes", "processes_max", "retries", "secrets"};

bool has_no_zero(std::string_view text) { return text.find('\0') == std::string_view::npos; }

constexpr TextRule word_rule{
    .expected = "a word of a command line, at most 4096 bytes, without a zero byte",
    .allows = [](std::string_view text) { return text.size() <= 4096 && has_no_zero(text); }};

bool is_variable_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && !(name.front() >= '0' && name.front() <= '9') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                  (c >= 'A' && c <= 'Z');
         });
}

// The pool's own are not an operator's to set: they say what a run was given.
bool is_the_pools(std::string_view name) {
  return name.starts_with("GPUPOOL_") || name == "CUDA_VISIBLE_DEVICES" ||
         name == "CUDA_DEVICE_ORDER" || name == "HOME" || name == "PWD" || name == "TMPDIR";
}

constexpr TextRule variable_rule{
    .expected =
        "\"NAME=value\"; GPUPOOL_..., CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER, HOME, PWD and "
        "TMPDIR are the pool's",
    .allows = [](std::string_view text) {
      const std::string_view name = text.substr(0, text.find('='));
      return name.size() < text.size() && text.size() <= 4096 && has_no_zero(text) &&
             is_variable_name(name) && !is_the_pools(name);
    }};

constexpr TextRule secret_rule{
    .expected = "the name of an environment variable that is not the pool's own",
    .allows = [](std::string_view text) { return is_variable_name(text) && !is_the_pools(text); }};

constexpr TextRule folder_rule{
    .expected = "a whole path of a folder or file, without \"..\", and not /",
    .allows = [](std::string_view text) {
      const fs::path path{text};
      return text.size() > 1 && text.size() <= 4096 && has_no_zero(text) && path.is_absolute() &&
             path.lexically_normal() == path;
    }};

constexpr TextRule pattern_rule{
    .expected = "a POSIX extended regular expression of at most 255 bytes without \\1 to \\9",
    .allows = [](std::string_view text) {
      return has_no_zero(text) && is_pattern(std::string(text));
    }};

constexpr TextRule about_rule{
    .expected = "a line of at most 255 bytes", .allows = [](std::string_view text) {
      return text.size() <= 255 && text.find_first_of("\n\r") == std::string_view::npos;
    }};

constexpr TextRule value_rule{.expected = "a text as a request would give it, in quotes",
                              .allows = [](std::string_view text) {
                                return std::cmp_less_equal(text.size(), limits::argument_bytes_max);
                              }};

// What has no meaning for this type is a mistake, not a wish to be passed over.
void reject_others(Section& section, ParameterKind kind) {
  const bool is_text = kind == ParameterKind::text;
  const bool has_range = kind == ParameterKind::integer || kind == ParameterKind::number;
  for (const std::string_view key : {"bytes_max", "pattern", "choices"})
    if (!is_text && section.has(key))
      section.reject(key, "nothing, as only texts have it", "a value");
  for (const std::string_view key : {"min", "max"})
    if (!has_range && section.has(key))
      section.reject(key, "nothing, as only numbers have it", "a value");
}

void read_range(Section& section, ParameterConfig& parameter) {
  double low = parameter.kind == ParameterKind::integer ? -whole_max : -1e300;
  double high = -low;
  section.real("min", low);
  section.real("max", high);
  if (low > high) section.reject("min", "at most max", "more");
  parameter.low = low;
  parameter.high = high;
  if (parameter.kind != ParameterKind::integer) return;
  for (const auto& [key, value] : {std::pair("min", low), std::pair("max", high)})
    if (value != std::floor(value) || std::abs(value) > whole_max)
      section.reject(key, "a whole number up to 2^53, as the parameter is one", "another");
  parameter.least = static_cast<std::int64_t>(std::clamp(low, -whole_max, whole_max));
  parameter.most = static_cast<std::int64_t>(std::clamp(high, -whole_max, whole_max));
}

ParameterConfig read_parameter(Section& section, const std::vector<ParameterConfig>& before) {
  ParameterConfig parameter;
  std::string type = "text";
  section.text("name", parameter.name, name_rule, Need::required);
  section.text("type", type, parameter_type_rule);
  if (type == "integer") parameter.kind = ParameterKind::integer;
  if (type == "number") parameter.kind = ParameterKind::number;
  if (type == "boolean") parameter.kind = ParameterKind::boolean;
  section.count("bytes_max", parameter.bytes_max, {0, limits::argument_bytes_max});
  section.text("pattern", parameter.pattern, pattern_rule);
  section.texts("choices", parameter.choices, value_rule);
  section.text("about", parameter.about, about_rule);
  parameter.has_default = section.has("default");
  section.text("default", parameter.default_value, value_rule);
  read_range(section, parameter);
  reject_others(section, parameter.kind);
  if (std::cmp_greater(parameter.choices.size(), limits::parameter_choices_max))
    section.reject("choices",
                   "at most " + std::to_string(limits::parameter_choices_max) + " choices",
                   std::to_string(parameter.choices.size()));
  if (parameter.has_default)
    if (const Status good = check_value(parameter, parameter.default_value); !good)
      section.reject("default", expected_of(parameter), in_quotes(parameter.default_value));
  for (const ParameterConfig& other : before)
    if (other.name == parameter.name)
      section.reject("name", "a name that no other parameter of this app has",
                     "\"" + parameter.name + "\" again");
  return parameter;
}

// Each parameter of a word is one of the app's, and each of these is used: which program runs, and
// what it is told, is then all there to be read. The program itself is nobody's to choose.
void check_words(Section& section, const CommandConfig& command) {
  std::set<std::string> used;
  for (std::size_t i = 0; i < command.words.size(); ++i) {
    const auto parts = parts_of(command.words[i]);
    if (!parts) {
      section.reject("command", "words with {parameter} in them, and {{ and }} for plain braces",
                     parts.error().detail);
      continue;
    }
    for (const WordPart& part : *parts) {
      if (!part.is_parameter) continue;
      used.insert(part.text);
      if (i == 0)
        section.reject("command", "a program as its first word, without parameters",
                       in_quotes(command.words[i]));
      if (std::none_of(command.parameters.begin(), command.parameters.end(),
                       [&](const ParameterConfig& one) { return one.name == part.text; }))
        section.reject("command", "only parameters of this app in braces", "{" + part.text + "}");
    }
  }
  for (const ParameterConfig& parameter : command.parameters)
    if (!used.contains(parameter.name))
      section.reject("parameters", "parameters that some word of the command has in braces",
                     "\"" + parameter.name + "\", which none has");
}

// The value never leaves the running configuration but for the environment of a run. Without a file
// it is still to be set: an app that was made from another one has none of its secrets.
SecretConfig read_app_secret(Section& section, const std::vector<SecretConfig>& before) {
  constexpr std::int64_t bytes_max = 4096;
  constexpr std::string_view expected =
      "a file of 1 to 4096 bytes that only its owner may read, or \"\" while there is none";
  SecretConfig secret;
  std::string file;
  section.text("name", secret.name, secret_rule, Need::required);
  section.path("file", file, Need::required);
  for (const SecretConfig& other : before)
    if (other.name == secret.name)
      section.reject("name", "a name that no other secret of this app has",
                     "\"" + secret.name + "\" again");
  if (file.empty()) return secret;
  auto value = read_owners_file(file, bytes_max);
  if (!value)
    section.reject("file", expected, value.error().detail);
  else if (value->empty() || !has_no_zero(*value))
    section.reject("file", expected, file + ", which is empty or has a zero byte");
  else
    secret.value = *std::move(value);
  return secret;
}

bool is_inside(const fs::path& inner, const fs::path& outer) {
  const auto [end, ignored] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end();
}

// The pool's own files are nobody's to read, above all where commands run as the user that it runs
// as.
void check_folders(Section& section, const Config& config, const CommandConfig& command) {
  std::vector<fs::path> own;
  const auto add = [&](const std::string& path) {
    if (path.empty()) return;
    std::error_code ignored;
    fs::path plain = fs::absolute(path, ignored).lexically_normal();
    own.push_back(plain.has_filename() ? plain : plain.parent_path());  // without a last slash
  };
  if (config.worker_role) add(config.worker.folder);
  if (config.broker_role && config.ledger.journal == JournalKind::sqlite) add(config.ledger.path);
  add(config.cluster.key_file);
  // Where the configuration lies there are its secrets too.
  add((section.folder() / ".").string());
  for (const std::string& folder : command.read_only)
    for (const fs::path& one : own)
      if (is_inside(one, folder) || is_inside(folder, one))
        section.reject("read_only", "folders without the pool's own files in them",
                       "\"" + folder + "\", where " + one.string() + " is");
}

}  // namespace

void check_concurrency(Section& section, const Config& config, const AppConfig& app) {
  for (const AppConfig& other : config.apps)
    if (other.name != app.name && other.partition == app.partition &&
        (app.concurrency > 0 || other.concurrency > 0))
      return section.reject("partition", "one of its own for each app with a concurrency",
                            "\"" + app.partition + "\", which app \"" + other.name + "\" has too");
  if (app.concurrency == 0) return;
  const bool knows_slots =
      config.broker_role && config.worker_role && config.broker.worker_address.empty();
  std::uint32_t slots = 0;
  for (const DeviceConfig& device : config.worker.devices)
    if (device.partition == app.partition) slots += device.slots;
  if (knows_slots && slots != app.concurrency)
    section.reject(
        "concurrency",
        "as many as its partition \"" + app.partition + "\" has slots, " + std::to_string(slots),
        std::to_string(app.concurrency));
}

void read_command(Section& section, AppConfig& app) {
  CommandConfig& command = app.command;
  bool any = false;
  std::string sandbox = "bubblewrap";
  section.texts("command", command.words, word_rule, Repeats::allowed);
  section.flag("any_command", any);
  section.list<ParameterConfig>(
      "parameters", command.parameters, limits::parameters_max,
      [&](Section& one) { return read_parameter(one, command.parameters); });
  section.texts("environment", command.environment, variable_rule);
  section.list<SecretConfig>("secrets", command.secrets, limits::parameters_max,
                             [&](Section& one) { return read_app_secret(one, command.secrets); });
  section.text("sandbox", sandbox, sandbox_rule);
  section.flag("network", command.network);
  section.texts("read_only", command.read_only, folder_rule);
  section.bytes("memory_max_bytes", command.memory_max_bytes, memory_range);
  section.bytes("scratch_bytes", command.scratch_bytes, {1024 * 1024, std::int64_t{1} << 40U});
  section.count("processes_max", command.processes_max, {1, 100'000});
  section.count("retries", command.retries, {0, limits::attempts_max - 1});
  if (sandbox == "none") command.sandbox = SandboxKind::none;
  if (app.executor != ExecutorKind::command) {
    for (const std::string_view key : keys)
      if (section.has(key))
        section.reject(key, "nothing, as only apps with executor = \"command\" have it", "a value");
    return;
  }
  if (any == !command.words.empty())
    section.reject("command",
                   "a list of words with the program first, or any_command = true instead of it",
                   any ? "both" : "none of them");
  if (std::cmp_greater(command.words.size(), limits::command_words_max))
    section.reject("command", "at most " + std::to_string(limits::command_words_max) + " words",
                   std::to_string(command.words.size()));
}

void check_command(Section& section, const Config& config, const AppConfig& app) {
  const CommandConfig& command = app.command;
  if (app.spread != Spread::device)
    section.reject("spread", "\"device\", as a command runs on one device", "another");
  check_folders(section, config, command);
  for (const SecretConfig& secret : command.secrets)
    for (const std::string& variable : command.environment)
      if (variable.starts_with(secret.name + "="))
        section.reject("secrets", "names that \"environment\" does not have",
                       "\"" + secret.name + "\" again");
  // A command that is there and could not be read is told by its own line alone.
  if (!command.is_any() || section.has("command")) return check_words(section, command);
  // Whoever may bring a program of their own is the operator's word, never an omission.
  if (app.tiers.empty())
    section.reject("tiers", "the tiers that may run any command, by name", "none");
  if (!command.parameters.empty())
    section.reject("parameters", "nothing, as a request brings its whole command line", "some");
}

}  // namespace gpupool
