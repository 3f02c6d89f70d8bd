#include "cli/pid_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gpupool {
namespace {

constexpr int tries_max = 10;

Error unwritable(const std::string& path) {
  return {.code = Errc::file_unwritable,
          .detail = "the pid file " + path + ": " + std::strerror(errno)};
}

std::string first_line_of(int file) {
  char text[32] = {};
  const ssize_t got = ::pread(file, text, sizeof text - 1, 0);
  const std::string line(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  return line.substr(0, line.find('\n'));
}

// Whether the locked file still is the one that the path names: its owner may just have removed it.
bool is_current(int file, const std::string& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(file, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

Result<std::unique_ptr<PidFile>> PidFile::take(const std::string& path) {
  for (int tries = 0; tries < tries_max; ++tries) {
    FileDescriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)};
    if (!file) return unwritable(path);
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
      return Error{.code = Errc::journal_locked,
                   .detail = "the pid file " + path + " is held by the running process " +
                             first_line_of(file.get())};
    if (!is_current(file.get(), path)) continue;
    const std::string line = std::to_string(::getpid()) + "\n";
    if (::ftruncate(file.get(), 0) != 0 ||
        ::pwrite(file.get(), line.data(), line.size(), 0) != std::ssize(line))
      return unwritable(path);
    return std::unique_ptr<PidFile>(new PidFile(path, std::move(file)));
  }
  return Error{.code = Errc::file_unwritable, .detail = "the pid file " + path + " keeps changing"};
}

PidFile::~PidFile() { ::unlink(path_.c_str()); }

}  // namespace gpupool
