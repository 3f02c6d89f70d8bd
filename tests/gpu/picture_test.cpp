#include "gpu/picture.h"

#include <png.h>

#include <catch2/catch.hpp>
#include <cmath>

using namespace gpupool;

namespace {

// Three planes of `side` squared values, each a function of its place.
std::vector<float> planes_of(std::int32_t side, float (*value)(int colour, int y, int x)) {
  std::vector<float> planes;
  for (int colour = 0; colour < 3; ++colour) {
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) planes.push_back(value(colour, y, x));
    }
  }
  return planes;
}

std::vector<std::uint8_t> decoded(const std::string& file) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_memory(&image, file.data(), file.size()) != 0);
  image.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> rgb(PNG_IMAGE_SIZE(image));
  REQUIRE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr) != 0);
  return rgb;
}

}  // namespace

TEST_CASE("Values in [-1, 1] become bytes, and values beyond are cut off") {
  const std::vector<float> planes = {-1.0F, 1.0F, 0.0F, 5.0F, -7.0F, 0.5F,
                                     -1.0F, 1.0F, 0.0F, 5.0F, -7.0F, 0.5F};
  const Picture picture = to_picture({planes, 2}, 1, Enlarge::smooth);
  CHECK(picture.width == 2);
  CHECK(picture.height == 2);
  // Pixels in order, each from the three planes.
  CHECK(picture.rgb ==
        std::vector<std::uint8_t>{0, 0, 128, 255, 191, 255, 128, 0, 0, 255, 255, 191});
}

TEST_CASE("Enlarging to the nearest pixel repeats it") {
  const auto planes =
      planes_of(2, [](int c, int y, int x) { return c == 0 && y == x ? 1.F : -1.F; });
  const Picture picture = to_picture({planes, 2}, 3, Enlarge::nearest);
  REQUIRE(picture.width == 6);
  for (std::size_t y = 0; y < 6; ++y) {
    for (std::size_t x = 0; x < 6; ++x) {
      CHECK(picture.rgb[(y * 6 + x) * 3] == (y / 3 == x / 3 ? 255 : 0));
      CHECK(picture.rgb[(y * 6 + x) * 3 + 1] == 0);
    }
  }
}

TEST_CASE("Smooth enlarging keeps even colours and straight ramps") {
  const auto flat = planes_of(5, [](int c, int, int) { return static_cast<float>(c) / 2 - 0.5F; });
  const Picture even = to_picture({flat, 5}, 7, Enlarge::smooth);
  for (std::size_t i = 0; i < even.rgb.size(); i += 3) {
    REQUIRE(even.rgb[i] == 64);
    REQUIRE(even.rgb[i + 1] == 128);
    REQUIRE(even.rgb[i + 2] == 191);
  }
  const auto ramp = planes_of(8, [](int, int, int x) { return static_cast<float>(x) / 4 - 1; });
  const Picture picture = to_picture({ramp, 8}, 8, Enlarge::smooth);
  for (std::size_t x = 16; x < 48; ++x) {  // away from the borders
    const double place = (static_cast<double>(x) + 0.5) / 8 - 0.5;
    CHECK(std::abs(picture.rgb[x * 3] - place / 4 * 127.5) <= 0.51);
  }
}

TEST_CASE("A PNG decodes to the same pixels") {
  const auto planes = planes_of(
      32, [](int c, int y, int x) { return std::sin(static_cast<float>((c + 1) * (y * 32 + x))); });
  const auto factor = GENERATE(1, 8);
  const Picture picture = to_picture({planes, 32}, factor, Enlarge::smooth);
  const Result<std::string> file = encode_png(picture);
  REQUIRE(file);
  CHECK(decoded(*file) == picture.rgb);
}

TEST_CASE("The same picture gives the same PNG bytes") {
  const auto planes =
      planes_of(4, [](int c, int y, int x) { return 0.1F * static_cast<float>(c + y - x); });
  const Picture picture = to_picture({planes, 4}, 2, Enlarge::smooth);
  CHECK(*encode_png(picture) == *encode_png(picture));
}
