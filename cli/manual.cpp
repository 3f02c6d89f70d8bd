#include "cli/manual.h"

#include <algorithm>
#include <regex>
#include <sstream>

namespace gpupool {
namespace {

// Text in which roff finds nothing of its own: no escape, and no request at the start of a line.
// Dashes and quotes come out as they are typed in a shell.
std::string plain(const std::string& text) {
  std::string roff;
  if (text.starts_with('.') || text.starts_with('\'')) roff += "\\&";
  for (const char c : text) switch (c) {
      case '\\':
        roff += "\\e";
        break;
      case '-':
        roff += "\\-";
        break;
      case '\'':
        roff += "\\(aq";
        break;
      case '`':
        roff += "\\(ga";
        break;
      case '"':
        roff += "\\(dq";
        break;
      case '^':
        roff += "\\(ha";
        break;
      case '~':
        roff += "\\(ti";
        break;
      default:
        roff += c;
    }
  return roff;
}

std::string bold(const std::string& text) { return "\\fB" + plain(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + plain(text) + "\\fR"; }

std::string heading(const std::string& title) { return ".SH " + plain(title) + "\n"; }
std::string paragraph(const std::string& text) { return ".PP\n" + plain(text) + "\n"; }
std::string tagged(const std::string& tag, const std::string& text) {
  return ".TP\n" + tag + "\n" + (text.empty() ? "\\&" : text) + "\n";
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Lines that are indented are typed like that; the others are a paragraph.
std::string lines_as_they_stand(const std::string& text) {
  std::string roff;
  std::string prose;
  const auto end_prose = [&] {
    if (!prose.empty()) roff += paragraph(prose);
    prose.clear();
  };
  bool typed = false;
  for (const std::string& line : lines_of(text)) {
    if (line.starts_with("  ") != typed) {
      end_prose();
      typed = !typed;
      roff += typed ? ".PP\n.RS 4\n.EX\n" : ".EE\n.RE\n";
    }
    if (typed)
      roff += plain(line.substr(2)) + "\n";
    else if (line.empty())
      end_prose();
    else
      prose += (prose.empty() ? "" : " ") + line;
  }
  end_prose();
  return roff + (typed ? ".EE\n.RE\n" : "");
}

// What stands in brackets behind the meaning, e.g. "(one of EdDSA, HS256; default EdDSA)".
std::string particulars(const OptionEntry& entry) {
  std::vector<std::string> all;
  std::string choices;
  for (const std::string& choice : entry.choices) choices += (choices.empty() ? "" : ", ") + choice;
  if (entry.choices.size() > 1) all.push_back("one of " + choices);
  if (!entry.range.empty()) all.push_back(entry.range);
  if (entry.is_required) all.push_back("required");
  if (!entry.preset.empty()) all.push_back("default " + entry.preset);
  if (!entry.variable.empty()) all.push_back("variable " + entry.variable);
  std::string text;
  for (const std::string& one : all) text += (text.empty() ? " (" : "; ") + one;
  return text.empty() ? text : text + ")";
}

std::string option_text(const OptionEntry& entry) {
  std::string tag;
  for (const std::string& name : entry.names) tag += (tag.empty() ? "" : ", ") + bold(name);
  if (!entry.value.empty()) tag += " " + italic(entry.value);
  return tagged(tag, plain(entry.about + particulars(entry)));
}

std::string word_text(const OptionEntry& entry) {
  OptionEntry rest = entry;
  rest.is_required = false;  // the usage says it
  return tagged(italic(entry.names.front()), plain(entry.about + particulars(rest)));
}

std::string usage_of(const CommandEntry& command) {
  std::string usage = bold(path_text(command));
  if (!command.options.empty()) usage += " [\\fIoptions\\fR]";
  for (const OptionEntry& word : command.words) {
    const std::string name = italic(word.names.front()) + (word.repeats ? " ..." : "");
    usage += word.is_required ? " " + name : " [" + name + "]";
  }
  if (!command.commands.empty())
    usage += command.needs_command ? " \\fIcommand\\fR" : " [\\fIcommand\\fR]";
  return usage;
}

// Without what stands below every command.
std::string own_footer(const CommandEntry& command, const ManualText& text) {
  std::string footer = command.footer;
  if (footer.ends_with(text.common_footer))
    footer.resize(footer.size() - text.common_footer.size());
  return footer;
}

std::string options_text(const CommandEntry& command) {
  std::string roff;
  for (const OptionEntry& word : command.words) roff += word_text(word);
  for (const OptionEntry& option : command.options) roff += option_text(option);
  return roff;
}

// "Exit codes: 0 done, 2 usage." as a list.
std::string exit_codes_text(const std::string& text) {
  std::string line;
  for (const std::string& part : lines_of(text)) line += (line.empty() ? "" : " ") + part;
  static const std::regex one{R"((\d+) (.+?)(?=, \d+ |\.$))"};
  std::string roff;
  for (std::sregex_iterator i(line.begin(), line.end(), one), end; i != end; ++i)
    roff += tagged(bold(i->str(1)), plain(i->str(2)));
  return roff;
}

std::string commands_text(const CommandEntry& program, const ManualText& text) {
  std::string roff;
  for (const CommandEntry* command : all_commands(program)) {
    if (command == &program) continue;
    roff += ".SS " + usage_of(*command) + "\n" + plain(command->about) + "\n";
    roff += options_text(*command) + lines_as_they_stand(own_footer(*command, text));
  }
  return roff;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return text;
}

}  // namespace

std::string manual_of(const CommandEntry& program, const ManualText& text) {
  const std::string& name = program.path.front();
  std::string roff = ".\\\" Made by " + name + " itself, from its command line.\n";
  roff += ".TH " + upper(name) + " " + text.section + " \"\" \"" +
          plain("gpupool " + text.version) + "\" \"gpupool\"\n.nh\n.ad l\n";
  roff += heading("NAME") + plain(name) + " \\- " + plain(text.summary) + "\n";
  roff += heading("SYNOPSIS") + usage_of(program) + "\n";
  roff += heading("DESCRIPTION");
  for (const std::string& one : text.paragraphs) roff += lines_as_they_stand(one);
  roff += heading("OPTIONS") + options_text(program);
  if (!program.commands.empty()) roff += heading("COMMANDS") + commands_text(program, text);
  if (!text.exit_codes.empty()) roff += heading("EXIT STATUS") + exit_codes_text(text.exit_codes);
  for (const ManualPart& part : text.parts) {
    roff += heading(part.title);
    for (const ManualEntry& entry : part.entries)
      roff += tagged(bold(entry.name), plain(entry.text));
    roff += lines_as_they_stand(part.lines);
  }
  std::string others;
  for (const std::string& other : text.see_also) {
    const std::size_t bracket = other.find('(');
    others += (others.empty() ? "" : ", ") + bold(other.substr(0, bracket)) +
              (bracket == std::string::npos ? "" : plain(other.substr(bracket)));
  }
  if (!others.empty()) roff += heading("SEE ALSO") + others + "\n";
  return roff;
}

}  // namespace gpupool
