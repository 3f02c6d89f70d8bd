#include "actors/worker/result_store.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "actors/worker/process.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t hash_bytes = crypto_hash_sha256_BYTES;
constexpr std::int64_t block_bytes = 4096;
constexpr std::string_view unfinished_prefix = "unfinished-";

std::string sha256_of(std::string_view bytes) {
  unsigned char digest[hash_bytes];
  ::crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += digits[byte >> 4U];
    text += digits[byte & 15U];
  }
  return text;
}

// The only names that ever become a path: 64 lower-case hexadecimal digits.
bool is_hash(std::string_view name) {
  return name.size() == 2 * hash_bytes &&
         name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::int64_t counted(std::int64_t bytes) {
  return std::max<std::int64_t>((bytes + block_bytes - 1) / block_bytes, 1) * block_bytes;
}

Instant modified_at(const struct stat& status) {
  return {std::int64_t{status.st_mtim.tv_sec} * 1000 + status.st_mtim.tv_nsec / 1'000'000};
}

void set_modified(const std::filesystem::path& file, Instant at) {
  const timespec time{at.ms / 1000, at.ms % 1000 * 1'000'000};
  const timespec both[] = {time, time};
  ::utimensat(AT_FDCWD, file.c_str(), both, 0);
}

Status sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!directory || ::fsync(directory.get()) != 0)
    return system_error(folder.string() + " could not be synced");
  return ok();
}

Status write_synced(const std::filesystem::path& path, std::string_view bytes) {
  const FileDescriptor file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file) return system_error(path.string() + " could not be made");
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error(path.string() + " could not be written");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(file.get()) != 0) return system_error(path.string() + " could not be synced");
  return ok();
}

}  // namespace

ResultStore::ResultStore(std::filesystem::path folder, Bounds bounds)
    : folder_(std::move(folder)), bounds_(bounds) {}

Result<std::unique_ptr<ResultStore>> ResultStore::open(std::filesystem::path folder, Bounds bounds,
                                                       Instant now) {
  if (::sodium_init() < 0)
    return Error{.code = Errc::system_failed, .detail = "libsodium could not be initialised"};
  std::unique_ptr<ResultStore> store{new ResultStore(std::move(folder), bounds)};
  if (const Status status = store->scan(); !status) return status.error();
  store->drop_expired(now);
  store->make_room(0);
  return store;
}

Status ResultStore::scan() {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  std::filesystem::directory_iterator entry{folder_, failure};
  if (failure)
    return Error{.code = Errc::file_unreadable,
                 .detail = folder_.string() + ": " + failure.message()};
  for (; entry != std::filesystem::directory_iterator{}; entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    struct stat status {};
    if (name.starts_with(unfinished_prefix)) ::unlink(entry->path().c_str());
    if (!is_hash(name) || ::lstat(entry->path().c_str(), &status) != 0) continue;
    if (!S_ISREG(status.st_mode)) continue;
    keep(name, {counted(status.st_size), modified_at(status)});
  }
  return ok();
}

Result<std::string> ResultStore::store(Instant now, std::string_view bytes) {
  const auto size = static_cast<std::int64_t>(bytes.size());
  const std::int64_t most = std::min(bounds_.bytes_max, limits::result_bytes_max);
  if (counted(size) > most)
    return Error{.code = Errc::result_not_stored, .want = size, .have = most};
  std::string hash = sha256_of(bytes);
  const std::scoped_lock lock{mutex_};
  drop_expired(now);
  if (renew(now, hash)) return hash;
  make_room(counted(size));
  if (const Status status = write(hash, bytes); !status)
    return Error{.code = Errc::result_not_stored, .want = size, .detail = status.error().detail};
  set_modified(folder_ / hash, now);
  keep(hash, {counted(size), now});
  return hash;
}

bool ResultStore::renew(Instant now, const std::string& hash) {
  const auto known = kept_.find(hash);
  if (known == kept_.end()) return false;
  const Kept kept = known->second;
  struct stat status {};
  const bool is_there =
      ::lstat((folder_ / hash).c_str(), &status) == 0 && counted(status.st_size) == kept.bytes;
  if (!is_there) {  // somebody else took it away: it is stored anew
    drop(hash);
    return false;
  }
  by_age_.erase({kept.stored, hash});
  by_age_.insert({now, hash});
  known->second.stored = now;
  set_modified(folder_ / hash, now);
  return true;
}

void ResultStore::keep(const std::string& hash, Kept kept) {
  kept_[hash] = kept;
  by_age_.insert({kept.stored, hash});
  bytes_ += kept.bytes;
}

// A reader, or a restart, sees the whole result or none: it gets its name when it is durable.
Status ResultStore::write(const std::string& name, std::string_view bytes) const {
  const auto unfinished = folder_ / (std::string(unfinished_prefix) + name);
  Status status = write_synced(unfinished, bytes);
  if (status && ::rename(unfinished.c_str(), (folder_ / name).c_str()) != 0)
    status = system_error(name + " could not be renamed");
  if (!status) {
    ::unlink(unfinished.c_str());
    return status;
  }
  return sync_folder(folder_);
}

Result<ResultStore::Piece> ResultStore::read(const std::string& hash, std::int64_t offset) const {
  const Error gone{.code = Errc::result_gone};
  const std::scoped_lock lock{mutex_};
  if (!is_hash(hash) || offset < 0 || !kept_.contains(hash)) return gone;
  const FileDescriptor file{::open((folder_ / hash).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return gone;
  Piece piece{.total = status.st_size};
  const std::int64_t left = std::max<std::int64_t>(piece.total - offset, 0);
  piece.bytes.resize(static_cast<std::size_t>(std::min(left, limits::chunk_bytes_max)));
  for (std::size_t done = 0; done < piece.bytes.size();) {
    const ssize_t got = ::pread(file.get(), piece.bytes.data() + done, piece.bytes.size() - done,
                                offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return gone;
    done += static_cast<std::size_t>(got);
  }
  return piece;
}

void ResultStore::drop_old(Instant now) {
  const std::scoped_lock lock{mutex_};
  drop_expired(now);
}

std::int64_t ResultStore::bytes() const {
  const std::scoped_lock lock{mutex_};
  return bytes_;
}

void ResultStore::drop_expired(Instant now) {
  while (!by_age_.empty() && now - by_age_.begin()->first >= bounds_.keep)
    drop(std::string(by_age_.begin()->second));
}

void ResultStore::make_room(std::int64_t bytes) {
  while (!by_age_.empty() && bytes_ + bytes > bounds_.bytes_max)
    drop(std::string(by_age_.begin()->second));
}

void ResultStore::drop(const std::string& hash) {
  ::unlink((folder_ / hash).c_str());
  const Kept kept = kept_.at(hash);
  bytes_ -= kept.bytes;
  by_age_.erase({kept.stored, hash});
  kept_.erase(hash);
}

ResultChunk read_chunk(const ResultStore& store, const FetchResult& fetch) {
  ResultChunk chunk{
      .query = fetch.query, .session = fetch.session, .job = fetch.job, .offset = fetch.offset};
  auto piece = store.read(fetch.hash, fetch.offset);
  if (!piece) {
    chunk.error = piece.error().code;
    return chunk;
  }
  chunk.total = piece->total;
  chunk.bytes = std::move(piece->bytes);
  return chunk;
}

}  // namespace gpupool
