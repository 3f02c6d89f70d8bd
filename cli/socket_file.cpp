#include "cli/socket_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "actors/worker/process.h"

namespace gpupool {
namespace {

constexpr std::string_view scheme = "ipc://";

// Nobody listens on a socket file that refuses. One that cannot be asked counts as in use.
bool is_dead(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  path.copy(address.sun_path, path.size());
  const FileDescriptor probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!probe) return false;
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
         errno == ECONNREFUSED;
}

}  // namespace

Status clear_socket_file(const std::string& endpoint) {
  if (!endpoint.starts_with(scheme)) return ok();
  const std::string path = endpoint.substr(scheme.size());
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return ok();  // nothing there, or binding will say why
  if (!S_ISSOCK(status.st_mode))
    return Error{.code = Errc::file_unwritable,
                 .detail = "the client endpoint " + endpoint + ": a file that is no socket"};
  if (!is_dead(path))
    return Error{.code = Errc::system_failed,
                 .want = EADDRINUSE,
                 .detail = "binding " + endpoint + ": " + std::strerror(EADDRINUSE)};
  if (::unlink(path.c_str()) != 0)
    return Error{.code = Errc::file_unwritable,
                 .detail = "the client endpoint " + endpoint + ": " + std::strerror(errno)};
  return ok();
}

void remove_socket_file(const std::string& endpoint) {
  if (endpoint.starts_with(scheme)) ::unlink(endpoint.substr(scheme.size()).c_str());
}

FileMode::FileMode(unsigned mode) : before_(::umask(0777U & ~mode)) {}
FileMode::~FileMode() { ::umask(before_); }

}  // namespace gpupool
