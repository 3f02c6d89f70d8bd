#pragma once
// RowTable: rows found by their key through a hash index, each with a number that stays its own
// until it is erased, so that other tables can name it in four bytes. Changes can be undone back to
// the last begin_batch(); while no batch is open nothing is remembered. Rows lie in blocks that
// never move, so growing copies no rows (the index, 8 bytes a place, is laid anew when it doubles).
// A Row has `key()` and a static `hash_of(key)`. A reference to a row holds until the next insert,
// change or erase. Plain value, no thread of its own.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/ensure.h"

namespace gpupool {

// Numbers by the hashes of what they stand for; linear probing, at most three quarters full.
class NumberIndex {
 public:
  static constexpr std::uint32_t none = 0xffff'ffffU;

  // The number with this hash for which `is_it(number)` holds, or none.
  template <class IsIt>
  std::uint32_t find(std::uint64_t hash, const IsIt& is_it) const {
    if (places_.empty()) return none;
    const auto tag = tag_of(hash);
    for (std::size_t at = home_of(tag);; at = next(at)) {
      const Place& place = places_[at];
      if (place.number == none) return none;
      if (place.tag == tag && is_it(place.number)) return place.number;
    }
  }

  void insert(std::uint64_t hash, std::uint32_t number) {
    if ((used_ + 1) * 4 > places_.size() * 3) grow();
    put({tag_of(hash), number});
    ++used_;
  }

  // Closes the gap: whatever stands behind it and would be found earlier moves up.
  void erase(std::uint64_t hash, std::uint32_t number) {
    std::size_t gap = home_of(tag_of(hash));
    while (places_[gap].number != number) {
      GPUPOOL_ENSURE(places_[gap].number != none, number);
      gap = next(gap);
    }
    for (std::size_t at = next(gap); places_[at].number != none; at = next(at)) {
      const std::size_t home = home_of(places_[at].tag);
      const std::size_t mask = places_.size() - 1;
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      places_[gap] = places_[at];
      gap = at;
    }
    places_[gap] = {};
    --used_;
  }

 private:
  struct Place {
    std::uint32_t tag = 0;
    std::uint32_t number = none;
  };

