#pragma once
// What the runs of a node write to their output: of the runs that are on, as it comes; of the last
// ones that ended, where it is stored. Always: a log is at most limits::log_bytes_max long; what
// was written beyond is counted, and a last line says so. What a command writes is kept in one log,
// in the order in which it came, with a note of which of its two outputs each part went to.
// What a run draws is kept beside it, the latest state alone, until the run is over. The executors'
// thread writes, the worker's shell reads; guarded by one mutex.

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/messages.h"
#include "actors/worker/executor_protocol.h"
#include "actors/worker/result_store.h"

namespace gpupool {

class RunLogs {
 public:
  // From now on what the slot's executor writes belongs to this run.
  void begin(SlotIndex slot, JobId job, std::uint32_t attempt);
  // False: no run is on there.
  bool add(SlotIndex slot, std::string_view bytes);
  // Of a command, which tells its outputs apart; so many more bytes it did not send.
  void add(SlotIndex slot, const ChildWrote& wrote);
  // The picture of this run as it forms; one beyond limits::chunk_bytes_max is not kept.
  void show(SlotIndex slot, std::string_view picture);
  // A remark of the pool's own, on a line of its own, as if it were an error output.
  void remark(SlotIndex slot, const std::string& line);
  // Ends the run's log, puts it into `results` and names it; empty if the run wrote nothing, or if
  // the store can't take it: a run is not worse for a log that is lost.
  ResultRef end(SlotIndex slot, NodeId node, ResultStore& results);

  // The answer to FetchLog, or with `preview` what the run draws; result_gone if neither a run that
  // is on nor the store has it.
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
    std::vector<LogPart> parts;  // of `kept`; empty: not told apart
    std::string held;            // of the output that the last part is not of
    std::string picture;
  };
  struct Ended {
    RunName run;
    std::string hash;  // empty: it wrote nothing
    std::string media_type;
  };

  LogChunk read_preview(const FetchLog& fetch) const;
  static void keep(Live& log, std::string_view bytes, LogStream stream);
  static void keep_held(Live& log);
  static void close(Live& log);

  mutable std::mutex mutex_;
  std::map<SlotIndex, Live> live_;
  std::deque<Ended> ended_;  // bounded: until its receipt is known, a log is asked for by its run
};

}  // namespace gpupool
