// The client program: reads the command line and hands over to one file per command family.
#include <CLI/CLI.hpp>
#include <functional>

#include "cli/audit.h"
#include "cli/build.h"
#include "cli/connection.h"
#include "cli/exit_code.h"
#include "cli/generate.h"
#include "cli/jobs_command.h"
#include "cli/keys_command.h"
#include "cli/operator.h"
#include "cli/questions.h"
#include "cli/token_command.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr const char* exit_codes =
    "Common options: --endpoint, --token-file, --server-key, --json (see gpupool --help).\n"
    "Exit codes: 0 done, 2 usage, 3 refused, 4 the job failed, 5 no pool reachable,\n"
    "6 an audit found a difference, 130 interrupted.\n"
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
  AuditOptions audit;
  OperatorOptions operation;
  ChangesOptions changes;
  RevokeOptions revoke;
  KeygenOptions keygen;
  SubmitOptions submission;
  LogsOptions log;
  ResultOptions result;
  std::vector<std::string> jobs;
  std::string curve_out;
  std::string job;
  bool as_operator = false;
  std::function<ExitCode()> command;
};

void add_connection(CLI::App& app, CommandLine& line) {
  app.add_option("--endpoint", line.connection.endpoint, "where the pool listens for clients")
      ->envname("GPUPOOL_ENDPOINT")
      ->default_val("tcp://127.0.0.1:7400");
  app.add_option("--token-file", line.connection.token_file, "a file that holds the token")
      ->type_name("FILE");
  app.add_option("--server-key", line.connection.server_key,
                 "the public key of a pool that encrypts: 40 characters, or @FILE")
      ->envname("GPUPOOL_SERVER_KEY")
      ->type_name("KEY");
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
                              "  gpupool cancel 17\n"
                              "  gpupool cancel 17 --operator --token-file root.token\n");
  end.add_option("job", line.job, "the job's number")->required();
  end.add_flag("--operator", line.as_operator, "anybody's job, with an operator's token");
  end.callback([&line] {
    line.command = [&line] {
      return line.as_operator ? operate(line.connection, "cancel", {.names = {line.job}})
                              : cancel(line.connection, line.job);
    };
  });
}

void add_changes(CLI::App& app, CommandLine& line) {
  CLI::App& command =
      add_command(app, "changes", "what was changed: tiers, apps, your account; when, by whom",
                  "  gpupool changes\n  gpupool changes --since 7d\n"
                  "  gpupool changes --since 2026-11-01 --limit 200 --json\n");
  command
      .add_option("--since", line.changes.since,
                  "7d, 24h or the like, 2026-11-01, or 2026-11-01T18:30:00Z [all]")
      ->type_name("WHEN");
  command.add_option("--limit", line.changes.limit, "how many, the newest first")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, limits::changes_page_max));
  command.callback(
      [&line] { line.command = [&line] { return changes(line.connection, line.changes); }; });
}

// A command that only the console understands: it judges the words, this gives them to it.
CLI::App& add_console_command(CLI::App& app, CommandLine& line, const std::string& name,
                              const std::string& about, const std::string& examples) {
  CLI::App& command = add_command(app, name, about + " (operators)", examples);
  command.callback([&line, name] {
    line.command = [&line, name] { return operate(line.connection, name, line.operation); };
  });
  return command;
}

void add_pages(CLI::App& command, OperatorOptions& options, const std::string& after) {
  command.add_option("--after", options.after, "go on behind this one")->type_name(after);
  command.add_option("--limit", options.limit, "how many [50]")->type_name("N");
}

// What operators look at.
void add_operator_views(CLI::App& app, CommandLine& line) {
  OperatorOptions& options = line.operation;
  CLI::App& accounts =
      add_console_command(app, line, "accounts", "who has used the pool, and what they have left",
                          "  gpupool accounts\n  gpupool accounts ada\n  gpupool accounts --after "
                          "user:ada --limit 20\n");
  accounts.add_option("name", options.names, "a user, or address:192.0.2.7/32")->expected(0, 1);
  add_pages(accounts, options, "ACCOUNT");

  CLI::App& queue = add_console_command(app, line, "queue", "every job that is not over",
                                        "  gpupool queue\n  gpupool queue --after 17\n");
  add_pages(queue, options, "JOB");

  CLI::App& nodes = add_console_command(app, line, "nodes", "nodes, slots, and what runs there",
                                        "  gpupool nodes\n  gpupool nodes --json\n");
  nodes.add_option("--after", options.after, "go on behind this one")->type_name("NODE[/SLOT]");

  add_console_command(app, line, "apps", "what the pool can run", "  gpupool apps\n");
}

