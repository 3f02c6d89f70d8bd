#include "cli/connection.h"

#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "cli/build.h"
#include "cli/say.h"
#include "config/limits.h"
#include "net/curve.h"

namespace gpupool {
namespace {

// Whoever follows a job waits so long for a pool that restarts; Ctrl-C ends it earlier.
constexpr Duration restart_patience = seconds(300);
// Of a pool with several brokers one may just be taking over: that takes it about five seconds.
constexpr Duration takeover_patience = seconds(10);
constexpr Duration answer_patience = seconds(30);
constexpr int patience = 3;  // so many signals end the process whatever it does

// A signal handler can reach nothing but these; InterruptGuard owns them while it lives.
std::atomic<Client*> interrupted_client = nullptr;
std::atomic<int> interrupts = 0;

void on_interrupt(int) {
  if (++interrupts >= patience) _exit(130);
  if (Client* client = interrupted_client.load()) client->interrupt();
}

// On a terminal a line of progress may stand where this is to be written.
void print_announcement(const std::string& text) {
  const std::string line = "pool: " + printable(text) + "\n";
  print_error(style_of(2).is_terminal ? "\r\x1b[K" + line : line);
}

Error unreadable(const std::string& what, const std::string& why) {
  return {.code = Errc::file_unreadable, .detail = what + ": " + why};
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
  if (!file) return unreadable("the token file " + token_file, std::strerror(errno));
  std::string text(static_cast<std::size_t>(limits::token_bytes_max) + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  const std::string token = trimmed(text);
  if (token.empty()) return unreadable("the token file " + token_file, "it holds no token");
  if (text.size() > static_cast<std::size_t>(limits::token_bytes_max))
    return unreadable("the token file " + token_file, "it has more than " +
                                                          std::to_string(limits::token_bytes_max) +
                                                          " bytes, and no token has so many");
  return token;
}

Result<std::string> read_server_key(const std::string& key_or_file) {
  std::string key = key_or_file;
  if (key.starts_with('@')) {
    const std::string name = key.substr(1);
    std::ifstream file(name);
    if (!file) return unreadable("the server key's file " + name, std::strerror(errno));
    if (!std::getline(file, key)) return unreadable("the server key's file " + name, "it is empty");
  }
  key = trimmed(key);
  if (!key.empty() && !is_curve_key(key))
    return Error{.code = Errc::config_invalid,
                 .detail = "--server-key is 40 characters of Z85, or @FILE that holds them"};
  return key;
}

Result<std::unique_ptr<Client>> connect(const Connection& connection) {
  Result<std::string> token = read_token(connection.token_file);
  if (!token) return token.error();
  Result<std::string> server_key = read_server_key(connection.server_key);
  if (!server_key) return server_key.error();
  ClientOptions options{.endpoint = connection.endpoint,
                        .token = *token,
                        .server_key = *server_key,
                        .program = "gpupool/" + build_string(),
                        .seed = draw_random(),
                        .reconnect_for = restart_patience,
                        .announced = print_announcement};
  if (connection.endpoint.find(',') != std::string::npos) {
    options.connect_timeout = takeover_patience;
    options.answer_timeout = answer_patience;
  }
  return Client::connect(std::move(options));
}

std::string lost_text(const LinkLost& lost) {
  return "the pool at " + lost.endpoint + " was lost (" + lost.reason + "); asking again ...";
}

std::string restored_text(const LinkRestored& restored) {
  return "connected again, to " + restored.endpoint;
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
