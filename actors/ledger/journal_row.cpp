#include "actors/ledger/journal_row.h"

#include <algorithm>
#include <array>

#include "base/pack.h"

namespace gpupool {
namespace {

// In the order of RecordBody's alternatives; the names stand in journals for ever.
constexpr std::array<std::string_view, std::variant_size_v<RecordBody>> kinds{
    "epoch_raised",     "hold_opened",  "lease_noted",     "job_requeued",
    "promise_restated", "hold_settled", "terms_set",       "account_tier_set",
    "token_revoked",    "draining_set", "announcement_set"};

}  // namespace

// FNV-1a: every step maps different states to different states, so one changed byte always shows,
// and any other damage but for one case in 2^64.
std::int64_t checksum_of(const JournalRow& row) {
  const std::string columns = std::to_string(row.sequence) + ' ' + std::to_string(row.at_ms) + ' ' +
                              row.kind + ' ' + row.body;
  return static_cast<std::int64_t>(hash_of(columns));
}

JournalRow row_of(const Record& record) {
  JournalRow row{.sequence = static_cast<std::int64_t>(record.sequence),
                 .at_ms = record.at.ms,
                 .kind = std::string(kinds.at(record.body.index())),
                 .body = pack(record.body)};
  row.checksum = checksum_of(row);
  return row;
}

Result<Record> record_of(const JournalRow& row) {
  if (checksum_of(row) != row.checksum)
    return Error{
        .code = Errc::journal_corrupt,
        .want = row.sequence,
        .detail = "record " + std::to_string(row.sequence) + " does not match its checksum"};
  const auto kind = std::find(kinds.begin(), kinds.end(), row.kind);
  auto body = unpack<RecordBody>(row.body);
  if (kind == kinds.end() || !body ||
      static_cast<std::ptrdiff_t>(body->index()) != kind - kinds.begin())
    return Error{.code = Errc::unsupported,
                 .detail = "record " + std::to_string(row.sequence) + " of kind " + row.kind +
                           " was written by another version of gpupool"};
  return Record{.sequence = static_cast<std::uint64_t>(row.sequence),
                .at = {row.at_ms},
                .body = std::move(*body)};
}

}  // namespace gpupool
