#pragma once
// Callers' own processes on the slots of a node, which are nobody's children here: watched by
// pidfd, killed with all that descends from them, and noted on disk for a worker that starts after
// a crash. Where control groups can be made, each gets one of its own, so that what it starts from
// then on is found however it was forked; elsewhere by descent, which a double fork leaves. Always:
// only the very process that was let in is ever killed, whoever has its pid meanwhile, and what is
// of it. Used by the executors' thread only.

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "actors/messages.h"
#include "actors/worker/process.h"
#include "actors/worker/process_guard.h"
#include "actors/worker/process_tree.h"

namespace gpupool {

class ProcessWatch {
 public:
  // Ends what an earlier worker noted in `folder`, and makes it. `guard`: gpupool-supervisor, which
  // ends them where this process can't; empty: nothing does.
  explicit ProcessWatch(std::filesystem::path folder, std::filesystem::path guard = {});

  // From its return on the process is noted, guarded and set apart.
  void watch(SlotIndex slot, const LocalProcess& process);
  // The guard kills the slot's process then, the present one or the next, unless a later word says
  // another time; never(): it may stay as it is.
  void end_by(SlotIndex slot, Instant kill_at);
  void kill(const LocalProcess& process);
  void kill_all();
  void forget_all();

  // To be polled; readable once the process has ended.
  std::vector<int> descriptors() const;
  // Something was killed and is not gone yet, or cannot be polled: look again soon.
  bool wants_time() const;
  // Those of which nothing is left since the last call.
  std::vector<std::pair<SlotIndex, LocalProcess>> take_gone();

 private:
  struct Watched {
    SlotIndex slot;
    LocalProcess process;
    FileDescriptor pidfd;  // none: a system without them
    ProcessTree tree;
    bool killing = false;
  };

  void note(const Watched& watched) const;
  void tell_guard(const Watched& watched);
  static void kill(Watched& watched);
  static bool is_gone(Watched& watched);

  const std::filesystem::path folder_;
  ProcessGuard guard_;
  std::vector<Watched> watched_;
  std::map<SlotIndex, Instant> kill_at_;  // of slots where it is set
};

}  // namespace gpupool
