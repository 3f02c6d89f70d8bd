#include "actors/ledger/journal_sqlite_reserve.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace gpupool {

Result<DiskReserve> DiskReserve::open(const std::string& path, std::int64_t bytes) {
  if (bytes == 0) return DiskReserve();
  const int file = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0)
    return Error{
        .code = Errc::file_unwritable, .want = bytes, .detail = path + ": " + std::strerror(errno)};
  DiskReserve reserve(file, bytes);
  if (reserve.restore()) return reserve;
  return Error{.code = Errc::file_unwritable,
               .want = bytes,
               .detail = path + ": no room for the reserve of " + std::to_string(bytes) +
                         " bytes; make room, or set a smaller ledger.reserve_bytes"};
}

DiskReserve::DiskReserve(DiskReserve&& other) noexcept { *this = std::move(other); }

DiskReserve& DiskReserve::operator=(DiskReserve&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(bytes_, other.bytes_);
  std::swap(is_whole_, other.is_whole_);
  return *this;
}

DiskReserve::~DiskReserve() {
  if (file_ >= 0) ::close(file_);
}

bool DiskReserve::release() {
  if (file_ < 0 || !is_whole_ || ::ftruncate(file_, 0) != 0) return false;
  is_whole_ = false;
  return true;
}

// Half of it would serve nobody: what an attempt in vain has taken goes back at once. A reserve of
// an earlier size is cut to this one.
bool DiskReserve::restore() {
  if (is_whole_) return true;
  is_whole_ = ::posix_fallocate(file_, 0, bytes_) == 0 && ::ftruncate(file_, bytes_) == 0;
  if (!is_whole_ && ::ftruncate(file_, 0) != 0) return false;
  return is_whole_;
}

}  // namespace gpupool
