// Ledger time at starts and between them (design 2.9).

#include "actors/ledger/ledger_clock.h"

#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

// The last record was written at noon ledger time, 100 s after the boot of "boot-1".
const JournalTail tail{
    .sequence = 9, .at = noon, .stamp = {.wall = noon, .boot = {100'000}, .boot_id = "boot-1"}};

Result<LedgerClock> start(Duration wall_since, Duration boot_since, const std::string& boot_id,
                          JumpedClock policy = JumpedClock::refuse) {
  return LedgerClock::start(
      {.wall = noon + wall_since, .boot = tail.stamp.boot + boot_since, .boot_id = boot_id}, tail,
      policy);
}

}  // namespace

TEST_CASE("Ledger time is the wall time at the start plus steady time since") {
  auto clock = start(seconds(60), seconds(60), "boot-1");
  REQUIRE(clock);
  CHECK(clock->same_boot());
  CHECK(clock->gap() == seconds(60));
  CHECK(clock->now({160'000}) == noon + seconds(60));
  CHECK(clock->now({161'500}) == noon + milliseconds(61'500));
}

TEST_CASE("Ledger time never goes back") {
  auto clock = start(seconds(60), seconds(60), "boot-1");
  REQUIRE(clock);
  CHECK(clock->now({200'000}) == noon + seconds(100));
  CHECK(clock->now({190'000}) == noon + seconds(100));
}

TEST_CASE("On the same boot the wall clock may be off by an hour and no more") {
  CHECK(start(hours(2), hours(1), "boot-1"));
  CHECK(start(hours(1), hours(2), "boot-1"));
  const auto ahead = start(hours(2) + milliseconds(1), hours(1), "boot-1");
  REQUIRE_FALSE(ahead);
  CHECK(ahead.error().code == Errc::clock_jumped);
  CHECK(ahead.error().want == hours(1).ms + 1);
  CHECK(ahead.error().have == hours(1).ms);
  const auto behind = start(hours(1) - milliseconds(1), hours(2), "boot-1");
  REQUIRE_FALSE(behind);
  CHECK(behind.error().want == -hours(1).ms - 1);
}

TEST_CASE("A jumped clock is taken at the operator's word") {
  auto clock = start(hours(1'000), hours(1), "boot-1", JumpedClock::accept);
  REQUIRE(clock);
  CHECK(clock->now(tail.stamp.boot + hours(1)) == noon + hours(1'000));
}

TEST_CASE("A wall clock behind the last record neither turns time back nor stops it") {
  auto clock = start(seconds(-600), seconds(5), "boot-1");
  REQUIRE(clock);
  CHECK(clock->gap() == seconds(-600));
  CHECK(clock->now(tail.stamp.boot + seconds(5)) == noon);
  CHECK(clock->now(tail.stamp.boot + seconds(15)) == noon + seconds(10));
}

TEST_CASE("After a reboot the wall clock is taken and the gap is told") {
  auto clock = LedgerClock::start({.wall = noon + hours(90), .boot = {3'000}, .boot_id = "boot-2"},
                                  tail, JumpedClock::refuse);
  REQUIRE(clock);
  CHECK_FALSE(clock->same_boot());
  CHECK(clock->gap() == hours(90));
  CHECK(clock->now({4'000}) == noon + hours(90) + seconds(1));
}

TEST_CASE("A boot clock behind its last stamp is another machine's") {
  const auto clock = start(hours(90), seconds(-1), "boot-1");
  REQUIRE(clock);
  CHECK_FALSE(clock->same_boot());
}

TEST_CASE("An empty journal has nothing to compare a clock with") {
  auto clock = LedgerClock::start({.wall = noon, .boot = {50}, .boot_id = "boot-1"}, JournalTail{},
                                  JumpedClock::refuse);
  REQUIRE(clock);
  CHECK(clock->gap() == Duration{0});
  CHECK(clock->now({1'050}) == noon + seconds(1));
}
