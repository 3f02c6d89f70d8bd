#pragma once
// RequestTable: the request ids that the ledger remembers, each with the job that it led to and the
// hash of its body. An id is scoped by its account, which is kept as a 64-bit SipHash of its name:
// a remembered id outlives an anonymous account. Ids older than a mark can be forgotten together,
// oldest first by their own time, but not while their job is open. Changes can be undone back to
// the last begin_batch(). Plain value, no thread of its own.

#include <map>
#include <utility>
#include <vector>

#include "actors/ledger/row_table.h"
#include "base/ids.h"
#include "base/time.h"

namespace gpupool {

struct RequestKey {
  RequestId id;
  std::uint64_t account = 0;  // see account_key()
  auto fields() { return std::tie(id, account); }
  friend auto operator<=>(const RequestKey&, const RequestKey&) = default;
};

// The same for ever: it stands in snapshots.
std::uint64_t account_key(const AccountId& account);

struct RememberedRequest {
  RequestKey request;
  std::uint64_t body_hash = 0;
  JobId job;
  auto fields() { return std::tie(request, body_hash, job); }
  const RequestKey& key() const { return request; }
  static std::uint64_t hash_of(const RequestKey& key) {
    return key.id.low ^ (key.id.high * 0x2545'f491'4f6c'dd1dU) ^ key.account;
  }
};

class RequestTable {
 public:
  const RememberedRequest* find(const RequestKey& key) const { return rows_.get(key); }
  std::size_t size() const { return rows_.size(); }

  // It is not older than any mark was.
  void insert(const RememberedRequest& request);
  // One of a table that was in_order(): older ones than its last mark have open jobs.
  void restore(const RememberedRequest& request, Instant mark);
  // Only one that forget_before() passed over: a younger one would leave its number behind.
  void forget(const RequestKey& key);

  // Forgets every id that was made before `mark` and for which `may_go(job)` holds; one for which
  // it does not has to be forgotten by name later.
  template <class MayGo>
  void forget_before(Instant mark, const MayGo& may_go) {
    while (!by_time_.empty() && by_time_.begin()->first < mark.ms) {
      auto node = by_time_.extract(by_time_.begin());
      for (const std::uint32_t number : node.mapped())
        if (may_go(rows_[number].job)) rows_.erase(number);
      if (in_batch_) changes_.push_back({.at = node.key(), .forgotten = std::move(node.mapped())});
    }
  }
  // Would forget_before(mark) forget any?
  template <class MayGo>
  bool any_before(Instant mark, const MayGo& may_go) const {
    for (auto it = by_time_.begin(); it != by_time_.end() && it->first < mark.ms; ++it)
      for (const std::uint32_t number : it->second)
        if (may_go(rows_[number].job)) return true;
    return false;
  }

  // In the order of their keys: for digests and snapshots.
  std::vector<RememberedRequest> in_order() const;

  void begin_batch();
  void keep_batch();
  void undo_batch();

 private:
  // One change of by_time_, to be taken back: a bucket that was forgotten, or one more id in it.
  struct Change {
    std::int64_t at = 0;
    std::vector<std::uint32_t> forgotten;  // empty: an id was added
  };

  RowTable<RememberedRequest> rows_;
  // The rows by the millisecond of their ids. Not there: those before the mark with an open job.
  std::map<std::int64_t, std::vector<std::uint32_t>> by_time_;
  std::vector<Change> changes_;  // the batch
  bool in_batch_ = false;
};

}  // namespace gpupool
