// The broker's dispatcher over whole arrival streams: what is promised is kept, and only by the
// rules that are meant to keep it.

#include "simulate/replay.h"

#include <catch2/catch.hpp>

#include "base/prng.h"
#include "simulate/report.h"

using namespace gpupool;

namespace {

Trace trace_of(std::vector<TraceRequest> requests) {
  std::stable_sort(requests.begin(), requests.end(),
                   [](const auto& one, const auto& other) { return one.arrival < other.arrival; });
  return {.requests = std::move(requests), .accounts = 1};
}

// Waits of the trace's requests, in seconds, -1 for one that was refused.
std::vector<std::int64_t> waits(const Trace& trace, const ReplayOptions& options) {
  const auto replayed = replay(trace, options);
  REQUIRE(replayed);
  std::vector<std::int64_t> seconds;
  for (const ReplayedRequest& one : replayed->requests)
    seconds.push_back(one.refused == Errc{} ? one.wait.ms / 1000 : -1);
  return seconds;
}

TraceRequest request(std::int64_t at, std::int64_t declared, std::int64_t ran = -1,
                     std::uint32_t slots = 1) {
  return {.arrival = seconds(at),
          .declared = seconds(declared),
          .ran = seconds(ran < 0 ? declared : ran),
          .slots = slots};
}

ReplayOptions with(Policy policy, std::uint32_t slots) {
  return {.rules = {.policy = policy}, .slots = slots};
}

std::uint64_t broken_promises(const Trace& trace, const ReplayOptions& options) {
  const auto replayed = replay(trace, options);
  REQUIRE(replayed);
  return *report_of(trace, *replayed, options, seconds(30)).violations;
}

// Arrivals that look for the bound's edge: bursts, floods of short jobs behind long ones, gangs,
// runs that use all that they declared.
Trace adversarial(std::uint64_t seed) {
  Prng random(seed);
  std::vector<TraceRequest> requests;
  const std::int64_t longest = random.between(2, 300);
  const std::uint64_t gangs = random.one_in(3) ? 1 : random.between(2, 20);
  std::int64_t at = 0;
  for (int wave = 0; wave < 12; ++wave) {
    const std::int64_t size = random.between(1, 60);
    const std::int64_t most = random.one_in(2) ? 1 : longest;
    const std::int64_t pause = random.one_in(3) ? random.between(0, 3) : 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t declared = random.one_in(8) ? longest : random.between(1, most);
      const std::int64_t ran = random.one_in(2) ? declared : random.between(0, declared);
      requests.push_back(request(at, declared, ran, random.one_in(gangs) ? 2 : 1));
      at += pause;
    }
    at += random.one_in(2) ? random.between(0, 3) : random.between(0, 3 * longest);
  }
  return trace_of(std::move(requests));
}

