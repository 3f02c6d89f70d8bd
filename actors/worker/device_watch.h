#pragma once
// The health of one GPU as its slots see it: from what the node's monitor reads, whether jobs may
// go there. A GPU that was lost, or that had memory errors which could not be corrected, stays out
// until an operator resumes it; one that was too hot comes back when it is cooler, and one whose
// driver was silent when it answers. Pure, owned by Worker.

#include <cstdint>
#include <string>

#include "actors/messages.h"
#include "config/config.h"

namespace gpupool {

class DeviceWatch {
 public:
  DeviceWatch(const WorkerConfig& worker, const DeviceConfig& device);

  void see(Instant now, const DeviceHealth& seen);
  // An operator says that it is well: what was seen so far counts no more.
  void resume();

  // Why no job may start there, in words; empty: it may.
  std::string why(Instant now) const;
  // What runs there can't go on.
  bool is_lost() const { return !lost_.empty(); }

 private:
  Duration overheat_;
  Duration silence_;  // the longest that is no reason to worry
  std::uint32_t temperature_max_;

  Instant last_seen_ = Instant::never();
  std::string lost_;
  std::uint64_t errors_ = 0;
  std::uint64_t errors_accepted_ = 0;  // by an operator
  std::uint32_t temperature_ = 0;
  Instant hot_since_ = Instant::never();
  bool hot_ = false;
};

}  // namespace gpupool
