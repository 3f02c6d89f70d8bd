#pragma once
// What the pool counts in the text format of Prometheus (exposition format 0.0.4). docs/rest.md has
// the table of names. No account, job or address is a label, and the values of a label are words of
// this program: their number is bounded. Pure.

#include <cstdint>
#include <string>

#include "actors/messages/overview.h"

namespace gpupool {

// Of this process, as Prometheus' own libraries name them.
struct ProcessFacts {
  double cpu_seconds = 0;
  std::uint64_t resident_bytes = 0;
  double started_at = 0;  // UTC, seconds since 1970
  std::uint64_t open_files = 0;
  std::uint64_t files_max = 0;
  std::uint64_t sessions = 0;
  std::uint64_t web_connections = 0;
};

std::string metrics_text(const Overview& overview, const std::string& build,
                         const ProcessFacts& process);

}  // namespace gpupool
