// The exact words of amounts, receipts and errors, and that rounding never lies.
#include "actors/describe.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>

#include "base/prng.h"

using namespace gpupool;

namespace {

// "60.0 s" -> 60'000. Only for text that describe made.
std::int64_t ms_of(const std::string& text) {
  const std::size_t point = text.find('.');
  std::string decimals = text.substr(point + 1, text.find(' ', point) - point - 1);
  decimals.resize(3, '0');
  return std::stoll(text.substr(0, point)) * 1000 + std::stoll(decimals);
}

// The number that stands before " " + word.
std::int64_t ms_before(const std::string& text, const std::string& word) {
  const std::size_t end = text.find(" s " + word);
  const std::size_t begin = text.rfind(' ', end - 1);
  return ms_of(text.substr(begin == std::string::npos ? 0 : begin + 1));
}

std::int64_t ms_after(const std::string& text, const std::string& word) {
  return ms_of(text.substr(text.find(word + " ") + word.size() + 1));
}

}  // namespace

TEST_CASE("An exact amount shows every millisecond and one decimal at least") {
  CHECK(seconds_text(Duration{60'000}) == "60.0 s");
  CHECK(seconds_text(GpuTime{7'250}) == "7.25 s");
  CHECK(seconds_text(Duration{4}) == "0.004 s");
  CHECK(seconds_text(Duration{0}) == "0.0 s");
  CHECK(seconds_text(Duration{-1'500}) == "-1.5 s");
  CHECK(seconds_text(Duration{3'217}) == "3.217 s");
}

TEST_CASE("A rounded amount goes in the direction that was asked for") {
  CHECK(seconds_text(Duration{3'217}, Rounding::up) == "3.3 s");
  CHECK(seconds_text(Duration{3'217}, Rounding::down) == "3.2 s");
  CHECK(seconds_text(Duration{3'200}, Rounding::up) == "3.2 s");
  CHECK(seconds_text(Duration{1}, Rounding::up) == "0.1 s");
  CHECK(seconds_text(Duration{99}, Rounding::down) == "0.0 s");
  CHECK(seconds_text(Duration{-50}, Rounding::down) == "-0.1 s");
}

TEST_CASE("A countdown is rounded up and shows zero only when nothing remains") {
  CHECK(countdown_text(Duration{0}) == "0:00:00");
  CHECK(countdown_text(Duration{-5'000}) == "0:00:00");
  CHECK(countdown_text(Duration{1}) == "0:00:01");
  CHECK(countdown_text(Duration{1'000}) == "0:00:01");
  CHECK(countdown_text(Duration{1'001}) == "0:00:02");
  CHECK(countdown_text(hours(24)) == "24:00:00");
  CHECK(countdown_text(hours(24) - Duration{1}) == "24:00:00");
  CHECK(countdown_text(Duration{3'661'000}) == "1:01:01");
}

TEST_CASE("Times are RFC 3339 in UTC, rounded as asked, and never is a word") {
  CHECK(utc_text(Instant{1'795'456'930'000}) == "2026-11-23T18:02:10Z");
  CHECK(utc_text(Instant{1'795'456'930'001}) == "2026-11-23T18:02:10Z");
  CHECK(utc_text(Instant{1'795'456'930'001}, Rounding::up) == "2026-11-23T18:02:11Z");
  CHECK(utc_text_exact(Instant{1'795'456'930'042}) == "2026-11-23T18:02:10.042Z");
  CHECK(utc_text(Instant{951'782'400'000}) == "2000-02-29T00:00:00Z");
  CHECK(utc_text(Instant::never()) == "never");
  CHECK(utc_text_exact(Instant::never()) == "never");
  CHECK(utc_text(Instant{-1}) == "never");
}

TEST_CASE("A receipt's arithmetic uses one decimal where that tells the truth") {
  const Receipt receipt{.factor = 1,
                        .declared = seconds(60),
                        .ran = Duration{3'217},
                        .held = {60'000},
                        .charged = {3'217},
                        .given_back = {56'783}};
  CHECK(arithmetic_of(receipt) ==
        "declared 60.0 s, ran 3.3 s x 1, held 60.0 s, charged 3.3 s, 56.7 s given back");
}

TEST_CASE("A receipt's arithmetic shows more decimals before it shows a wrong product") {
  const Receipt receipt{.factor = 2,
                        .declared = seconds(60),
                        .ran = Duration{3'220},
                        .held = {120'000},
                        .charged = {6'440},
                        .given_back = {113'560}};
  CHECK(arithmetic_of(receipt) ==
        "declared 60.00 s, ran 3.22 s x 2, held 120.00 s, charged 6.44 s, 113.56 s given back");
}

TEST_CASE("A receipt's arithmetic never shows something given back as nothing") {
  const Receipt receipt{.factor = 1,
                        .declared = seconds(60),
                        .ran = Duration{59'960},
                        .held = {60'000},
                        .charged = {59'960},
                        .given_back = {40}};
  CHECK(arithmetic_of(receipt) ==
        "declared 60.00 s, ran 59.96 s x 1, held 60.00 s, charged 59.96 s, 0.04 s given back");
}

TEST_CASE("A receipt of the pool's fault charges nothing, whatever ran") {
  const Receipt receipt{.factor = 1,
                        .declared = seconds(60),
                        .ran = Duration{},
                        .held = {60'000},
                        .charged = {},
                        .given_back = {60'000}};
  CHECK(arithmetic_of(receipt) ==
        "declared 60.0 s, ran 0.0 s x 1, held 60.0 s, charged 0.0 s, 60.0 s given back");
}

TEST_CASE("In every receipt what is charged and given back adds up to what was held") {
  Prng prng(11);
  for (int round = 0; round < 20'000; ++round) {
    const auto factor = static_cast<std::uint32_t>(prng.between(1, 3));
    const Duration declared{prng.one_in(3) ? prng.between(1, 300'000)
                                           : prng.between(1, 300) * 1000};
    const GpuTime held = cost_of(declared, factor);
    const Duration ran{prng.between(0, declared.ms)};
    const GpuTime charged = cost_of(ran, factor);
    const Receipt receipt{.factor = factor,
                          .declared = declared,
                          .ran = ran,
                          .held = held,
                          .charged = charged,
                          .given_back = held - charged};
    const std::string text = arithmetic_of(receipt);
    INFO(text);
    const std::int64_t shown_charged = ms_after(text, "charged");
    const std::int64_t shown_back = ms_before(text, "given back");
    REQUIRE(shown_charged + shown_back == ms_after(text, "held"));
    REQUIRE(ms_after(text, "ran") * factor == shown_charged);
    REQUIRE(shown_charged >= charged.ms);
    REQUIRE(shown_charged < charged.ms + 100);
    REQUIRE((shown_charged == 0) == (charged.ms == 0));
    REQUIRE((shown_back == 0) == (receipt.given_back.ms == 0));
  }
}

TEST_CASE("In every balance left, held and used add up to the allowance, and left is never above") {
  Prng prng(12);
  for (int round = 0; round < 20'000; ++round) {
    const std::int64_t allowance = prng.between(1, 2'000) * 1000;
    const std::int64_t used = prng.between(0, allowance);
    const std::int64_t held =
        prng.one_in(2) ? prng.between(0, allowance - used) : (allowance - used) / 1000 * 1000;
    const Balance balance{.allowance = {allowance},
                          .used = {used},
                          .held = {held},
                          .left = {allowance - used - held}};
    const std::string text = balance_text(balance);
    INFO(text);
    const std::int64_t left = ms_before(text, "left");
    REQUIRE(left + ms_before(text, "held") + ms_before(text, "used") == allowance);
    REQUIRE(left <= balance.left.ms);
    REQUIRE((left == 0) == (balance.left.ms == 0));
  }
}

TEST_CASE("A balance whose tier shrank below what was used shows nothing left") {
  const Balance balance{.allowance = {70'000}, .used = {90'000}, .held = {}, .left = {}};
  CHECK(balance_text(balance) == "0.0 s left, 0.0 s held and 90.0 s used of 70.0 s");
}

TEST_CASE("A duration for the command line is never above what fits") {
  CHECK(duration_argument(Duration{10'000}) == "10");
  CHECK(duration_argument(Duration{10'999}) == "10");
  CHECK(duration_argument(Duration{1'000}) == "1");
  CHECK(duration_argument(Duration{999}) == "0.9");
  CHECK(duration_argument(Duration{100}) == "0.1");
}

TEST_CASE("An error is described with its words and its numbers in their unit") {
  CHECK(describe({.code = Errc::job_unknown}) == "this account has no such job");
  CHECK(describe({.code = Errc::not_connected}) == "no pool can be reached");
  CHECK(describe({.code = Errc::not_connected, .detail = "no pool answers at tcp://[::1]:7"}) ==
        "no pool answers at tcp://[::1]:7");
  CHECK(describe({.code = Errc::config_invalid, .want = 3, .detail = "a.toml:3: pool: expected"}) ==
        "a.toml:3: pool: expected");
  CHECK(describe({.code = Errc::timed_out, .want = 10'000}) == "no answer came in time (10.0 s)");
  CHECK(describe({.code = Errc::overloaded, .want = 65, .have = 64}) ==
        "overloaded (65 jobs against 64 jobs)");
  CHECK(describe({.code = Errc::rate_limited, .want = 116, .detail = "try again in 0.116 s"}) ==
        "try again in 0.116 s");
  CHECK(describe({.code = Errc::executor_crashed, .have = 9}) == "the executor crashed (signal 9)");
}

TEST_CASE("Absurd numbers are described without overflow") {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const std::int64_t least = std::numeric_limits<std::int64_t>::min();
  CHECK(seconds_text(Duration{most}, Rounding::up) == "1000000000000.0 s");
  CHECK(seconds_text(Duration{least}) == "-1000000000000.0 s");
  CHECK(countdown_text(Duration{most}) == "277777777:46:40");
  const Receipt receipt{.factor = 4'000'000'000U,
                        .declared = {most},
                        .ran = {most},
                        .held = {most},
                        .charged = {least},
                        .given_back = {most}};
  CHECK(arithmetic_of(receipt).find("given back") != std::string::npos);
}
TEST_CASE("Advice tells what runs took, what to declare, and how many fit then") {
  Advice advice{.app = "emoji",
                .runs = 20,
                .own = true,
                .longest = milliseconds(7'900),
                .declare = seconds(10),
                .fits = 6};
  CHECK(advice_text(advice) ==
        "your last 20 runs of emoji took 7.9 s at most: declare 10 s and 6 more fit");
  advice.own = false;
  advice.fits = 1;
  CHECK(advice_text(advice) ==
        "of the last 20 runs of emoji 99 in 100 took 7.9 s at most: declare 10 s and 1 more fits");
  advice.declare = {};
  CHECK(advice_text(advice).empty());
  advice.first_held = seconds(11);
  CHECK(advice_text(advice) ==
        "of the last 20 runs of emoji 99 in 100 took 7.9 s at most: it holds 11.0 s at first and 1 "
        "more fits");
  advice.fits = 0;
  CHECK(advice_text(advice).empty());
  CHECK(advice_text({}).empty());
}
