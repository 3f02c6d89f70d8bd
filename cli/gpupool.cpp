// The command line of the client program: it hands over to one file per command family.
#include "cli/gpupool.h"

#include "config/limits.h"

namespace gpupool {

std::string common_footer() {
  return "Common options: --endpoint, --token-file, --server-key, --json (see gpupool --help).\n" +
         std::string(exit_codes) + answers_and_tokens;
}

CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& about,
                      const std::string& examples) {
  CLI::App& command = *app.add_subcommand(name, about);
  command.fallthrough();
  command.footer("Examples:\n" + examples + "\n" + common_footer());
  return command;
}

CLI::Option* add_since(CLI::App& command, std::string& since, const std::string& about) {
  return command
      .add_option("--since", since,
                  about + ": 7d, 24h or the like, 2026-11-01, or 2026-11-01T18:30:00Z [all]")
      ->type_name("WHEN");
}

namespace {

void add_connection(CLI::App& app, CommandLine& line) {
  app.add_option("--endpoint", line.connection.endpoint,
                 "where the pool listens for clients; of a pool with several brokers all of them, "
                 "with commas, tried in turn")
      ->type_name("ENDPOINT[,ENDPOINT...]")
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
  command.add_option("--pixels", options.pixels, "width and height [256, or what the model draws]")
      ->type_name("N");
  command.add_option("--app", options.app, "the app that draws")->capture_default_str();
  command.callback(
      [&line] { line.command = [&line] { return generate(line.connection, line.generation); }; });
}

void add_questions(CLI::App& app, CommandLine& line) {
  add_command(app, "quota", "what is used, held and left, and what fits now",
              "  gpupool quota\n  gpupool quota --json\n")
      .callback([&line] { line.command = [&line] { return quota(line.connection); }; });

  CLI::App& price =
      add_command(app, "quote", "what a request would cost, and when it would start",
                  "  gpupool quote emoji\n  gpupool quote emoji --duration 10 --size xlarge\n"
                  "Nothing is submitted or held. 3 if the request would be refused, with the "
                  "reason.\n");
  price.add_option("app", line.quote.app, "the app's name")->required();
  price.add_option("--duration", line.quote.duration_s, "how long it may run [the app's default]")
      ->type_name("SECONDS");
  price.add_option("--size", line.quote.size, "large or xlarge [the app's]")->type_name("SIZE");
  price.add_option("--max-wait", line.quote.max_wait_s, "refuse if a later start must be promised")
      ->type_name("SECONDS");
  price.callback(
      [&line] { line.command = [&line] { return quote(line.connection, line.quote); }; });

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

  CLI::App& health = add_command(
      app, "doctor", "what is wrong: the endpoint, the token, the clock, the quota, the app?",
      "  gpupool doctor\n  gpupool doctor --app emoji --duration 60\n"
      "Asks the pool and changes nothing. The exit code is that of the first problem: 2 this\n"
      "machine's own, 5 no pool reachable, 3 the pool would refuse.\n");
  health.add_option("--app", line.doctor.app, "whether a request for it would be admitted");
  health.add_option("--size", line.doctor.size, "large or xlarge [the app's]")->type_name("SIZE");
  health
      .add_option("--duration", line.doctor.duration_s, "how long it may run [the app's default]")
      ->type_name("SECONDS");
  health.callback(
      [&line] { line.command = [&line] { return doctor(line.connection, line.doctor); }; });

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
  CLI::App& command = add_command(
      app, "changes",
      "what was changed: tiers, apps, sizes, rates, windows, your account; when, by whom",
      "  gpupool changes\n  gpupool changes --since 7d\n"
      "  gpupool changes --since 2026-11-01 --limit 200 --json\n");
  add_since(command, line.changes.since, "what was changed from then on");
  command.add_option("--limit", line.changes.limit, "how many, the newest first")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, limits::changes_page_max));
  command.callback(
      [&line] { line.command = [&line] { return changes(line.connection, line.changes); }; });
}

