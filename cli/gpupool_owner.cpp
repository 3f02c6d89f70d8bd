// Commands for who owns the pool's files: tokens and keys, audits, ledgers.
#include "cli/gpupool.h"
#include "config/config.h"
#include "config/limits.h"

namespace gpupool {
namespace {

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
  auto* file = revoke.add_option("--file", line.revoke.file, "a file that holds the token")
                   ->type_name("FILE");
  auto* user =
      revoke.add_option("--user", line.revoke.user, "every token of this user issued until now");
  id->excludes(file)->excludes(user);
  file->excludes(user);
  revoke.callback(
      [&line] { line.command = [&line] { return revoke_token(line.connection, line.revoke); }; });
}

}  // namespace

void add_token(CLI::App& app, CommandLine& line) {
  CLI::App& token =
      *app.add_subcommand("token", "mint tokens, look into one, revoke them, make keys");
  token.fallthrough();
  token.require_subcommand(1);

  MintOptions& options = line.mint;
  CLI::App& mint = add_command(
      token, "mint", "print a token signed with a key of the configuration",
      "  gpupool token mint --config config/gpupool.toml --user ada --tier free > ada.token\n"
      "  gpupool token mint --user root --role operator --expires 90d --key k2\n"
      "  gpupool token mint --user ada --actor portal --expires 10m    # the portal acts for "
      "ada\n");
  mint.add_option("--config", options.config, "the pool's configuration")
      ->capture_default_str()
      ->type_name("FILE");
  mint.add_option("--user", options.user, "who; the account is user:NAME")->required();
  mint.add_option("--tier", options.tier, "the tier [the pool's default]");
  mint.add_option("--expires", options.lifetime, "the lifetime: 90s, 30m, 24h, 7d")
      ->capture_default_str();
  mint.add_option("--role", options.role, "operator")->check(CLI::IsMember({"operator"}));
  mint.add_option("--key", options.key, "the key's id [the first]")->type_name("KID");
  mint.add_option("--actor", options.actor,
                  "who uses it on the user's behalf, and is named beside "
                  "them; the user pays")
      ->type_name("NAME");
  mint.callback(
      [&line] { line.command = [&line] { return mint_token(line.connection, line.mint); }; });

  CLI::App& inspect =
      add_command(token, "inspect", "show the claims of a token",
                  "  gpupool token inspect --token-file ada.token\n"
                  "  gpupool token inspect --token-file ada.token --config config/gpupool.toml\n");
  inspect.add_option("--config", line.inspect.config, "check it as this pool would")
      ->type_name("FILE");
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
  add_since(command, line.audit.since, "tell differences from then on")->needs(ledger);
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

// The certificates by which the machines of a pool know each other; no pool is needed.
void add_pki(CLI::App& app, CommandLine& line) {
  PkiOptions& options = line.pki;
  CLI::App& pki =
      *app.add_subcommand("pki", "make the certificates of a pool's machines, and look into one");
  pki.fallthrough();
  pki.require_subcommand(1);
  const auto run = [&line](ExitCode (*command)(const Connection&, const PkiOptions&)) {
    return [&line, command] {
      line.command = [&line, command] { return command(line.connection, line.pki); };
    };
  };
  const auto add_folder = [&options](CLI::App& command) {
    command.add_option("--dir", options.folder, "the authority's folder")
        ->capture_default_str()
        ->type_name("FOLDER");
  };
  const CLI::Range some_days(std::int64_t{1}, std::int64_t{36'500});

  CLI::App& init = add_command(
      pki, "init", "make a pool's authority, which signs the certificates of its machines",
      "  gpupool pki init --pool lab            # pki/ca.certificate and pki/ca.key\n"
      "On one machine, once. ca.key stays there: whoever has it makes members of the pool. Files\n"
      "are never written over.\n");
  add_folder(init);
  init.add_option("--pool", options.pool, "the pool's name, for people")->capture_default_str();
  init.add_option("--days", options.authority_days, "how long it is valid")
      ->capture_default_str()
      ->check(some_days);
  init.callback(run(make_pool_authority));

  CLI::App& node = add_command(
      pki, "node", "make the certificate and the key of one machine",
      "  gpupool pki node node-2                # pki/node-2.certificate and pki/node-2.key\n"
      "  gpupool pki node broker-1 --address 10.0.0.5,broker-1.lab.example\n"
      "  gpupool pki node node-2 --renew        # a new certificate and key in their place\n"
      "Prints what to copy to that machine, and what to add to its configuration.\n");
  node.add_option("name", options.node, "the machine's name, such as its worker.name")->required();
  add_folder(node);
  node.add_option("--days", options.node_days, "how long it is valid, within the authority's time")
      ->capture_default_str()
      ->check(some_days);
  node.add_option("--address", options.addresses, "its names and IP addresses, for people")
      ->delimiter(',')
      ->type_name("NAMES");
  node.add_flag("--renew", options.renew, "replace the files that are there");
  node.callback(run(make_node_certificate));

  CLI::App& show = add_command(pki, "show", "whose a certificate is, and until when",
                               "  gpupool pki show pki/node-2.certificate\n"
                               "  gpupool pki show pki/ca.certificate --json | jq .valid_until\n");
  show.add_option("file", options.file, "a certificate in PEM")->required()->type_name("FILE");
  show.callback(run(show_certificate));
}

// A ledger's file and what others can read; no pool is needed.
void add_ledger(CLI::App& app, CommandLine& line) {
  CLI::App& ledger = *app.add_subcommand("ledger", "write a ledger out as lines, and read it back");
  ledger.fallthrough();
  ledger.require_subcommand(1);
  CLI::App& out = add_command(
      ledger, "export", "every record of a ledger's file as a line of JSON",
      "  gpupool ledger export > ledger.jsonl                    # gpupool.sqlite, in use or not\n"
      "  gpupool ledger export --ledger pool.sqlite --since 7d | jq -r .kind | sort | uniq -c\n"
      "Times, durations and amounts are milliseconds; docs/operations/ledger.md has more.\n");
  out.add_option("--ledger", line.ledger_export.ledger, "the ledger's file")
      ->default_val(LedgerConfig{}.path)
      ->type_name("FILE");
  add_since(out, line.ledger_export.since, "records from then on");
  out.callback([&line] {
    line.command = [&line] { return export_ledger(line.connection, line.ledger_export); };
  });

  CLI::App& in = add_command(
      ledger, "import", "make a new ledger of an export, with the same records and state",
      "  gpupool ledger import ledger.jsonl --ledger new.sqlite\n"
      "  ssh box gpupool ledger export | gpupool ledger import - --ledger new.sqlite\n"
      "The new file appears whole or not at all, and replaces no ledger that has a record.\n");
  in.add_option("lines", line.ledger_import.lines, "the export's file, or - for standard input")
      ->type_name("FILE")
      ->required();
  in.add_option("--ledger", line.ledger_import.ledger, "the new ledger's file")
      ->type_name("FILE")
      ->required();
  in.add_option("--config", line.ledger_import.config, "the pool's, for the length of its windows")
      ->type_name("FILE");
  in.callback([&line] {
    line.command = [&line] { return import_ledger(line.connection, line.ledger_import); };
  });

  CLI::App& again = add_command(
      ledger, "rebuild", "make the history of a ledger anew: receipts, stories, usage by the day",
      "  gpupool ledger rebuild --ledger gpupool.sqlite          # while its daemon is stopped\n"
      "  gpupool ledger rebuild --config pool.toml               # also of a ledger in PostgreSQL\n"
      "Nothing is lost by it: all of the history is read from the ledger again.\n");
  CLI::Option* file = again.add_option("--ledger", line.ledger_rebuild.ledger, "the ledger's file")
                          ->type_name("FILE");
  again.add_option("--config", line.ledger_rebuild.config, "the pool's, which says where it is")
      ->type_name("FILE")
      ->excludes(file);
  again.callback([&line] {
    line.command = [&line] { return rebuild_history(line.connection, line.ledger_rebuild); };
  });
}

void add_simulate(CLI::App& app, CommandLine& line) {
  CLI::App& command = add_command(
      app, "simulate", "what a pool would do with a trace of requests",
      "  gpupool simulate --trace requests.csv --columns config/trace-text-to-image.toml \\\n"
      "    --slots 8 --load 0.6 --queue-cap-s 900 --seeds 20 --plot waits.svg\n"
      "  gpupool simulate --trace jobs.swf --time-scale 60 --slots 8,16,32 --policy floor\n"
      "Nothing runs and no pool is asked: the broker's own dispatcher meets the trace in virtual\n"
      "time. Exit code 6 if it broke a promise.\n");
  SimulateOptions& options = line.simulation;
  command.add_option("--trace", options.trace, "a CSV file, or .swf: Standard Workload Format")
      ->required()
      ->type_name("FILE");
  command.add_option("--columns", options.columns, "TOML: what the columns of a CSV trace say")
      ->type_name("FILE");
  command.add_option("--slots", options.slots, "of the pool; several to compare: 8,16,32")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1U, static_cast<unsigned>(limits::slots_per_node_max)));
  command
      .add_option("--policy", options.policies,
                  "fifo, strict-short, floor (the pool's), easy-backfill [all]")
      ->delimiter(',')
      ->type_name("NAMES");
  command.add_option("--load", options.load, "arrivals scaled to this mean load [as they came]")
      ->check(CLI::Range(0.001, 100.0));
  command
      .add_option("--queue-cap-s", options.queue_cap_s,
                  "refuse while more declared work waits for every slot [never]")
      ->check(CLI::PositiveNumber);
  command.add_option("--seeds", options.seeds, "how often, each time with other drawn durations")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  command.add_option("--seed", options.seed, "the first one")->capture_default_str();
  command.add_option("--start-s", options.start_s, "a slot's time from lease to run [0]")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--grace-s", options.grace_s, "of a run that has to be ended [0]")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--check-s", options.check_s, "of a slot after a run [0]")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--time-scale", options.time_scale, "divide every time of the trace [1]")
      ->check(CLI::Range(0.001, 1e6));
  command.add_flag("--keep-processors", options.keep_processors,
                   "SWF: a slot for each processor [1: large, more: xlarge]");
  command.add_option("--tier", options.tier, "everybody's, with its quota [no quotas]")
      ->type_name("NAME");
  command.add_option("--config", options.config, "the pool that has the tier [the defaults]")
      ->type_name("FILE");
  command.add_option("--short-s", options.short_s, "what counts as a short request")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command
      .add_option("--foresee", options.foresee_every,
                  "tell every so manieth that waits its likely start, and compare it [none]")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000));
  command.add_option("--plot", options.plot, "two charts: waits, and slots over time")
      ->type_name("FILE.svg");
  command.callback(
      [&line] { line.command = [&line] { return simulate(line.connection, line.simulation); }; });
}

}  // namespace gpupool
