#pragma once
// Each client is a connection: as many as the system lets this process have.

#include <sys/resource.h>

namespace gpupool {

// The soft limit becomes the hard one; gives what holds then, 0 if nobody can tell. Any thread.
inline rlim_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace gpupool
