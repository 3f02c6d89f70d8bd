// The small value types: amounts, times, ids, results, error codes, the generator.

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <limits>
#include <set>
#include <unordered_set>

#include "base/amount.h"
#include "base/ids.h"
#include "base/prng.h"
#include "base/result.h"

using namespace gpupool;

namespace {

// Whether `act` ends its process by abort(), as a broken invariant does.
template <class Act>
bool aborts(Act act) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // Catch's own handler would report a failure
    ::close(2);
    act();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t smallest = std::numeric_limits<std::int64_t>::min();

}  // namespace

TEST_CASE("Amounts add and subtract exactly up to their limits") {
  CHECK(GpuTime{largest - 1} + GpuTime{1} == GpuTime{largest});
  CHECK(GpuTime{smallest + 1} - GpuTime{1} == GpuTime{smallest});
  GpuTime amount{60'000};
  amount -= {3'200};
  amount += {1};
  CHECK(amount == GpuTime{56'801});
}

TEST_CASE("An amount that overflows is a broken invariant, not a wrong number") {
  CHECK(aborts([] { (void)(GpuTime{largest} + GpuTime{1}); }));
  CHECK(aborts([] { (void)(GpuTime{smallest} - GpuTime{1}); }));
  CHECK(aborts([] { (void)cost_of(Duration{largest / 2 + 1}, 2); }));
  CHECK_FALSE(aborts([] { (void)cost_of(Duration{largest / 2}, 2); }));
}

TEST_CASE("A cost is the duration times the factor, and back rounds down") {
  CHECK(cost_of(seconds(60), 1) == GpuTime{60'000});
  CHECK(cost_of(milliseconds(45'001), 2) == GpuTime{90'002});
  CHECK(duration_for(GpuTime{90'003}, 2) == milliseconds(45'001));
  CHECK(duration_for(GpuTime{1}, 2) == Duration{0});
  CHECK(aborts([] { (void)duration_for(GpuTime{1}, 0); }));
}

TEST_CASE("Times and durations do whole milliseconds") {
  CHECK(Instant{5'000} + seconds(2) == Instant{7'000});
  CHECK(Instant{5'000} - seconds(2) == Instant{3'000});
  CHECK(Instant{5'000} - Instant{7'000} == seconds(-2));
  CHECK(hours(24) == milliseconds(86'400'000));
  CHECK(seconds(2) * 3 == seconds(6));
  CHECK_FALSE(Instant{});
  CHECK(Instant{} < Instant::never());
}

TEST_CASE("A request id tells when it was made") {
  // RFC 9562, appendix A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F, made at 1645557742000.
  const RequestId id{.high = 0x017F22E279B07CC3U, .low = 0x98C4DC0C0C07398FU};
  CHECK(id.unix_ms() == 1'645'557'742'000);
  CHECK(RequestId{.high = ~std::uint64_t{0}}.unix_ms() == (std::int64_t{1} << 48U) - 1);
}

TEST_CASE("Request ids are ordered by the time they were made at") {
  const RequestId early{.high = std::uint64_t{1'000} << 16U, .low = 9};
  const RequestId late{.high = std::uint64_t{1'001} << 16U, .low = 1};
  CHECK(early < late);
}

TEST_CASE("Ids of different kinds are different types, and 0 means none") {
  STATIC_REQUIRE_FALSE(std::is_convertible_v<JobId, NodeId>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<std::uint64_t, JobId>);
  CHECK_FALSE(JobId{});
  CHECK(JobId{1});
  std::unordered_set<JobId, IdHash> jobs{{1}, {2}, {1}};
  CHECK(jobs.size() == 2);
}

TEST_CASE("A result is a value or an error with its numbers") {
  Result<int> value = 7;
  REQUIRE(value);
  CHECK(*value == 7);
  const Result<int> error = Error{.code = Errc::quota_exceeded, .want = 60'000, .have = 10'000};
  REQUIRE_FALSE(error);
  CHECK(error.error().want == 60'000);
  CHECK(aborts([&error] { (void)*error; }));
  CHECK(aborts([&value] { (void)value.error(); }));
}

TEST_CASE("Error numbers are unique, names are found, and admission keeps its order") {
  std::set<int> numbers;
  std::size_t count = 0;
#define GPUPOOL_ERROR(number, name, unit) \
  numbers.insert(number);                 \
  ++count;                                \
  CHECK(name_of(Errc::name) == #name);    \
  CHECK(unit_of(Errc::name) == std::string(unit));
#include "base/errors.def"
#undef GPUPOOL_ERROR
  CHECK(numbers.size() == count);
  CHECK(name_of(static_cast<Errc>(9'999)) == "unknown_error");
  const std::vector<Errc> admission{
      Errc::bad_request,      Errc::unauthenticated,   Errc::id_expired,
      Errc::id_reused,        Errc::unknown_app,       Errc::forbidden,
      Errc::illegal_duration, Errc::too_many_jobs,     Errc::size_unavailable,
      Errc::pool_unavailable, Errc::overloaded,        Errc::promise_too_late,
      Errc::quota_exceeded,   Errc::ledger_unavailable};
  CHECK(std::is_sorted(admission.begin(), admission.end()));
  CHECK(static_cast<int>(admission.front()) == 100);
  CHECK(static_cast<int>(admission.back()) == 113);
}

TEST_CASE("The generator gives the published numbers of splitmix64") {
  Prng rng(1'234'567);
  CHECK(rng.next() == 6'457'827'717'110'365'317U);
  CHECK(rng.next() == 3'203'168'211'198'807'973U);
  CHECK(rng.next() == 9'817'491'932'198'370'423U);
}

TEST_CASE("A fork is a stream of its own: drawing from one never changes the other") {
  const Prng root(42);
  Prng faults = root.fork("faults");
  Prng network = root.fork("network");
  const std::uint64_t first = network.next();
  for (int i = 0; i < 100; ++i) faults.next();
  Prng again = root.fork("network");
  CHECK(again.next() == first);
  CHECK(again.next() == network.next());
  CHECK(root.fork("faults").next() != first);
  CHECK(Prng(43).fork("network").next() != first);
}

TEST_CASE("Draws stay within their bounds and reach them") {
  Prng rng(1);
  std::set<std::int64_t> seen;
  for (int i = 0; i < 1'000; ++i) {
    const std::int64_t drawn = rng.between(-2, 2);
    REQUIRE(drawn >= -2);
    REQUIRE(drawn <= 2);
    seen.insert(drawn);
    REQUIRE(rng.below(3) < 3);
  }
  CHECK(seen.size() == 5);
}
