#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gpupool {
namespace {

constexpr int names_tried_max = 10'000;

Error unwritable(const std::filesystem::path& path, const std::string& why) {
  return {.code = Errc::file_unwritable, .detail = path.string() + ": " + why};
}

Error unwritable(const std::filesystem::path& path, int error_number) {
  return unwritable(path, std::string(std::strerror(error_number)));
}

bool write_all(int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

// A device, a pipe or the like: it is written to. Only a regular file can be replaced by another.
bool is_special(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored) &&
         !std::filesystem::is_regular_file(path, ignored) &&
         !std::filesystem::is_directory(path, ignored);
}

// What a link leads to is replaced, and the link stays.
std::filesystem::path behind_links(const std::filesystem::path& path) {
  std::error_code missing;
  const std::filesystem::path target = std::filesystem::canonical(path, missing);
  return missing ? path : target;
}

}  // namespace

Status check_writable(const std::filesystem::path& path) {
  if (path.filename().empty()) return unwritable(path, "this names no file");
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return unwritable(path, EISDIR);
  // To open a pipe for a moment would end what its reader waits for.
  if (is_special(path)) return access(path.c_str(), W_OK) == 0 ? ok() : unwritable(path, errno);
  const auto probe = OutputFile::open(path);
  if (!probe) return probe.error();
  return ok();
}

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)),
      name_((path_.parent_path() / ("." + path_.filename().string() + ".XXXXXX")).string()) {}

Result<std::unique_ptr<OutputFile>> OutputFile::open(const std::filesystem::path& path) {
  const bool special = is_special(path);
  std::unique_ptr<OutputFile> file{new OutputFile{special ? path : behind_links(path)}};
  if (special) file->name_.clear();
  file->descriptor_ = special ? ::open(path.c_str(), O_WRONLY | O_CLOEXEC)
                              : mkostemp(file->name_.data(), O_CLOEXEC);
  if (file->descriptor_ < 0) return unwritable(path, errno);
  return file;
}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!moved_ && !name_.empty()) unlink(name_.c_str());
}

Status OutputFile::write(std::string_view bytes) {
  if (!write_all(descriptor_, bytes)) return unwritable(path_, errno);
  return ok();
}

// mkostemp's file is the owner's alone; the finished one gets what the user's umask says.
Status OutputFile::finish() {
  if (name_.empty()) return ok();
  const mode_t mask = umask(0);
  umask(mask);
  moved_ = fchmod(descriptor_, 0666 & ~mask) == 0 && fsync(descriptor_) == 0 &&
           rename(name_.c_str(), path_.c_str()) == 0;
  if (!moved_) return unwritable(path_, errno);
  return ok();
}

Status write_secret(const std::filesystem::path& path, std::string_view bytes) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0) return unwritable(path, errno);
  const bool written = write_all(descriptor, bytes) && fsync(descriptor) == 0;
  const int error_number = errno;
  close(descriptor);
  if (!written) return unwritable(path, error_number);
  return ok();
}

Status write_whole(const std::filesystem::path& path, const std::string& bytes) {
  const auto file = OutputFile::open(path);
  if (!file) return file.error();
  if (const Status written = (*file)->write(bytes); !written) return written;
  return (*file)->finish();
}

std::filesystem::path free_name(const std::string& stem, const std::string& extension) {
  std::filesystem::path name = stem + extension;
  std::error_code ignored;
  for (int number = 2; number < names_tried_max && std::filesystem::exists(name, ignored); ++number)
    name = stem + "-" + std::to_string(number) + extension;
  return name;
}

}  // namespace gpupool
