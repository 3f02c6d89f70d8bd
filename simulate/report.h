#pragma once
// Report: the numbers of one policy over several replays, as `gpupool simulate` prints them.
// Figures of several replays are the medians over them; violations are counted over all. Pure.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "simulate/replay.h"

namespace gpupool {

// Seconds.
struct Waits {
  std::uint64_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

// How the likely start that a request was told compares with its start.
struct ForesightErrors {
  std::uint64_t count = 0;
  double by_latest = 0;     // share that had started by the later end of the range
  double median_error = 0;  // seconds between the likely start and the start
  double median_wait = 0;   // of the same ones
};

struct PolicyReport {
  std::string policy;
  std::uint32_t slots = 0;
  Waits all;
  Waits of_short;          // one slot, and declared for at most so long
  Waits of_long;           // one slot
  Waits of_xlarge;         // several
  double utilisation = 0;  // slot time that jobs ran, of all until the last end
  std::map<Errc, std::uint64_t> refused;
  std::optional<std::uint64_t> violations;   // none: the policy promises nothing
  std::optional<double> worst_of_bound;      // the largest share of its promise that anybody waited
  std::optional<ForesightErrors> foresight;  // if it was asked for
  double jain =
      0;  // of the accounts' shares: what their jobs ran of what they took, waits included
};

// (sum x)^2 / (n * sum x^2): 1 if all are treated alike, 1/n if one has everything (Jain, Chiu and
// Hawe, 1984).
double jain_index(const std::vector<double>& shares);

PolicyReport report_of(const Trace& trace, const Replayed& replayed, const ReplayOptions& options,
                       Duration short_most);
// Medians figure by figure; all of one policy and so many slots.
PolicyReport median_of(const std::vector<PolicyReport>& reports);

const char* name_of(Policy policy);
std::optional<Policy> policy_named(const std::string& name);

}  // namespace gpupool
