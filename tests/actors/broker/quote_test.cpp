// What a request would cost and when it would start, asked without submitting it.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

struct QuotePool : Harness {
  QuotePool() {
    start();
    add_node(1, 1);
    pass(seconds(5));
  }
  QuoteAnswer quote(JobRequest body) {
    tell(Quote{.session = {1},
               .query = 7,
               .caller = {.account = {"user:eve"}, .tier = "pro", .recognised_by = "a test"},
               .body = std::move(body)});
    const auto asked = ledger_asked<QuoteQuery>();
    REQUIRE(asked.size() == 1);
    const auto quoted = sessions_got<Quoted>();
    REQUIRE(quoted.size() == 1);
    CHECK(quoted.front().answer.query == 7);
    return quoted.front().answer;
  }
};

}  // namespace

TEST_CASE("On an idle pool a quote says: at once, promised now, at the full cost") {
  QuotePool pool;
  const QuoteAnswer answer = pool.quote({.app = "nothing", .declared = seconds(30)});
  CHECK(answer.refusal.code == Errc{});
  CHECK(answer.cost == GpuTime{30'000});
  CHECK(answer.likely_start == pool.now);
  CHECK(answer.likely_latest == pool.now);
  CHECK(answer.promise == pool.now + seconds(5));
  CHECK(answer.ahead == 0);
  CHECK(answer.left == GpuTime{1'470'000});
  CHECK(pool.core->jobs().empty());
}

TEST_CASE(
    "Behind others a quote foresees its start by what such jobs took, and how late it may be") {
  QuotePool pool;
  for (const std::int64_t ran : {10, 20, 20, 20, 20, 20, 20, 20, 20, 40}) {
    pool.admit(seconds(60));
    const Lease lease = pool.only_lease();
    pool.begin(lease);
    pool.end(Harness::success(lease, seconds(ran)));
    pool.beat(pool.nodes.at(NodeId{1}));
  }
  pool.admit(seconds(60));
  pool.begin(pool.only_lease());
  pool.admit(seconds(60));
  const QuoteAnswer answer = pool.quote({.app = "nothing", .declared = seconds(60)});
  CHECK(answer.ahead == 1);
  CHECK(answer.likely_start == pool.now + seconds(40));
  CHECK(answer.likely_latest >= answer.likely_start);
  CHECK(answer.promise > answer.likely_latest);
  // In a larger pool a shorter one would go first; with one slot it goes by arrival.
  const QuoteAnswer shorter = pool.quote({.app = "nothing", .declared = seconds(5)});
  CHECK(shorter.likely_start == answer.likely_start);
}

TEST_CASE("The later end of a likely start is what those before it teach, up to the promise") {
  QuotePool pool;
  // Twelve that were foreseen to start when the one before has run its usual second, and whose
  // predecessor then took a minute.
  for (int i = 0; i < 3; ++i) {
    pool.admit(seconds(60));
    const Lease lease = pool.only_lease();
    pool.begin(lease);
    pool.end(Harness::success(lease, seconds(1)));
    pool.beat(pool.nodes.at(NodeId{1}));
  }
  pool.admit(seconds(60));
  for (int i = 0; i < 12; ++i) {
    const Lease lease = pool.only_lease();
    pool.begin(lease);
    const JobId waits = pool.admit(seconds(60));
    REQUIRE(waits);
    pool.pass(seconds(40));
    RunEnded ended = Harness::success(lease, seconds(40));
    ended.outcome = Outcome::failed;  // teaches no duration
    ended.cause = Errc::program_failed;
    pool.end(ended);
    pool.beat(pool.nodes.at(NodeId{1}));
  }
  pool.begin(pool.only_lease());
  const QuoteAnswer answer = pool.quote({.app = "nothing", .declared = seconds(60)});
  CHECK(answer.likely_start == pool.now + seconds(1));
  CHECK(answer.likely_latest == pool.now + seconds(40));
}

TEST_CASE("A quote leaves nothing behind: not a job, not a place in the queue, not an id") {
  QuotePool pool;
  const std::uint64_t before = pool.ledger.state_digest();
  for (int i = 0; i < 100; ++i) pool.quote({.app = "nothing"});
  CHECK(pool.ledger.state_digest() == before);
  pool.admit(seconds(10));
  CHECK(pool.only_lease().job);
}

TEST_CASE("Of a long queue only some quotes a second foresee a start; all have a promise") {
  QuotePool pool;
  for (int i = 0; i < 40; ++i) pool.admit(seconds(60));
  pool.pass(seconds(1));
  int foreseen = 0;
  for (int i = 0; i < 20; ++i) {
    const QuoteAnswer answer = pool.quote({.app = "nothing"});
    CHECK(answer.promise > pool.now);
    CHECK(answer.ahead == 39);
    foreseen += answer.likely_start != Instant::never() ? 1 : 0;
  }
  CHECK(foreseen == 4);
  pool.pass(seconds(1));
  CHECK(pool.quote({.app = "nothing"}).likely_start != Instant::never());
}

TEST_CASE("A quote needs no arguments, and is refused as its request would be") {
  QuotePool pool;
  CHECK(pool.quote({.app = "emoji"}).refusal.code == Errc{});
  CHECK(pool.quote({.app = "none"}).refusal.code == Errc::unknown_app);
  CHECK(pool.quote({.app = "nothing", .declared = seconds(301)}).refusal.code ==
        Errc::illegal_duration);
  CHECK(pool.quote({.app = "nothing", .size = "xlarge"}).refusal.code == Errc::size_unavailable);
  pool.admit(seconds(60));
  const QuoteAnswer late =
      pool.quote({.app = "nothing", .declared = seconds(60), .max_wait = seconds(10)});
  CHECK(late.refusal.code == Errc::promise_too_late);
  CHECK(late.refusal.want == 10'000);
}

}  // namespace gpupool
