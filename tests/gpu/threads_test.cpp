#include "gpu/cpu/threads.h"

#include <catch2/catch.hpp>
#include <numeric>

using namespace gpupool;

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