void add_usage(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(app, "usage", "what you were charged, day by day",
                                  "  gpupool usage\n  gpupool usage --since 7d\n"
                                  "  gpupool usage --since 2026-11-01 --json\n"
                                  "A job counts on the day (UTC) on which it ended.\n");
  add_since(command, line.usage.since, "days from then on");
  command.add_option("--limit", line.usage.limit, "how many days, the newest first")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, limits::usage_days_max));
  command.callback(
      [&line] { line.command = [&line] { return usage(line.connection, line.usage); }; });
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

  CLI::App& live = add_command(app, "top", "the pool as it is now: slots, queue, nodes (operators)",
                               "  gpupool top\n  gpupool top --once     # one picture, as text\n"
                               "  gpupool top --json     # all of it, as data\n");
  live.add_option("--interval", line.top.interval_s, "between two looks")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.2, 60.0))
      ->capture_default_str();
  live.add_flag("--once", line.top.once, "print one picture and end");
  live.callback([&line] { line.command = [&line] { return top(line.connection, line.top); }; });

  CLI::App& apps = add_console_command(
      app, line, "apps", "what the pool can run, with the parameters of each",
      "  gpupool apps\n  gpupool apps --json\n"
      "  gpupool apps duplicate count count-2 --config pool.toml >> pool.toml\n");
  CLI::App& copy = *apps.add_subcommand(
      "duplicate", "print the tables of a new app like an old one, without its secrets");
  copy.fallthrough();
  copy.add_option("from", line.duplicate.from, "the app that there is")->required();
  copy.add_option("to", line.duplicate.to, "the name of the new one")->required();
  copy.add_option("--config", line.duplicate.config, "the pool's configuration")
      ->required()
      ->type_name("FILE");
  // The outer command's comes last, whichever of the two was typed.
  apps.callback([&line, &copy] {
    line.command = [&line, is_copy = copy.parsed()] {
      return is_copy ? duplicate_app(line.connection, line.duplicate)
                     : operate(line.connection, "apps", line.operation);
    };
  });
}

// What operators order once: a repeat with the same --id changes nothing more.
void add_operator_accounting(CLI::App& app, CommandLine& line) {
  OperatorOptions& options = line.operation;
  const auto add = [&](const std::string& name, const std::string& about,
                       const std::string& examples) -> CLI::App& {
    CLI::App& command = add_command(app, name, about + " (operators)", examples);
    command.add_option("--why", options.why, "the reason, which the user can read")
        ->required()
        ->type_name("TEXT");
    command.add_option("--id", options.id, "of an order given before, to give it again [new]")
        ->type_name("UUID");
    command.callback([&line, name] {
      line.command = [&line, name] { return operate_once(line.connection, name, line.operation); };
    });
    return command;
  };
  CLI::App& grant = add("grant", "give a user credits: prepaid time beyond every window's quota",
                        "  gpupool grant ada 600 --why \"for the workshop\"      # 600 s\n"
                        "  gpupool grant ada 10m --why \"for the workshop\"\n"
                        "  gpupool grant group:workshop 10h --why \"the workshop\"    # shared\n"
                        "  gpupool grant ada 100 --take-back --why \"granted twice\"\n");
  grant
      .add_option("user-and-amount", options.names,
                  "USER or group:NAME, and AMOUNT: 600, 7.5, 90s, 10m or 2h")
      ->expected(2)
      ->required();
  grant.add_flag("--take-back", options.take_back, "take so many credits back; never held ones");

  CLI::App& adjust = add("adjust", "change what a user has used of the open window",
                         "  gpupool adjust ada --give-back 30 --why \"the outage at noon\"\n"
                         "  gpupool adjust ada --charge 2m --why \"a run beside the pool\"\n");
  adjust.add_option("user", options.names, "USER")->expected(1)->required();
  auto* give_back = adjust.add_option("--give-back", options.give_back, "so much less was used")
                        ->type_name("AMOUNT");
  adjust.add_option("--charge", options.charge, "so much more was used")
      ->type_name("AMOUNT")
      ->excludes(give_back);
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
  CLI::App& remove =
      add_console_command(app, line, "remove", "forget a node that is lost and does not come back",
                          "  gpupool remove node-2\n");
  remove.add_option("node", options.names, "the node's name")->expected(1)->required();
  CLI::App& resume = add_console_command(app, line, "resume", "give a node leases again",
                                         "  gpupool resume node-2\n");
  resume.add_option("node", options.names, "the node's name")->expected(1)->required();

  CLI::App& announce = add_console_command(
      app, line, "announce", "tell every client something, until it is cleared",
      "  gpupool announce \"node-2 is down until 18:00 UTC\"\n  gpupool announce --clear\n");
  announce.add_option("text", options.names, "what to tell");
  announce.add_flag("--clear", options.clear, "announce nothing any more");
}

