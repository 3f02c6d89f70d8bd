#pragma once
// A program's command line as plain lists: what its manual and a shell's completion say. Read from
// CLI11's own definition, so neither can lag behind it. What is hidden (a group without a name) is
// left out, and --help of every command but the first.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace gpupool {

// An option, or a word that stands for itself: then it has one name and no dashes.
struct OptionEntry {
  std::vector<std::string> names;    // "-o", "--output"
  std::string value;                 // what follows it: "FILE"; empty: nothing does
  std::vector<std::string> choices;  // if its value is one of these
  std::string range;                 // "1 to 50": if its value is a number of these
  std::string about;
  std::string preset;    // what holds without it, where that is a value
  std::string variable;  // of the environment, that says the same
  bool is_required = false;
  bool repeats = false;
};

struct CommandEntry {
  std::vector<std::string> path;  // "gpupool", "token", "mint"
  std::string about;
  std::string footer;              // below its help
  std::vector<OptionEntry> words;  // in the order in which they are typed
  std::vector<OptionEntry> options;
  std::vector<CommandEntry> commands;
  bool needs_command = false;  // one of these
};

CommandEntry command_tree(const CLI::App& app);

// The command itself, then all below it, in the order in which they are defined.
std::vector<const CommandEntry*> all_commands(const CommandEntry& root);

// "gpupool token mint"
std::string path_text(const CommandEntry& command);

}  // namespace gpupool
