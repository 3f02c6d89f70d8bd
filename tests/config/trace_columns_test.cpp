#include "config/trace_columns.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "tests/folder.h"

using namespace gpupool;

namespace {

Result<TraceColumns> load(const std::string& text) {
  const Folder folder;
  const auto file = folder.path / "columns.toml";
  std::ofstream(file) << text;
  return load_trace_columns(file);
}

std::string wrong_with(const std::string& text) {
  const auto columns = load(text);
  REQUIRE_FALSE(columns);
  CHECK(columns.error().code == Errc::config_invalid);
  return columns.error().detail;
}

}  // namespace

TEST_CASE("The columns of a trace are read strictly: what is wrong is told with its line") {
  const auto columns = load("arrival = \"a\"\nran_s = \"b\"\nxlarge_from = 4\n");
  REQUIRE(columns);
  CHECK(columns->arrival == "a");
  CHECK(columns->xlarge_from == 4);
  CHECK(columns->account.empty());
  CHECK_THAT(wrong_with("arrival = \"a\"\n"), Catch::Contains("ran_s"));
  CHECK_THAT(wrong_with("arrival = \"a\"\nran_s = \"b\"\nacount = \"c\"\n"),
             Catch::Contains(":3:") && Catch::Contains("acount"));
  CHECK_THAT(wrong_with("arrival = 1\nran_s = \"b\"\n"), Catch::Contains(":1:"));
  CHECK_THAT(wrong_with("arrival = \n"), Catch::Contains(":1:"));
}

TEST_CASE("The columns that come with the project can be read") {
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  const std::string root = source == nullptr ? "." : source;
  CHECK(load_trace_columns(root + "/config/trace-text-to-image.toml"));
}
