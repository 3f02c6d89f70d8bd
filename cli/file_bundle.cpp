#include "cli/file_bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "actors/session/request_shape.h"
#include "actors/worker/process.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t part_bytes_max = 255;  // of a file system
constexpr std::int64_t tar_block = 512;
// What an archive takes beside the bytes of its files: heads, long names, padding, and its end.
constexpr std::int64_t overhead_a_file = 8 * tar_block;
constexpr std::size_t left_out_shown_max = 8;

Error bad(std::string detail) { return {.code = Errc::bad_request, .detail = std::move(detail)}; }

// For an error: short, and plain on any terminal.
std::string shown(std::string_view name) {
  constexpr std::size_t shown_max = 80;
  std::string text = "\"";
  for (const char c : name.substr(0, shown_max)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > shown_max ? "...\"" : "\"");
}

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto slash = name.find('/');
    parts.push_back(name.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    name.remove_prefix(slash + 1);
  }
}

// The others come with what lies in them.
void keep_empty_folders(std::vector<BundledFile>& files) {
  std::set<std::string> known;
  for (const BundledFile& file : files)
    for (auto slash = file.name.find('/'); slash != std::string::npos;
         slash = file.name.find('/', slash + 1))
      known.insert(file.name.substr(0, slash));
  std::erase_if(files, [&](const BundledFile& file) {
    return file.is_folder && !known.insert(file.name).second;
  });
}

// Together: no name twice, and none that is a folder of another one.
Status check_names(std::vector<BundledFile>& files) {
  keep_empty_folders(files);
  if (std::cmp_greater(files.size(), limits::files_max))
    return bad(std::to_string(files.size()) + " files; at most " +
               std::to_string(limits::files_max) + " can travel with a run");
  std::sort(files.begin(), files.end(),
            [](const BundledFile& a, const BundledFile& b) { return a.name < b.name; });
  std::set<std::string_view> names;
  for (const BundledFile& file : files) {
    if (Status good = check_file_name(file.name); !good) return good;
    if (!names.insert(file.name).second) return bad("two files are called " + shown(file.name));
  }
  for (const BundledFile& file : files)
    for (auto slash = file.name.find('/'); slash != std::string::npos;
         slash = file.name.find('/', slash + 1))
      if (names.contains(std::string_view(file.name).substr(0, slash)))
        return bad(shown(file.name.substr(0, slash)) + " is a file and the folder of another one");
  return ok();
}

Error archive_error(archive* from) {
  const char* words = ::archive_error_string(from);
  return bad(std::string("the files are no tar archive: ") + (words != nullptr ? words : "broken"));
}

