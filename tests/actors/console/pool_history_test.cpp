// What the console remembers of the pool's last day.
#include "actors/console/pool_history.h"

#include <catch2/catch.hpp>

#include "actors/histogram.h"

using namespace gpupool;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

struct Remembered {
  PoolHistory history;
  PoolPulse pulse;
  Instant now = noon;

  // A second later, with so many slots busy of 4.
  void beat(std::uint64_t busy) {
    now = now + seconds(1);
    pulse.at = now;
    pulse.slots_busy = busy;
    pulse.slots_free = 4 - busy;
    history.hear(pulse);
    pulse.spans.clear();
    pulse.left_out = 0;
  }
  void start(Duration wait) {
    ++pulse.started;
    note(pulse.waits, wait_bounds_us, wait.ms * 1000);
  }
  Overview view() const {
    Overview overview;
    history.fill(now, overview);
    return overview;
  }
};

}  // namespace

TEST_CASE("A minute says how busy the slots were and what was waited in it") {
  Remembered pool;
  pool.start(milliseconds(300));
  pool.start(seconds(4));
  for (int i = 0; i < 30; ++i) pool.beat(1);
  for (int i = 0; i < 29; ++i) pool.beat(3);
  const Overview view = pool.view();
  REQUIRE(view.hour.size() == 1);
  CHECK(view.hour[0].at == noon);
  CHECK(view.hour[0].busy_permille == (30 + 29 * 3) * 1000 / (59 * 4));
  CHECK(view.hour[0].started == 2);
  CHECK(view.hour[0].wait_mean == milliseconds(2150));
  CHECK(view.hour[0].wait_max == seconds(5));  // of its bucket
}

TEST_CASE("Counters of a pulse count once, however often it is heard") {
  Remembered pool;
  pool.start(seconds(1));
  pool.beat(1);
  pool.beat(1);
  pool.beat(1);
  CHECK(pool.view().hour[0].started == 1);
  CHECK(count_of(pool.view().pulse.waits) == 1);
}

TEST_CASE("An hour has 60 minutes, a day 96 quarters, and what is older is forgotten") {
  Remembered pool;
  for (int i = 0; i < 25 * 60; ++i) {
    pool.start(seconds(1));
    pool.beat(2);
    pool.now = pool.now + seconds(59);
  }
  const Overview view = pool.view();
  CHECK(view.hour.size() == 60);
  CHECK(view.day.size() == 96);
  CHECK(view.hour.front().at >= pool.now - hours(1));
  CHECK(view.day.front().at >= pool.now - hours(24));
  CHECK(view.day[1].started == 15);
}

TEST_CASE("A time in which nothing was heard is no row of zeros") {
  Remembered pool;
  pool.beat(4);
  pool.now = pool.now + minutes(10);
  pool.beat(4);
  CHECK(pool.view().hour.size() == 2);
  pool.now = pool.now + hours(2);
  CHECK(pool.view().hour.empty());
}

TEST_CASE("Refusals are counted by code: in all, in the last minute and in the last hour") {
  Remembered pool;
  pool.history.refused(pool.now, Errc::quota_exceeded);
  pool.history.refused(pool.now, Errc::quota_exceeded);
  pool.now = pool.now + minutes(5);
  pool.history.refused(pool.now, Errc::forbidden);
  Overview view = pool.view();
  REQUIRE(view.refused.size() == 2);
  REQUIRE(view.refused_minute.size() == 1);
  CHECK(view.refused_minute[0].code == Errc::forbidden);
  REQUIRE(view.refused_hour.size() == 2);
  pool.now = pool.now + hours(2);
  view = pool.view();
  CHECK(view.refused_minute.empty());
  CHECK(view.refused_hour.empty());
  CHECK(view.refused.size() == 2);
}

TEST_CASE("Commits of the last minute are counted however many the ledger made before") {
  Remembered pool;
  LedgerPulse ledger{.commits = 100, .records = 300};
  pool.history.hear(pool.now, ledger);
  pool.now = pool.now + minutes(2);
  ledger.commits = 112;
  ledger.records = 330;
  pool.history.hear(pool.now, ledger);
  CHECK(pool.view().commits_per_minute == 12);
  CHECK(pool.view().records_per_minute == 30);
  CHECK(pool.view().ledger.commits == 112);
}

TEST_CASE("Runs of the last 15 minutes are kept, at most a thousand, and the rest is counted") {
  Remembered pool;
  const auto span = [&](std::uint64_t job) {
    return SlotSpan{.node = "node-1", .job = JobId{job}, .from = pool.now, .to = pool.now};
  };
  pool.pulse.spans = {span(1)};
  pool.beat(0);
  pool.now = pool.now + minutes(16);
  for (std::uint64_t i = 0; i < 1'200; ++i) pool.pulse.spans.push_back(span(i + 2));
  pool.pulse.left_out = 7;
  pool.beat(0);
  Overview view = pool.view();
  CHECK(view.spans.size() == PoolHistory::spans_max);
  CHECK(view.spans.back().job == JobId{1'201});
  CHECK(view.spans_left_out == 207);
  pool.now = pool.now + minutes(16);
  pool.beat(0);
  view = pool.view();
  CHECK(view.spans.empty());
  CHECK(view.spans_left_out == 0);
}

TEST_CASE("Of runs with long names the latest are shown, and no view is too large to be sent") {
  Remembered pool;
  for (std::uint64_t i = 0; i < 900; ++i)
    pool.pulse.spans.push_back({.node = "node-1",
                                .job = JobId{i + 1},
                                .account = {"user:" + std::string(120, 'a')},
                                .app = std::string(60, 'b'),
                                .to = pool.now});
  pool.beat(0);
  const Overview view = pool.view();
  CHECK(view.spans.size() < 500);
  CHECK(view.spans.back().job == JobId{900});
  CHECK(view.spans.size() + view.spans_left_out == 900);
}

TEST_CASE("A quantile is the upper bound of the bucket that it falls into") {
  Histogram waits;
  CHECK(quantile_us(waits, wait_bounds_us, 950) == 0);
  for (int i = 0; i < 94; ++i) note(waits, wait_bounds_us, 50'000);
  for (int i = 0; i < 6; ++i) note(waits, wait_bounds_us, 9'000'000);
  CHECK(quantile_us(waits, wait_bounds_us, 500) == 100'000);
  CHECK(quantile_us(waits, wait_bounds_us, 950) == 10'000'000);
  note(waits, wait_bounds_us, 99'000'000'000);
  CHECK(quantile_us(waits, wait_bounds_us, 1000) == wait_bounds_us.back());
  CHECK(count_of(waits) == 101);
}
