#include "actors/worker/diffusion_arguments.h"

#include <catch2/catch.hpp>

namespace gpupool {
namespace {

std::string refusal_of(std::vector<Argument> arguments) {
  const auto read = parse_diffusion_arguments(arguments);
  if (read) return "accepted";
  CHECK(read.error().code == Errc::bad_request);
  return read.error().detail;
}

// Whether a prompt with one more argument is accepted.
bool accepts(const std::string& key, const std::string& value) {
  return static_cast<bool>(parse_diffusion_arguments({{"prompt", "a"}, {key, value}}));
}
bool accepts_prompt(const std::string& prompt) {
  return static_cast<bool>(parse_diffusion_arguments({{"prompt", prompt}}));
}

}  // namespace

TEST_CASE("A prompt alone is enough, and the rest has its defaults") {
  const auto read = parse_diffusion_arguments({{"prompt", "  a red heart\n"}});
  REQUIRE(read);
  CHECK(read->prompt == "a red heart");
  CHECK(read->steps == 30);
  CHECK(read->seed == 0);
  CHECK(read->guidance == 3);
  CHECK(read->pixels == 0);
}

TEST_CASE("Every argument is read") {
  const auto read = parse_diffusion_arguments({{"pixels", "64"},
                                               {"guidance", "7.5"},
                                               {"seed", "18446744073709551615"},
                                               {"steps", "1000"},
                                               {"prompt", "ein Bär"}});
  REQUIRE(read);
  CHECK(read->prompt == "ein Bär");
  CHECK(read->steps == 1000);
  CHECK(read->seed == 18446744073709551615U);
  CHECK(read->guidance == 7.5);
  CHECK(read->pixels == 64);
}

TEST_CASE("A refusal names the key and what it may be") {
  CHECK(refusal_of({}) == "prompt is missing: 1 to 1000 bytes of text");
  CHECK(refusal_of({{"prompt", "a"}, {"steps", "0"}}) ==
        "steps must be a whole number from 1 to 10000, not \"0\"");
  CHECK(refusal_of({{"prompt", "a"}, {"pixels", "100"}}) ==
        "pixels must be one of 32, 64, 128, 256 and 512, not \"100\"");
  CHECK(refusal_of({{"prompt", "a"}, {"prompt", "b"}}) == "prompt is given twice");
  CHECK(refusal_of({{"prompt", "a"}, {"colour", "red"}}) ==
        "there is no argument \"colour\"; the arguments are prompt, steps, seed, guidance and "
        "pixels");
}

TEST_CASE("A refusal repeats no control characters and not more than a line") {
  const std::string detail =
      refusal_of({{"prompt", "a"}, {"steps", "\x1b[31m" + std::string(500, 'x')}});
  CHECK(detail.size() < 120);
  CHECK(detail.find('\x1b') == std::string::npos);
}

TEST_CASE("Numbers are whole, in their bounds and nothing but digits") {
  for (const char* steps :
       {"", "0", "10001", "-1", "+1", " 1", "1 ", "1.0", "1e2", "0x10", "99999999999999999999"})
    CHECK_FALSE(accepts("steps", steps));
  CHECK(accepts("steps", "1"));
  CHECK(accepts("steps", "10000"));
  CHECK_FALSE(accepts("seed", "18446744073709551616"));
  CHECK_FALSE(accepts("seed", "-1"));
  CHECK_FALSE(accepts("pixels", "1024"));
}

TEST_CASE("Guidance is a plain finite decimal from 0 to 20") {
  for (const char* guidance :
       {"", "nan", "inf", "-1", "20.01", "1e1", "1,5", ".", "1.2.3", "00000000000000000001"})
    CHECK_FALSE(accepts("guidance", guidance));
  for (const char* guidance : {"0", "20", "3.25"}) CHECK(accepts("guidance", guidance));
}

TEST_CASE("A prompt is 1 to 1000 bytes of one line of UTF-8") {
  CHECK(accepts_prompt(std::string(1000, 'x')));
  CHECK_FALSE(accepts_prompt(std::string(1001, 'x')));
  CHECK_FALSE(accepts_prompt(" \t\n "));
  CHECK_FALSE(accepts_prompt("two\nlines"));
  CHECK_FALSE(accepts_prompt(std::string("nul\0inside", 10)));
  CHECK_FALSE(accepts_prompt("\x7f delete"));
  CHECK_FALSE(accepts_prompt("\xc2\x85 next line"));       // a C1 control
  CHECK(accepts_prompt("\xf0\x9f\x98\x80 \xe2\x82\xac"));  // an emoji and a euro sign
  CHECK_FALSE(accepts_prompt("\xff"));
  CHECK_FALSE(accepts_prompt("\xc0\xaf"));          // overlong
  CHECK_FALSE(accepts_prompt("\xe0\x80\xaf"));      // overlong
  CHECK_FALSE(accepts_prompt("\xed\xa0\x80"));      // a surrogate
  CHECK_FALSE(accepts_prompt("\xf4\x90\x80\x80"));  // above U+10FFFF
  CHECK_FALSE(accepts_prompt("cut \xe2\x82"));
}

}  // namespace gpupool