// libarchive translates names by the thread's locale, and in one without UTF-8 it has none for
// most.
class Utf8Locale {
 public:
  Utf8Locale() : utf8_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (utf8_ != nullptr) before_ = ::uselocale(utf8_);
  }
  ~Utf8Locale() {
    if (utf8_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(utf8_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t utf8_;
  locale_t before_ = nullptr;
};

using Reader = std::unique_ptr<archive, int (*)(archive*)>;
using Entry = std::unique_ptr<archive_entry, void (*)(archive_entry*)>;

la_ssize_t append(archive*, void* to, const void* bytes, std::size_t size) {
  static_cast<std::string*>(to)->append(static_cast<const char*>(bytes), size);
  return static_cast<la_ssize_t>(size);
}

Result<std::string> read_entry(archive* from, std::int64_t bytes_left) {
  std::string bytes;
  char buffer[64 * 1024];
  for (;;) {
    const la_ssize_t got = ::archive_read_data(from, buffer, sizeof buffer);
    if (got < 0) return archive_error(from);
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(got));
    if (std::ssize(bytes) > bytes_left)
      return bad("the files are larger than their archive: one has holes");
  }
}

// ---- Folders -----------------------------------------------------------------------------------

class FolderReading {
 public:
  explicit FolderReading(FolderBounds bounds) : bounds_(bounds) {}

  // Takes the descriptor over.
  void read(FileDescriptor folder, const std::string& prefix, std::int64_t depth) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> list{::fdopendir(folder.get()), ::closedir};
    if (!list) return leave_out(prefix, "cannot be read");
    const int number = folder.release();
    while (const dirent* entry = ::readdir(list.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      if (std::cmp_greater(names.size(), 16 * bounds_.files_max))
        return leave_out(prefix, "has too many entries");
    }
    if (names.empty() && !prefix.empty()) take_folder(prefix.substr(0, prefix.size() - 1));
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) take(number, name, prefix + name, depth);
  }

  FolderContents finish() { return std::move(contents_); }

 private:
  void take(int folder, const std::string& name, const std::string& path, std::int64_t depth) {
    struct stat seen {};
    if (::fstatat(folder, name.c_str(), &seen, AT_SYMLINK_NOFOLLOW) != 0)
      return leave_out(path, std::strerror(errno));
    if (S_ISDIR(seen.st_mode)) {
      if (depth >= limits::file_depth_max) return leave_out(path, "lies too deep");
      FileDescriptor inner{
          ::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
      if (!inner) return leave_out(path, std::strerror(errno));
      return read(std::move(inner), path + "/", depth + 1);
    }
    if (S_ISLNK(seen.st_mode)) return leave_out(path, "is a link");
    if (!S_ISREG(seen.st_mode)) return leave_out(path, "is not a plain file");
    take_file(folder, name, path);
  }

  // Whether one more of this name may come; if not, it is left out.
  bool admit(const std::string& path) {
    if (const Status good = check_file_name(path); !good) {
      leave_out(path, "has a bad name");
      return false;
    }
    if (std::cmp_less(contents_.files.size(), bounds_.files_max)) return true;
    leave_out(path, "is one of more than " + std::to_string(bounds_.files_max) + " files");
    return false;
  }

  void take_folder(const std::string& path) {
    if (!admit(path)) return;
    if (bytes_ + overhead_a_file > bounds_.bytes_max)
      return leave_out(path,
                       "is too much: all of it may have " + std::to_string(bounds_.bytes_max));
    bytes_ += overhead_a_file;
    contents_.files.push_back({.name = path, .is_folder = true});
  }

  void take_file(int folder, const std::string& name, const std::string& path) {
    if (!admit(path)) return;
    const FileDescriptor file{
        ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    struct stat seen {};
    if (!file || ::fstat(file.get(), &seen) != 0) return leave_out(path, std::strerror(errno));
    if (!S_ISREG(seen.st_mode)) return leave_out(path, "is not a plain file");
    const std::int64_t room = bounds_.bytes_max - bytes_ - overhead_a_file;
    if (seen.st_size > room)
      return leave_out(path, "of " + std::to_string(seen.st_size) +
                                 " bytes is too much: all of it " + "may have " +
                                 std::to_string(bounds_.bytes_max));
    BundledFile taken{.name = path, .bytes = {}, .is_executable = (seen.st_mode & S_IXUSR) != 0};
    char buffer[64 * 1024];
    ssize_t got = 0;
    while (std::ssize(taken.bytes) <= room && (got = ::read(file.get(), buffer, sizeof buffer)) > 0)
      taken.bytes.append(buffer, static_cast<std::size_t>(got));
    if (got < 0 || std::ssize(taken.bytes) > room) return leave_out(path, "could not be read");
    bytes_ += std::ssize(taken.bytes) + overhead_a_file;
    contents_.files.push_back(std::move(taken));
  }

  void leave_out(const std::string& path, const std::string& why) {
    ++contents_.left_out_count;
    if (contents_.left_out.size() < left_out_shown_max)
      contents_.left_out.push_back(shown(path) + " " + why);
  }

  const FolderBounds bounds_;
  std::int64_t bytes_ = 2 * tar_block;
  FolderContents contents_;
};

Error unwritable(const std::string& path) {
  return {.code = Errc::file_unwritable, .detail = path + ": " + std::strerror(errno)};
}

// The folder around a file, or the folder itself, made part by part, through no link.
Result<FileDescriptor> folder_of(int root, const BundledFile& file) {
  const std::string& name = file.name;
  FileDescriptor folder{::fcntl(root, F_DUPFD_CLOEXEC, 0)};
  auto parts = parts_of(name);
  if (!file.is_folder) parts.pop_back();
  for (const std::string_view part : parts) {
    const std::string each(part);
    if (::mkdirat(folder.get(), each.c_str(), 0755) != 0 && errno != EEXIST)
      return unwritable(name);
    FileDescriptor inner{
        ::openat(folder.get(), each.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!inner) return unwritable(name);
    folder = std::move(inner);
  }
  return folder;
}

Status write_file(int root, const BundledFile& file) {
  const auto folder = folder_of(root, file);
  if (!folder) return folder.error();
  if (file.is_folder) return ok();
  const std::string name(parts_of(file.name).back());
  const std::string beside = ".gpupool-" + std::to_string(::getpid()) + ".new";
  ::unlinkat(folder->get(), beside.c_str(), 0);
  FileDescriptor out{::openat(folder->get(), beside.c_str(),
                              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                              file.is_executable ? 0755 : 0644)};
  if (!out) return unwritable(file.name);
  std::string_view rest = file.bytes;
  while (!rest.empty()) {
    const ssize_t written = ::write(out.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const Error error = unwritable(file.name);
      ::unlinkat(folder->get(), beside.c_str(), 0);
      return error;
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  out.close();
  if (::renameat(folder->get(), beside.c_str(), folder->get(), name.c_str()) == 0) return ok();
  const Error error = unwritable(file.name);
  ::unlinkat(folder->get(), beside.c_str(), 0);
  return error;
}

}  // namespace

Status check_file_name(std::string_view name) {
  if (name.empty() || std::cmp_greater(name.size(), limits::file_name_bytes_max))
    return bad("a file's name has " + std::to_string(name.size()) + " bytes; 1 to " +
               std::to_string(limits::file_name_bytes_max) + " are allowed");
  if (!is_utf8(name)) return bad("a file's name is not UTF-8: " + shown(name));
  if (std::any_of(name.begin(), name.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    return bad("a file's name has a control character: " + shown(name));
  const auto parts = parts_of(name);
  if (std::cmp_greater(parts.size(), limits::file_depth_max + 1))
    return bad(shown(name) + " lies in more than " + std::to_string(limits::file_depth_max) +
               " folders");
  for (const std::string_view part : parts) {
    if (part.empty())
      return bad(shown(name) + " is no relative name: it begins or ends with \"/\", or has two");
    if (part == "." || part == "..") return bad(shown(name) + " has \"" + std::string(part) + "\"");
    if (part.size() > part_bytes_max) return bad("a part of a file's name is too long");
  }
  return ok();
}

Result<std::string> pack_files(std::vector<BundledFile> files) {
  if (const Status good = check_names(files); !good) return good.error();
  const Utf8Locale utf8;
  std::string bytes;
  const Reader to{::archive_write_new(), ::archive_write_free};
  ::archive_write_set_format_pax_restricted(to.get());
  ::archive_write_set_options(to.get(), "hdrcharset=UTF-8");
  ::archive_write_set_bytes_in_last_block(to.get(), 1);
  if (::archive_write_open(to.get(), &bytes, nullptr, append, nullptr) != ARCHIVE_OK)
    return archive_error(to.get());
  const Entry entry{::archive_entry_new(), ::archive_entry_free};
  for (const BundledFile& file : files) {
    ::archive_entry_clear(entry.get());
    if (::archive_entry_update_pathname_utf8(entry.get(), file.name.c_str()) == 0)
      return bad(shown(file.name) + " can't be written into an archive");
    ::archive_entry_set_filetype(entry.get(), file.is_folder ? AE_IFDIR : AE_IFREG);
    ::archive_entry_set_perm(entry.get(), file.is_folder || file.is_executable ? 0755 : 0644);
    ::archive_entry_set_size(entry.get(), std::ssize(file.bytes));
    ::archive_entry_set_mtime(entry.get(), 0, 0);
    if (::archive_write_header(to.get(), entry.get()) < ARCHIVE_WARN ||
        ::archive_write_data(to.get(), file.bytes.data(), file.bytes.size()) !=
            std::ssize(file.bytes))
      return archive_error(to.get());
  }
  if (::archive_write_close(to.get()) != ARCHIVE_OK) return archive_error(to.get());
  return bytes;
}

Result<std::vector<BundledFile>> unpack_files(std::string_view archive_bytes) {
  const Utf8Locale utf8;
  const Reader from{::archive_read_new(), ::archive_read_free};
  ::archive_read_support_format_tar(from.get());
  if (::archive_read_open_memory(from.get(), archive_bytes.data(), archive_bytes.size()) !=
      ARCHIVE_OK)
    return archive_error(from.get());
  std::vector<BundledFile> files;
  std::int64_t bytes_left = std::ssize(archive_bytes);
  std::vector<BundledFile> folders;
  for (archive_entry* entry = nullptr;;) {
    const int got = ::archive_read_next_header(from.get(), &entry);
    if (got == ARCHIVE_EOF) break;
    if (got < ARCHIVE_WARN) return archive_error(from.get());
    const char* utf8 = ::archive_entry_pathname_utf8(entry);
    const char* plain = utf8 != nullptr ? utf8 : ::archive_entry_pathname(entry);
    std::string name = plain != nullptr ? plain : "";
    if (::archive_entry_hardlink(entry) != nullptr) return bad(shown(name) + " is a link");
    const bool is_folder = ::archive_entry_filetype(entry) == AE_IFDIR;
    if (is_folder && name.ends_with('/')) name.pop_back();
    if (const Status good = check_file_name(name); !good) return good.error();
    if (is_folder && std::cmp_less(folders.size(), limits::files_max)) {
      folders.push_back({.name = std::move(name), .is_folder = true});
      continue;
    }
    if (is_folder) return bad("more than " + std::to_string(limits::files_max) + " folders");
    if (::archive_entry_filetype(entry) != AE_IFREG)
      return bad(shown(name) + " is not a plain file");
    if (std::cmp_greater_equal(files.size(), limits::files_max))
      return bad("more than " + std::to_string(limits::files_max) + " files");
    auto bytes = read_entry(from.get(), bytes_left);
    if (!bytes) return bytes.error();
    bytes_left -= std::ssize(*bytes);
    files.push_back({.name = std::move(name),
                     .bytes = *std::move(bytes),
                     .is_executable = (::archive_entry_perm(entry) & S_IXUSR) != 0});
  }
  std::move(folders.begin(), folders.end(), std::back_inserter(files));
  if (const Status good = check_names(files); !good) return good.error();
  return files;
}

Result<FolderContents> read_folder(const std::filesystem::path& folder, FolderBounds bounds) {
  FileDescriptor root{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!root)
    return Error{.code = Errc::file_unreadable,
                 .detail = folder.string() + ": " + std::strerror(errno)};
  FolderReading reading(bounds);
  reading.read(std::move(root), "", 0);
  return reading.finish();
}

Status write_files(const std::filesystem::path& folder, const std::vector<BundledFile>& files) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  const FileDescriptor root{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return unwritable(folder.string());
  for (const BundledFile& file : files) {
    if (const Status good = check_file_name(file.name); !good) return good;
    if (const Status written = write_file(root.get(), file); !written) return written;
  }
  return ok();
}

}  // namespace gpupool
