#include "actors/ledger/journal_sqlite_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

namespace gpupool {
namespace {

constexpr int tries_max = 100;
constexpr std::size_t log_header_bytes = 32;  // SQLite's file format, section 4.1

class File {
 public:
  File(const std::string& path, int flags)
      : number_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (number_ >= 0) ::close(number_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  explicit operator bool() const { return number_ >= 0; }
  int number() const { return number_; }

 private:
  int number_;
};

Error failed(Errc code, const std::string& path, const std::string& doing) {
  return {.code = code,
          .have = errno,
          .detail = path + ": " + doing + ": " + std::generic_category().message(errno)};
}

// The beginning of the write-ahead log says which one it is: it changes whenever the log starts
// over. Empty: there is no log.
std::string log_header(const std::string& path) {
  const File log(path, O_RDONLY);
  std::array<char, log_header_bytes> bytes{};
  const ssize_t count = log ? ::read(log.number(), bytes.data(), bytes.size()) : 0;
  return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
}

bool write_all(const File& to, const char* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t count = ::write(to.number(), bytes, size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes += count;
    size -= static_cast<std::size_t>(count);
  }
  return true;
}

Status copy_file(const std::string& from_path, const std::string& to_path) {
  const File from(from_path, O_RDONLY);
  if (!from) return failed(Errc::file_unreadable, from_path, "open");
  const File to(to_path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!to) return failed(Errc::system_failed, to_path, "create");
  std::vector<char> buffer(std::size_t{1} << 20U);
  for (;;) {
    const ssize_t count = ::read(from.number(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(Errc::file_unreadable, from_path, "read");
    if (count == 0) return ok();
    if (!write_all(to, buffer.data(), static_cast<std::size_t>(count)))
      return failed(Errc::system_failed, to_path,
                    "copy the ledger, for which TMPDIR can name another folder");
  }
}

}  // namespace

Result<std::unique_ptr<JournalSqliteCopy>> JournalSqliteCopy::take(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return failed(Errc::file_unreadable, path, "open");
  if (!S_ISREG(status.st_mode))
    return Error{.code = Errc::file_malformed, .detail = path + " is not a file"};
  std::error_code ignored;
  std::string folder =
      (std::filesystem::temp_directory_path(ignored) / "gpupool-audit-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return failed(Errc::system_failed, folder, "create");
  std::unique_ptr<JournalSqliteCopy> copy(new JournalSqliteCopy(path, folder));
  if (const auto copied = copy->copy_files(); !copied) return copied.error();
  if (const auto opened = copy->open(); !opened) return opened.error();
  return copy;
}

JournalSqliteCopy::JournalSqliteCopy(std::string path, std::filesystem::path folder)
    : path_(std::move(path)),
      folder_(std::move(folder)),
      copy_((folder_ / "ledger.sqlite").string()) {}

JournalSqliteCopy::~JournalSqliteCopy() {
  journal_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

// First the file, then its log. Whatever a checkpoint writes to the file while it is being copied
// stands in the log before that, and what a page has in the log counts before the file's. So the
// two copies make the state of the last commit in the copied log, unless that log started over
// meanwhile, which its header tells.
Status JournalSqliteCopy::copy_files() {
  const std::string log = path_ + "-wal";
  for (int i = 0; i < tries_max; ++i) {
    const std::string before = log_header(log);
    if (const auto copied = copy_file(path_, copy_); !copied) return copied;
    std::error_code ignored;
    std::filesystem::remove(copy_ + "-wal", ignored);
    if (!before.empty())
      if (const auto copied = copy_file(log, copy_ + "-wal"); !copied) {
        if (log_header(log).empty()) continue;  // the daemon ended, and its log with it
        return copied;
      }
    if (log_header(log) == before) return ok();
  }
  return Error{.code = Errc::journal_locked,
               .detail = path_ +
                         " is written to faster than it can be copied; try again when the "
                         "pool is calmer, or audit it from inside: gpupool audit"};
}

Status JournalSqliteCopy::open() {
  struct stat status {};
  if (::stat(copy_.c_str(), &status) != 0) return failed(Errc::system_failed, copy_, "open");
  if (status.st_size == 0)
    return Error{.code = Errc::file_malformed, .detail = path_ + " is empty, not a gpupool ledger"};
  auto journal = JournalSqlite::open(copy_);
  if (!journal) return named_after_original(journal.error());
  journal_ = std::move(*journal);
  return ok();
}

// People know the ledger by its own name.
Error JournalSqliteCopy::named_after_original(Error error) const {
  const auto place = error.detail.find(copy_);
  if (place != std::string::npos) error.detail.replace(place, copy_.size(), path_);
  return error;
}

}  // namespace gpupool
