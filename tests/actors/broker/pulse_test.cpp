// What the broker tells the console of its work.
#include "actors/broker/pulse.h"

#include <catch2/catch.hpp>

#include "actors/histogram.h"
#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

PoolPulse last_pulse(Harness& pool) {
  const auto all = pool.console_got<PoolPulse>();
  REQUIRE_FALSE(all.empty());
  return all.back();
}

}  // namespace

TEST_CASE("A pulse comes once a second and counts what happened to jobs") {
  Harness pool;
  pool.start();
  pool.add_node(1, 2);
  const JobId job = pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.pass(seconds(3));
  auto pulses = pool.console_got<PoolPulse>();
  CHECK(pulses.size() == 3);
  CHECK(pulses.back().admitted == 1);
  CHECK(pulses.back().started == 1);
  CHECK(pulses.back().running == 1);
  CHECK(pulses.back().slots_busy == 1);
  CHECK(pulses.back().slots_free == 1);
  CHECK(pulses.back().healthy == 1);
  CHECK(pulses.back().spans.empty());
  pool.end(Harness::success(lease, seconds(3)));
  pool.pass(seconds(1));
  const PoolPulse pulse = last_pulse(pool);
  CHECK(pulse.succeeded == 1);
  CHECK(pulse.charged == GpuTime{3'000});
  CHECK(count_of(pulse.runs) == 1);
  REQUIRE(pulse.spans.size() == 1);
  CHECK(pulse.spans[0].job == job);
  CHECK(pulse.spans[0].node == "node-1");
  CHECK(pulse.spans[0].to > pulse.spans[0].from);
  pool.pass(seconds(1));
  CHECK(last_pulse(pool).spans.empty());  // each is told once
}

TEST_CASE("A run that the pool lost is counted, and its wait begins at admission again") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.admit();
  const Lease lease = pool.only_lease();
  pool.begin(lease);
  pool.end(Harness::crash(lease));
  pool.pass(seconds(1));
  const PoolPulse pulse = last_pulse(pool);
  CHECK(pulse.requeued == 1);
  CHECK(pulse.started == 2);
  CHECK(count_of(pulse.waits) == 2);
  CHECK(pulse.charged == GpuTime{});
}

TEST_CASE("A lease after the promised start is a promise missed") {
  PulseBook book;
  const Instant now{1'000'000};
  book.leased(now, now - seconds(5), now);
  book.leased(now, now - seconds(5), now - milliseconds(1));
  CHECK(book.take(now).missed == 1);
}

TEST_CASE("Of more runs than a pulse takes the others are counted") {
  PulseBook book;
  Job job;
  for (std::size_t i = 0; i < PulseBook::spans_max + 3; ++i)
    book.left(Instant{5}, job, "node-1", SlotIndex{0});
  const PoolPulse pulse = book.take(Instant{6});
  CHECK(pulse.spans.size() == PulseBook::spans_max);
  CHECK(pulse.left_out == 3);
  CHECK(book.take(Instant{7}).left_out == 0);
}

TEST_CASE("The slots of a lost node are down, and it is lost") {
  Harness pool;
  pool.start();
  pool.silence(pool.add_node(1, 2));
  pool.pass(seconds(7));
  const PoolPulse pulse = last_pulse(pool);
  CHECK(pulse.lost == 1);
  CHECK(pulse.slots_down == 2);
  CHECK(pulse.slots_free == 0);
}

}  // namespace gpupool