void add_submit(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "submit", "run an app, or leave a job in the queue",
      "  gpupool submit emoji prompt=\"a red heart\" steps=30 -o heart.png\n"
      "  JOB=$(gpupool submit emoji prompt=\"a star\" --detach)\n"
      "  gpupool submit emoji prompt=\"a star\" --request 0190a6c1-2f3a-7b10-8c4d-5e6f70819293\n"
      "The same --request with the same arguments and options never runs twice: after a crash it\n"
      "goes on with the same job. Ctrl-C cancels the job and shows what was charged and given\n"
      "back; twice leaves it.\n");
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

void add_run(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "run", "run a command on a slot, as if it ran here",
      "  gpupool run -- nvidia-smi\n"
      "  gpupool run --duration 60 --file train.py --file data --out results -- python3 train.py\n"
      "  gpupool run --size xlarge --json -- ./bench\n"
      "It runs in a sandbox, in an empty folder with the files that --file names; what it writes\n"
      "comes as it is written, and what it leaves in $GPUPOOL_OUT comes back with --out.\n"
      "Nothing is passed to its standard input. 5 s before its declared end it is sent SIGUSR1,\n"
      "then SIGTERM.\n"
      "Ctrl-C cancels it and shows what was charged and given back; twice leaves it.\n"
      "The exit code is the command's own, or 128 and the signal that ended it; 126 and 127: it\n"
      "could not be started. The pool's: 121 refused, 122 no pool reachable, 123 it failed by the\n"
      "pool's fault, 124 stopped at its declared end, 125 files that can't go or come, or output\n"
      "that can't be written here, 2 a mistake in the command line, 130 cancelled; --json tells\n"
      "them from a command's own.\n");
  RunOptions& options = line.run;
  command.add_option("command", options.command, "the program and its arguments, behind --")
      ->required()
      ->type_name("CMD ...");
  command.add_option("--file", options.files, "a file or folder that it works on; may be repeated")
      ->type_name("PATH")
      ->allow_extra_args(false);
  command.add_option("--out", options.out, "where what it leaves in $GPUPOOL_OUT goes [nowhere]")
      ->type_name("FOLDER");
  command.add_option("--duration", options.duration_s, "how long it may run [the app's default]")
      ->type_name("SECONDS");
  command.add_option("--size", options.size, "large or xlarge [the app's]")->type_name("SIZE");
  command.add_option("--max-wait", options.max_wait_s, "refuse if a later start must be promised")
      ->type_name("SECONDS");
  command.add_option("--app", options.app, "the app that runs any command")->capture_default_str();
  command.callback(
      [&line] { line.command = [&line] { return run_command(line.connection, line.run); }; });
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

}  // namespace

void add_commands(CLI::App& app, CommandLine& line) {
  app.require_subcommand(1);
  app.footer(common_footer());
  add_connection(app, line);
  add_generate(app, line);
  add_questions(app, line);
  add_submit(app, line);
  add_run(app, line);
  add_jobs(app, line);
  add_changes(app, line);
  add_usage(app, line);
  add_operator_views(app, line);
  add_operator_orders(app, line);
  add_operator_accounting(app, line);
  add_token(app, line);
  add_pki(app, line);
  add_audit(app, line);
  add_ledger(app, line);
  add_simulate(app, line);
}

}  // namespace gpupool