  // A multiplication spreads what the hash left together; the upper half is the better one.
  static std::uint32_t tag_of(std::uint64_t hash) {
    return static_cast<std::uint32_t>((hash * 0x9e37'79b9'7f4a'7c15U) >> 32U);
  }
  std::size_t home_of(std::uint32_t tag) const { return tag & (places_.size() - 1); }
  std::size_t next(std::size_t at) const { return (at + 1) & (places_.size() - 1); }

  void put(Place place) {
    std::size_t at = home_of(place.tag);
    while (places_[at].number != none) at = next(at);
    places_[at] = place;
  }

  void grow() {
    std::vector<Place> old = std::exchange(places_, {});
    places_.resize(old.empty() ? 16 : old.size() * 2);
    for (const Place& place : old)
      if (place.number != none) put(place);
  }

  std::vector<Place> places_;  // a power of two of them
  std::size_t used_ = 0;
};

template <class Row>
class RowTable {
 public:
  static constexpr std::uint32_t none = NumberIndex::none;

  RowTable() = default;
  RowTable(const RowTable& other) { *this = other; }
  RowTable& operator=(const RowTable& other) {
    blocks_.clear();
    for (const auto& block : other.blocks_) blocks_.push_back(std::make_unique<Block>(*block));
    end_ = other.end_;
    free_ = other.free_;
    index_ = other.index_;
    GPUPOOL_ENSURE(!other.in_batch_, other.before_.size());
    return *this;
  }

  template <class Key>
  std::uint32_t find(const Key& key) const {
    return index_.find(Row::hash_of(key),
                       [&](std::uint32_t number) { return row(number)->key() == key; });
  }
  template <class Key>
  const Row* get(const Key& key) const {
    const std::uint32_t number = find(key);
    return number == none ? nullptr : &(*this)[number];
  }
  const Row& operator[](std::uint32_t number) const { return *row(number); }

  // The row for a change right now.
  Row& change(std::uint32_t number) {
    GPUPOOL_ENSURE(number < end_, number);
    std::optional<Row>& place = row(number);
    if (in_batch_) before_.push_back({number, place});
    return *place;
  }

  // No row has its key yet.
  std::uint32_t insert(Row added) {
    const std::uint32_t number = take_number();
    if (in_batch_) before_.push_back({number, std::nullopt});
    index_.insert(Row::hash_of(added.key()), number);
    row(number) = std::move(added);
    return number;
  }

  // Takes the row out; it can be read until the table changes again.
  const Row& erase(std::uint32_t number) {
    GPUPOOL_ENSURE(number < end_, number);
    std::optional<Row>& place = row(number);
    index_.erase(Row::hash_of(place->key()), number);
    std::optional<Row>& gone = in_batch_ ? before_.emplace_back(Before{number, {}}).row : erased_;
    gone = std::move(place);
    place.reset();
    free_.push_back(number);
    return *gone;
  }

  std::size_t size() const { return end_ - free_.size(); }

  // The rows by their keys, for digests and snapshots.
  std::vector<const Row*> in_order() const {
    std::vector<const Row*> rows;
    rows.reserve(size());
    each([&rows](const Row& row) { rows.push_back(&row); });
    std::sort(rows.begin(), rows.end(),
              [](const Row* one, const Row* other) { return one->key() < other->key(); });
    return rows;
  }

  template <class Visit>
  void each(const Visit& visit) const {
    for (std::uint32_t number = 0; number < end_; ++number)
      if (row(number)) visit(*row(number));
  }

  void begin_batch() { in_batch_ = true; }
  void keep_batch() {
    in_batch_ = false;
    before_.clear();
  }
  // Newest change first, so that the numbers that were free are free in the same order.
  void undo_batch() {
    in_batch_ = false;
    for (auto it = before_.rbegin(); it != before_.rend(); ++it) undo(it->number, it->row);
    before_.clear();
  }

 private:
  static constexpr std::uint32_t block_bits = 10;
  static constexpr std::uint32_t block_rows = 1U << block_bits;
  struct Block {
    std::optional<Row> rows[block_rows];
  };
  struct Before {
    std::uint32_t number;
    std::optional<Row> row;
  };

  std::optional<Row>& row(std::uint32_t number) {
    return blocks_[number >> block_bits]->rows[number & (block_rows - 1)];
  }
  const std::optional<Row>& row(std::uint32_t number) const {
    return blocks_[number >> block_bits]->rows[number & (block_rows - 1)];
  }

  std::uint32_t take_number() {
    if (!free_.empty()) {
      const std::uint32_t number = free_.back();
      free_.pop_back();
      return number;
    }
    if (end_ >> block_bits == blocks_.size()) blocks_.push_back(std::make_unique<Block>());
    return end_++;
  }

  void undo(std::uint32_t number, std::optional<Row>& was) {
    std::optional<Row>& place = row(number);
    if (!was) {  // it was inserted
      index_.erase(Row::hash_of(place->key()), number);
      place.reset();
      free_.push_back(number);
      return;
    }
    if (!place) {  // it was erased
      GPUPOOL_ENSURE(free_.back() == number, number);
      free_.pop_back();
      index_.insert(Row::hash_of(was->key()), number);
    }
    place = std::move(was);
  }

  std::vector<std::unique_ptr<Block>> blocks_;
  std::uint32_t end_ = 0;            // of the numbers that were ever given
  std::vector<std::uint32_t> free_;  // and are not in use; the last is given next
  NumberIndex index_;
  std::vector<Before> before_;  // the batch
  std::optional<Row> erased_;   // the last one, while no batch keeps it
  bool in_batch_ = false;
};

}  // namespace gpupool
