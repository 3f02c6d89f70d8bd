#pragma once
// JournalMemory: the Journal for tests and the simulator. It stores the rows that a database would,
// and fails on demand in each way that a disk can. It outlives the ledger that it restarts. One
// thread.

#include <optional>
#include <utility>
#include <vector>

#include "actors/ledger/journal.h"
#include "actors/ledger/journal_row.h"

namespace gpupool {

enum class JournalFault : std::uint8_t {
  none = 0,
  refused,           // cleanly: nothing was written
  in_doubt_written,  // nobody can tell, and it was written
  in_doubt_lost,     // nobody can tell, and it was not
};

class JournalMemory final : public Journal {
 public:
  // What happens to every append from now on.
  void set_fault(JournalFault fault) { fault_ = fault; }

  Status append(std::span<const Record> batch, const ClockStamp& stamp) override {
    const auto end = tail();
    if (!end) return end.error();
    if (const auto continues = check_continuation(*end, batch); !continues) return continues;
    if (fault_ == JournalFault::refused)
      return Error{.code = Errc::journal_refused, .detail = "the disk is full (injected)"};
    if (fault_ != JournalFault::in_doubt_lost && !batch.empty()) {
      for (const Record& record : batch) rows_.push_back(row_of(record));
      stamp_ = stamp;
      ++appends_;
    }
    if (fault_ != JournalFault::none)
      return Error{.code = Errc::outcome_unknown, .detail = "the disk failed (injected)"};
    return ok();
  }

  Status replay(const std::function<Status(const Record&)>& visit) override {
    std::int64_t sequence = 0;
    for (const JournalRow& row : rows_) {
      ++sequence;
      if (row.sequence != sequence)
        return Error{.code = Errc::journal_corrupt,
                     .want = sequence,
                     .detail = "record " + std::to_string(sequence) + " is missing"};
      const auto record = record_of(row);
      if (!record) return record.error();
      if (const auto visited = visit(*record); !visited) return visited;
    }
    return ok();
  }

  Result<JournalTail> tail() override {
    if (rows_.empty()) return JournalTail{};
    return JournalTail{.sequence = static_cast<std::uint64_t>(rows_.back().sequence),
                       .at = {rows_.back().at_ms},
                       .stamp = stamp_};
  }

  std::vector<JournalRow>& rows() { return rows_; }        // for tests to look at and to damage
  std::uint64_t append_count() const { return appends_; }  // batches written

 private:
  std::vector<JournalRow> rows_;
  ClockStamp stamp_;
  JournalFault fault_ = JournalFault::none;
  std::uint64_t appends_ = 0;
};

}  // namespace gpupool
