#pragma once
// JournalRow: a record as the journals store it: columns that a person can read with the database's
// own tool, the packed body, and a checksum over all of it, so that any changed byte is found and
// located. Pure; shared by every journal.

#include <string>

#include "actors/ledger/records.h"
#include "base/result.h"

namespace gpupool {

struct JournalRow {
  std::int64_t sequence = 0;
  std::int64_t at_ms = 0;
  std::string kind;  // "hold_opened"
  std::string body;  // pack() of the record's RecordBody
  std::int64_t checksum = 0;
};

// What the columns before it have to add up to.
std::int64_t checksum_of(const JournalRow& row);

JournalRow row_of(const Record& record);

// journal_corrupt, want = the row's sequence: not as it was written. unsupported: written as it
// stands, but by a newer gpupool.
Result<Record> record_of(const JournalRow& row);

}  // namespace gpupool
