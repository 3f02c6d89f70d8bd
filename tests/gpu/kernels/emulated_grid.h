#pragma once
// A grid of CUDA threads on the CPU, for tests; emulated_memory.h and emulated_tensor_cores.h are
// what kernels see of it. Blocks run one after the other; the threads of a block are fibers that
// give way only where they wait for each other, in an order that the test chooses. Every access to
// memory is checked for races by the barriers between two accesses, whatever the order was: a value
// that one thread wrote and another touches needs a barrier of their block between the two, and
// threads of two blocks may share nothing that one of them writes; but atomic operations do not
// race with each other. What went wrong first is the launch's answer. One launch at a time.

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace gpupool::emulated {

struct Index {
  unsigned x = 0;
  unsigned y = 0;
  unsigned z = 0;
};

}  // namespace gpupool::emulated

inline gpupool::emulated::Index threadIdx;
inline gpupool::emulated::Index blockIdx;

namespace gpupool::emulated {

struct Launch {
  Index grid{1, 1, 1};
  unsigned threads = 1;  // of a block: whole warps
  bool backwards = false;
  int without_line = 0;  // the barrier, or wait for copies, on this line is left out; 0: none is
};

// Which threads touched a value last, and between which barriers of their block.
struct Shadow {
  struct Touch {
    std::int64_t block = -1;  // nobody
    int thread = 0;
    int barriers = 0;             // passed before
    bool several = false;         // threads of that block, since that barrier
    bool several_blocks = false;  // at any time
  };
  std::uint64_t launch = 0;  // older than this one: nobody touched it yet
  Touch read;
  Touch write;
  Touch atomic;
  bool in_copy = false;  // one that was begun will write it
};

// What a lane shows the others of its warp when they meet, and where they do.
using Shown = std::array<std::uint32_t, 6>;
enum class Meeting { shuffle, product, matrices };

class Grid {
 public:
  static Grid& current() {
    static Grid grid;
    return grid;
  }

  // Runs `kernel` for every thread. Nothing: all went well.
  std::optional<std::string> run(const Launch& launch, const std::function<void()>& kernel);

  // The lines of the barriers and waits for copies that the last launch passed.
  const std::set<int>& lines() const { return lines_; }
  std::int64_t block() const { return block_; }
  std::uint64_t launch() const { return launch_; }

  // ---- What kernels call
  void barrier(int line);
  // What all lanes show. It is there until this lane meets the others again.
  const std::array<Shown, 32>& meet(Meeting where, const Shown& shown);
  int lane() const { return running_ % 32; }
  // A copy goes on beside its thread, and is certain to be over when that has waited.
  void start_copy(std::function<void()> land);
  void wait_for_copies(int line);
  void fail(const std::string& what) {
    if (!failure_)
      failure_ =
          what + ", block " + std::to_string(block_) + ", thread " + std::to_string(running_);
  }
  void note_read(Shadow& shadow);
  void note_write(Shadow& shadow);
  void note_atomic(Shadow& shadow);

 private:
  enum class Waits { no, at_barrier, in_warp, over };
  struct Thread {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    Waits waits = Waits::no;
    int barriers = 0;
    int meetings = 0;
    std::vector<std::function<void()>> copies;
    void* sanitizer = nullptr;
  };
  struct Warp {
    struct Round {
      Meeting where{};
      std::array<Shown, 32> lanes{};
    };
    std::array<Round, 2> rounds{};  // in turn: who is early shows while others look
    int arrived = 0;
    int meetings = 0;  // complete ones
  };
  static constexpr std::size_t stack_bytes = 64 * 1024;

  static void enter() { current().run_thread(); }
  void run_thread();
  void run_block();
  void resume(int thread);
  void give_way(Waits reason);
  bool may_go_on(const Thread& thread, int index) const;
  bool resume_all();
  bool release_barrier();
  Shadow& fresh(Shadow& shadow) const;
  Shadow::Touch touched(const Shadow::Touch& before) const;
  void tell_race(const Shadow::Touch& earlier);

