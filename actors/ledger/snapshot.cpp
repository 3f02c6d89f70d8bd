#include "actors/ledger/snapshot.h"

#include <algorithm>

namespace gpupool {
std::string encode_snapshot(const Snapshot& snapshot, const std::string& build) {
  RowWriter head;
  const JournalTail& at = snapshot.at;
  head.put(SnapshotHead{.build = build,
                        .sequence = at.sequence,
                        .at = at.at,
                        .stamp = at.stamp,
                        .digest = {at.digest.begin(), at.digest.end()}});
  std::string bytes = head.take() + snapshot.state;
  const Digest digest = digest_of(bytes);
  return bytes.append(digest.begin(), digest.end());
}

Result<Snapshot> decode_snapshot(std::string_view bytes, const std::string& build) {
  const Error malformed{.code = Errc::file_malformed,
                        .have = static_cast<std::int64_t>(bytes.size()),
                        .detail = "the snapshot is damaged"};
  if (bytes.size() < sizeof(Digest)) return malformed;
  const std::string_view content = bytes.substr(0, bytes.size() - sizeof(Digest));
  const Digest digest = digest_of(content);
  if (!std::equal(digest.begin(), digest.end(), bytes.begin() + std::ssize(content)))
    return malformed;
  RowReader reader(content);
  SnapshotHead head;
  if (!reader.take(head)) return malformed;
  if (head.build != build)
    return Error{.code = Errc::unsupported,
                 .detail = "the snapshot was written by gpupool " + head.build};
  if (head.digest.size() != sizeof(Digest)) return malformed;
  Snapshot snapshot{.at = {.sequence = head.sequence, .at = head.at, .stamp = head.stamp},
                    .state = std::string(reader.rest())};
  std::copy(head.digest.begin(), head.digest.end(), snapshot.at.digest.begin());
  return snapshot;
}

}  // namespace gpupool
