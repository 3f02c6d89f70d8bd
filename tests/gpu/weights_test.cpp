// The safetensors reader against files that lie.

#include "gpu/weights.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

using namespace gpupool;

namespace {

std::vector<std::byte> file_of(const std::string& header, const std::string& values) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  file += header + values;
  std::vector<std::byte> bytes(file.size());
  std::memcpy(bytes.data(), file.data(), file.size());
  return bytes;
}

std::string raw(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets,
                  const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

// The text of the error, after checking that there is one.
std::string refusal(const std::string& header, const std::string& values) {
  const Result<Weights> weights = Weights::parse(file_of(header, values));
  REQUIRE_FALSE(weights);
  CHECK(weights.error().code == Errc::file_malformed);
  return weights.error().detail;
}

const std::string eight_bytes(8, '\0');

}  // namespace

TEST_CASE("A good safetensors file gives its tensors and its metadata") {
  const std::string header = R"({"__metadata__":{"k":"v"},)" + entry("a", "[2,1]", "[0,8]") + "," +
                             entry("b", "[]", "[8,12]") + "}  ";
  Result<Weights> weights = Weights::parse(file_of(header, raw({1.5F, -2.0F, 3.0F})));
  REQUIRE(weights);
  CHECK(weights->metadata().at("k") == "v");
  CHECK(weights->elements() == 3);
  CHECK(*weights->take("a", {2, 1}) == std::vector<float>{1.5F, -2.0F});
  CHECK(weights->any_left() == "b");
  CHECK(*weights->take("b", {}) == std::vector<float>{3.0F});
  CHECK_FALSE(weights->any_left());
}

TEST_CASE("BF16 is widened exactly") {
  // 1.0, -2.0 and the smallest step above 1.
  const std::string values("\x80\x3F\x00\xC0\x81\x3F", 6);
  Result<Weights> weights =
      Weights::parse(file_of("{" + entry("a", "[3]", "[0,6]", "BF16") + "}", values));
  REQUIRE(weights);
  CHECK(*weights->take("a", {3}) == std::vector<float>{1.0F, -2.0F, 1.0078125F});
}

TEST_CASE("F16 is widened exactly, its smallest values too, and infinity is refused") {
  // 1.0, -2.5, the smallest normal one, the smallest of all, and minus zero.
  const std::string values("\x00\x3C\x00\xC1\x00\x04\x01\x00\x00\x80", 10);
  Result<Weights> weights =
      Weights::parse(file_of("{" + entry("a", "[5]", "[0,10]", "F16") + "}", values));
  REQUIRE(weights);
  CHECK(*weights->take("a", {5}) ==
        std::vector<float>{1.0F, -2.5F, 6.103515625e-5F, 5.9604644775390625e-8F, -0.0F});
  CHECK(refusal("{" + entry("a", "[1]", "[0,2]", "F16") + "}", std::string("\x00\x7C", 2)) ==
        "a: holds a value that is not finite");
}

TEST_CASE("Tensors are dropped by what their names begin with, and renamed where that is free") {
  Weights weights;
  for (const char* name : {"encoder.a", "encoder.b", "decoder.a", "c"})
    weights.put(name, {1}, {1.0F});
  weights.drop("encoder.");
  CHECK(weights.elements() == 2);
  weights.rename("c", "decoder.c");
  weights.rename("nothing", "x");
  CHECK(weights.contains("decoder.c"));
  CHECK_FALSE(weights.contains("c"));
  weights.rename("decoder.a", "decoder.c");
  CHECK(weights.contains("decoder.a"));
}

TEST_CASE("A missing tensor and a wrong shape are named") {
  Result<Weights> weights =
      Weights::parse(file_of("{" + entry("a", "[2,1]", "[0,8]") + "}", eight_bytes));
  REQUIRE(weights);
  const Result<std::vector<float>> missing = weights->take("b", {2});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == Errc::file_malformed);
  CHECK(missing.error().detail == "no tensor \"b\"");
  const Result<std::vector<float>> wrong = weights->take("a", {2});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().detail == "tensor \"a\" is [2, 1], expected [2]");
}

TEST_CASE("A safetensors file cut anywhere is refused") {
  const std::vector<std::byte> whole = file_of("{" + entry("a", "[2]", "[0,8]") + "}", raw({1, 2}));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Result<Weights> weights = Weights::parse(std::span(whole).first(length));
    REQUIRE_FALSE(weights);
    CHECK(weights.error().code == Errc::file_malformed);
  }
  CHECK(Weights::parse(whole));
}

TEST_CASE("A giant header length is refused with its numbers") {
  std::vector<std::byte> file = file_of("{}", "");
  const std::uint64_t length = GENERATE(std::uint64_t{3}, std::uint64_t{1} << 40U,
                                        std::numeric_limits<std::uint64_t>::max());
  std::memcpy(file.data(), &length, sizeof length);
  const Result<Weights> weights = Weights::parse(file);
  REQUIRE_FALSE(weights);
  CHECK(weights.error().code == Errc::file_malformed);
  CHECK(weights.error().want > weights.error().have);
}

