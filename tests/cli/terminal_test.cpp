// Bars of exact width, wrapping, and text that cannot steer a terminal.
#include "cli/terminal.h"

#include <catch2/catch.hpp>
#include <numeric>
#include <sstream>

#include "base/prng.h"

using namespace gpupool;

TEST_CASE("The cells of a bar always fill it, and what is there is seen") {
  Prng prng(5);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::int64_t> amounts(static_cast<std::size_t>(prng.between(1, 5)));
    for (std::int64_t& amount : amounts) amount = prng.one_in(3) ? 0 : prng.between(1, 210'000);
    const auto cells = static_cast<std::size_t>(prng.between(5, 100));
    const std::vector<std::size_t> shares = cells_of(amounts, cells);
    const bool empty = std::accumulate(amounts.begin(), amounts.end(), std::int64_t{0}) == 0;
    REQUIRE(std::accumulate(shares.begin(), shares.end(), std::size_t{0}) == (empty ? 0 : cells));
    for (std::size_t i = 0; i < amounts.size(); ++i) REQUIRE((shares[i] > 0) == (amounts[i] > 0));
  }
}

TEST_CASE("The cells of a bar are in proportion") {
  CHECK(cells_of({100, 100}, 10) == std::vector<std::size_t>{5, 5});
  CHECK(cells_of({0, 60'000, 10'000}, 70) == std::vector<std::size_t>{0, 60, 10});
  CHECK(cells_of({1, 1'000'000}, 10) == std::vector<std::size_t>{1, 9});
  CHECK(cells_of({-5, 0}, 10) == std::vector<std::size_t>{0, 0});
  CHECK(cells_of({1, 1, 1}, 2) == std::vector<std::size_t>{0, 1, 1});
}

TEST_CASE("A bar is as wide as asked in either alphabet, and coloured only where colours are") {
  const std::vector<Stretch> stretches{{30, Colour::red, "\xe2\x96\x88", '#'},
                                       {70, Colour::green, "\xe2\x96\x91", '.'}};
  CHECK(bar({}, stretches, 10) == "###.......");
  CHECK(width_of(bar({.unicode = true}, stretches, 60)) == 60);
  CHECK(bar({.colours = true}, stretches, 10) == "\x1b[31m###\x1b[0m\x1b[32m.......\x1b[0m");
}

TEST_CASE("Wrapped text keeps to the columns and loses no word") {
  const std::string text =
      "60.0 s requested (large, factor 1), 10.0 s left, 60.0 s held and 0.0 s used of 70.0 s";
  for (std::int32_t columns = 20; columns <= 100; ++columns) {
    const std::string lines = wrapped({.columns = columns}, text, 2);
    std::istringstream stream("  " + lines);
    std::string words;
    for (std::string line; std::getline(stream, line);) {
      CHECK(width_of(line) <= static_cast<std::size_t>(columns));
      words += (words.empty() ? "" : " ") + line.substr(2);
    }
    CHECK(words == text);
  }
}

TEST_CASE("A word longer than the line stays whole") {
  CHECK(wrapped({.columns = 20}, "see /a/very/long/path/to/a/file.toml now", 0) ==
        "see\n/a/very/long/path/to/a/file.toml\nnow");
}

TEST_CASE("Shortened text says that it was cut") {
  CHECK(shortened({}, "emoji", 5) == "emoji");
  CHECK(shortened({}, "stable-diffusion", 6) == "stabl~");
  CHECK(shortened({.unicode = true}, "stable-diffusion", 6) == "stabl\xe2\x80\xa6");
}

TEST_CASE("Control characters of a pool or a prompt never reach the terminal") {
  CHECK(printable("to \xe2\x80\xaegnp.exe \xe2\x81\xa6 \xe2\x80\x94") ==
        "to ?gnp.exe ? \xe2\x80\x94");
  CHECK(printable("a\x1b[31mred\nline\t\x7f") == "a?[31mred?line??");
  CHECK(printable("caf\xc3\xa9 \xc2\x9b"
                  "31m") == "caf\xc3\xa9 ?31m");
}

TEST_CASE("Padding counts characters and not bytes") {
  CHECK(padded_right("caf\xc3\xa9", 6) == "caf\xc3\xa9  ");
  CHECK(padded_left("12.0 s", 8) == "  12.0 s");
  CHECK(padded_left("too wide", 3) == "too wide");
}
