// Traces as they come from others: columns, times, units, and what is wrong with them.

#include "simulate/trace.h"

#include <catch2/catch.hpp>
#include <string>

using namespace gpupool;

namespace {

const TraceColumns columns{.arrival = "when",
                           .ran_s = "took",
                           .declared_s = "declared",
                           .account = "who",
                           .only_column = "status",
                           .only_value = "ok",
                           .xlarge_column = "images",
                           .xlarge_from = 8};

const std::string header = "when,took,declared,who,status,images\n";

Trace read(const std::string& rows, const TraceColumns& mapped = columns) {
  auto trace = parse_csv_trace(header + rows, mapped, {});
  INFO((trace ? std::string() : trace.error().detail));
  REQUIRE(trace);
  return *std::move(trace);
}

Error broken(const std::string& text, const TraceColumns& mapped = columns) {
  const auto trace = parse_csv_trace(text, mapped, {});
  REQUIRE_FALSE(trace);
  CHECK(trace.error().code == Errc::file_malformed);
  return trace.error();
}

}  // namespace

TEST_CASE("A CSV trace is read by its columns, in order of arrival from the first one on") {
  const Trace trace = read(
      "2024-03-01 00:00:10,2.5,4,ada,ok,1\n"
      "2024-02-29T23:59:59.5,7,5,bob,ok,8\n"
      "2024-03-01 00:00:10,1,,ada,ok,1\n"
      "2024-03-01 00:00:11,1,3,ada,failed,1\n");
  REQUIRE(trace.requests.size() == 2);
  CHECK(trace.passed_over == 2);
  CHECK(trace.accounts == 2);
  CHECK(trace.requests[0].slots == 2);
  CHECK(trace.requests[0].ran == seconds(5));  // ended at its declared time
  CHECK(trace.requests[1].arrival == milliseconds(10'500));
  CHECK(trace.requests[1].ran == milliseconds(2'500));
  CHECK(trace.requests[1].declared == seconds(4));
  CHECK(trace.requests[1].account != trace.requests[0].account);
}

TEST_CASE("Declared times that a trace lacks are drawn, the same for the same seed") {
  TraceColumns drawn = columns;
  drawn.declared_s = "";
  std::string rows;
  for (int i = 0; i < 200; ++i) rows += std::to_string(i) + ",10,,x,ok,1\n";
  const auto declared = [&](std::uint64_t seed) {
    const auto trace = parse_csv_trace(header + rows, drawn, {.seed = seed});
    std::vector<std::int64_t> all;
    for (const TraceRequest& one : trace->requests) {
      CHECK(one.declared >= seconds(10));
      CHECK(one.declared <= seconds(30));
      CHECK(one.declared.ms % 1000 == 0);
      all.push_back(one.declared.ms);
    }
    return all;
  };
  CHECK(declared(1) == declared(1));
  CHECK(declared(1) != declared(2));
}

TEST_CASE("What is wrong with a CSV trace is told with its line") {
  CHECK_THAT(broken("when,took\n").detail, Catch::Contains("no column is called \"declared\""));
  const Error time = broken(header + "1,1,1,a,ok,1\nsoon,1,1,a,ok,1\n");
  CHECK(time.want == 3);
  CHECK_THAT(time.detail, Catch::Contains("\"soon\" is no time"));
  CHECK(broken(header + "1,1,1\n").want == 2);
  CHECK_THAT(broken(header).detail, Catch::Contains("no request"));
  CHECK_THAT(broken("").detail, Catch::Contains("no request"));
  broken(header + "nan,1,1,a,ok,1\n");
  broken(header + "1,-5,1,a,ok,1\n");  // passed over, and then nothing is left
}

TEST_CASE("SWF: submit, run and requested times, processors, users; unknown fields are -1") {
  const std::string text =
      "; UnixStartTime: 0\n"
      "  1 100 5 60 4 -1 -1 4 600 -1 1 12 3 -1 -1 -1 -1 -1\n"
      "  2 160 5 30 1 -1 -1 -1 -1 -1 1 13 3 -1 -1 -1 -1 -1\n"
      "  3 170 5 -1 1 -1 -1 1 60 -1 5 13 3 -1 -1 -1 -1 -1\n";
  const auto trace = parse_swf_trace(text, {.time_scale = 60});
  REQUIRE(trace);
  REQUIRE(trace->requests.size() == 2);
  CHECK(trace->passed_over == 1);
  CHECK(trace->requests[0].slots == 2);
  CHECK(trace->requests[0].declared == seconds(10));
  CHECK(trace->requests[0].ran == seconds(1));
  CHECK(trace->requests[1].arrival == seconds(1));
  CHECK(trace->requests[1].declared == milliseconds(500));  // as long as it ran
  CHECK(parse_swf_trace(text, {.keep_processors = true})->requests[0].slots == 4);
  const auto cut = parse_swf_trace("1 100 5 60\n", {});
  REQUIRE_FALSE(cut);
  CHECK_THAT(cut.error().detail, Catch::Contains("SWF has 18"));
}

TEST_CASE("Arrivals are scaled so that what runs keeps the wanted share of the slots busy") {
  Trace trace = read("0,10,10,a,ok,1\n100,10,10,a,ok,8\n");
  set_load(trace, 2, 0.5);
  CHECK(trace.requests[1].arrival == seconds(30));
}