  Launch how_{};
  const std::function<void()>* kernel_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  ucontext_t scheduler_{};
  void* scheduler_sanitizer_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
  int running_ = 0;
  std::int64_t block_ = 0;
  std::uint64_t launch_ = 0;
  std::set<int> lines_;
  std::optional<std::string> failure_;
};

inline std::optional<std::string> Grid::run(const Launch& launch,
                                            const std::function<void()>& kernel) {
  how_ = launch;
  kernel_ = &kernel;
  failure_.reset();
  lines_.clear();
  ++launch_;
  if (launch.threads == 0 || launch.threads % 32 != 0) return "a block has whole warps";
  const std::int64_t blocks = std::int64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (std::int64_t i = 0; i < blocks && !failure_; ++i) {
    block_ = launch.backwards ? blocks - 1 - i : i;
    const auto number = static_cast<unsigned>(block_);
    blockIdx = {number % launch.grid.x, number / launch.grid.x % launch.grid.y,
                number / launch.grid.x / launch.grid.y};
    run_block();
  }
  return failure_;
}

inline void Grid::run_block() {
  threads_.resize(how_.threads);
  warps_.assign(how_.threads / 32, {});
  for (Thread& thread : threads_) {
    if (!thread.stack) thread.stack = std::make_unique<char[]>(stack_bytes);
    thread.waits = Waits::no;
    thread.barriers = thread.meetings = 0;
    thread.copies.clear();
    thread.sanitizer = nullptr;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = stack_bytes;
    thread.context.uc_link = &scheduler_;
    makecontext(&thread.context, &Grid::enter, 0);
  }
  while (resume_all() || release_barrier()) {
  }
  for (const Thread& thread : threads_)
    if (thread.waits != Waits::over) fail("a thread waits for others that never come");
}

// Whether any could go on.
inline bool Grid::resume_all() {
  const auto count = static_cast<int>(threads_.size());
  bool any = false;
  for (int i = 0; i < count; ++i) {
    const int thread = how_.backwards ? count - 1 - i : i;
    if (!may_go_on(threads_[static_cast<std::size_t>(thread)], thread)) continue;
    any = true;
    resume(thread);
  }
  return any;
}

// Those that are at it go on together, once nobody does anything else.
inline bool Grid::release_barrier() {
  bool any = false;
  for (const Thread& thread : threads_)
    if (thread.waits != Waits::at_barrier && thread.waits != Waits::over) return false;
  for (Thread& thread : threads_) {
    if (thread.waits != Waits::at_barrier) continue;
    ++thread.barriers;
    thread.waits = Waits::no;
    any = true;
  }
  return any;
}

inline bool Grid::may_go_on(const Thread& thread, int index) const {
  if (thread.waits == Waits::in_warp)
    return warps_[static_cast<std::size_t>(index / 32)].meetings >= thread.meetings;
  return thread.waits == Waits::no;
}

inline void Grid::resume(int thread) {
  Thread& one = threads_[static_cast<std::size_t>(thread)];
  running_ = thread;
  one.waits = Waits::no;
  threadIdx = {static_cast<unsigned>(thread), 0, 0};
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_sanitizer_, one.stack.get(), stack_bytes);
#endif
  swapcontext(&scheduler_, &one.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_sanitizer_, nullptr, nullptr);
#endif
}

inline void Grid::run_thread() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
  (*kernel_)();
  threads_[static_cast<std::size_t>(running_)].waits = Waits::over;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, scheduler_stack_, scheduler_stack_bytes_);
#endif
}

inline void Grid::give_way(Waits reason) {
  Thread& one = threads_[static_cast<std::size_t>(running_)];
  one.waits = reason;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&one.sanitizer, scheduler_stack_, scheduler_stack_bytes_);
#endif
  swapcontext(&one.context, &scheduler_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(one.sanitizer, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

inline void Grid::barrier(int line) {
  lines_.insert(line);
  if (line != how_.without_line) give_way(Waits::at_barrier);
}

inline const std::array<Shown, 32>& Grid::meet(Meeting where, const Shown& shown) {
  Warp& warp = warps_[static_cast<std::size_t>(running_ / 32)];
  Thread& thread = threads_[static_cast<std::size_t>(running_)];
  Warp::Round& round = warp.rounds[static_cast<std::size_t>(thread.meetings++ % 2)];
  if (warp.arrived > 0 && round.where != where) fail("lanes of a warp do different things");
  round.where = where;
  round.lanes[static_cast<std::size_t>(lane())] = shown;
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.meetings;
  } else {
    give_way(Waits::in_warp);
  }
  return round.lanes;
}

inline void Grid::start_copy(std::function<void()> land) {
  threads_[static_cast<std::size_t>(running_)].copies.push_back(std::move(land));
}

inline void Grid::wait_for_copies(int line) {
  lines_.insert(line);
  if (line == how_.without_line) return;
  for (const auto& land : std::exchange(threads_[static_cast<std::size_t>(running_)].copies, {}))
    land();
}

inline Shadow& Grid::fresh(Shadow& shadow) const {
  if (shadow.launch != launch_) shadow = Shadow{.launch = launch_};
  return shadow;
}

// One more touch, by the running thread.
inline Shadow::Touch Grid::touched(const Shadow::Touch& before) const {
  const int barriers = threads_[static_cast<std::size_t>(running_)].barriers;
  const bool same = before.block == block_ && before.barriers == barriers;
  return {.block = block_,
          .thread = running_,
          .barriers = barriers,
          .several = same && (before.several || before.thread != running_),
          .several_blocks = before.several_blocks || (before.block >= 0 && before.block != block_)};
}

inline void Grid::tell_race(const Shadow::Touch& earlier) {
  if (earlier.block < 0) return;
  if (earlier.several_blocks || earlier.block != block_)
    fail("a race: two blocks share what one of them writes");
  const bool by_another = earlier.several || earlier.thread != running_;
  if (by_another && earlier.barriers >= threads_[static_cast<std::size_t>(running_)].barriers)
    fail("a race: no barrier after another thread's touch");
}

inline void Grid::note_read(Shadow& shadow) {
  if (fresh(shadow).in_copy) fail("a race: read before the copy was waited for");
  tell_race(shadow.write);
  tell_race(shadow.atomic);
  shadow.read = touched(shadow.read);
}

inline void Grid::note_write(Shadow& shadow) {
  if (fresh(shadow).in_copy) fail("a race: written before the copy was waited for");
  for (const Shadow::Touch* touch : {&shadow.read, &shadow.write, &shadow.atomic})
    tell_race(*touch);
  shadow.write = touched(shadow.write);
}

inline void Grid::note_atomic(Shadow& shadow) {
  if (fresh(shadow).in_copy) fail("a race: changed before the copy was waited for");
  tell_race(shadow.read);
  tell_race(shadow.write);
  shadow.atomic = touched(shadow.atomic);
}

}  // namespace gpupool::emulated
