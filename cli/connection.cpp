#include "cli/connection.h"

#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "config/limits.h"

namespace gpupool {
namespace {

constexpr int patience = 3;  // so many signals end the process whatever it does

// A signal handler can reach nothing but these; InterruptGuard owns them while it lives.
std::atomic<Client*> interrupted_client = nullptr;
std::atomic<int> interrupts = 0;

void on_interrupt(int) {
  if (++interrupts >= patience) _exit(130);
  if (Client* client = interrupted_client.load()) client->interrupt();
}

std::string trimmed(const std::string& text) {
  constexpr std::string_view spaces = " \t\r\n";
  const std::size_t first = text.find_first_not_of(spaces);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

}  // namespace

Result<std::string> read_token(const std::string& token_file) {
  if (token_file.empty()) {
    const char* token = std::getenv("GPUPOOL_TOKEN");
    return trimmed(token ? token : "");
  }
  std::ifstream file(token_file, std::ios::binary);
  if (!file) return Error{.code = Errc::file_unreadable, .detail = "the token file " + token_file};
  std::string text(static_cast<std::size_t>(limits::token_bytes_max) + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const std::string token = trimmed(text);
  if (token.empty() || text.size() > static_cast<std::size_t>(limits::token_bytes_max))
    return Error{.code = Errc::file_unreadable,
                 .detail = "the token file " + token_file + " holds no token"};
  return token;
}

Result<std::unique_ptr<Client>> connect(const Connection& connection) {
  Result<std::string> token = read_token(connection.token_file);
  if (!token) return token.error();
  return Client::connect({.endpoint = connection.endpoint,
                          .token = *token,
                          .program = "gpupool/" GPUPOOL_VERSION,
                          .seed = draw_random()});
}

InterruptGuard::InterruptGuard(Client& client) {
  interrupts = 0;
  interrupted_client = &client;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  interrupted_client = nullptr;
}

int InterruptGuard::count() const { return interrupts; }

std::uint64_t draw_random() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) == static_cast<ssize_t>(sizeof bits)) return bits;
  std::random_device device;
  return std::uint64_t{device()} << 32U | device();
}

}  // namespace gpupool
