// What people type, read strictly.
#include "cli/arguments.h"

#include <catch2/catch.hpp>

using namespace gpupool;

TEST_CASE("A duration is seconds with at most three decimals") {
  CHECK(*parse_seconds("8") == Duration{8'000});
  CHECK(*parse_seconds("7.5") == Duration{7'500});
  CHECK(*parse_seconds("0.25") == Duration{250});
  CHECK(*parse_seconds("0.001") == Duration{1});
  CHECK(*parse_seconds("007") == Duration{7'000});
  CHECK(*parse_seconds("4000") == Duration{4'000'000});
  CHECK(*parse_seconds("999999999.999") == Duration{999'999'999'999});
}

TEST_CASE("A duration that is no positive decimal number is a usage error that repeats it") {
  for (const char* text : {"",           "0",
                           "0.0",        "0.000",
                           "-3",         "+3",
                           "nan",        "NaN",
                           "inf",        "-inf",
                           "1e3",        "0x10",
                           "8s",         " 8",
                           "8 ",         ".5",
                           "5.",         "1.2345",
                           "1,5",        "1.2.3",
                           "9999999999", "99999999999999999999",
                           "."}) {
    const auto read = parse_seconds(text);
    INFO(text);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == Errc::bad_request);
    CHECK(read.error().detail ==
          "a duration is seconds above 0, such as 15 or 7.5, not \"" + std::string(text) + "\"");
  }
}

TEST_CASE("A lifetime is a number with its unit") {
  CHECK(*parse_lifetime("90s") == seconds(90));
  CHECK(*parse_lifetime("30m") == seconds(1'800));
  CHECK(*parse_lifetime("24h") == hours(24));
  CHECK(*parse_lifetime("7d") == hours(168));
  for (const char* text : {"", "24", "h", "0h", "-1h", "1.5h", "1w", "99999999999d", "4000000000s"})
    CHECK_FALSE(parse_lifetime(text));
}

TEST_CASE("A time ago that is too long or none is refused with its range, not its form") {
  const Instant now{1'795'348'800'000};
  CHECK(*parse_since("3660d", now) == now - hours(3'660 * 24));
  for (const std::string text : {"9999d", "3661d", "0s", "99999999999999999999999999d"}) {
    INFO(text);
    CHECK(parse_since(text, now).error().detail ==
          "a moment is from 1s to 3660d ago, not \"" + text + "\"");
    CHECK(parse_lifetime(text).error().detail ==
          "a lifetime is from 1s to 3660d, not \"" + text + "\"");
  }
}

TEST_CASE("A job is a number and a request is a UUID") {
  CHECK(*parse_job("17") == JobId{17});
  CHECK_FALSE(parse_job("0"));
  CHECK_FALSE(parse_job("-1"));
  CHECK_FALSE(parse_job("job"));
  CHECK_FALSE(parse_job("99999999999999999999"));
  CHECK(parse_job_or_request("17")->job == JobId{17});
  const auto request = parse_job_or_request("0190a6c1-2f3a-7b10-8c4d-5e6f70819293");
  REQUIRE(request);
  CHECK_FALSE(request->job);
  CHECK(request->request.high == 0x0190a6c12f3a7b10U);
  CHECK_FALSE(parse_job_or_request("heart.png"));
}

TEST_CASE("A picture's file is named after its prompt, with nothing that could harm") {
  CHECK(file_stem_for("a red heart") == "a-red-heart");
  CHECK(file_stem_for("  Two  CATS, one hat!  ") == "two-cats-one-hat");
  CHECK(file_stem_for("../../etc/passwd") == "etc-passwd");
  CHECK(file_stem_for("--help") == "help");
  CHECK(file_stem_for("caf\xc3\xa9 noir") == "caf-noir");
  CHECK(file_stem_for("\xe2\x9d\xa4") == "picture");
  CHECK(file_stem_for("") == "picture");
  CHECK(file_stem_for(std::string(500, 'a')) == std::string(48, 'a'));
}
