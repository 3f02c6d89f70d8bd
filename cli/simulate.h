#pragma once
// `gpupool simulate`: what a pool would do with a trace of requests (simulate/). Needs no pool.
// Exit codes: 0; 2 what was given cannot be used; 4 the plot cannot be written; 6 a promise was
// broken, which is a defect of the pool.

#include <optional>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/exit_code.h"
#include "simulate/report.h"

namespace gpupool {

struct SimulateOptions {
  std::string trace;
  std::string columns;  // TOML, for CSV
  std::vector<std::uint32_t> slots{8};
  std::vector<std::string> policies;  // none: all
  std::optional<double> load;
  std::optional<double> queue_cap_s;
  std::uint32_t seeds = 1;
  std::uint64_t seed = 1;
  double start_s = 0;
  double grace_s = 0;
  double check_s = 0;
  double time_scale = 1;
  bool keep_processors = false;
  std::string tier;    // of everybody; empty: no quotas
  std::string config;  // where the tier is; empty: the defaults
  double short_s = 30;
  std::uint32_t foresee_every = 0;  // of the requests that wait; 0: none
  std::string plot;                 // an SVG file
};

ExitCode simulate(const Connection& connection, const SimulateOptions& options);

// What came out of it all.
struct Simulated {
  std::string trace;
  std::uint64_t requests = 0;
  std::uint64_t passed_over = 0;
  std::uint32_t accounts = 0;
  std::uint32_t seeds = 1;
  Duration short_most{};
  std::vector<PolicyReport> reports;  // slots by slots, policy by policy
};

// For people, and as {"trace", "requests", ..., "results": [{"policy", "slots", "mean_wait_s",
// ...}]}.
std::string view_of(const Simulated& simulated);
std::string json_text_of(const Simulated& simulated);

}  // namespace gpupool