TEST_CASE("A header that is not a flat JSON object is refused") {
  CHECK(refusal("", "") == "header is not a JSON object");
  CHECK(refusal("[]", "") == "header is not a JSON object");
  CHECK(refusal("{\"a\":", "") == "header is not a JSON object");
  CHECK(refusal("{\"a\":1}", "") == "a: expected exactly dtype, shape and data_offsets");
  CHECK(refusal("{\"\":{}}", "").find("name is empty") != std::string::npos);
  CHECK(refusal("{\"__metadata__\":{\"k\":1}}", "") == "__metadata__ holds more than text");
  const std::string deep(100'000, '[');
  CHECK(refusal(deep, "") == "header nested too deeply");
  CHECK(refusal("{\"a\":{\"b\":{\"c\":{\"d\":1}}}}", "") == "header nested too deeply");
}

TEST_CASE("A tensor named twice is refused") {
  const std::string one = entry("a", "[2]", "[0,8]");
  CHECK(refusal("{" + one + "," + one + "}", eight_bytes) == "header names \"a\" twice");
  CHECK(refusal(R"({"a":{"dtype":"F32","dtype":"BF16","shape":[2],"data_offsets":[0,8]}})",
                eight_bytes) == "header names \"dtype\" twice");
}

TEST_CASE("Offsets outside the file, over each other or with holes are refused") {
  const auto two = [](const std::string& first, const std::string& second) {
    return refusal("{" + entry("a", "[1]", first) + "," + entry("b", "[1]", second) + "}",
                   eight_bytes);
  };
  CHECK(two("[0,4]", "[8,12]") == "b: ends outside the file");
  CHECK(two("[0,4]", "[2,6]") == "b: overlaps the tensor before it");
  CHECK(two("[0,4]", "[0,4]").find("overlaps") != std::string::npos);
  CHECK(two("[4,8]", "[4,8]").find("hole") != std::string::npos);
  CHECK(refusal("{" + entry("a", "[1]", "[0,4]") + "}", eight_bytes) ==
        "bytes behind the last tensor");
  CHECK(refusal("{}", eight_bytes) == "bytes behind the last tensor");
}

TEST_CASE("Offsets that are negative, huge, reversed or no numbers are refused") {
  const auto offsets = GENERATE(
      std::string("[-4,0]"), std::string("[0,-4]"), std::string("[0,18446744073709551615]"),
      std::string("[18446744073709551612,18446744073709551616]"), std::string("[8,0]"),
      std::string("[0.0,8.0]"), std::string("[\"0\",\"8\"]"), std::string("[0]"),
      std::string("[0,4,8]"), std::string("8"), std::string("null"), std::string("[0,1e3]"));
  CHECK(refusal("{" + entry("a", "[2]", offsets) + "}", eight_bytes).find("offsets") !=
        std::string::npos);
}

TEST_CASE("Shapes that are negative, empty, huge or too deep are refused") {
  const auto shape = GENERATE(std::string("[-2]"), std::string("[0]"), std::string("[2.0]"),
                              std::string("[4294967296,4294967296]"), std::string("2"),
                              std::string("[9223372036854775807,2]"), std::string("[1,1,1,1,2]"),
                              std::string("[\"2\"]"));
  const std::string why = refusal("{" + entry("a", shape, "[0,8]") + "}", eight_bytes);
  CHECK(why.starts_with("a: "));
}

TEST_CASE("A dtype that is unknown or disagrees with the offsets is refused") {
  CHECK(refusal("{" + entry("a", "[1]", "[0,8]", "F64") + "}", eight_bytes) ==
        "a: dtype is none of F32, BF16 and F16");
  CHECK(refusal(R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", eight_bytes) ==
        "a: dtype is none of F32, BF16 and F16");
  CHECK(refusal("{" + entry("a", "[2]", "[0,8]", "BF16") + "}", eight_bytes) ==
        "a: offsets disagree with shape and dtype");
}

TEST_CASE("Values that are not finite are refused and the tensor is named") {
  const float value =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
               -std::numeric_limits<float>::infinity());
  CHECK(refusal("{" + entry("a", "[2]", "[0,8]") + "}", raw({1, value})) ==
        "a: holds a value that is not finite");
  CHECK(refusal("{" + entry("a", "[2]", "[0,4]", "BF16") + "}", std::string("\x80\x7F\0\0", 4)) ==
        "a: holds a value that is not finite");
}

TEST_CASE("A weights file that isn't there is unreadable, and is named") {
  const Result<Weights> weights = Weights::read("/nonexistent/model.safetensors");
  REQUIRE_FALSE(weights);
  CHECK(weights.error().code == Errc::file_unreadable);
  CHECK(weights.error().detail.find("/nonexistent/model.safetensors") != std::string::npos);
  const Result<Weights> folder = Weights::read(std::filesystem::temp_directory_path());
  REQUIRE_FALSE(folder);
  CHECK(folder.error().code == Errc::file_unreadable);
}
