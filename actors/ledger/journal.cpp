#include "actors/ledger/journal.h"

namespace gpupool {
namespace {

constexpr std::size_t read_bytes_max = 4 * 1024 * 1024;

std::string named(std::uint64_t sequence) { return "record " + std::to_string(sequence); }

Error damage(std::uint64_t sequence, const std::string& what) {
  return {.code = Errc::journal_corrupt,
          .want = static_cast<std::int64_t>(sequence),
          .detail = named(sequence) + " " + what};
}

Error refusal(const std::string& why) { return {.code = Errc::journal_refused, .detail = why}; }

}  // namespace

Status Journal::read(JournalTail& from, const Visit& visit) {
  for (;;) {
    const auto batches = batches_after(from.sequence, read_bytes_max);
    if (!batches) return batches.error();
    if (batches->empty()) return ok();
    for (const std::string& batch : *batches) {
      const std::uint64_t before = from.sequence;
      if (const auto done = read_batch(batch, from, visit); !done) return done;
      // One that lies about its place would be read for ever.
      if (from.sequence <= before) return damage(before + 1, "cannot be read");
    }
  }
}

Status Journal::replay(JournalTail from, const std::function<Status(const Record&)>& visit) {
  std::uint64_t sequence = from.sequence;
  Instant latest = from.at;
  const auto done = read(from, [&](const StoredRecord& stored) -> Status {
    if (stored.sequence != ++sequence) return damage(sequence, "is missing");
    const auto record = record_of(stored);
    if (!record) return record.error();
    if (record->at < latest) return damage(sequence, "is older than the record before it");
    latest = record->at;
    return visit(*record);
  });
  if (!done) return done;
  const auto end = tail();
  if (!end) return end.error();
  return sequence == end->sequence ? ok() : Status{damage(sequence + 1, "is missing at the end")};
}

Status check_continuation(const JournalTail& tail, std::span<const Record> batch) {
  std::uint64_t sequence = tail.sequence;
  Instant at = tail.at;
  for (const Record& record : batch) {
    if (record.sequence != sequence + 1)
      return refusal(named(record.sequence) + " cannot follow " + named(sequence));
    if (record.at < at)
      return refusal(named(record.sequence) + " is older than the record before it");
    sequence = record.sequence;
    at = record.at;
  }
  return ok();
}

}  // namespace gpupool
