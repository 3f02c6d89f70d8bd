// The client program: reads the command line and carries it out.
#include "cli/build.h"
#include "cli/completion.h"
#include "cli/gpupool.h"
#include "cli/say.h"

namespace gpupool {
namespace {

ExitCode print_manual(const CLI::App& app, const std::string& shell) {
  const CommandEntry program = command_tree(app);
  if (shell.empty()) print(manual_of(program, client_manual()));
  if (shell == "bash") print(completion_of(program, Shell::bash));
  if (shell == "zsh") print(completion_of(program, Shell::zsh));
  if (shell == "fish") print(completion_of(program, Shell::fish));
  return ExitCode::done;
}

// Not for people, so no help lists it: the build makes the manual and the completions with it.
void add_manual(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("manual", "print the manual's page, in roff");
  command.group("");
  command.add_option("--completion", line.shell, "what completes commands in this shell instead")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("SHELL");
  command.callback(
      [&app, &line] { line.command = [&app, &line] { return print_manual(app, line.shell); }; });
}

// The library would say that a subcommand is required, and not which word is none.
int say_no_command(const CLI::App& app) {
  const std::vector<std::string> words = app.remaining(true);
  print_error("gpupool: " +
              (words.empty() ? std::string("a command is needed")
                             : "there is no command \"" + printable(words.front()) + "\"") +
              "; --help lists them\n");
  return static_cast<int>(ExitCode::usage);
}

int run(int argc, char** argv) {
  CLI::App app{
      "gpupool: pictures and programs on shared GPUs, by the second, with a reason for every "
      "number",
      "gpupool"};
  app.set_version_flag("--version", "gpupool " + build_string());
  CommandLine line;
  add_commands(app, line);
  add_manual(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (std::string(error.what()) == "A subcommand is required") return say_no_command(app);
    return app.exit(error) == 0 ? static_cast<int>(ExitCode::done)
                                : static_cast<int>(ExitCode::usage);
  }
  return static_cast<int>(line.command());
}

}  // namespace
}  // namespace gpupool

int main(int argc, char** argv) { return gpupool::run(argc, argv); }
