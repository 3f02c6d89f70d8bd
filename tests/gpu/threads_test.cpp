#include "gpu/cpu/threads.h"

#include <sched.h>

#include <catch2/catch.hpp>
#include <numeric>

#include "gpu/cpu/device_cpu.h"

using namespace gpupool;

namespace {

// Puts the calling thread back where it may be.
class Affinity {
 public:
  Affinity() { REQUIRE(::sched_getaffinity(0, sizeof allowed_, &allowed_) == 0); }
  Affinity(const Affinity&) = delete;
  Affinity& operator=(const Affinity&) = delete;
  ~Affinity() { ::sched_setaffinity(0, sizeof allowed_, &allowed_); }

  std::vector<std::int32_t> cores() const {
    std::vector<std::int32_t> all;
    for (std::int32_t core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(static_cast<std::size_t>(core), &allowed_)) all.push_back(core);
    return all;
  }

 private:
  cpu_set_t allowed_{};
};

}  // namespace

TEST_CASE("Every task of every loop runs exactly once") {
  Threads threads(GENERATE(1, 2, 5));
  for (const std::int64_t tasks : {0, 1, 2, 7, 1000}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<int> runs(static_cast<std::size_t>(tasks));
      threads.run(tasks, [&](Task task) { ++runs[static_cast<std::size_t>(task.index)]; });
      REQUIRE(runs == std::vector<int>(static_cast<std::size_t>(tasks), 1));
    }
  }
}

TEST_CASE("No two tasks at once are given the same thread number") {
  Threads threads(4);
  std::vector<std::atomic<int>> users(4);
  std::atomic<int> clashes{0};
  threads.run(2000, [&](Task task) {
    std::atomic<int>& user = users[static_cast<std::size_t>(task.thread)];
    if (user.fetch_add(1) != 0) ++clashes;
    user.fetch_sub(1);
  });
  CHECK(clashes == 0);
}

TEST_CASE("A loop sees all that the loop before it wrote") {
  Threads threads(3);
  std::vector<std::int64_t> values(300, 1);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int64_t> next(values.size());
    threads.run(static_cast<std::int64_t>(values.size()), [&](Task task) {
      const auto i = static_cast<std::size_t>(task.index);
      next[i] = values[(i + 1) % values.size()] + 1;
    });
    values = next;
  }
  CHECK(values == std::vector<std::int64_t>(300, 201));
}

TEST_CASE("Pinned threads run on their cores and nowhere else") {
  const Affinity before;
  const std::vector<std::int32_t> cores = before.cores();
  Threads threads(static_cast<std::int32_t>(cores.size()));
  REQUIRE(threads.pin(cores));
  std::vector<std::int32_t> strays(cores.size());
  threads.run(1000, [&](Task task) {
    const auto thread = static_cast<std::size_t>(task.thread);
    if (::sched_getcpu() != cores[thread]) ++strays[thread];
  });
  CHECK(strays == std::vector<std::int32_t>(cores.size(), 0));
}

TEST_CASE("A core that a process may not use is refused by its number, and so is a wrong count") {
  const Affinity before;
  for (const std::int32_t core : {-1, CPU_SETSIZE - 1, CPU_SETSIZE, 1 << 30}) {
    const auto device = make_cpu_device(CpuOptions{.threads = 1, .cores = {core}});
    REQUIRE_FALSE(device);
    CHECK(device.error().code == Errc::unsupported);
    CHECK(device.error().detail.starts_with("core " + std::to_string(core) + ":"));
  }
  const auto device = make_cpu_device(CpuOptions{.threads = 2, .cores = {0}});
  REQUIRE_FALSE(device);
  CHECK(device.error().detail.starts_with("1 cores for 2 threads"));
  CHECK(Affinity{}.cores() == before.cores());
}
