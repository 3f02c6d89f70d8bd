#pragma once
// DiskReserve: room kept back on a disk for the day when it is full: a file of allocated blocks
// that is emptied when they are needed and filled again when there is room. It owns the file;
// whoever finds the disk full may release the room, and nobody but its user gets it before others
// do. One thread.

#include <cstdint>
#include <string>

#include "base/result.h"

namespace gpupool {

class DiskReserve {
 public:
  // None: always whole, nothing to release.
  DiskReserve() = default;
  // file_unwritable, want = `bytes`: there is no such room, or the file cannot be made.
  static Result<DiskReserve> open(const std::string& path, std::int64_t bytes);

  DiskReserve(DiskReserve&& other) noexcept;
  DiskReserve& operator=(DiskReserve&& other) noexcept;
  ~DiskReserve();

  bool is_whole() const { return is_whole_; }
  std::int64_t bytes() const { return bytes_; }
  // Gives the room back to the disk. False: there was none to give.
  bool release();
  // Takes the room again; false: it is not there yet.
  bool restore();

 private:
  DiskReserve(int file, std::int64_t bytes) : file_(file), bytes_(bytes), is_whole_(false) {}

  int file_ = -1;
  std::int64_t bytes_ = 0;
  bool is_whole_ = true;
};

}  // namespace gpupool
