#pragma once
// What the runs of a node write to their output: of the runs that are on, as it comes; of the last
// ones that ended, where it is stored. Always: a log is at most limits::log_bytes_max long; what
// was written beyond is counted, and a last line says so. The executors' thread writes, the
// worker's shell reads; guarded by one mutex.

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "actors/messages.h"
#include "actors/worker/result_store.h"

namespace gpupool {

class RunLogs {
 public:
  // From now on what the slot's executor writes belongs to this run.
  void begin(SlotIndex slot, JobId job, std::uint32_t attempt);
  // False: no run is on there.
  bool add(SlotIndex slot, std::string_view bytes);
  // Ends the run's log, puts it into `results` and names it; empty if the run wrote nothing, or if
  // the store can't take it: a run is not worse for a log that is lost.
  ResultRef end(SlotIndex slot, NodeId node, ResultStore& results);

  // The answer to FetchLog; result_gone if neither a run that is on nor the store has it.
  LogChunk read(const FetchLog& fetch, const ResultStore& results) const;

 private:
  struct RunName {
    JobId job;
    std::uint32_t attempt = 0;
    friend bool operator==(const RunName&, const RunName&) = default;
  };
  struct Live {
    RunName run;
    std::string kept;
    std::int64_t left_out = 0;
  };
  struct Ended {
    RunName run;
    std::string hash;  // empty: it wrote nothing
  };

  static std::string text_of(Live log);

  mutable std::mutex mutex_;
  std::map<SlotIndex, Live> live_;
  std::deque<Ended> ended_;  // bounded: until its receipt is known, a log is asked for by its run
};

}  // namespace gpupool
