#pragma once
// A grid of CUDA threads on the CPU, for tests: include it before the headers of kernels, and they
// compile as plain functions. Blocks run one after the other; the threads of a block are fibers
// that give way only at barriers and shuffles, in an order that the test chooses. Every access to
// memory is checked: bounds, and races by the barriers between two accesses, whatever the order
// was (a value that one thread wrote and another touches needs a barrier of their block between
// the two; threads of two blocks may share nothing that one of them writes). Shared memory is
// poisoned for each block. What went wrong first is the launch's answer. One launch at a time.

#include <ucontext.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define GPUPOOL_EMULATED_GRID
#define __global__ inline
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define GPUPOOL_UNROLL

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
  int without_barrier = 0;  // the barrier on this line is left out; 0: none is
};

// Which threads touched a value last, and between which barriers of their block.
struct Shadow {
  struct Touch {
    std::int64_t block = -1;  // nobody
    int thread = 0;
    int barriers = 0;      // passed before
    bool several = false;  // threads of that block, since that barrier
  };
  std::uint64_t launch = 0;  // older than this one: nobody touched it yet
  Touch write;
  Touch read;
  bool read_by_blocks = false;  // several of them
};

class Grid {
 public:
  static Grid& current() {
    static Grid grid;
    return grid;
  }

  // Runs `kernel` for every thread. Nothing: all went well.
  std::optional<std::string> run(const Launch& launch, const std::function<void()>& kernel);

  // The lines of the barriers that the last launch passed.
  const std::set<int>& barriers() const { return barrier_lines_; }
  std::int64_t block() const { return block_; }
  std::uint64_t launch() const { return launch_; }

  // ---- What kernels call
  void barrier(int line);
  std::uint64_t shuffle(std::uint64_t bits, int from_lane);
  int lane() const { return running_ % 32; }
  void fail(const std::string& what) {
    if (!failure_)
      failure_ =
          what + ", block " + std::to_string(block_) + ", thread " + std::to_string(running_);
  }
  void note_read(Shadow& shadow);
  void note_write(Shadow& shadow);

 private:
  enum class Waits { no, at_barrier, in_shuffle, over };
  struct Thread {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    Waits waits = Waits::no;
    int barriers = 0;
    int shuffles = 0;
    void* sanitizer = nullptr;
  };
  struct Warp {
    std::array<std::array<std::uint64_t, 32>, 2> values{};  // of two shuffles, in turn
    int posted = 0;
    int shuffles = 0;  // complete ones
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
  std::set<int> barrier_lines_;
  std::optional<std::string> failure_;
};

inline std::optional<std::string> Grid::run(const Launch& launch,
                                            const std::function<void()>& kernel) {
  how_ = launch;
  kernel_ = &kernel;
  failure_.reset();
  barrier_lines_.clear();
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
    thread.barriers = thread.shuffles = 0;
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
  if (thread.waits == Waits::in_shuffle)
    return warps_[static_cast<std::size_t>(index / 32)].shuffles >= thread.shuffles;
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
  barrier_lines_.insert(line);
  if (line != how_.without_barrier) give_way(Waits::at_barrier);
}

// All lanes of the warp give a value, and each gets another one's.
inline std::uint64_t Grid::shuffle(std::uint64_t bits, int from_lane) {
  Warp& warp = warps_[static_cast<std::size_t>(running_ / 32)];
  Thread& thread = threads_[static_cast<std::size_t>(running_)];
  auto& values = warp.values[static_cast<std::size_t>(thread.shuffles++ % 2)];
  values[static_cast<std::size_t>(lane())] = bits;
  if (++warp.posted == 32) {
    warp.posted = 0;
    ++warp.shuffles;
  } else {
    give_way(Waits::in_shuffle);
  }
  return values[static_cast<std::size_t>(from_lane)];
}

inline void Grid::note_read(Shadow& shadow) {
  if (shadow.launch != launch_) shadow = Shadow{.launch = launch_};
  const int barriers = threads_[static_cast<std::size_t>(running_)].barriers;
  const Shadow::Touch& write = shadow.write;
  if (write.block >= 0 && write.thread != running_ &&
      (write.block != block_ || write.barriers >= barriers))
    fail("a race: read without a barrier after another thread's write");
  if (write.block >= 0 && write.block != block_) fail("a race: read what another block wrote");
  Shadow::Touch& read = shadow.read;
  shadow.read_by_blocks |= read.block >= 0 && read.block != block_;
  const bool same = read.block == block_ && read.barriers == barriers;
  read = {block_, running_, barriers, same && (read.several || read.thread != running_)};
}

inline void Grid::note_write(Shadow& shadow) {
  if (shadow.launch != launch_) shadow = Shadow{.launch = launch_};
  const int barriers = threads_[static_cast<std::size_t>(running_)].barriers;
  if (shadow.read_by_blocks) fail("a race: two blocks share what one of them writes");
  for (const Shadow::Touch* touch : {&shadow.write, &shadow.read}) {
    if (touch->block < 0) continue;
    if (touch->block != block_) fail("a race: two blocks share what one of them writes");
    const bool by_another = touch->several || touch->thread != running_;
    if (by_another && touch->barriers >= barriers)
      fail("a race: written without a barrier after another thread's touch");
  }
  shadow.write = {block_, running_, barriers, false};
}

// One value in checked memory: what it does is what its thread did.
template <class T>
class Reference {
 public:
  Reference(T* value, Shadow* shadow) : value_(value), shadow_(shadow) {}
  operator std::remove_const_t<T>() const {
    if (shadow_ == nullptr) return {};
    Grid::current().note_read(*shadow_);
    return *value_;
  }
  const Reference& operator=(std::remove_const_t<T> value) const {
    if (shadow_ == nullptr) return *this;
    Grid::current().note_write(*shadow_);
    *value_ = value;
    return *this;
  }
  const Reference& operator=(const Reference& other) const {
    return *this = static_cast<std::remove_const_t<T>>(other);
  }
  Reference(const Reference&) = default;

