// The golden vectors: tests/golden/NAME-1.hex, NAME-2.hex, ... hold the bytes of one message as
// releases wrote them. They are only added to: when a message gets a field, `net_test [rewrite]`
// writes the next number, and the older bytes must go on decoding.

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <msgpack.hpp>
#include <set>

#include "tests/net/samples.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

fs::path golden_folder() {
  const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
  return fs::path{source ? source : "."} / "tests" / "golden";
}

fs::path file_of(const std::string& name, int number) {
  return golden_folder() / (name + "-" + std::to_string(number) + ".hex");
}

std::string read_bytes(const fs::path& path) {
  std::ifstream file{path};
  std::string bytes;
  std::string pair;
  char c = 0;
  while (file.get(c)) {
    if (std::isspace(static_cast<unsigned char>(c))) continue;
    pair.push_back(c);
    if (pair.size() < 2) continue;
    bytes.push_back(static_cast<char>(std::stoi(pair, nullptr, 16)));
    pair.clear();
  }
  return bytes;
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::ofstream file{path};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    file << digits[byte >> 4U] << digits[byte & 15U] << (i % 32 == 31 ? "\n" : "");
  }
  file << "\n";
}

std::string encode_sample(const Sample& sample) {
  return *std::visit([](const auto& message) { return encode(message); }, sample.message);
}

// What the bytes decode to, encoded again; as the direction of `sample` reads them.
Result<std::string> read_and_write(const Sample& sample, const std::string& bytes) {
  if (std::holds_alternative<FromClient>(sample.message)) {
    const Result<FromClient> message = decode_from_client(bytes);
    if (!message) return message.error();
    return encode(*message);
  }
  const Result<ToClient> message = decode_from_pool(bytes);
  if (!message) return message.error();
  return encode(*message);
}

int newest(const std::string& name) {
  int number = 0;
  while (fs::exists(file_of(name, number + 1))) ++number;
  return number;
}

// The frame with `fields` fields in its body; more than it has are filled up with nils.
std::string with_fields(const std::string& frame, std::uint32_t fields) {
  const auto handle = msgpack::unpack(frame.data(), frame.size());
  const auto& body = handle.get().via.array.ptr[1].via.array;
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer{buffer};
  packer.pack_array(2);
  packer.pack(handle.get().via.array.ptr[0]);
  packer.pack_array(fields);
  for (std::uint32_t i = 0; i < fields; ++i) {
    if (i < body.size)
      packer.pack(body.ptr[i]);
    else
      packer.pack_nil();
  }
  return {buffer.data(), buffer.size()};
}

std::uint32_t fields_of(const std::string& frame) {
  const auto handle = msgpack::unpack(frame.data(), frame.size());
  return handle.get().via.array.ptr[1].via.array.size;
}

TEST_CASE("Every message has a golden vector, and today's bytes are the newest one's") {
  for (const Sample& sample : every_message()) {
    INFO(sample.name);
    const int number = newest(sample.name);
    REQUIRE(number > 0);
    CHECK(encode_sample(sample) == read_bytes(file_of(sample.name, number)));
  }
}

TEST_CASE("Golden bytes of every release decode, and the newest encode to the same bytes") {
  for (const Sample& sample : every_message()) {
    const int last = newest(sample.name);
    for (int number = 1; number <= last; ++number) {
      INFO(sample.name << " " << number);
      const std::string bytes = read_bytes(file_of(sample.name, number));
      const Result<std::string> again = read_and_write(sample, bytes);
      REQUIRE(again);
      CHECK(again->substr(0, 2) == bytes.substr(0, 2));
      if (number == last) CHECK(*again == bytes);
    }
  }
}

TEST_CASE("No golden file stands for a message that is gone") {
  std::set<std::string> expected;
  for (const Sample& sample : every_message())
    for (int number = 1; number <= newest(sample.name); ++number)
      expected.insert(file_of(sample.name, number).filename().string());
  for (const auto& entry : fs::directory_iterator(golden_folder())) {
    if (entry.path().extension() != ".hex") continue;
    INFO(entry.path());
    CHECK(expected.contains(entry.path().filename().string()));
  }
}

TEST_CASE(
    "Bytes with fewer trailing fields still decode, and unknown trailing fields are ignored") {
  for (const Sample& sample : every_message()) {
    const std::string frame = encode_sample(sample);
    const std::uint32_t fields = fields_of(frame);
    const std::uint32_t fewest = sample.name == "hello" ? 2 : 0;
    for (std::uint32_t count = fewest; count < fields; ++count) {
      INFO(sample.name << " with " << count << " of " << fields << " fields");
      CHECK(read_and_write(sample, with_fields(frame, count)));
    }
    INFO(sample.name << " with two fields more");
    const Result<std::string> again = read_and_write(sample, with_fields(frame, fields + 2));
    REQUIRE(again);
    CHECK(*again == frame);
  }
}

// Not a test: adds the vectors that are missing. Existing files are never changed.
TEST_CASE("Missing golden vectors are written", "[.][rewrite]") {
  fs::create_directories(golden_folder());
  for (const Sample& sample : every_message()) {
    const int number = newest(sample.name);
    const std::string bytes = encode_sample(sample);
    if (number > 0 && read_bytes(file_of(sample.name, number)) == bytes) continue;
    write_bytes(file_of(sample.name, number + 1), bytes);
    CHECK(newest(sample.name) == number + 1);
  }
}

}  // namespace
}  // namespace gpupool
