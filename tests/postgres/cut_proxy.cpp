#include "tests/postgres/cut_proxy.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <stdexcept>

namespace gpupool::test {
namespace {

constexpr const char* socket_name = ".s.PGSQL.5432";

sockaddr_un address_in(const std::filesystem::path& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (folder / socket_name).c_str(), sizeof address.sun_path - 1);
  return address;
}

FileDescriptor new_socket() {
  return FileDescriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
}

}  // namespace

CutProxy::CutProxy(std::filesystem::path server)
    : server_(std::move(server)),
      folder_((std::filesystem::temp_directory_path() / "gpupool-cut-XXXXXX").string()),
      listener_(new_socket()),
      ending_(::eventfd(0, EFD_CLOEXEC)) {
  if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("cannot make " + folder_);
  const sockaddr_un address = address_in(folder_);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 8) != 0)
    throw std::runtime_error("cannot listen in " + folder_);
  thread_ = std::thread([this] { serve(); });
}

CutProxy::~CutProxy() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(ending_.get(), &one, sizeof one);
  thread_.join();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void CutProxy::accept_one(std::vector<Pair>& pairs) const {
  Pair pair{FileDescriptor{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)},
            new_socket()};
  const sockaddr_un address = address_in(server_);
  if (::connect(pair.server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
      0)
    pairs.push_back(std::move(pair));
}

bool CutProxy::pass_on(const Pair& pair, bool from_client) const {
  if (!from_client && cuts_) return false;
  const int from = from_client ? pair.client.get() : pair.server.get();
  const int to = from_client ? pair.server.get() : pair.client.get();
  std::array<char, 16'384> piece{};
  const ssize_t got = ::read(from, piece.data(), piece.size());
  if (got <= 0) return false;
  for (ssize_t sent = 0; sent < got;) {
    const ssize_t now =
        ::send(to, piece.data() + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
    if (now <= 0) return false;
    sent += now;
  }
  return true;
}

void CutProxy::serve() {
  std::vector<Pair> pairs;
  for (;;) {
    std::vector<pollfd> sources{{ending_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Pair& pair : pairs) {
      sources.push_back({pair.client.get(), POLLIN, 0});
      sources.push_back({pair.server.get(), POLLIN, 0});
    }
    if (::poll(sources.data(), sources.size(), -1) < 0) continue;
    if (sources[0].revents != 0) return;
    for (std::size_t i = pairs.size(); i-- > 0;) {
      const bool open = (sources[2 + 2 * i].revents == 0 || pass_on(pairs[i], true)) &&
                        (sources[3 + 2 * i].revents == 0 || pass_on(pairs[i], false));
      if (!open) pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (sources[1].revents != 0) accept_one(pairs);
  }
}

}  // namespace gpupool::test
