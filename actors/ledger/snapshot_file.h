#pragma once
// A ledger's snapshot in a file beside it: replaced whole (written, synced, renamed), so that there
// is always an old one or a new one, or none. Any thread, one at a time.

#include <optional>
#include <string>

#include "actors/ledger/snapshot.h"

namespace gpupool {

// None: there is no such file. Otherwise why it cannot be used: file_unreadable, file_malformed,
// unsupported (of another build).
Result<std::optional<Snapshot>> read_snapshot(const std::string& path, const std::string& build);

// file_unwritable: the old one, if there was one, is still there.
Status write_snapshot(const std::string& path, const Snapshot& snapshot, const std::string& build);

}  // namespace gpupool
