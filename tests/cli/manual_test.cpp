// The manual's pages and the completions of shells, compared with the command lines themselves.
#include "cli/manual.h"

#include <catch2/catch.hpp>
#include <functional>
#include <regex>
#include <sstream>

#include "cli/completion.h"
#include "cli/daemon_options.h"
#include "cli/gpupool.h"

using namespace gpupool;

namespace {

struct ClientLine {
  ClientLine() { add_commands(app, line); }
  CLI::App app{"a pool's client", "gpupool"};
  CommandLine line;
};

struct DaemonLine {
  DaemonLine() { add_daemon_options(app, options); }
  CLI::App app{"a pool's daemon", "gpupoold"};
  DaemonOptions options;
};

// As roff has a word that is typed.
std::string typed(const std::string& word) {
  return std::regex_replace(word, std::regex("-"), "\\-");
}

// The part of the page about one command: from its heading to the next one.
std::string part_of(const std::string& page, const std::string& path) {
  const std::string heading = ".SS \\fB" + typed(path) + "\\fR";
  std::size_t begin = page.find(heading + "\n");
  if (begin == std::string::npos) begin = page.find(heading + " ");
  if (begin == std::string::npos) return "";
  const std::size_t next = std::min(page.find("\n.SS ", begin), page.find("\n.SH ", begin));
  return page.substr(begin, next - begin);
}

// Every command below `app` that help lists, with its path, as CLI11 knows them.
using Visit = std::function<void(const CLI::App& command, const std::string& path)>;
void visit_commands(const CLI::App& app, const std::string& path, const Visit& visit) {
  for (const CLI::App* below : app.get_subcommands(std::function<bool(const CLI::App*)>{})) {
    if (below->get_group().empty()) continue;
    const std::string its = path + " " + below->get_name();
    visit(*below, its);
    visit_commands(*below, its, visit);
  }
}

std::vector<std::string> names_of(const CLI::Option& option) {
  if (option.get_positional()) return {"\\fI" + typed(option.get_name(true)) + "\\fR"};
  std::vector<std::string> names;
  for (const auto& name : option.get_snames()) names.push_back("\\fB" + typed("-" + name) + "\\fR");
  for (const auto& name : option.get_lnames())
    names.push_back("\\fB" + typed("--" + name) + "\\fR");
  return names;
}

void check_part(const std::string& part, const CLI::App& command) {
  REQUIRE_FALSE(part.empty());
  for (const CLI::Option* option : command.get_options({})) {
    if (option->get_group().empty()) continue;
    if (command.get_parent() && option == command.get_help_ptr()) continue;
    for (const std::string& name : names_of(*option)) {
      INFO(name);
      CHECK(part.find(name) != std::string::npos);
    }
  }
}

// Requests and escapes that the page may hold; whatever else came from a text.
void check_roff(const std::string& page) {
  static const std::regex request{R"(\.(\\".*|(TH|SH|SS|TP|PP|RS|EX|RE|EE|nh|ad)( .*)?))"};
  static const std::regex escape{R"(\\(e|-|&|\((aq|ga|dq|ha|ti)|f[BIR]))"};
  std::istringstream lines(page);
  std::size_t examples = 0;
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    if (line.starts_with('.')) CHECK(std::regex_match(line, request));
    CHECK_FALSE(line.starts_with('\''));
    CHECK(std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; }));
    if (line == ".EX") ++examples;
    if (line.starts_with(".\\\"")) continue;
    const std::string rest = std::regex_replace(line, escape, "");
    CHECK(rest.find('\\') == std::string::npos);
  }
  CHECK(examples > 0);
}

}  // namespace

TEST_CASE("The client's manual has every command and every option of it") {
  const ClientLine client;
  const std::string page = manual_of(command_tree(client.app), client_manual());
  check_part(page.substr(0, page.find(".SH COMMANDS")), client.app);
  std::size_t commands = 0;
  visit_commands(client.app, "gpupool", [&](const CLI::App& command, const std::string& path) {
    INFO(path);
    check_part(part_of(page, path), command);
    ++commands;
  });
  CHECK(commands > 40);
}

TEST_CASE("The daemon's manual has every command and every option of it") {
  const DaemonLine daemon;
  const std::string page = manual_of(command_tree(daemon.app), daemon_manual());
  check_part(page.substr(0, page.find(".SH COMMANDS")), daemon.app);
  visit_commands(daemon.app, "gpupoold", [&](const CLI::App& command, const std::string& path) {
    INFO(path);
    check_part(part_of(page, path), command);
  });
  CHECK(page.find("\\-\\-manual") == std::string::npos);  // hidden
  for (const std::string code : {"0", "1", "2", "75", "76"})
    CHECK(page.find(".TP\n\\fB" + code + "\\fR\n") != std::string::npos);
}

