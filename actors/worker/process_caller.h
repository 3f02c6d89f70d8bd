#pragma once
// Which process says that it is `pid`, on a connection to this machine: the pid is one of the
// process's own PID namespace, and it is believed only of the very process that holds the other end
// of the connection. Reads /proc; any thread.

#include <cstdint>
#include <string>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

struct CallerClaim {
  std::int32_t pid = 0;    // as the process itself sees it
  std::uint16_t port = 0;  // of its end of the connection
  std::uint16_t here = 0;  // of this end
  std::string cgroup;      // that it has to be in, or below; empty: any
  std::string user;        // whose it has to be; empty: anybody's
};

// forbidden: there is no such process at the other end, it is of the pool itself, of another user
// or cgroup than it has to be, or one that this process may not end.
Result<LocalProcess> find_caller(const CallerClaim& claim);

}  // namespace gpupool
