// The later end of a likely start: what those who were foreseen before teach.
#include "actors/broker/foresight.h"

#include <catch2/catch.hpp>

using namespace gpupool;

TEST_CASE("Before ten have started nothing is taught, and what is foreseen stands") {
  Foresight foresight;
  CHECK(foresight.later_end(seconds(40)) == seconds(40));
  for (int i = 0; i < 9; ++i) foresight.note(seconds(10), seconds(30));
  CHECK(foresight.later_end(seconds(40)) == seconds(40));
  foresight.note(seconds(10), seconds(30));
  CHECK(foresight.later_end(seconds(40)) == seconds(120));
}

TEST_CASE("Nine in ten of those before had started by the later end") {
  Foresight foresight;
  for (int i = 1; i <= 100; ++i) foresight.note(seconds(100), seconds(10 * i));
  CHECK(foresight.later_end(seconds(100)) == seconds(900));
  CHECK(foresight.later_end(seconds(10)) == seconds(90));
}

TEST_CASE("Those who start early never make it less than what is foreseen") {
  Foresight foresight;
  for (int i = 0; i < 50; ++i) foresight.note(seconds(100), seconds(10));
  CHECK(foresight.later_end(seconds(100)) == seconds(100));
}

TEST_CASE("The last two hundred count, and absurd waits stay within bounds") {
  Foresight foresight;
  for (int i = 0; i < 200; ++i) foresight.note(seconds(1), hours(24 * 365));
  CHECK(foresight.later_end(seconds(10)) == seconds(1'000));
  for (int i = 0; i < 200; ++i) foresight.note(seconds(10), seconds(20));
  CHECK(foresight.later_end(seconds(10)) == seconds(20));
  foresight.note({}, {});
  CHECK(foresight.later_end({}) == seconds(2));  // below a second it goes by a second
}
