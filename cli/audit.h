#pragma once
// `gpupool audit --ledger FILE`: reads a ledger's file, or with "postgres:CONNINFO" its database,
// in use or not, record by record and says whether its books add up, what was checked, and what
// cannot be checked from there. Needs no pool. Exit code 0, 6 if something differs, 2 if there is
// no ledger that can be read, 5 if there is no server.

#include <string>
#include <utility>

#include "actors/ledger/audit.h"
#include "cli/connection.h"
#include "cli/exit_code.h"
#include "net/json_output.h"

namespace gpupool {

struct AuditOptions {
  std::string ledger;  // a file, or "postgres:" and a conninfo; "postgres:" is the config's
  std::string schema = "gpupool";  // of the database
  std::string config;              // of the pool, for the length of its windows; empty: not known
  std::string since;    // "7d" or a time: differences of records before it are only counted
  std::string account;  // likewise those of other accounts; "ada" is "user:ada"
  std::string noted;    // RECORD:DIGEST that an earlier audit printed: history must still have it
};

// The record and the digest of "17:9f86...", in lower case. bad_request: it is not of this form.
Result<std::pair<std::uint64_t, std::string>> parse_noted(const std::string& text);

ExitCode audit_ledger(const Connection& connection, const AuditOptions& options);

// What is printed; `path` is the file as it was named.
std::string audit_view(const AuditReport& report, const AuditOptions& options);
Json json_of(const AuditReport& report, const AuditOptions& options);

}  // namespace gpupool
