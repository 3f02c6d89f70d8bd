#pragma once
// UndoTable: an ordered map whose changes can be undone back to the last begin_batch(). While no
// batch is open it remembers nothing. The ledger's state stands in these, so a batch that its
// journal cleanly refused leaves no trace. Plain value, no thread of its own.

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/ensure.h"

namespace gpupool {

template <class Key, class Value>
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

  // Takes the row out.
  Value remove(const Key& key) {
    const auto it = rows_.find(key);
    GPUPOOL_ENSURE(it != rows_.end());
    Value value = std::move(it->second);
    rows_.erase(it);
    if (in_batch_) before_.emplace_back(key, value);
    return value;
  }

  std::size_t size() const { return rows_.size(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }
  auto lower_bound(const Key& key) const { return rows_.lower_bound(key); }

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
  std::map<Key, Value> rows_;
  std::vector<std::pair<Key, std::optional<Value>>> before_;
  bool in_batch_ = false;
};

}  // namespace gpupool
