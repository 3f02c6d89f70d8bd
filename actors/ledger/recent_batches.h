#pragma once
// RecentBatches: the newest batches that a journal wrote, for whoever follows it closely and would
// otherwise have them read again: at most limits::journal_read_bytes, and the last one whatever its
// size. One thread.

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/limits.h"

namespace gpupool {

class RecentBatches {
 public:
  // It follows the one before, and record `after`.
  void add(std::uint64_t after, std::string batch) {
    bytes_ += batch.size();
    batches_.emplace_back(after, std::move(batch));
    while (batches_.size() > 1 && std::cmp_greater(bytes_, limits::journal_read_bytes)) {
      bytes_ -= batches_.front().second.size();
      batches_.pop_front();
    }
  }

  // As Journal::batches_after(); nothing: some of them are not here.
  std::optional<std::vector<std::string>> after(std::uint64_t sequence,
                                                std::size_t bytes_max) const {
    auto one = batches_.begin();
    while (one != batches_.end() && one->first < sequence) ++one;
    if (one == batches_.end() || one->first != sequence) return std::nullopt;
    std::vector<std::string> found;
    for (std::size_t bytes = 0; one != batches_.end(); ++one) {
      bytes += one->second.size();
      if (!found.empty() && bytes > bytes_max) break;
      found.push_back(one->second);
    }
    return found;
  }

 private:
  std::deque<std::pair<std::uint64_t, std::string>> batches_;  // each with what it follows
  std::size_t bytes_ = 0;
};

}  // namespace gpupool
