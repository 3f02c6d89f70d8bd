#pragma once
// Trace: requests as somebody's users made them, to be replayed against a pool (replay.h). Read
// from CSV, whose columns are mapped by name (config/trace_columns.h), or from the Standard
// Workload Format of the Parallel Workloads Archive (SWF 2.2: submit, run, requested time and
// processors, user). Nothing is downloaded or kept; the same seed draws the same durations. Pure,
// but for the files.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "config/trace_columns.h"

namespace gpupool {

struct TraceRequest {
  Duration arrival{};  // since the first one
  Duration declared{};
  Duration ran{};  // at most `declared`, where the pool would have ended it
  std::uint32_t slots = 1;
  std::uint32_t account = 0;  // numbered as they first come
};

struct Trace {
  std::vector<TraceRequest> requests;  // by arrival
  std::uint32_t accounts = 0;
  std::uint64_t passed_over = 0;  // rows without what a request needs, or that do not count
};

struct TraceOptions {
  std::uint64_t seed = 1;        // of declared durations that the trace does not have
  double time_scale = 1;         // every time is divided by it: hours become minutes
  bool keep_processors = false;  // SWF: as many slots as processors, not one or two
};

// Whether a file is SWF by its name (.swf).
bool is_swf(const std::string& path);

// The whole file; file_unreadable says why not.
Result<std::string> read_trace_file(const std::string& path);

// file_malformed names the line, or the column that is not there.
Result<Trace> parse_csv_trace(const std::string& text, const TraceColumns& columns,
                              const TraceOptions& options);
Result<Trace> parse_swf_trace(const std::string& text, const TraceOptions& options);

// Arrivals so much closer together or further apart that what ran keeps this share of the slots
// busy on average.
void set_load(Trace& trace, std::uint32_t slots, double load);

}  // namespace gpupool
