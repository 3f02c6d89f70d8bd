// The client program: reads the command line and hands over to one file per command family.
#include <CLI/CLI.hpp>
#include <functional>

#include "cli/connection.h"
#include "cli/exit_code.h"
#include "cli/generate.h"
#include "cli/questions.h"
#include "cli/token_command.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr const char* exit_codes =
    "Common options: --endpoint, --token-file, --json (see gpupool --help).\n"
    "Exit codes: 0 done, 2 usage, 3 refused, 4 the job failed, 5 no pool reachable,\n"
    "130 interrupted.\n"
    "With --json one object is printed on standard output: the answer, or {\"refused\": ...}\n"
    "or {\"error\": ...}. Amounts are whole milliseconds (\"charged_ms\"), times RFC 3339 in UTC.\n"
    "A token is read from --token-file or the variable GPUPOOL_TOKEN, never from the command\n"
    "line; without one the pool may know you by network address.\n";

// What CLI11 fills, and what to do once it has read everything.
struct CommandLine {
  Connection connection;
  GenerateOptions generation;
  ReceiptsOptions receipts;
  MintOptions mint;
  InspectOptions inspect;
  std::string job;
  std::function<ExitCode()> command;
};

void add_connection(CLI::App& app, CommandLine& line) {
  app.add_option("--endpoint", line.connection.endpoint, "where the pool listens for clients")
      ->envname("GPUPOOL_ENDPOINT")
      ->default_val("tcp://127.0.0.1:7400");
  app.add_option("--token-file", line.connection.token_file, "a file that holds the token")
      ->type_name("FILE");
  app.add_flag("--json", line.connection.json, "print one JSON object");
}

// A subcommand that hands over to `run` and takes the common options behind its name as well.
CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& about,
                      const std::string& examples) {
  CLI::App& command = *app.add_subcommand(name, about);
  command.fallthrough();
  command.footer("Examples:\n" + examples + "\n" + exit_codes);
  return command;
}

void add_generate(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "generate", "make a picture from a prompt",
      "  gpupool generate \"a red heart\" -o heart.png\n"
      "  gpupool generate \"a blue fish\" --duration 8 --steps 50 --seed 7\n"
      "  gpupool generate \"a star\" --json        # {\"file\", \"seed\", \"caller\", \"receipt\", "
      "\"balance\"}\n"
      "Ctrl-C cancels the job and shows what was charged and given back; twice leaves it.\n");
  GenerateOptions& options = line.generation;
  command.add_option("prompt", options.prompt, "what the picture shows")->required();
  command.add_option("-o,--output", options.output, "the picture's file [from the prompt]")
      ->type_name("FILE");
  command.add_option("--duration", options.duration_s, "how long it may run [the app's default]")
      ->type_name("SECONDS");
  command.add_option("--max-wait", options.max_wait_s, "refuse if a later start must be promised")
      ->type_name("SECONDS");
  command.add_option("--size", options.size, "large or xlarge [the app's]")->type_name("SIZE");
  command.add_option("--steps", options.steps, "denoising steps [30]")->type_name("N");
  command.add_option("--seed", options.seed, "the same seed draws the same picture [drawn]")
      ->type_name("N");
  command.add_option("--guidance", options.guidance, "how closely to follow the prompt [3]")
      ->type_name("X");
  command.add_option("--pixels", options.pixels, "width and height [256]")->type_name("N");
  command.add_option("--app", options.app, "the app that draws")->capture_default_str();
  command.callback(
      [&line] { line.command = [&line] { return generate(line.connection, line.generation); }; });
}

void add_questions(CLI::App& app, CommandLine& line) {
  add_command(app, "quota", "what is used, held and left, and what fits now",
              "  gpupool quota\n  gpupool quota --json\n")
      .callback([&line] { line.command = [&line] { return quota(line.connection); }; });

  CLI::App& list = add_command(app, "receipts", "what was charged, and the arithmetic behind it",
                               "  gpupool receipts\n  gpupool receipts --before 17 --limit 50\n");
  list.add_option("--before", line.receipts.before, "only jobs older than this one")
      ->type_name("JOB");
  list.add_option("--limit", line.receipts.limit, "how many")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, limits::receipts_page_max));
  list.callback(
      [&line] { line.command = [&line] { return receipts(line.connection, line.receipts); }; });

  CLI::App& story = add_command(app, "explain", "the story of a job, or of a refused request",
                                "  gpupool explain 17\n"
                                "  gpupool explain 0190a6c1-2f3a-7b10-8c4d-5e6f70819293\n");
  story.add_option("job", line.job, "a job's number or a request's id")->required();
  story.callback(
      [&line] { line.command = [&line] { return explain(line.connection, line.job); }; });

  add_command(app, "jobs", "what is queued and running", "  gpupool jobs\n").callback([&line] {
    line.command = [&line] { return jobs(line.connection); };
  });

  CLI::App& end = add_command(app, "cancel", "end a job; shows what is charged and given back",
                              "  gpupool cancel 17\n");
  end.add_option("job", line.job, "the job's number")->required();
  end.callback([&line] { line.command = [&line] { return cancel(line.connection, line.job); }; });
}

void add_token(CLI::App& app, CommandLine& line) {
  CLI::App& token = *app.add_subcommand("token", "mint tokens, and look into one");
  token.fallthrough();
  token.require_subcommand(1);

  MintOptions& options = line.mint;
  CLI::App& mint = add_command(
      token, "mint", "print a token signed with a key of the configuration",
      "  gpupool token mint --config config/gpupool.toml --user ada --tier free > ada.token\n"
      "  gpupool token mint --user root --role operator --expires 90d --key k2\n");
  mint.add_option("--config", options.config, "the pool's configuration")->capture_default_str();
  mint.add_option("--user", options.user, "who; the account is user:NAME")->required();
  mint.add_option("--tier", options.tier, "the tier [the pool's default]");
  mint.add_option("--expires", options.lifetime, "the lifetime: 90s, 30m, 24h, 7d")
      ->capture_default_str();
  mint.add_option("--role", options.role, "operator")->check(CLI::IsMember({"operator"}));
  mint.add_option("--key", options.key, "the key's id [the first]")->type_name("KID");
  mint.callback(
      [&line] { line.command = [&line] { return mint_token(line.connection, line.mint); }; });

  CLI::App& inspect =
      add_command(token, "inspect", "show the claims of a token",
                  "  gpupool token inspect --token-file ada.token\n"
                  "  gpupool token inspect --token-file ada.token --config config/gpupool.toml\n");
  inspect.add_option("--config", line.inspect.config, "check it as this pool would");
  inspect.callback(
      [&line] { line.command = [&line] { return inspect_token(line.connection, line.inspect); }; });
}

int run(int argc, char** argv) {
  CLI::App app{
      "gpupool: pictures and programs on shared GPUs, by the second, with a reason for every "
      "number",
      "gpupool"};
  app.set_version_flag("--version", "gpupool " GPUPOOL_VERSION);
  app.require_subcommand(1);
  app.footer(exit_codes);
  CommandLine line;
  add_connection(app, line);
  add_generate(app, line);
  add_questions(app, line);
  add_token(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? static_cast<int>(ExitCode::done)
                                : static_cast<int>(ExitCode::usage);
  }
  return static_cast<int>(line.command());
}

}  // namespace
}  // namespace gpupool

int main(int argc, char** argv) { return gpupool::run(argc, argv); }
