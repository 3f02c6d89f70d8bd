#pragma once
// The results of a node's runs: files named by the SHA-256 of their bytes. It owns its folder. What
// store() has returned is durable; results go after `keep`, or oldest first when the bytes are too
// many. `now` is Unix time. Usable from any thread: the executors' thread stores, the shell reads.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

class ResultStore {
 public:
  struct Bounds {
    Duration keep = hours(24);
    std::int64_t bytes_max = 0;
  };
  struct Piece {
    std::string bytes;
    std::int64_t total = 0;  // of the whole result
  };

  // Makes the folder if need be, takes what is in it and sweeps what an interrupted store() left.
  static Result<std::unique_ptr<ResultStore>> open(std::filesystem::path folder, Bounds bounds,
                                                   Instant now);

  // Returns the hash. Errors: result_not_stored with the bytes; then nothing was kept.
  Result<std::string> store(Instant now, std::string_view bytes);

  // At most limits::chunk_bytes_max from `offset`; no bytes past the end. Errors: result_gone.
  Result<Piece> read(const std::string& hash, std::int64_t offset) const;

  // Drops what is older than `keep`. store() does so too.
  void drop_old(Instant now);
  std::int64_t bytes() const;

 private:
  struct Kept {
    std::int64_t bytes = 0;  // as counted: whole blocks, so that tiny results count too
    Instant stored{};
  };

  ResultStore(std::filesystem::path folder, Bounds bounds);
  Status scan();
  Status write(const std::string& name, std::string_view bytes) const;
  // Whether these bytes lie here already; if so they are kept anew from `now` on.
  bool renew(Instant now, const std::string& hash);
  void keep(const std::string& hash, Kept kept);
  void make_room(std::int64_t bytes);
  void drop_expired(Instant now);
  void drop(const std::string& hash);

  const std::filesystem::path folder_;
  const Bounds bounds_;
  mutable std::mutex mutex_;  // over everything below and the folder's content
  std::map<std::string, Kept> kept_;
  std::set<std::pair<Instant, std::string>> by_age_;  // the same ones, oldest first
  std::int64_t bytes_ = 0;
};

// The answer to FetchResult: the piece, or the error in its place.
ResultChunk read_chunk(const ResultStore& store, const FetchResult& fetch);

}  // namespace gpupool
