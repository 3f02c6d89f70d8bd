#include "config/small_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace gpupool {

Error unreadable(const std::filesystem::path& file, std::string why) {
  return {.code = Errc::file_unreadable, .detail = file.string() + ": " + std::move(why)};
}

Result<std::string> read_small_file(const std::filesystem::path& file, std::int64_t most) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<std::size_t>(most) + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.gcount() == 0 && (!in.is_open() || in.bad()))
    return unreadable(file, errno == 0 ? "cannot be read" : std::strerror(errno));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (std::cmp_greater(text.size(), most))
    return unreadable(file, "longer than " + std::to_string(most) + " bytes");
  return text;
}

Result<std::string> read_owners_file(const std::filesystem::path& file, std::int64_t most) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return unreadable(file, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return unreadable(file, "not a regular file");
  if ((status.st_mode & 077U) != 0)
    return unreadable(file, "open to other users, chmod 600 would close it");
  auto text = read_small_file(file, most + 1);
  if (!text) return text;
  std::string secret = *std::move(text);
  if (secret.ends_with('\n')) secret.pop_back();
  return secret;
}

}  // namespace gpupool
