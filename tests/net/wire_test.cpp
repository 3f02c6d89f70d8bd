#include "net/wire.h"

#include <catch2/catch.hpp>
#include <msgpack.hpp>

#include "actors/request_id.h"
#include "base/prng.h"
#include "config/limits.h"
#include "tests/net/samples.h"

namespace gpupool {
namespace {

std::string bytes_of(const Sample& sample) {
  return *std::visit([](const auto& message) { return encode(message); }, sample.message);
}

bool decodes(const std::string& frame) {
  return decode_from_client(frame) || decode_from_pool(frame);
}

TEST_CASE("A submit arrives with every field that was sent") {
  const ClientSubmit sent{.query = 5,
                          .request = {.high = 0x0190a6c12f3a7b10U, .low = 0x8c4d5e6f70819293U},
                          .body = {.app = "emoji",
                                   .size = "large",
                                   .declared = seconds(15),
                                   .max_wait = seconds(120),
                                   .detached = true,
                                   .arguments = {{.key = "prompt", .value = "a red heart"}}}};
  const Result<FromClient> message = decode_from_client(*encode(FromClient{sent}));
  REQUIRE(message);
  const auto& got = std::get<ClientSubmit>(*message);
  CHECK(got.query == 5);
  CHECK(got.request == sent.request);
  CHECK(got.body.app == "emoji");
  CHECK(got.body.declared == seconds(15));
  CHECK(got.body.max_wait == seconds(120));
  CHECK(got.body.detached);
  REQUIRE(got.body.arguments.size() == 1);
  CHECK(got.body.arguments[0].value == "a red heart");
}

TEST_CASE("A frame begins with the byte of an array of two and its type") {
  const std::string frame = *encode(FromClient{ClientQuota{.query = 1}});
  CHECK(frame == std::string{"\x92\x0d\x91\x01", 4});
}

TEST_CASE("A client's message is none that the pool sends, and the other way round") {
  const std::string from_client = *encode(FromClient{ClientQuota{.query = 1}});
  const std::string from_pool = *encode(ToClient{SessionPong{.query = 1}});
  CHECK(decode_from_pool(from_client).error().code == Errc::unknown_message);
  const Error error = decode_from_client(from_pool).error();
  CHECK(error.code == Errc::unknown_message);
  CHECK(error.want == 66);
}

TEST_CASE("A hello of another version is a version mismatch that names both versions") {
  const std::string frame = *encode(FromClient{Hello{.version = 7}});
  const Error error = decode_from_client(frame).error();
  CHECK(error.code == Errc::version_mismatch);
  CHECK(error.want == 7);
  CHECK(error.have == protocol_version);
}

TEST_CASE("A hello of another version is told apart even if its later fields have other types") {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer{buffer};
  packer.pack_array(2);
  packer.pack(1);
  packer.pack_array(3);
  packer.pack(std::string{protocol_magic});
  packer.pack(2);
  packer.pack_map(0);
  const Error error = decode_from_client({buffer.data(), buffer.size()}).error();
  CHECK(error.code == Errc::version_mismatch);
}

TEST_CASE("A hello of another protocol is malformed") {
  const std::string frame = *encode(FromClient{Hello{.magic = "other"}});
  CHECK(decode_from_client(frame).error().code == Errc::malformed_frame);
  CHECK(decode_from_client(std::string{"\x92\x01\x90", 3}).error().code == Errc::malformed_frame);
}

TEST_CASE("A frame above the maximum is refused with its size, in both directions") {
  const std::string huge(static_cast<std::size_t>(limits::frame_bytes_max) + 1, '\x92');
  const Error error = decode_from_client(huge).error();
  CHECK(error.code == Errc::frame_too_large);
  CHECK(error.want == limits::frame_bytes_max + 1);
  CHECK(error.have == limits::frame_bytes_max);
  CHECK(decode_from_pool(huge).error().code == Errc::frame_too_large);
  CHECK(encode(ToClient{ResultChunk{.bytes = huge}}).error().code == Errc::frame_too_large);
  CHECK(encode(FromClient{Hello{.program = huge}}).error().code == Errc::frame_too_large);
}

TEST_CASE("No message survives the loss of its last bytes, and none throws") {
  for (const Sample& sample : every_message()) {
    const std::string frame = bytes_of(sample);
    for (std::size_t size = 0; size < frame.size(); ++size) {
      INFO(sample.name << " cut to " << size);
      CHECK_FALSE(decodes(frame.substr(0, size)));
    }
  }
}

TEST_CASE("Bytes after the message make a frame malformed") {
  for (const Sample& sample : every_message()) {
    INFO(sample.name);
    CHECK_FALSE(decodes(bytes_of(sample) + '\0'));
  }
}

TEST_CASE("Damaged messages decode to something or to an error, and never throw") {
  Prng random{20'260'715};
  std::vector<std::string> frames;
  for (const Sample& sample : every_message()) frames.push_back(bytes_of(sample));
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string frame = frames[random.below(frames.size())];
    for (std::uint64_t changes = 1 + random.below(4); changes > 0; --changes)
      frame[random.below(frame.size())] = static_cast<char>(random.below(256));
    if (!decodes(frame)) ++refused;
  }
  CHECK(refused > 1'000);
  CHECK(refused < 20'000);
}

TEST_CASE("Claims of huge arrays and texts in small frames are refused") {
  const std::string start{"\x92\x0a", 2};
  CHECK_FALSE(decodes(start + std::string{"\xdd\xff\xff\xff\xff", 5}));
  CHECK_FALSE(decodes(start + std::string{"\x91\xdb\xff\xff\xff\xff", 6}));
  CHECK_FALSE(decodes(start + std::string(1'000, '\x91')));
  CHECK_FALSE(decodes(start + std::string{"\xdf\xff\xff\xff\xff", 5}));
}

TEST_CASE("An answer names its question, and events name none") {
  CHECK(query_of(SessionPong{.query = 7}) == 7);
  CHECK(query_of(QuotaAnswer{.query = 8}) == 8);
  CHECK(query_of(JobEvent{.job = {9}}) == 0);
}

TEST_CASE("The body hash tells requests apart by any field and is the same for the same body") {
  const JobRequest body{.app = "emoji", .declared = seconds(8)};
  JobRequest longer = body;
  longer.declared = seconds(9);
  JobRequest detached = body;
  detached.detached = true;
  JobRequest prompted = body;
  prompted.arguments.push_back({.key = "prompt", .value = "a"});
  CHECK(body_hash(body) == body_hash(JobRequest{body}));
  CHECK(body_hash(body) != body_hash(longer));
  CHECK(body_hash(body) != body_hash(detached));
  CHECK(body_hash(body) != body_hash(prompted));
}

TEST_CASE("A made request id is a UUID of version 7 that carries its time") {
  const RequestId id = make_request_id({1'700'000'000'123}, {.first = ~0ULL, .second = ~0ULL});
  CHECK(well_formed(id));
  CHECK(id.unix_ms() == 1'700'000'000'123);
  CHECK(well_formed(make_request_id({1}, {})));
  CHECK_FALSE(well_formed(RequestId{}));
  CHECK(format_request_id(make_request_id({0x0190a6c12f3a}, {.first = 0xb10, .second = 5})) ==
        "0190a6c1-2f3a-7b10-8000-000000000005");
}

TEST_CASE("A request id's text reads back as the same id, in either case") {
  const RequestId id{.high = 0x0190a6c12f3a7b10U, .low = 0x8c4d5e6f70819293U};
  CHECK(format_request_id(id) == "0190a6c1-2f3a-7b10-8c4d-5e6f70819293");
  CHECK(*parse_request_id("0190a6c1-2f3a-7b10-8c4d-5e6f70819293") == id);
  CHECK(*parse_request_id("0190A6C1-2F3A-7B10-8C4D-5E6F70819293") == id);
}

TEST_CASE("A text that is no UUID of version 7 is a bad request") {
  for (const char* text :
       {"", "0190a6c1", "0190a6c1-2f3a-4b10-8c4d-5e6f70819293",
        "0190a6c1-2f3a-7b10-cc4d-5e6f70819293", "0190a6c1+2f3a-7b10-8c4d-5e6f70819293",
        "0190a6c1-2f3a-7b10-8c4d-5e6f7081929g", "0190a6c1-2f3a-7b10-8c4d-5e6f708192930",
        "0190a6c12-f3a-7b10-8c4d-5e6f70819293"}) {
    INFO(text);
    CHECK(parse_request_id(text).error().code == Errc::bad_request);
  }
}

}  // namespace
}  // namespace gpupool