// What operators set. All of it is remembered with who and when: `gpupool changes`.
void add_operator_orders(CLI::App& app, CommandLine& line) {
  OperatorOptions& options = line.operation;
  CLI::App& tier = add_console_command(
      app, line, "tier", "the tiers, or the tier of one user from now on",
      "  gpupool tier\n  gpupool tier ada pro\n  gpupool tier ada --from-token\n");
  tier.add_option("user-and-tier", options.names, "USER TIER")->expected(0, 2);
  tier.add_flag("--from-token", options.from_token, "again the tier that the user's token says");

  CLI::App& drain = add_console_command(
      app, line, "drain", "give a node no new leases; what runs there goes on to its end",
      "  gpupool drain node-2\n");
  drain.add_option("node", options.names, "the node's name")->expected(1)->required();
  CLI::App& resume = add_console_command(app, line, "resume", "give a node leases again",
                                         "  gpupool resume node-2\n");
  resume.add_option("node", options.names, "the node's name")->expected(1)->required();

  CLI::App& announce = add_console_command(
      app, line, "announce", "tell every client something, until it is cleared",
      "  gpupool announce \"node-2 is down until 18:00 UTC\"\n  gpupool announce --clear\n");
  announce.add_option("text", options.names, "what to tell");
  announce.add_flag("--clear", options.clear, "announce nothing any more");
}

void add_key_commands(CLI::App& app, CLI::App& token, CommandLine& line) {
  CLI::App& keygen =
      add_command(token, "keygen", "make a key that signs tokens, as files of its own",
                  "  gpupool token keygen --out k2                      # k2.secret and k2.public\n"
                  "  gpupool token keygen --algorithm HS256 --out k2    # k2.secret\n"
                  "Prints what to add to the configuration. Files are never written over.\n");
  keygen.add_option("--algorithm", line.keygen.algorithm, "EdDSA: a pair; HS256: one secret")
      ->capture_default_str()
      ->check(CLI::IsMember({"EdDSA", "HS256"}));
  keygen.add_option("--out", line.keygen.out, "the files' name without .secret")
      ->required()
      ->type_name("NAME");
  keygen.callback(
      [&line] { line.command = [&line] { return make_token_key(line.connection, line.keygen); }; });

  CLI::App& keys = *app.add_subcommand("keys", "make keys that encrypt connections");
  keys.fallthrough();
  keys.require_subcommand(1);
  CLI::App& curve = add_command(keys, "curve", "make a pool's CURVE key, as two files",
                                "  gpupool keys curve --out pool    # pool.secret, pool.public\n"
                                "Prints where each of them goes. Files are never written over.\n");
  curve.add_option("--out", line.curve_out, "the files' name without .secret")
      ->required()
      ->type_name("NAME");
  curve.callback([&line] {
    line.command = [&line] { return make_curve_key(line.connection, line.curve_out); };
  });
}

void add_revoke(CLI::App& token, CommandLine& line) {
  CLI::App& revoke = add_command(
      token, "revoke", "let the pool take a token, or all of a user's, no more (operators)",
      "  gpupool token revoke --token-id 5f0c2a9d1e7b4c368a90d1f2e3b4a5c6\n"
      "  gpupool token revoke --file ada.token\n"
      "  gpupool token revoke --user ada --token-file root.token\n"
      "--token-file is the operator's own token, as everywhere; --file the one to revoke.\n");
  auto* id = revoke.add_option("--token-id", line.revoke.token_id, "its id, as inspect shows it");
  auto* file = revoke.add_option("--file", line.revoke.file, "a file that holds the token");
  auto* user =
      revoke.add_option("--user", line.revoke.user, "every token of this user issued until now");
  id->excludes(file)->excludes(user);
  file->excludes(user);
  revoke.callback(
      [&line] { line.command = [&line] { return revoke_token(line.connection, line.revoke); }; });
}

void add_submit(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "submit", "run an app, or leave a job in the queue",
      "  gpupool submit emoji prompt=\"a red heart\" steps=30 -o heart.png\n"
      "  JOB=$(gpupool submit emoji prompt=\"a star\" --detach)\n"
      "  gpupool submit emoji prompt=\"a star\" --request 0190a6c1-2f3a-7b10-8c4d-5e6f70819293\n"
      "The same --request with the same arguments never runs twice: after a crash it goes on with\n"
      "the same job. Ctrl-C cancels the job and shows what was charged and given back; twice\n"
      "leaves it.\n");
  SubmitOptions& options = line.submission;
  command.add_option("app", options.app, "the app's name")->required();
  command.add_option("arguments", options.arguments, "what the app is given")
      ->type_name("KEY=VALUE");
  command.add_flag("--detach", options.detach, "print the job's number and leave it in the queue");
  command.add_option("-o,--output", options.output, "where the result goes [it stays in the pool]")
      ->type_name("FILE");
  command.add_option("--duration", options.duration_s, "how long it may run [the app's default]")
      ->type_name("SECONDS");
  command.add_option("--size", options.size, "large or xlarge [the app's]")->type_name("SIZE");
  command.add_option("--max-wait", options.max_wait_s, "refuse if a later start must be promised")
      ->type_name("SECONDS");
  command.add_option("--request", options.request, "an earlier request's id, to ask again [new]")
      ->type_name("ID");
  command.callback(
      [&line] { line.command = [&line] { return submit(line.connection, line.submission); }; });
}

