#include "gpu/cpu/threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/ensure.h"

namespace gpupool {
namespace {

// Loops follow each other within microseconds while a picture is drawn, faster than the kernel can
// wake a thread; between pictures nobody should spin. So: a short while of looking, then sleep.
template <class Value>
void wait_while_equal(const std::atomic<Value>& place, Value old) {
  constexpr int looks_max = 2000;
  for (int look = 0; look < looks_max; ++look) {
    if (place.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  place.wait(old, std::memory_order_acquire);
}

}  // namespace

void keep_libraries_single_threaded() {
  // A oneDNN with OpenMP has this symbol behind it; one without has no teams to begin with. Hence
  // the lookup at run time instead of a link dependency.
  using SetThreads = void (*)(int);
  static const auto set_threads =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (set_threads != nullptr) set_threads(1);
}

Threads::Threads(std::int32_t count) {
  GPUPOOL_ENSURE(count >= 1, count);
  for (std::int32_t thread = 1; thread < count; ++thread) {
    workers_.emplace_back([this, thread] { work_until_closed(thread); });
  }
}

Threads::~Threads() {
  closed_.store(true, std::memory_order_release);
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

// The caller last: where a core is refused it stays as it was.
Status Threads::pin(std::span<const std::int32_t> cores) {
  if (static_cast<std::int32_t>(cores.size()) != count())
    return Error{.code = Errc::unsupported,
                 .detail = std::to_string(cores.size()) + " cores for " + std::to_string(count()) +
                           " threads; name one for each"};
  for (std::size_t i = cores.size(); i-- > 0;) {
    cpu_set_t one;
    CPU_ZERO(&one);
    const bool possible = cores[i] >= 0 && cores[i] < CPU_SETSIZE;
    if (possible) CPU_SET(static_cast<std::size_t>(cores[i]), &one);
    const pthread_t thread = i == 0 ? ::pthread_self() : workers_[i - 1].native_handle();
    const int status = possible ? ::pthread_setaffinity_np(thread, sizeof one, &one) : EINVAL;
    if (status != 0)
      return Error{.code = Errc::unsupported,
                   .detail = "core " + std::to_string(cores[i]) + ": " + std::strerror(status) +
                             "; this process may not use it"};
  }
  return ok();
}

// The loop ends when its tasks are done, not when every worker has seen it: on a busy machine a
// worker may wake late, and then finds nothing left, or tasks of a later loop, and both are well.
// Who takes a number above zero from left_ holds a task, and the loop stays until it is finished.
void Threads::run_loop(const Loop& loop) {
  loop_ = loop;
  finished_.store(0, std::memory_order_relaxed);
  left_.store(loop.tasks, std::memory_order_release);
  if (!workers_.empty() && loop.tasks > 1) {
    started_.fetch_add(1, std::memory_order_release);
    started_.notify_all();
  }
  take_tasks(0);
  for (std::int64_t done = finished_.load(std::memory_order_acquire); done < loop.tasks;
       done = finished_.load(std::memory_order_acquire)) {
    wait_while_equal(finished_, done);
  }
}

void Threads::take_tasks(std::int32_t thread) {
  for (std::int64_t left = left_.fetch_sub(1, std::memory_order_acq_rel); left > 0;
       left = left_.fetch_sub(1, std::memory_order_acq_rel)) {
    const Loop loop = loop_;
    loop.call(loop.work, Task{loop.tasks - left, thread});
    finished_.fetch_add(1, std::memory_order_release);
    if (thread != 0) finished_.notify_one();
  }
}

void Threads::work_until_closed(std::int32_t thread) {
  keep_libraries_single_threaded();
  std::uint32_t seen = 0;
  while (!closed_.load(std::memory_order_acquire)) {
    take_tasks(thread);
    wait_while_equal(started_, seen);
    seen = started_.load(std::memory_order_acquire);
  }
}

}  // namespace gpupool
