// Any bytes as a ledger's history: a sequence of batches, each behind its size. They decode to
// records or to an error; what decodes has one spelling; and an audit can be told all of it and
// crashes at none, whatever it says. What is damaged here cannot carry right digests, so the audit
// is told everything a second time as if it had been written so: a forger can make digests too.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "actors/ledger/audit.h"
#include "actors/ledger/batch.h"
#include "base/ensure.h"
#include "base/pack.h"

namespace gpupool {
namespace {

// A batch, taken off `bytes`: a size of two bytes, little-endian, and as much as there is of it.
std::string_view take_batch(std::string_view& bytes) {
  std::uint16_t size = 0;
  if (bytes.size() < sizeof size) return std::exchange(bytes, {});
  std::memcpy(&size, bytes.data(), sizeof size);
  bytes.remove_prefix(sizeof size);
  const std::string_view batch = bytes.substr(0, size);
  bytes.remove_prefix(batch.size());
  return batch;
}

// A record that was read is written as it was read, and reads the same again.
void check_spelling(const StoredRecord& stored) {
  StoredRecord trusted = stored;
  trusted.intact = true;
  const Result<Record> record = record_of(trusted);
  if (!record) return;
  JournalTail tail{.sequence = record->sequence - 1};
  const std::string bytes = encode_batch({&*record, 1}, ClockStamp{}, tail);
  JournalTail again{.sequence = record->sequence - 1};
  std::size_t seen = 0;
  const Status read = read_batch(bytes, again, [&](const StoredRecord& one) -> Status {
    GPUPOOL_ENSURE(one.intact && one.sequence == record->sequence && one.at == record->at);
    GPUPOOL_ENSURE(one.body == pack(record->body));
    ++seen;
    return ok();
  });
  GPUPOOL_ENSURE(read && seen == 1 && again.digest == tail.digest, seen);
}

}  // namespace
}  // namespace gpupool

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace gpupool;
  static const Config config = default_config();
  std::string_view rest{reinterpret_cast<const char*>(bytes), size};
  JournalTail tail;
  Audit audit(config, std::nullopt);
  Audit trusting(config, config.window);
  while (!rest.empty()) {
    const std::string_view batch = take_batch(rest);
    const auto end = tail_of_batch(batch);
    const Status read = read_batch(batch, tail, [&](const StoredRecord& stored) {
      check_spelling(stored);
      audit.read(stored);
      StoredRecord trusted = stored;
      trusted.intact = true;
      trusting.read(trusted);
      return ok();
    });
    if (!read) {
      GPUPOOL_ENSURE(read.error().code == Errc::journal_corrupt);
      break;
    }
    GPUPOOL_ENSURE(end && end->sequence == tail.sequence && end->digest == tail.digest);
  }
  (void)audit.finish();
  (void)trusting.finish();
  return 0;
}
