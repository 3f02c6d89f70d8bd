// Preloaded into a daemon (LD_PRELOAD): its wall clock differs from the machine's by as many
// seconds as the file says that GPUPOOL_CLOCK names, which the nemesis changes while it runs. Other
// clocks stay as they are, as they do when somebody sets a machine's time.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace {

const volatile std::int64_t* step_seconds = nullptr;

// Whatever asks for the time before this has run gets the machine's.
__attribute__((constructor)) void find_step() {
  const char* name = std::getenv("GPUPOOL_CLOCK");
  const int file = name == nullptr ? -1 : ::open(name, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void* mapped = ::mmap(nullptr, sizeof *step_seconds, PROT_READ, MAP_SHARED, file, 0);
  ::close(file);
  if (mapped != MAP_FAILED) step_seconds = static_cast<const volatile std::int64_t*>(mapped);
}

std::int64_t step() { return step_seconds == nullptr ? 0 : *step_seconds; }

}  // namespace

// The system call itself: the C library's own function is the one that is replaced here.
extern "C" int clock_gettime(clockid_t clock, timespec* reading) noexcept {
  const long failed = ::syscall(SYS_clock_gettime, clock, reading);
  if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    reading->tv_sec += step();
  return static_cast<int>(failed);
}

extern "C" int gettimeofday(timeval* reading, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  reading->tv_sec = now.tv_sec;
  reading->tv_usec = now.tv_nsec / 1000;
  return 0;
}

extern "C" time_t time(time_t* reading) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (reading != nullptr) *reading = now.tv_sec;
  return now.tv_sec;
}
