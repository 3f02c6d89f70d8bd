#include "actors/ledger/snapshot_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace gpupool {
namespace {

Error failed(Errc code, const std::string& path, const std::string& doing) {
  return {.code = code,
          .have = errno,
          .detail = path + ": " + doing + ": " + std::generic_category().message(errno)};
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return ::fsync(file) == 0;
}

}  // namespace

Result<std::optional<Snapshot>> read_snapshot(const std::string& path, const std::string& build) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::optional<Snapshot>{};
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) return failed(Errc::file_unreadable, path, "read");
  auto snapshot = decode_snapshot(bytes, build);
  if (snapshot) return std::optional{std::move(*snapshot)};
  Error error = snapshot.error();
  error.detail = path + ": " + error.detail;
  return error;
}

Status write_snapshot(const std::string& path, const Snapshot& snapshot, const std::string& build) {
  const std::string fresh = path + ".new";
  const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failed(Errc::file_unwritable, fresh, "create");
  const bool is_written = write_all(file, encode_snapshot(snapshot, build));
  const Status status = is_written ? ok() : Status{failed(Errc::file_unwritable, fresh, "write")};
  ::close(file);
  if (is_written && std::rename(fresh.c_str(), path.c_str()) == 0) return ok();
  const Status why = is_written ? Status{failed(Errc::file_unwritable, path, "replace")} : status;
  ::unlink(fresh.c_str());
  return why;
}

}  // namespace gpupool