 private:
  T* value_;
  Shadow* shadow_;  // nullptr: out of bounds
};

template <class T, int size>
class SharedArray {
 public:
  Reference<T> operator[](std::int64_t i) {
    if (i < 0 || i >= size) {
      Grid::current().fail("shared memory has no value " + std::to_string(i));
      return {nullptr, nullptr};
    }
    const auto place = static_cast<std::size_t>(i);
    return {&values_[place], &shadows_[place]};
  }
  // Of this block: what an earlier one left is poison.
  SharedArray& for_block() {
    const Grid& grid = Grid::current();
    if (launch_ == grid.launch() && block_ == grid.block()) return *this;
    launch_ = grid.launch();
    block_ = grid.block();
    values_.fill(std::numeric_limits<T>::quiet_NaN());
    shadows_.fill({});
    return *this;
  }

 private:
  std::array<T, size> values_{};
  std::array<Shadow, size> shadows_{};
  std::uint64_t launch_ = 0;
  std::int64_t block_ = 0;
};

}  // namespace gpupool::emulated

namespace gpupool::cuda {

// Memory of the device.
template <class T>
struct Memory {
  T* values = nullptr;
  emulated::Shadow* shadows = nullptr;
  std::int64_t size = 0;

  template <class Other>
  operator Memory<const Other>() const
      requires(!std::is_const_v<Other> && std::is_same_v<T, Other>) {
    return {values, shadows, size};
  }
  emulated::Reference<T> operator[](std::int64_t i) const {
    if (i >= 0 && i < size) return {values + i, shadows + i};
    emulated::Grid::current().fail("memory of " + std::to_string(size) + " values has no value " +
                                   std::to_string(i));
    return {nullptr, nullptr};
  }
};

template <class T, int size>
using SharedArray = emulated::SharedArray<T, size>&;

// Of half turns.
inline double cospi(double x) { return std::cos(x * 3.141592653589793); }
inline double sinpi(double x) { return std::sin(x * 3.141592653589793); }

}  // namespace gpupool::cuda

#define GPUPOOL_SHARED(type, name, size)                            \
  static ::gpupool::emulated::SharedArray<type, (size)> name##_all; \
  auto& name = name##_all.for_block()

inline void __syncthreads(int line = __builtin_LINE()) {
  gpupool::emulated::Grid::current().barrier(line);
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  auto& grid = gpupool::emulated::Grid::current();
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = grid.shuffle(bits, grid.lane() ^ lane_mask);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