TEST_CASE("Both manuals hold only the requests and escapes that make a page") {
  check_roff(manual_of(command_tree(ClientLine().app), client_manual()));
  check_roff(manual_of(command_tree(DaemonLine().app), daemon_manual()));
}

TEST_CASE("The client's manual explains every exit code and variable, and each example once") {
  const ClientLine client;
  const std::string page = manual_of(command_tree(client.app), client_manual());
  for (const ExitCode code :
       {ExitCode::done, ExitCode::usage, ExitCode::refused, ExitCode::job_failed, ExitCode::no_pool,
        ExitCode::audit_differs, ExitCode::interrupted})
    CHECK(page.find(".TP\n\\fB" + std::to_string(static_cast<int>(code)) + "\\fR\n") !=
          std::string::npos);
  for (const std::string name : {"GPUPOOL_ENDPOINT", "GPUPOOL_TOKEN", "GPUPOOL_SERVER_KEY"})
    CHECK(page.find(".TP\n\\fB" + name + "\\fR\n") != std::string::npos);
  // What every help ends with is said once, and a command's own examples only where they belong.
  const std::string common = "Amounts are whole milliseconds";
  CHECK(page.find(common) == page.rfind(common));
  CHECK(part_of(page, "gpupool apps duplicate").find(".EX") == std::string::npos);
}

TEST_CASE("The help of changes names all that is told of") {
  const ClientLine client;
  const std::string page =
      part_of(manual_of(command_tree(client.app), client_manual()), "gpupool changes");
  for (const std::string what : {"tiers", "apps", "sizes", "rates", "windows", "your account"}) {
    INFO(what);
    CHECK(page.find(what) != std::string::npos);
  }
}

TEST_CASE("Texts of a command line cannot become roff, and what is hidden stays so") {
  CLI::App app{"odd", "odd"};
  std::string word;
  std::int64_t count = 0;
  CLI::App& command = *app.add_subcommand("one", ".sh begins with a dot");
  command.add_option("--path", word, "'C:\\new' and \"more\"")->type_name("FILE")->envname("ODD");
  command.add_option("--kind", word, "which")->check(CLI::IsMember({"red", "blue"}));
  command.add_option("--count", count, "how many")->check(CLI::Range(1, 9))->default_val(3);
  command.add_option("--secret", word, "not told")->group("");
  command.footer("Examples:\n  .dotted \\line\nProse that\ngoes on.\n\nCommon.\n");
  app.add_subcommand("two", "not told either")->group("");
  const std::string page = manual_of(
      command_tree(app), {.section = "1", .summary = "odd", .common_footer = "Common.\n"});
  const std::string part = part_of(page, "odd one");
  CHECK(part.find("\n\\&.sh begins with a dot\n") != std::string::npos);
  CHECK(part.find("\\&\\(aqC:\\enew\\(aq and \\(dqmore\\(dq (variable ODD)") != std::string::npos);
  CHECK(part.find("which (one of red, blue)") != std::string::npos);
  CHECK(part.find("\\fB\\-\\-count\\fR \\fIN\\fR\nhow many (1 to 9; default 3)") !=
        std::string::npos);
  CHECK(part.find(".EX\n\\&.dotted \\eline\n.EE\n.RE\n.PP\nProse that goes on.\n") !=
        std::string::npos);
  CHECK(page.find("Common.") == std::string::npos);
  CHECK(page.find("secret") == std::string::npos);
  CHECK(page.find("two") == std::string::npos);
  check_roff(page);
}

TEST_CASE("The completion of each shell has every command and every option of the client") {
  const ClientLine client;
  const CommandEntry tree = command_tree(client.app);
  const std::string bash = completion_of(tree, Shell::bash);
  const std::string zsh = completion_of(tree, Shell::zsh);
  const std::string fish = completion_of(tree, Shell::fish);
  visit_commands(client.app, "", [&](const CLI::App& command, const std::string& path) {
    const std::string place = std::regex_replace(path.substr(1), std::regex(" "), "/");
    INFO(place);
    const std::size_t in_bash = bash.find("'" + place + "')\n");
    const std::size_t in_zsh = zsh.find("'" + place + "')\n");
    REQUIRE(in_bash != std::string::npos);
    REQUIRE(in_zsh != std::string::npos);
    for (const CLI::Option* option : command.get_options({})) {
      if (option->get_positional()) continue;
      const std::string name = option->get_lnames().front();
      INFO(name);
      const auto has = [&](const std::string& script, std::size_t from, const std::string& text) {
        const std::size_t found = script.find(text, from);
        return found != std::string::npos && found < script.find(";;", from);
      };
      CHECK(has(bash, in_bash, "--" + name));
      CHECK(has(zsh, in_zsh, "'--" + name + ":"));
      CHECK(std::regex_search(fish, std::regex("_at \"" + place + "\"'[^\n]* -l " + name + " ")));
    }
  });
  CHECK(bash.find("'token/keygen --algorithm') values='EdDSA HS256'") != std::string::npos);
}
