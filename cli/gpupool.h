#pragma once
// What the files of the client program share: the command line as CLI11 fills it, and how a command
// is added to it. Only cli/gpupool*.cpp include this.

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
#include "cli/operator.h"
#include "cli/pki_command.h"
#include "cli/questions.h"
#include "cli/run_command.h"
#include "cli/simulate.h"
#include "cli/token_command.h"

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
  std::function<ExitCode()> command;
};

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
