#include "cli/completion.h"

#include <set>

namespace gpupool {
namespace {

// In single quotes, as all three shells read them.
std::string quoted(const std::string& text) {
  std::string safe = "'";
  for (const char c : text) {
    if (c == '\'')
      safe += "'\\''";
    else
      safe += c;
  }
  return safe + "'";
}

// "token/mint": how the scripts name a command; "": the program itself.
std::string place_of(const CommandEntry& command) {
  std::string place;
  for (std::size_t i = 1; i < command.path.size(); ++i)
    place += (i == 1 ? "" : "/") + command.path[i];
  return place;
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

// The places of all commands but the program: "generate", "token/mint".
std::vector<std::string> places_of(const CommandEntry& program) {
  std::vector<std::string> places;
  for (const CommandEntry* command : all_commands(program))
    if (command != &program) places.push_back(place_of(*command));
  return places;
}

// Options whose next word is a value, never a command.
std::vector<std::string> options_with_value(const CommandEntry& program) {
  std::set<std::string> names;
  for (const CommandEntry* command : all_commands(program))
    for (const OptionEntry& option : command->options)
      if (!option.value.empty()) names.insert(option.names.begin(), option.names.end());
  return {names.begin(), names.end()};
}

// The options of a command, and those of the program, which every command takes too.
std::vector<const OptionEntry*> options_at(const CommandEntry& program,
                                           const CommandEntry& command) {
  std::vector<const OptionEntry*> options;
  for (const OptionEntry& option : command.options) options.push_back(&option);
  if (&command != &program)
    for (const OptionEntry& option : program.options)
      if (option.names.back() != "--version") options.push_back(&option);
  return options;
}

std::string commands_and_options(const CommandEntry& program, const CommandEntry& command) {
  std::vector<std::string> names;
  for (const CommandEntry& below : command.commands) names.push_back(below.path.back());
  std::vector<std::string> options;
  for (const OptionEntry* option : options_at(program, command))
    options.push_back(option->names.back());
  return "commands=" + quoted(joined(names, " ")) +
         "\n      options=" + quoted(joined(options, " "));
}

std::string choices_cases(const CommandEntry& program) {
  std::string cases;
  for (const CommandEntry* command : all_commands(program))
    for (const OptionEntry& option : command->options)
      if (!option.choices.empty())
        cases += "    " + quoted(place_of(*command) + " " + option.names.back()) +
                 ") values=" + quoted(joined(option.choices, " ")) + " ;;\n";
  return cases;
}

// What bash and zsh have in common: at which command the line stands. `words` is the array of the
// words before the one that is completed, without the program.
std::string find_place(const CommandEntry& program) {
  return "  for word in \"${before[@]}\"; do\n"
         "    if [[ $skip == 1 ]]; then skip=0; continue; fi\n"
         "    case $word in\n"
         "      " +
         joined(options_with_value(program), " | ") +
         ") skip=1; continue ;;\n"
         "      -*) continue ;;\n"
         "    esac\n"
         "    case \"${place:+$place/}$word\" in\n"
         "      " +
         joined(places_of(program), " | ") +
         ") place=${place:+$place/}$word ;;\n"
         "    esac\n"
         "  done\n";
}

std::string bash(const CommandEntry& program) {
  const std::string& name = program.path.front();
  std::string script = "# bash completion of " + name + ", made by the program itself.\n_" + name +
                       "() {\n"
                       "  local current=${COMP_WORDS[COMP_CWORD]} word place='' skip=0\n"
                       "  local commands='' options='' values=''\n"
                       "  local -a before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n"
                       "  COMPREPLY=()\n" +
                       find_place(program) + "  case $place in\n";
  for (const CommandEntry* command : all_commands(program))
    script += "    " + quoted(place_of(*command)) + ")\n      " +
              commands_and_options(program, *command) + "\n      ;;\n";
  script += "  esac\n";
  if (const std::string cases = choices_cases(program); !cases.empty())
    script += "  case \"$place ${COMP_WORDS[COMP_CWORD-1]}\" in\n" + cases + "  esac\n";
  return script +
         "  if [[ -n $values ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$values\" -- \"$current\")\n"
         "  elif [[ $current == -* ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
         "  elif [[ $skip == 0 ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$current\")\n"
         "  fi\n"
         "}\n"
         "complete -o default -F _" +
         name + " " + name + "\n";
}

// 'name:what it does', in which a colon of its own would end the name.
std::string described(const std::string& name, const std::string& about) {
  return quoted(name + ":" + about);
}

std::string zsh(const CommandEntry& program) {
  const std::string& name = program.path.front();
  std::string script = "#compdef " + name + "\n# Made by " + name + " itself.\n_" + name +
                       "() {\n"
                       "  local word place='' skip=0 values=''\n"
                       "  local -a commands options\n"
                       "  local -a before=(\"${(@)words[2,CURRENT-1]}\")\n" +
                       find_place(program) + "  case $place in\n";
  for (const CommandEntry* command : all_commands(program)) {
    script += "    " + quoted(place_of(*command)) + ")\n      commands=(";
    for (const CommandEntry& below : command->commands)
      script += "\n        " + described(below.path.back(), below.about);
    script += ")\n      options=(";
    for (const OptionEntry* option : options_at(program, *command))
      script += "\n        " + described(option->names.back(), option->about);
    script += ")\n      ;;\n";
  }
  script += "  esac\n";
  if (const std::string cases = choices_cases(program); !cases.empty())
    script += "  case \"$place ${words[CURRENT-1]}\" in\n" + cases + "  esac\n";
  return script +
         "  if [[ -n $values ]]; then\n"
         "    compadd -- ${=values}\n"
         "  elif [[ $PREFIX == -* ]]; then\n"
         "    _describe option options\n"
         "  elif [[ $skip == 0 && ${#commands} -gt 0 ]]; then\n"
         "    _describe command commands\n"
         "  else\n"
         "    _files\n"
         "  fi\n"
         "}\n_" +
         name + " \"$@\"\n";
}

std::string fish(const CommandEntry& program) {
  const std::string& name = program.path.front();
  const std::string at = "__" + name + "_at";
  std::string script = "# fish completion of " + name + ", made by the program itself.\n" +
                       "function " + at +
                       "\n"
                       "  set -l place ''\n"
                       "  set -l skip 0\n"
                       "  for word in (commandline -opc)[2..]\n"
                       "    if test $skip = 1\n"
                       "      set skip 0\n"
                       "      continue\n"
                       "    end\n"
                       "    if contains -- $word " +
                       joined(options_with_value(program), " ") +
                       "\n"
                       "      set skip 1\n"
                       "      continue\n"
                       "    end\n"
                       "    set -l next (string trim -l -c / -- $place/$word)\n"
                       "    if contains -- $next " +
                       joined(places_of(program), " ") +
                       "\n"
                       "      set place $next\n"
                       "    end\n"
                       "  end\n"
                       "  test \"$place\" = \"$argv[1]\"\n"
                       "end\n";
  for (const CommandEntry* command : all_commands(program)) {
    const std::string start =
        "complete -c " + name + " -n " + quoted(at + " \"" + place_of(*command) + "\"");
    for (const CommandEntry& below : command->commands)
      script += start + " -f -a " + below.path.back() + " -d " + quoted(below.about) + "\n";
    for (const OptionEntry* option : options_at(program, *command)) {
      script += start;
      for (const std::string& one : option->names)
        script += one.starts_with("--") ? " -l " + one.substr(2) : " -s " + one.substr(1);
      if (!option->value.empty()) script += " -r";
      if (!option->choices.empty()) script += " -f -a " + quoted(joined(option->choices, " "));
      script += " -d " + quoted(option->about) + "\n";
    }
  }
  return script;
}

}  // namespace

std::string completion_of(const CommandEntry& program, Shell shell) {
  switch (shell) {
    case Shell::bash:
      return bash(program);
    case Shell::zsh:
      return zsh(program);
    case Shell::fish:
      return fish(program);
  }
  return "";
}

}  // namespace gpupool
