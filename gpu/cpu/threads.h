#pragma once
// A fixed set of threads that run one loop at a time. run() deals the tasks out and returns when
// all are done; the calling thread works too, so Threads{1} starts none. Tasks go to whoever is
// free: a task's result must not depend on the thread that runs it, which only picks its scratch
// memory. run() is for one thread at a time.

#include <atomic>
#include <cstdint>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace gpupool {

struct Task {
  std::int64_t index = 0;
  std::int32_t thread = 0;  // 0 to count() - 1; 0 is the caller
};

// oneDNN runs inside our tasks and must not open a team of threads of its own there. The setting
// belongs to the calling thread: workers call this when they start, whoever else calls oneDNN calls
// it before.
void keep_libraries_single_threaded();

class Threads {
 public:
  explicit Threads(std::int32_t count);
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads();

  // Each thread to a core of its own, the calling one to the first, where it stays. unsupported:
  // another number of cores than of threads, or one that this process may not use.
  Status pin(std::span<const std::int32_t> cores);

  std::int32_t count() const { return static_cast<std::int32_t>(workers_.size()) + 1; }

  template <class Work>
  void run(std::int64_t tasks, const Work& work) {
    static_assert(std::is_invocable_v<const Work&, Task>);
    run_loop({tasks, &work,
              [](const void* untyped, Task task) { (*static_cast<const Work*>(untyped))(task); }});
  }

 private:
  // A loop without the allocation that std::function would cost on every op.
  struct Loop {
    std::int64_t tasks = 0;
    const void* work = nullptr;
    void (*call)(const void*, Task) = nullptr;
  };

  void run_loop(const Loop& loop);
  void take_tasks(std::int32_t thread);
  void work_until_closed(std::int32_t thread);

  Loop loop_{};                        // read only by who holds a task; written while nobody does
  std::atomic<std::int64_t> left_{0};  // tasks not yet taken; at or below 0 there are none
  std::atomic<std::int64_t> finished_{0};  // tasks done in this loop
  std::atomic<std::uint32_t> started_{0};  // loops begun; sleeping workers wait for it to change
  std::atomic<bool> closed_{false};
  std::vector<std::thread> workers_;
};

}  // namespace gpupool
