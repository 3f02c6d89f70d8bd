#pragma once
// Blob: the job request of a hold whose packed bytes are too many for a record. Records and the
// ledger's state have its outline, everything but the arguments, and the hash of the bytes; the
// bytes themselves lie in the journal beside the records, are durable with the hold, and go with
// the commit that closes it: nothing runs a closed job again. Pure.

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "actors/ledger/records.h"
#include "base/result.h"

namespace gpupool {

// The packed bytes of a request that needs a blob; empty: it fits into its record.
std::string blob_of(const JobRequest& request);

BlobRef blob_ref(std::string_view bytes);
inline bool has_blob(const Hold& hold) { return !hold.blob->hash.empty(); }

// As its record has it: the arguments left out.
Hold outline_of(const Hold& hold);

// The hold with the request of these bytes. journal_corrupt: they are not the ones that it names.
Result<Hold> with_blob(const Hold& outline, std::string_view bytes);

// What a batch changes beside its records: the blobs of the jobs that it leaves open, and the jobs
// of earlier batches whose blobs go.
struct BlobChanges {
  std::map<JobId, Shared<std::string>> added;
  std::vector<JobId> removed;
  bool empty() const { return added.empty() && removed.empty(); }
};

BlobChanges blob_changes(std::span<const Record> batch);

}  // namespace gpupool
