#pragma once
// The questions people ask of their account: what is left, what was charged, why, what runs; and
// `cancel`. Each asks once, prints the answer and ends.

#include <cstdint>
#include <string>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct ReceiptsOptions {
  std::string before;  // a job's number, as typed; empty: the newest
  std::uint32_t limit = 20;
};

struct UsageOptions {
  std::string since;  // as typed; empty: from the beginning
  std::uint32_t limit = 31;
};

struct QuoteOptions {
  std::string app;
  std::string size;
  std::string duration_s;  // as typed
  std::string max_wait_s;
};

ExitCode quota(const Connection& connection);
ExitCode quote(const Connection& connection, const QuoteOptions& options);
ExitCode receipts(const Connection& connection, const ReceiptsOptions& options);
ExitCode usage(const Connection& connection, const UsageOptions& options);
ExitCode explain(const Connection& connection, const std::string& job_or_request);
ExitCode jobs(const Connection& connection);
ExitCode cancel(const Connection& connection, const std::string& job);

}  // namespace gpupool