// An idle pool runs short jobs for a long time, so that without a clamp the debt sinks without end;
// then one long job waits behind a flood of short ones that never stops.
Trace banked_credit() {
  std::vector<TraceRequest> requests;
  for (std::int64_t at = 0; at < 40'000; at += 10) requests.push_back(request(at, 20));
  requests.push_back(request(40'000, 20));
  for (int i = 0; i < 3; ++i) requests.push_back(request(40'000, 20));
  requests.push_back(request(40'001, 20));
  requests.push_back(request(40'002, 21));
  for (std::int64_t at = 40'003; at < 90'000; ++at) requests.push_back(request(at, 4));
  return trace_of(std::move(requests));
}

}  // namespace

TEST_CASE("First come, first served: whoever is next blocks the others") {
  const Trace trace = trace_of({request(0, 10), request(1, 10, -1, 2), request(2, 1)});
  CHECK(waits(trace, with(Policy::fifo, 2)) == std::vector<std::int64_t>{0, 9, 18});
}

TEST_CASE("Strictly short first starts the shortest of those that wait") {
  const Trace trace = trace_of({request(0, 10), request(1, 9), request(2, 1), request(3, 5)});
  CHECK(waits(trace, with(Policy::shortest, 1)) == std::vector<std::int64_t>{0, 15, 8, 8});
}

TEST_CASE("Backfill runs beside a job that waits what does not delay it") {
  const Trace trace =
      trace_of({request(0, 10), request(1, 10, -1, 2), request(2, 9), request(2, 8)});
  CHECK(waits(trace, with(Policy::easy, 2)) == std::vector<std::int64_t>{0, 9, 18, 0});
}

TEST_CASE("The floor gives the oldest job its turn however many shorter ones come") {
  std::vector<TraceRequest> requests{request(0, 10), request(0, 10), request(0, 10),
                                     request(1, 60)};
  for (std::int64_t at = 2; at < 2'000; ++at) requests.push_back(request(at, 4));
  const Trace trace = trace_of(std::move(requests));
  const ReplayOptions floor = with(Policy::floor, 3);
  CHECK(waits(trace, with(Policy::shortest, 3))[3] > 1'900);
  CHECK(waits(trace, floor)[3] < 300);
  CHECK(broken_promises(trace, floor) == 0);
}

TEST_CASE("No promise is broken by any arrivals, in any pool, whatever limits are used up") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    Prng random = Prng(seed).fork("pool");
    ReplayOptions options =
        with(Policy::floor, static_cast<std::uint32_t>(random.one_in(3) ? random.between(2, 4)
                                                                        : random.between(2, 40)));
    options.start = seconds(random.between(0, 30));
    options.kill_grace = seconds(random.between(0, 10));
    options.slot_check = seconds(random.between(0, 5));
    REQUIRE(broken_promises(adversarial(seed), options) == 0);
  }
}

TEST_CASE("Without the clamp of the lane debt an idle time is banked, and promises break") {
  ReplayOptions options = with(Policy::floor, 3);
  const Trace trace = banked_credit();
  CHECK(broken_promises(trace, options) == 0);
  options.rules.clamps_debt = false;
  CHECK(broken_promises(trace, options) > 0);
}

TEST_CASE("More declared work than the cap waits for no slot: it is refused, with its code") {
  ReplayOptions options = with(Policy::fifo, 1);
  options.queue_cap = seconds(15);
  const Trace trace =
      trace_of({request(0, 10), request(0, 10), request(0, 10), request(0, 10), request(25, 10)});
  CHECK(waits(trace, options) == std::vector<std::int64_t>{0, 10, 20, -1, 5});
}

TEST_CASE("Quotas are the ledger's: declared time is held, what ran is charged, windows end") {
  ReplayOptions options = with(Policy::fifo, 4);
  options.tier = TierConfig{
      .name = "free", .allowance = GpuTime{100'000}, .longest = GpuTime{60'000}, .jobs_max = 2};
  const Trace trace =
      trace_of({request(0, 60, 10), request(1, 41, 5), request(2, 61, 5), request(20, 60, 60),
                request(21, 30, 30), request(22, 1, 1), request(90'000, 60, 60)});
  const auto replayed = replay(trace, options);
  REQUIRE(replayed);
  const auto refused = [&](std::size_t i) { return replayed->requests[i].refused; };
  CHECK(refused(0) == Errc{});
  CHECK(refused(1) == Errc::quota_exceeded);  // 60 s are held, 41 are not left
  CHECK(refused(2) == Errc::illegal_duration);
  CHECK(refused(3) == Errc{});  // 10 s were charged
  CHECK(refused(4) == Errc{});
  CHECK(refused(5) == Errc::too_many_jobs);
  CHECK(refused(6) == Errc{});  // another window
}

TEST_CASE("A request of more slots than the pool has cannot be replayed") {
  const auto replayed = replay(trace_of({request(0, 1, 1, 2)}), with(Policy::floor, 1));
  REQUIRE_FALSE(replayed);
  CHECK(replayed.error().code == Errc::size_unavailable);
  CHECK(replayed.error().want == 2);
  CHECK(replayed.error().have == 1);
}

TEST_CASE("A report has waits by kind, utilisation, and Jain's index of what accounts got") {
  Trace trace = trace_of({request(0, 10), request(0, 40), request(0, 10, -1, 2)});
  trace.accounts = 2;
  trace.requests[2].account = 1;
  const ReplayOptions options = with(Policy::fifo, 2);
  const auto replayed = replay(trace, options);
  REQUIRE(replayed);
  const PolicyReport report = report_of(trace, *replayed, options, seconds(30));
  CHECK(report.of_short.count == 1);
  CHECK(report.of_long.count == 1);
  CHECK(report.of_xlarge.max == Approx(40));
  CHECK(report.all.mean == Approx(40.0 / 3));
  CHECK(report.utilisation == Approx(70.0 / 100));
  CHECK(report.jain == Approx((1 + 0.2) * (1 + 0.2) / (2 * (1 + 0.04))));
  CHECK_FALSE(report.violations);
}

TEST_CASE("A likely start is exact where all runs take alike and nobody passes") {
  std::vector<TraceRequest> requests;
  for (std::int64_t i = 0; i < 40; ++i) requests.push_back(request(i * 3, 20, 10));
  ReplayOptions options = with(Policy::floor, 1);
  options.foresee_every = 1;
  const Trace trace = trace_of(requests);
  const auto replayed = replay(trace, options);
  REQUIRE(replayed);
  // Until a first run has ended it goes by what is declared; the queue is still foreseen.
  for (std::size_t i = 10; i < 40; ++i) {
    CHECK(replayed->requests[i].likely == replayed->requests[i].wait);
    CHECK(replayed->requests[i].likely_latest == replayed->requests[i].wait);
  }
  const auto report = report_of(trace, *replayed, options, seconds(30));
  REQUIRE(report.foresight);
  CHECK(report.foresight->count == 39);  // the first started at once
  CHECK(report.foresight->by_latest == 1.0);
  CHECK(report.foresight->median_error == 0.0);
  CHECK(report.foresight->median_wait > 0);
}

TEST_CASE(
    "A start that comes later than the range is counted as one, and none is foreseen unasked") {
  // Nine runs of 1 s, then one that takes all of its 100 s.
  std::vector<TraceRequest> requests;
  for (std::int64_t i = 0; i < 9; ++i) requests.push_back(request(i * 2, 100, 1));
  requests.push_back(request(20, 100, 100));
  requests.push_back(request(20, 100, 1));  // before the other is on for longer than is usual
  ReplayOptions options = with(Policy::floor, 1);
  const Trace trace = trace_of(requests);
  CHECK_FALSE(report_of(trace, *replay(trace, options), options, seconds(30)).foresight);
  options.foresee_every = 1;
  const auto report = report_of(trace, *replay(trace, options), options, seconds(30));
  REQUIRE(report.foresight);
  CHECK(report.foresight->count == 1);
  CHECK(report.foresight->by_latest == 0.0);
  CHECK(report.foresight->median_error > 90);
}
