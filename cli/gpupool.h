#pragma once
// What the files of the client program share: the command line as CLI11 fills it, and how a command
// is added to it. Only cli/gpupool*.cpp and the test of the command line include this.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "cli/apps_command.h"
#include "cli/audit.h"
#include "cli/connection.h"
#include "cli/doctor.h"
#include "cli/exit_code.h"
#include "cli/generate.h"
#include "cli/jobs_command.h"
#include "cli/keys_command.h"
#include "cli/ledger_command.h"
#include "cli/manual.h"
#include "cli/operator.h"
#include "cli/pki_command.h"
#include "cli/questions.h"
#include "cli/run_command.h"
#include "cli/simulate.h"
#include "cli/token_command.h"
#include "cli/top.h"

namespace gpupool {

// What CLI11 fills, and what to do once it has read everything.
struct CommandLine {
  Connection connection;
  GenerateOptions generation;
  ReceiptsOptions receipts;
  MintOptions mint;
  InspectOptions inspect;
  AuditOptions audit;
  LedgerExportOptions ledger_export;
  LedgerImportOptions ledger_import;
  LedgerRebuildOptions ledger_rebuild;
  OperatorOptions operation;
  ChangesOptions changes;
  UsageOptions usage;
  QuoteOptions quote;
  DoctorOptions doctor;
  TopOptions top;
  RevokeOptions revoke;
  KeygenOptions keygen;
  PkiOptions pki;
  SubmitOptions submission;
  RunOptions run;
  DuplicateOptions duplicate;
  LogsOptions log;
  ResultOptions result;
  SimulateOptions simulation;
  std::vector<std::string> jobs;
  std::string curve_out;
  std::string job;
  bool as_operator = false;
  std::string shell;
  std::function<ExitCode()> command;
};

// What the help of every command ends with, and the two parts of it that the manual has as well.
constexpr const char* exit_codes =
    "Exit codes: 0 done, 2 usage, 3 refused, 4 the job failed, 5 no pool reachable,\n"
    "6 an audit found a difference, 130 interrupted.\n";
constexpr const char* answers_and_tokens =
    "With --json one object is printed on standard output: the answer, or {\"refused\": ...}\n"
    "or {\"error\": ...}. Amounts are whole milliseconds (\"charged_ms\"), times RFC 3339 in UTC.\n"
    "A token is read from --token-file or the variable GPUPOOL_TOKEN, never from the command\n"
    "line; without one the pool may know you by network address.\n";
std::string common_footer();

// All options and commands that people are told of, but for --help and --version.
void add_commands(CLI::App& app, CommandLine& line);

// What gpupool(1) says beside them (gpupool_manual.cpp).
ManualText client_manual();

// A command with its examples; options of all commands may follow it.
CLI::App& add_command(CLI::App& app, const std::string& name, const std::string& about,
                      const std::string& examples);

// --since WHEN, read with parse_since().
CLI::Option* add_since(CLI::App& command, std::string& since, const std::string& about);

// For who owns the pool's files (gpupool_owner.cpp): tokens, keys, certificates, audits, ledgers.
void add_token(CLI::App& app, CommandLine& line);
void add_pki(CLI::App& app, CommandLine& line);
void add_audit(CLI::App& app, CommandLine& line);
void add_ledger(CLI::App& app, CommandLine& line);
void add_simulate(CLI::App& app, CommandLine& line);

}  // namespace gpupool
