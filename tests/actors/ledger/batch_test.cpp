// The bytes of a batch: what stands in them, what damage is found, and where.

#include "actors/ledger/batch.h"

#include <catch2/catch.hpp>
#include <optional>

#include "base/pack.h"
#include "base/prng.h"

using namespace gpupool;

namespace {

const ClockStamp stamp{.wall = {5}, .boot = {6}, .boot_id = "boot-1"};

std::vector<Record> records(std::uint64_t first, std::uint64_t count) {
  std::vector<Record> all;
  for (std::uint64_t i = first; i < first + count; ++i)
    all.push_back({.sequence = i,
                   .at = {static_cast<std::int64_t>(1'000 + i)},
                   .body = PromiseRestated{.job = {i}, .reason = std::string(i % 40, 'r')}});
  return all;
}

struct Reading {
  std::vector<Record> records;
  std::optional<Error> error;
  JournalTail end;
  std::uint64_t next = 1;  // record
};

Reading read(const std::string& bytes, JournalTail before = {}) {
  Reading reading{.end = before, .next = before.sequence + 1};
  const auto done = read_batch(bytes, reading.end, [&reading](const StoredRecord& stored) {
    const std::uint64_t expected = reading.next++;
    if (stored.sequence != expected)  // as every replay asks
      return Status{
          Error{.code = Errc::journal_corrupt, .want = static_cast<std::int64_t>(expected)}};
    auto record = record_of(stored);
    if (!record) return Status{record.error()};
    reading.records.push_back(std::move(*record));
    return ok();
  });
  if (!done) reading.error = done.error();
  return reading;
}

}  // namespace

TEST_CASE("A batch gives back its records, and the end that it was written up to") {
  JournalTail written;
  const std::string one = encode_batch(records(1, 3), stamp, written);
  const JournalTail middle = written;
  const std::string two = encode_batch(records(4, 2), {.boot_id = "boot-2"}, written);
  CHECK(pack(read(one).records) == pack(records(1, 3)));
  const Reading reading = read(two, middle);
  CHECK_FALSE(reading.error);
  CHECK(pack(reading.records) == pack(records(4, 2)));
  CHECK(reading.end.sequence == 5);
  CHECK(reading.end.at == Instant{1'005});
  CHECK(reading.end.stamp.boot_id == "boot-2");
  CHECK(reading.end.digest == written.digest);
  const auto tail = tail_of_batch(two);
  REQUIRE(tail);
  CHECK(tail->sequence == 5);
  CHECK(tail->at == Instant{1'005});
  CHECK(tail->digest == written.digest);
}

TEST_CASE("Whichever bit of a batch flips, its record is named and none is read wrong") {
  JournalTail end;
  const std::string honest = encode_batch(records(1, 4), stamp, end);
  std::size_t place = 0;
  std::vector<std::size_t> ends;  // of the head and each record
  while (place < honest.size()) {
    place += 4 + static_cast<unsigned char>(honest[place]) + 32;
    ends.push_back(place);
  }
  REQUIRE(ends.size() == 5);
  for (std::size_t byte = 0; byte < honest.size(); ++byte)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = honest;
      bytes[byte] = static_cast<char>(bytes[byte] ^ (1 << bit));
      const Reading reading = read(bytes);
      INFO("byte " << byte << " bit " << bit);
      REQUIRE(reading.error);
      CHECK(reading.error->code == Errc::journal_corrupt);
      std::int64_t record = 0;
      while (byte >= ends[static_cast<std::size_t>(record)]) ++record;
      CHECK(reading.error->want == std::max<std::int64_t>(record, 1));
      CHECK(pack(reading.records) == pack(records(1, reading.records.size())));
    }
}

TEST_CASE("A batch that was cut anywhere, or has something after it, is damaged") {
  JournalTail end;
  const std::string honest = encode_batch(records(1, 3), stamp, end);
  for (std::size_t size = 0; size < honest.size(); ++size) {
    CHECK(read(honest.substr(0, size)).error);
    CHECK_FALSE(tail_of_batch(honest.substr(0, size)));
  }
  CHECK(read(honest + '\0').error->want == 4);
}

TEST_CASE("A batch that does not follow is not intact at its first record, and only there") {
  JournalTail end;
  encode_batch(records(1, 2), stamp, end);
  const std::string two = encode_batch(records(3, 2), stamp, end);
  JournalTail stranger{.sequence = 2};
  std::vector<bool> intact;
  REQUIRE(read_batch(two, stranger, [&intact](const StoredRecord& stored) {
    intact.push_back(stored.intact);
    return ok();
  }));
  CHECK(intact == std::vector<bool>{false, true});
}

TEST_CASE("Bytes from anywhere are read without harm") {
  Prng rng(20'261'125);
  JournalTail end;
  const std::string honest = encode_batch(records(1, 5), stamp, end);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = honest;
    for (std::uint64_t i = rng.below(6); i > 0; --i)
      bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    bytes.resize(rng.below(bytes.size() + 9));
    const Reading reading = read(bytes);
    if (!reading.error) CHECK(pack(reading.records) == pack(records(1, 5)));
    static_cast<void>(tail_of_batch(bytes));
  }
}

TEST_CASE("A record of a kind that this build does not know is told from damage") {
  CHECK(record_of({.sequence = 1, .body = "\x92\x63\xc0"}).error().code == Errc::unsupported);
  CHECK(record_of({.sequence = 1, .intact = false}).error().code == Errc::journal_corrupt);
}
