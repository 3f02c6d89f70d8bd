// pack() and unpack(): what goes in comes out, old and new bytes understand each other, and no
// bytes from outside can do harm.

#include "base/pack.h"

#include <catch2/catch.hpp>
#include <limits>

#include "actors/ledger/records.h"
#include "base/prng.h"

using namespace gpupool;

namespace {

enum class Colour : std::uint8_t { red = 1, green = 2 };

struct Point {
  std::int32_t x = 0;
  std::uint16_t y = 0;
  auto fields() { return std::tie(x, y); }
};

struct Picture {
  std::string name;
  bool done = false;
  Colour colour{};
  std::vector<Point> points;
  std::variant<std::string, Point> extra;
  auto fields() { return std::tie(name, done, colour, points, extra); }
};

// Picture before it had its last two fields, and after it got one more.
struct OldPicture {
  std::string name;
  bool done = false;
  Colour colour{};
  auto fields() { return std::tie(name, done, colour); }
};
struct NewPicture {
  std::string name;
  bool done = false;
  Colour colour{};
  std::vector<Point> points;
  std::variant<std::string, Point> extra;
  std::int64_t age = 77;
  auto fields() { return std::tie(name, done, colour, points, extra, age); }
};

Picture sample() {
  return {.name = std::string("a\0b", 3),
          .done = true,
          .colour = Colour::green,
          .points = {{-5, 65'535}, {std::numeric_limits<std::int32_t>::min(), 0}},
          .extra = Point{7, 8}};
}

Record sample_record() {
  return {
      .sequence = std::numeric_limits<std::uint64_t>::max(),
      .at = {std::numeric_limits<std::int64_t>::min()},
      .body = HoldOpened{
          .hold = Hold{.job = {3},
                       .account = {"user:ada"},
                       .body = JobRequest{.app = "emoji", .arguments = {{"prompt", "a red heart"}}},
                       .quota_part = {60'000}}}};
}

}  // namespace

TEST_CASE("What is packed is unpacked unchanged") {
  const auto picture = unpack<Picture>(pack(sample()));
  REQUIRE(picture);
  CHECK(picture->name == std::string("a\0b", 3));
  CHECK(picture->done);
  CHECK(picture->colour == Colour::green);
  REQUIRE(picture->points.size() == 2);
  CHECK(picture->points[0].x == -5);
  CHECK(picture->points[0].y == 65'535);
  CHECK(picture->points[1].x == std::numeric_limits<std::int32_t>::min());
  REQUIRE(std::holds_alternative<Point>(picture->extra));
  CHECK(std::get<Point>(picture->extra).y == 8);
}

TEST_CASE("A record with the largest and smallest numbers survives") {
  const std::string bytes = pack(sample_record());
  const auto record = unpack<Record>(bytes);
  REQUIRE(record);
  CHECK(record->sequence == std::numeric_limits<std::uint64_t>::max());
  CHECK(record->at.ms == std::numeric_limits<std::int64_t>::min());
  CHECK(pack(*record) == bytes);
}

TEST_CASE("The bytes of a struct are a msgpack array of its fields") {
  CHECK(pack(Point{1, 2}) == std::string("\x92\x01\x02", 3));
  CHECK(pack(Point{-1, 256}) == std::string("\x92\xff\xcd\x01\x00", 5));
}

TEST_CASE("Old bytes leave new fields at their defaults, new bytes are read by old code") {
  const auto from_old = unpack<NewPicture>(pack(OldPicture{.name = "old", .colour = Colour::red}));
  REQUIRE(from_old);
  CHECK(from_old->name == "old");
  CHECK(from_old->points.empty());
  CHECK(from_old->age == 77);
  const auto from_new = unpack<OldPicture>(pack(NewPicture{.name = "new", .done = true}));
  REQUIRE(from_new);
  CHECK(from_new->done);
}

TEST_CASE("A number that does not fit its field is refused, not cut") {
  struct Wide {
    std::int64_t x = 0;
    std::int64_t y = 0;
    auto fields() { return std::tie(x, y); }
  };
  CHECK(unpack<Point>(pack(Wide{5, 65'535})));
  CHECK_FALSE(unpack<Point>(pack(Wide{5, 65'536})));
  CHECK_FALSE(unpack<Point>(pack(Wide{5, -1})));
  CHECK_FALSE(unpack<Point>(pack(Wide{std::int64_t{1} << 31, 0})));
}

TEST_CASE("A value of another type is refused") {
  CHECK_FALSE(unpack<Point>(std::string("\x92\xa1\x31\x02", 4)));       // "1" for 1
  CHECK_FALSE(unpack<Point>(std::string("\x92\xc0\x02", 3)));           // nil
  CHECK_FALSE(unpack<Point>(std::string("\x80", 1)));                   // a map
  CHECK_FALSE(unpack<OldPicture>(std::string("\x92\xa1\x61\x01", 4)));  // 1 for true
}

TEST_CASE("A variant with an unknown alternative is refused") {
  struct Holder {
    std::variant<std::string, Point> extra;
    auto fields() { return std::tie(extra); }
  };
  CHECK(unpack<Holder>(std::string("\x91\x92\x00\xa1\x61", 5)));
  CHECK_FALSE(unpack<Holder>(std::string("\x91\x92\x02\xa1\x61", 5)));
  CHECK_FALSE(unpack<Holder>(std::string("\x91\x91\x00", 3)));
}

TEST_CASE("Every truncation of packed bytes is refused, and so is anything after them") {
  const std::string bytes = pack(sample_record());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    INFO("first " << size << " bytes");
    const auto record = unpack<Record>(std::string_view(bytes).substr(0, size));
    REQUIRE_FALSE(record);
    CHECK(record.error().code == Errc::malformed_frame);
    CHECK(record.error().have == static_cast<std::int64_t>(size));
  }
  CHECK_FALSE(unpack<Record>(bytes + '\0'));
}

TEST_CASE("No bytes make unpack throw, and what it accepts packs again") {
  Prng rng(7);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = rng.one_in(2) ? pack(sample_record()) : pack(sample());
    for (std::uint64_t i = 1 + rng.below(4); i > 0; --i)
      bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    const auto record = unpack<Record>(bytes);
    const auto picture = unpack<Picture>(bytes);
    if (!record && !picture) continue;
    ++accepted;
    if (record) CHECK(unpack<Record>(pack(*record)));
    if (picture) CHECK(unpack<Picture>(pack(*picture)));
  }
  CHECK(accepted > 100);
}

TEST_CASE("A few bytes that promise a huge array or text cost no memory") {
  const std::vector<std::string> promises{
      std::string("\xdd\xff\xff\xff\xff", 5), std::string("\xdb\xff\xff\xff\xff", 5),
      std::string("\xdf\xff\xff\xff\xff", 5), std::string("\x95\xdd\x7f\xff\xff\xff", 6)};
  for (const std::string& bytes : promises) CHECK_FALSE(unpack<Picture>(bytes));
}

TEST_CASE("Bytes nested deeper than any message are refused") {
  CHECK_FALSE(unpack<Picture>(std::string(100'000, '\x91')));
}

TEST_CASE("The hash of packed bytes is FNV-1a and tells bodies apart") {
  CHECK(hash_of("") == 0xcbf29ce484222325U);
  CHECK(hash_of("a") == 0xaf63dc4c8601ec8cU);
  CHECK(hash_of(pack(Point{1, 2})) != hash_of(pack(Point{2, 1})));
}