void add_jobs(CLI::App& app, CommandLine& line) {
  CLI::App& waiting = add_command(
      app, "wait", "follow jobs to their ends; 4 if any did not succeed",
      "  gpupool wait 17\n  gpupool wait 17 18 19 --json    # {\"jobs\": [...], \"errors\": []}\n"
      "Goes on after a restart of the pool. Ctrl-C ends the waiting and leaves the jobs alone.\n");
  waiting.add_option("job", line.jobs, "the jobs' numbers")->required();
  waiting.callback(
      [&line] { line.command = [&line] { return wait(line.connection, line.jobs); }; });

  CLI::App& log = add_command(app, "logs", "what a run wrote to its output",
                              "  gpupool logs 17\n  gpupool logs 17 --follow\n");
  log.add_option("job", line.log.job, "the job's number")->required();
  log.add_flag("-f,--follow", line.log.follow, "go on until the run is over");
  log.callback([&line] { line.command = [&line] { return logs(line.connection, line.log); }; });

  CLI::App& made = add_command(
      app, "result", "fetch what a job made",
      "  gpupool result 17 -o heart.png    # a file of that name is written over, once all is "
      "there\n"
      "  gpupool result 17                 # job-17.png, or job-17-2.png if there is one\n"
      "  gpupool result 17 -o - | less     # to standard output\n");
  made.add_option("job", line.result.job, "the job's number")->required();
  made.add_option("-o,--output", line.result.output, "a file, or - [job-JOB, a new name]")
      ->type_name("FILE");
  made.callback(
      [&line] { line.command = [&line] { return result(line.connection, line.result); }; });
}

void add_token(CLI::App& app, CommandLine& line) {
  CLI::App& token =
      *app.add_subcommand("token", "mint tokens, look into one, revoke them, make keys");
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
  add_revoke(token, line);
  add_key_commands(app, token, line);
}

// Of a running pool, for its operators; with --ledger from the file, by anybody who can read it.
void add_audit(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "audit", "do the books add up: every hold, charge and balance",
      "  gpupool audit && echo all is well                # asks the pool (operators)\n"
      "  gpupool audit --ledger gpupool.sqlite            # reads the file itself\n"
      "  gpupool audit --ledger gpupool.sqlite --config config/gpupool.toml --json\n"
      "  gpupool audit --ledger gpupool.sqlite --since 7d --account ada\n"
      "  gpupool audit --ledger 'postgres:host=db1 dbname=ledger user=gpupool'\n"
      "  gpupool audit --ledger postgres: --config pool.toml    # the pool's database\n");
  command
      .add_option("--ledger", line.audit.ledger,
                  "read this ledger's file, or postgres:CONNINFO; no pool is needed")
      ->type_name("FILE");
  command.add_option("--schema", line.audit.schema, "of the ledger in postgres:CONNINFO")
      ->capture_default_str()
      ->type_name("NAME");
  command.add_option("--config", line.audit.config, "the pool's, for the length of its windows")
      ->type_name("FILE");
  CLI::Option* ledger = command.get_option("--ledger");
  command
      .add_option("--since", line.audit.since,
                  "tell differences from then on: 7d, 2026-11-01 or a time in UTC [all]")
      ->type_name("WHEN")
      ->needs(ledger);
  command.add_option("--account", line.audit.account, "tell differences of this account [all]")
      ->type_name("USER")
      ->needs(ledger);
  command
      .add_option("--noted", line.audit.noted,
                  "RECORD:DIGEST of an earlier audit, which history must still have")
      ->type_name("DIGEST")
      ->needs(ledger);
  command.callback([&line] {
    line.command = [&line] {
      return line.audit.ledger.empty() ? audit_pool(line.connection)
                                       : audit_ledger(line.connection, line.audit);
    };
  });
}

int run(int argc, char** argv) {
  CLI::App app{
      "gpupool: pictures and programs on shared GPUs, by the second, with a reason for every "
      "number",
      "gpupool"};
  app.set_version_flag("--version", "gpupool " + build_string());
  app.require_subcommand(1);
  app.footer(exit_codes);
  CommandLine line;
  add_connection(app, line);
  add_generate(app, line);
  add_questions(app, line);
  add_submit(app, line);
  add_jobs(app, line);
  add_changes(app, line);
  add_operator_views(app, line);
  add_operator_orders(app, line);
  add_token(app, line);
  add_audit(app, line);
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
