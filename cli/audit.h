#pragma once
// `gpupool audit --ledger FILE`: reads a ledger's file, in use or not, record by record and says
// whether its books add up, what was checked, and what cannot be checked from a file. Needs no
// pool. Exit code 0, 6 if something differs, 2 if the file is no ledger that can be read.

#include <string>

#include "actors/ledger/audit.h"
#include "cli/connection.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"

namespace gpupool {

struct AuditOptions {
  std::string ledger;
  std::string config;  // of the pool, for the length of its windows; empty: not known
};

ExitCode audit_ledger(const Connection& connection, const AuditOptions& options);

// What is printed; `path` is the file as it was named.
std::string audit_view(const AuditReport& report, const AuditOptions& options);
Json json_of(const AuditReport& report, const AuditOptions& options);

}  // namespace gpupool
