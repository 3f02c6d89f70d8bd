// How ranks notice and end what does not: with answers made up, and pauses that only count.
#include "gpu/comm_failure.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace gpupool;

TEST_CASE("Asking goes on until it is over, at first without a pause that takes time") {
  int asked = 0;
  Duration paused{};
  const auto pause = [&](Duration duration) { paused = paused + duration; };
  const auto over_at = [&](int number) {
    asked = 0;
    paused = {};
    return ask_until_over([&] { return ++asked == number ? Answer::over : Answer::under_way; },
                          pause, seconds(2));
  };
  CHECK(over_at(1) == Answer::over);
  CHECK(asked == 1);
  CHECK(over_at(900) == Answer::over);
  CHECK(paused == Duration{});
  CHECK(over_at(1100) == Answer::over);
  CHECK(paused == milliseconds(99));
  CHECK(over_at(-1) == Answer::under_way);
  CHECK(paused == seconds(2));
  CHECK(asked == 3000);
}

TEST_CASE("An operation that takes longer than the limit is noticed") {
  Watch watch(milliseconds(100));
  CHECK_FALSE(watch.watched());
  const std::size_t mark = watch.started();
  CHECK(watch.watched() == mark);
  for (int i = 0; i < 10; ++i) REQUIRE(watch.look(Answer::under_way, milliseconds(10)));
  CHECK_FALSE(watch.look(Answer::under_way, milliseconds(10)));
}

TEST_CASE("Operations that end one after the other have the limit each, and the last is watched") {
  Watch watch(milliseconds(100));
  const std::size_t first = watch.started();
  const std::size_t second = watch.started();
  CHECK(second != first);
  CHECK(watch.started() == second);  // its mark moves on
  CHECK(watch.watched() == first);
  REQUIRE(watch.look(Answer::under_way, milliseconds(90)));
  REQUIRE(watch.look(Answer::over, milliseconds(10)));
  CHECK(watch.watched() == second);
  REQUIRE(watch.look(Answer::under_way, milliseconds(90)));
  CHECK(watch.started() == first);
  REQUIRE(watch.look(Answer::over, milliseconds(10)));
  CHECK(watch.watched() == first);
  REQUIRE(watch.look(Answer::over, milliseconds(10)));
  CHECK_FALSE(watch.watched());
  // What comes after a rest has the whole limit again.
  watch.started();
  CHECK(watch.look(Answer::under_way, milliseconds(100)));
}

TEST_CASE("Of failures that come at the same time one is kept, and the end comes once") {
  std::atomic<int> ends = 0;
  std::atomic<int> attempts = 0;
  Ending ending([&] { ++ends; });
  ending.attempt([&] {
    ++attempts;
    return ok();
  });
  CHECK(ending.status());
  std::vector<std::thread> threads;
  for (const std::string name : {"a", "b", "c", "d"})
    threads.emplace_back([&, name] {
      ending.fail(ranks_failed(name));
      ending.attempt([&] {
        ++attempts;
        return Status(ranks_failed("late"));
      });
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(ends == 1);
  CHECK(attempts == 1);
  REQUIRE_FALSE(ending.status());
  CHECK_THAT(ending.status().error().detail, Catch::Matches("the ranks of the picture: [abcd]"));
}

TEST_CASE("What fails while it is attempted is the end") {
  int ends = 0;
  Ending ending([&] { ++ends; });
  ending.attempt([] { return Status(ranks_failed("it broke")); });
  CHECK(ends == 1);
  CHECK(ending.status().error().detail == "the ranks of the picture: it broke");
}
