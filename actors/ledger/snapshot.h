#pragma once
// Snapshot: the ledger's whole state after one record, so that a start reads only what follows it.
// A shortcut and never the truth: it belongs to the build that wrote it and to the journal whose
// record it names, ends with a checksum, and one that is damaged or of another build or journal is
// passed over; the journal alone gives the same state. Pure.
//
// Layout, integers little-endian: u32 size, pack(SnapshotHead), then rows of u32 size and
// pack(row), in the order in which Ledger::write_state() puts them, then BLAKE2b-256 of all before
// it.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "actors/ledger/batch.h"
#include "base/pack.h"

namespace gpupool {

// Packed values one behind the other.
class RowWriter {
 public:
  template <class Row>
  void put(const Row& row) {
    const std::size_t begin = bytes_.size();
    bytes_.append(sizeof(std::uint32_t), '\0');
    pack_into(bytes_, row);
    const auto size = static_cast<std::uint32_t>(bytes_.size() - begin - sizeof(std::uint32_t));
    std::memcpy(bytes_.data() + begin, &size, sizeof size);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class RowReader {
 public:
  explicit RowReader(std::string_view bytes) : bytes_(bytes) {}

  // False: there is no such row here. Once false, always false.
  template <class Row>
  bool take(Row& row) {
    std::uint32_t size = 0;
    if (bytes_.size() < sizeof size) return fail();
    std::memcpy(&size, bytes_.data(), sizeof size);
    bytes_.remove_prefix(sizeof size);
    if (bytes_.size() < size) return fail();
    auto unpacked = unpack<Row>(bytes_.substr(0, size));
    if (!unpacked) return fail();
    row = std::move(*unpacked);
    bytes_.remove_prefix(size);
    return true;
  }
  std::string_view rest() const { return bytes_; }

 private:
  bool fail() {
    bytes_ = {};
    return false;
  }
  std::string_view bytes_;
};

struct SnapshotHead {
  std::string build;
  std::uint64_t sequence = 0;
  Instant at{};
  ClockStamp stamp;
  std::string digest;
  auto fields() { return std::tie(build, sequence, at, stamp, digest); }
};

struct Snapshot {
  JournalTail at;
  std::string state;  // of a Ledger, as write_state() put it
};

std::string encode_snapshot(const Snapshot& snapshot, const std::string& build);

// file_malformed: damaged. unsupported: of another build.
Result<Snapshot> decode_snapshot(std::string_view bytes, const std::string& build);

}  // namespace gpupool
