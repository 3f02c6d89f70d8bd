#include "cli/apps_command.h"

#include <algorithm>

#include "cli/say.h"
#include "config/load.h"
#include "config/text_rules.h"
#include "net/json_output.h"

namespace gpupool {
namespace {

// A basic string of TOML.
std::string quoted_toml(const std::string& text) {
  constexpr const char* digits = "0123456789ABCDEF";
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += std::string("\\") + c;
    else if (byte < 0x20 || byte == 0x7f)
      quoted += std::string("\\u00") + digits[byte >> 4U] + digits[byte & 0xfU];
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : ", ") + quoted_toml(text);
  return "[" + list + "]";
}

std::string seconds_of(Duration duration) {
  const std::string whole = std::to_string(duration.ms / 1000);
  return duration.ms % 1000 == 0
             ? whole
             : whole + "." + std::to_string(1000 + duration.ms % 1000).substr(1);
}

// As TOML reads it again, to the last bit.
std::string number_of(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", number);
  const std::string plain = text;
  return plain.find_first_of(".e") == std::string::npos ? plain + ".0" : plain;
}

std::string flag_of(bool flag) { return flag ? "true" : "false"; }

std::string table_of(const ParameterConfig& parameter) {
  constexpr std::string_view types[] = {"text", "integer", "number", "boolean"};
  std::string text = "[[apps.parameters]]\nname = " + quoted_toml(parameter.name) + "\ntype = \"" +
                     std::string(types[static_cast<std::size_t>(parameter.kind) - 1]) + "\"\n";
  if (parameter.has_default) text += "default = " + quoted_toml(parameter.default_value) + "\n";
  if (!parameter.about.empty()) text += "about = " + quoted_toml(parameter.about) + "\n";
  if (parameter.kind == ParameterKind::text) {
    text += "bytes_max = " + std::to_string(parameter.bytes_max) + "\n";
    if (!parameter.pattern.empty()) text += "pattern = " + quoted_toml(parameter.pattern) + "\n";
    if (!parameter.choices.empty()) text += "choices = " + list_of(parameter.choices) + "\n";
  } else if (parameter.kind == ParameterKind::integer) {
    text += "min = " + std::to_string(parameter.least) +
            "\nmax = " + std::to_string(parameter.most) + "\n";
  } else if (parameter.kind == ParameterKind::number) {
    text += "min = " + number_of(parameter.low) + "\nmax = " + number_of(parameter.high) + "\n";
  }
  return text;
}

Error bad(std::string detail) {
  return {.code = Errc::config_invalid, .detail = std::move(detail)};
}

Result<AppConfig> find_app(const DuplicateOptions& options) {
  const auto config = load_config(options.config);
  if (!config) return config.error();
  const AppConfig* app = config->app(options.from);
  if (app == nullptr) return bad("no app is called \"" + options.from + "\" in " + options.config);
  if (app->executor != ExecutorKind::command)
    return bad("\"" + options.from + "\" runs no command; copy its table, which has no secrets");
  if (!is_name(options.to)) return bad("a new name " + std::string(name_rule.expected.substr(2)));
  if (config->app(options.to) != nullptr)
    return bad("there is an app called \"" + options.to + "\" in " + options.config + " already");
  return *app;
}

}  // namespace

std::string tables_of(const AppConfig& app, const std::string& name) {
  const CommandConfig& command = app.command;
  std::string text = "[[apps]]\nname = " + quoted_toml(name) + "\nexecutor = \"command\"\n";
  text += command.is_any() ? "any_command = true\n" : "command = " + list_of(command.words) + "\n";
  const std::pair<const char*, std::string> lines[] = {
      {"partition", quoted_toml(app.partition)},
      {"size", quoted_toml(app.size)},
      {"duration", app.automatic ? "\"auto\"" : "\"declared\""},
      {"default_duration_s", seconds_of(app.default_duration)},
      {"longest_s", seconds_of(app.longest)},
      {"start_limit_s", seconds_of(app.start_limit)},
      {"tiers", list_of(app.tiers)},
      {"memory_bytes", std::to_string(app.memory_bytes)},
      {"environment", list_of(command.environment)},
      {"sandbox", command.sandbox == SandboxKind::none ? "\"none\"" : "\"bubblewrap\""},
      {"network", flag_of(command.network)},
      {"read_only", list_of(command.read_only)},
      {"memory_max_bytes", std::to_string(command.memory_max_bytes)},
      {"scratch_bytes", std::to_string(command.scratch_bytes)},
      {"processes_max", std::to_string(command.processes_max)},
      {"retries", std::to_string(command.retries)}};
  for (const auto& [key, value] : lines) text += std::string(key) + " = " + value + "\n";
  for (const ParameterConfig& parameter : command.parameters) text += table_of(parameter);
  for (const SecretConfig& secret : command.secrets)
    text += "[[apps.secrets]]\nname = " + quoted_toml(secret.name) + "\nfile = \"\"\n";
  return text;
}

ExitCode duplicate_app(const Connection& connection, const DuplicateOptions& options) {
  const auto app = find_app(options);
  if (!app) return say_usage_error(connection, app.error());
  std::vector<std::string> secrets;
  for (const SecretConfig& secret : app->command.secrets) secrets.push_back(secret.name);
  const std::string tables = tables_of(*app, options.to);
  if (connection.json) {
    print(text_of({{"app", options.to}, {"toml", tables}, {"secrets_to_set", secrets}}));
    return ExitCode::done;
  }
  print(tables);
  std::string names;
  for (const std::string& name : secrets) names += (names.empty() ? "" : ", ") + name;
  if (!secrets.empty())
    print_error("secrets are not copied: \"" + options.to + "\" runs nothing until " + names +
                " of it " + (secrets.size() == 1 ? "has a file" : "have files") +
                " of their own\n");
  if (app->concurrency > 0)
    print_error("\"" + options.from + "\" has a partition of its own with " +
                std::to_string(app->concurrency) + " slots: give \"" + options.to +
                "\" another one, and its concurrency\n");
  return ExitCode::done;
}

}  // namespace gpupool
