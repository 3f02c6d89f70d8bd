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

// A new file of the folder in which `path` stands, removed again unless it was moved away.
class FileBeside {
 public:
  explicit FileBeside(const std::filesystem::path& path)
      : name_((path.parent_path() / ("." + path.filename().string() + ".XXXXXX")).string()) {
    descriptor_ = mkostemp(name_.data(), O_CLOEXEC);
    error_number_ = descriptor_ < 0 ? errno : 0;
  }
  ~FileBeside() {
    if (descriptor_ < 0) return;
    close(descriptor_);
    if (!moved_) unlink(name_.c_str());
  }
  FileBeside(const FileBeside&) = delete;
  FileBeside& operator=(const FileBeside&) = delete;

  int error_number() const { return error_number_; }

  // mkostemp's file is the owner's alone; the finished one gets what the user's umask says.
  bool write_all(const std::string& bytes) {
    std::size_t written = 0;
    while (written < bytes.size()) {
      const ssize_t count = write(descriptor_, bytes.data() + written, bytes.size() - written);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return false;
      written += static_cast<std::size_t>(count);
    }
    const mode_t mask = umask(0);
    umask(mask);
    return fchmod(descriptor_, 0666 & ~mask) == 0 && fsync(descriptor_) == 0;
  }

  bool move_to(const std::filesystem::path& path) {
    moved_ = rename(name_.c_str(), path.c_str()) == 0;
    return moved_;
  }

 private:
  std::string name_;
  int descriptor_ = -1;
  int error_number_ = 0;
  bool moved_ = false;
};

}  // namespace

Status check_writable(const std::filesystem::path& path) {
  if (path.filename().empty()) return unwritable(path, "this names no file");
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return unwritable(path, EISDIR);
  const FileBeside probe(path);
  if (probe.error_number() != 0) return unwritable(path, probe.error_number());
  return ok();
}

Status write_whole(const std::filesystem::path& path, const std::string& bytes) {
  FileBeside file(path);
  if (file.error_number() != 0) return unwritable(path, file.error_number());
  if (!file.write_all(bytes) || !file.move_to(path)) return unwritable(path, errno);
  return ok();
}

std::filesystem::path free_name(const std::string& stem) {
  std::filesystem::path name = stem + ".png";
  std::error_code ignored;
  for (int number = 2; number < names_tried_max && std::filesystem::exists(name, ignored); ++number)
    name = stem + "-" + std::to_string(number) + ".png";
  return name;
}

}  // namespace gpupool
