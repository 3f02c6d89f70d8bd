#pragma once
// UndoTable: a map whose changes can be undone back to the last begin_batch(). While no batch is
// open it remembers nothing. The ledger's state stands in these, so a batch that its journal
// cleanly refused leaves no trace. Ordered, or hashed where only looking up matters (HashedTable).
// Plain value, no thread of its own.

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ensure.h"
#include "base/ids.h"

namespace gpupool {

template <class Key, class Value, class Rows = std::map<Key, Value>>
class UndoTable {
 public:
  const Value* find(const Key& key) const {
    const auto it = rows_.find(key);
    return it == rows_.end() ? nullptr : &it->second;
  }

  // The row, for a change right now; a row that was not there starts as Value{}.
  Value& change(const Key& key) {
    const auto [it, is_new] = rows_.try_emplace(key);
    if (in_batch_) before_.emplace_back(key, is_new ? std::nullopt : std::optional{it->second});
    return it->second;
  }

  // Takes the row out; it can be read until the table changes again.
  const Value& remove(const Key& key) {
    const auto it = rows_.find(key);
    GPUPOOL_ENSURE(it != rows_.end());
    Value& removed = in_batch_ ? *before_.emplace_back(key, std::move(it->second)).second
                               : *(removed_ = std::move(it->second));
    rows_.erase(it);
    return removed;
  }

  std::size_t size() const { return rows_.size(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }
  auto lower_bound(const Key& key) const { return rows_.lower_bound(key); }
  // The rows by key, also where they are hashed.
  std::vector<const std::pair<const Key, Value>*> in_order() const {
    std::vector<const std::pair<const Key, Value>*> rows;
    rows.reserve(rows_.size());
    for (const auto& row : rows_) rows.push_back(&row);
    std::sort(rows.begin(), rows.end(),
              [](const auto* one, const auto* other) { return one->first < other->first; });
    return rows;
  }

  void begin_batch() { in_batch_ = true; }
  void keep_batch() {
    in_batch_ = false;
    before_.clear();
  }
  // Newest change first: a row changed twice ends as it was before the first.
  void undo_batch() {
    for (auto it = before_.rbegin(); it != before_.rend(); ++it) {
      if (it->second) {
        rows_.insert_or_assign(it->first, std::move(*it->second));
      } else {
        rows_.erase(it->first);
      }
    }
    keep_batch();
  }

 private:
  Rows rows_;
  std::vector<std::pair<Key, std::optional<Value>>> before_;
  std::optional<Value> removed_;  // the last one, while no batch keeps it
  bool in_batch_ = false;
};

template <class Key, class Value>
using HashedTable = UndoTable<Key, Value, std::unordered_map<Key, Value, IdHash>>;

}  // namespace gpupool
