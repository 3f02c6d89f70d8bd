#include "cli/command_tree.h"

namespace gpupool {
namespace {

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {option.get_name(true)};
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> parted(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// CLI11 keeps what a value may be behind its type: "TEXT:{EdDSA,HS256}", "INT:INT in [1 - 50]".
void take_type(OptionEntry& entry, const std::string& type) {
  const std::size_t colon = type.find(':');
  entry.value = type.substr(0, colon);
  if (entry.value == "INT" || entry.value == "UINT") entry.value = "N";
  if (entry.value == "FLOAT") entry.value = "X";
  if (colon == std::string::npos) return;
  const std::string rule = type.substr(colon + 1);
  const std::size_t range = rule.find(" in [");
  if (rule.starts_with('{') && rule.ends_with('}')) {
    entry.choices = parted(rule.substr(1, rule.size() - 2), ',');
  } else if (range != std::string::npos && rule.ends_with(']')) {
    std::string text = rule.substr(range + 5, rule.size() - range - 6);
    if (const auto dash = text.find(" - "); dash != std::string::npos)
      text.replace(dash, 3, " to ");
    entry.range = text;
  } else if (rule == "POSITIVE") {
    entry.range = "above 0";
  } else if (rule == "NONNEGATIVE") {
    entry.range = "0 or more";
  }
}

OptionEntry entry_of(const CLI::Option& option) {
  OptionEntry entry{.names = names_of(option)};
  if (option.get_items_expected_max() > 0) take_type(entry, option.get_type_name());
  entry.about = option.get_description();
  entry.preset = option.get_default_str();
  entry.variable = option.get_envname();
  entry.is_required = option.get_required();
  entry.repeats = option.get_items_expected_max() > 1;
  return entry;
}

CommandEntry entry_of(const CLI::App& app, std::vector<std::string> path) {
  CommandEntry command;
  path.push_back(app.get_name());
  command.about = app.get_description();
  // A command that has none is given that of the one above it.
  const CLI::App* above = app.get_parent();
  if (!above || above->get_footer() != app.get_footer()) command.footer = app.get_footer();
  command.needs_command = app.get_require_subcommand_min() > 0;
  const bool is_root = path.size() == 1;
  for (const CLI::Option* option : app.get_options({})) {
    if (option->get_group().empty()) continue;
    if (!is_root && option == app.get_help_ptr()) continue;
    (option->get_positional() ? command.words : command.options).push_back(entry_of(*option));
  }
  for (const CLI::App* below : app.get_subcommands(std::function<bool(const CLI::App*)>{}))
    if (!below->get_group().empty()) command.commands.push_back(entry_of(*below, path));
  command.path = std::move(path);
  return command;
}

void collect(const CommandEntry& command, std::vector<const CommandEntry*>& all) {
  all.push_back(&command);
  for (const CommandEntry& below : command.commands) collect(below, all);
}

}  // namespace

CommandEntry command_tree(const CLI::App& app) { return entry_of(app, {}); }

std::vector<const CommandEntry*> all_commands(const CommandEntry& root) {
  std::vector<const CommandEntry*> all;
  collect(root, all);
  return all;
}

std::string path_text(const CommandEntry& command) {
  std::string text;
  for (const std::string& word : command.path) text += (text.empty() ? "" : " ") + word;
  return text;
}

}  // namespace gpupool
