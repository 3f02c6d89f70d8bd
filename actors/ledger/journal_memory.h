#pragma once
// JournalMemory: the Journal for tests and the simulator. It stores the batches that a database
// would, and fails on demand in each way that a disk can. It outlives the ledger that it restarts.
// What a database does when it is opened again, restart() does: a batch that is there in part and
// was never acknowledged goes as a whole. (tests/actors/ledger/journal_torn_test.cpp shows that
// SQLite does so at every offset.) One that was acknowledged and is not whole is damage, and stays.
// One thread.

#include <map>
#include <utility>
#include <vector>

#include "actors/ledger/blob.h"
#include "actors/ledger/journal.h"

namespace gpupool {

enum class JournalFault : std::uint8_t {
  none = 0,
  refused,           // cleanly: nothing was written
  in_doubt_written,  // nobody can tell, and it was written
  in_doubt_lost,     // nobody can tell, and it was not
  torn,              // nobody can tell, and the beginning of it was: see tear_at()
};

class JournalMemory final : public Journal {
 public:
  // What happens to every append from now on.
  void set_fault(JournalFault fault) { fault_ = fault; }
  // Where a batch is torn: this many bytes, modulo its size, are there.
  void tear_at(std::uint64_t bytes) { torn_at_ = bytes; }
  // How many batches can still be written while appends are refused.
  void set_reserve(std::size_t batches) { reserve_ = batches; }

  Status append(std::span<const Record> batch, const ClockStamp& stamp) override {
    if (const auto continues = check_continuation(tail_, batch); !continues) return continues;
    if (fault_ == JournalFault::refused)
      return Error{.code = Errc::journal_refused, .detail = "the disk is full (injected)"};
    const Error in_doubt{.code = Errc::outcome_unknown, .detail = "the disk failed (injected)"};
    if (is_torn_) return in_doubt;  // as after every write that was
    if (fault_ == JournalFault::torn && !batch.empty()) {
      JournalTail never{tail_};
      const std::string bytes = encode_batch(batch, stamp, never);
      batches_.push_back(bytes.substr(0, torn_at_ % bytes.size()));
      is_torn_ = true;
    } else if (fault_ != JournalFault::in_doubt_lost && !batch.empty()) {
      batches_.push_back(encode_batch(batch, stamp, tail_));
      const BlobChanges changes = blob_changes(batch);
      for (const auto& [job, bytes] : changes.added) blobs_[job] = bytes;
      for (const JobId job : changes.removed) blobs_.erase(job);
    }
    return fault_ == JournalFault::none ? ok() : Status{in_doubt};
  }

  // The process that used it is gone, and another one opens it.
  void restart() {
    if (std::exchange(is_torn_, false)) batches_.pop_back();
  }

  Status append_from_reserve(std::span<const Record> batch, const ClockStamp& stamp) override {
    if (fault_ != JournalFault::refused || reserve_ == 0) return append(batch, stamp);
    --reserve_;
    fault_ = JournalFault::none;
    const Status written = append(batch, stamp);
    fault_ = JournalFault::refused;
    return written;
  }

  Result<std::vector<std::string>> batches_after(std::uint64_t sequence,
                                                 std::size_t bytes_max) override {
    const auto is_wanted = [sequence](const std::string& batch) {
      const auto end = tail_of_batch(batch);
      return !end || end->sequence > sequence;
    };
    auto first = batches_.size();  // mostly the last one or two are wanted
    while (first > 0 && is_wanted(batches_[first - 1])) --first;
    std::vector<std::string> found;
    for (std::size_t bytes = 0; first < batches_.size(); ++first) {
      bytes += batches_[first].size();
      if (!found.empty() && bytes > bytes_max) break;
      found.push_back(batches_[first]);
    }
    return found;
  }

  Result<JournalTail> tail() override { return tail_; }

  Result<std::string> blob(JobId job) override {
    const auto found = blobs_.find(job);
    return found == blobs_.end() ? std::string() : found->second;
  }

  Status add_to_uploads(std::span<const UploadPiece> pieces) override {
    if (fault_ == JournalFault::refused)
      return Error{.code = Errc::journal_refused, .detail = "the disk is full (injected)"};
    if (fault_ == JournalFault::none)
      for (const UploadPiece& piece : pieces) uploads_[piece.name].try_emplace(piece.offset, piece);
    return fault_ == JournalFault::none
               ? ok()
               : Status{Error{.code = Errc::outcome_unknown, .detail = "injected"}};
  }
  Result<std::vector<UploadFound>> uploads() override {
    std::vector<UploadFound> found;
    for (const auto& [name, pieces] : uploads_) {
      found.push_back({.name = name, .total = pieces.begin()->second.total});
      for (const auto& [offset, piece] : pieces) found.back().stored += std::ssize(piece.bytes);
    }
    return found;
  }
  Result<std::string> upload_piece(const UploadName& name, std::int64_t offset) override {
    const auto found = uploads_.find(name);
    if (found == uploads_.end() || !found->second.contains(offset)) return std::string();
    return found->second.at(offset).bytes;
  }
  Status remove_upload(const UploadName& name) override {
    uploads_.erase(name);
    return ok();
  }

  std::vector<std::string>& batches() { return batches_; }  // for tests to look at and to damage
  std::map<JobId, std::string>& blobs() { return blobs_; }  // likewise

 private:
  std::vector<std::string> batches_;
  std::map<JobId, std::string> blobs_;
  std::map<UploadName, std::map<std::int64_t, UploadPiece>> uploads_;
  JournalTail tail_;
  JournalFault fault_ = JournalFault::none;
  std::size_t reserve_ = 0;
  std::uint64_t torn_at_ = 0;
  bool is_torn_ = false;  // the last batch is there in part
};

}  // namespace gpupool
