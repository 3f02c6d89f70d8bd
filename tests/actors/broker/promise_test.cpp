// The bound of docs/scheduling.md, in numbers that were worked out by hand.

#include "actors/broker/promise.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

const Capacity eight{.slots = 8, .largest = 2, .longest = seconds(320)};  // K = 1, c0 = 6

}  // namespace

TEST_CASE("One slot waits (B/phi + A + S*D)/c0 at most") {
  CHECK(longest_wait(eight, {}, 1) == seconds(960));
  // 600 s of older work more: 2,400 / 6.
  CHECK(longest_wait(eight, {.jobs = 3, .gangs = 1, .work = 600'000}, 1) == seconds(1'360));
  CHECK(longest_wait(eight, {.jobs = 1, .work = 1}, 1) == seconds(960) + milliseconds(1));
}

TEST_CASE("Several slots wait B/(phi*c0) + (g+1)*(A + S*D)/c0 + g*D/K + D at most") {
  CHECK(longest_wait(eight, {}, 2) == seconds(960 + 320));
  CHECK(longest_wait(eight, {.jobs = 3, .gangs = 2, .work = 600'000}, 2) ==
        seconds(400 + 3 * 960 + 2 * 320 + 320));
}

TEST_CASE("A pool of m*K slots or fewer promises 2*D*(older + 1)") {
  const Capacity two{.slots = 2, .largest = 2, .longest = seconds(320)};
  CHECK(longest_wait(two, {.jobs = 3, .work = 1'000'000}, 1) == seconds(2 * 320 * 4));
  CHECK(longest_wait(two, {}, 2) == seconds(640));
  CHECK(longest_wait({.longest = seconds(320)}, {}, 1) == seconds(640));  // without any slot
}

TEST_CASE("One more older job adds its work, and among jobs of several slots a drain and a pin") {
  const Waiting large{.job = {1}, .occupancy = seconds(60)};
  const Waiting xlarge{.job = {1}, .shape = {.slots = 2}, .occupancy = seconds(60)};
  CHECK(added_wait(eight, large, 1) == seconds(40));
  CHECK(added_wait(eight, large, 2) == seconds(40));
  CHECK(added_wait(eight, xlarge, 1) == seconds(80));
  CHECK(added_wait(eight, xlarge, 2) == seconds(80 + 960 + 320));
}

TEST_CASE("The longest waits that can be asked for are cut off, and none comes out shorter") {
  const Capacity huge{.slots = 262'144, .largest = 256, .longest = hours(720)};
  const Ahead most{.jobs = 1'000'000, .gangs = 1'000'000, .work = 2'500'000'000'000'000'000};
  CHECK(longest_wait(huge, most, 256) == wait_max);
  CHECK(longest_wait({.slots = 1, .largest = 2, .longest = hours(720)}, most, 1) == wait_max);
  CHECK(longest_wait(huge, most, 1) == wait_max);
}
