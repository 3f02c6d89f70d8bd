#include "net/web_server.h"

#include <sodium.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "config/text_rules.h"
#include "net/descriptor_limit.h"

namespace gpupool {
namespace {

constexpr Duration tick_interval = milliseconds(100);  // within which a page hears what happened

// A page may be slow for a while, and its state is told whole again when it is not.
constexpr HttpLimits web_limits{
    .idle = seconds(30), .write = seconds(60), .events_waiting_max = 64};

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  randombytes_buf(&bits, sizeof bits);
  return bits;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

// In seconds since 1970; 0: the system does not tell. Behind the name, which may hold anything, the
// 20th field is the tick of the boot at which the process started.
double process_start() {
  std::string stat;
  std::getline(std::ifstream("/proc/self/stat"), stat);
  std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
  std::string skipped;
  for (int i = 0; i < 19; ++i) fields >> skipped;
  double ticks = 0;
  if (!(fields >> ticks)) return 0;
  const double since_boot = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>((wall_time() - (boot_time() - Instant{})).ms) / 1000 + since_boot;
}

std::uint64_t open_files() {
  std::error_code error;
  const std::filesystem::directory_iterator all("/proc/self/fd", error);
  return error ? 0 : static_cast<std::uint64_t>(std::distance(begin(all), end(all)));
}

void warn_if_exposed(const std::string& endpoint) {
  if (is_loopback(endpoint)) return;
  spdlog::warn(
      "THE PAGE AT {} IS NOT ENCRYPTED: whoever sits on the network reads the tokens that pass "
      "there. Let it listen on 127.0.0.1, and put a proxy with TLS before it (docs/rest.md)",
      endpoint);
}

}  // namespace

WebServer::WebServer(Surroundings around, std::shared_ptr<WebDoor> door, const std::string& build)
    : around_(std::move(around)),
      door_(std::move(door)),
      api_(build,
           {.config = [this]() -> const Config& { return around_.config.current(); },
            .welcome = [this](const Introduction& who) { return door_->welcome(who); },
            .may_come = [this](const Introduction& who) { return door_->may_come(who); },
            .recognise = [this](const Introduction& who) { return door_->recognise(who); },
            .open = [this](SessionId id, const Caller& caller) { return door_->open(id, caller); },
            .say = [this](SessionId id, ToSession what) { door_->say(id, std::move(what)); },
            .close = [this](SessionId id) { door_->close(id); },
            .random = random_bits,
            .wall_now = wall_time,
            .pool_now = around_.now,
            .announcement = [this] { return door_->announcement(); },
            .process = [this] { return process(); }}) {}

Result<std::unique_ptr<WebServer>> WebServer::open(Surroundings around,
                                                   std::shared_ptr<WebDoor> door,
                                                   const std::string& build) {
  raise_descriptor_limit();
  const std::string endpoint = around.config.current().web.endpoint;
  warn_if_exposed(endpoint);
  std::unique_ptr<WebServer> self{new WebServer(std::move(around), std::move(door), build)};
  WebServer& web = *self;
  const auto serve = [&web](HttpRequest request, std::shared_ptr<HttpReply> reply) {
    web.api_.serve(boot_time(), request, std::move(reply));
  };
  auto server = HttpServer::open(endpoint, web_limits, serve, web_unreadable);
  if (!server) return server.error();
  web.server_ = std::move(*server);
  web.server_->every(tick_interval, [&web] { web.api_.tick(boot_time()); });
  web.door_->listen(
      {.hear =
           [&web](SessionId session, ToClient message) {
             web.server_->post([&web, session, message = std::move(message)] {
               web.api_.hear(boot_time(), session, message);
             });
           },
       .reconsider = [&web] { web.server_->post([&web] { web.api_.reconsider(); }); }});
  return self;
}

// Nobody tells it anything from here on. Its thread, which ends with the server, the last member,
// is the last to touch it.
WebServer::~WebServer() { door_->listen({}); }

ProcessFacts WebServer::process() const {
  ProcessFacts facts;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0)
    facts.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  facts.resident_bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  facts.started_at = process_start();
  facts.open_files = open_files();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.files_max = limit.rlim_cur;
  facts.sessions = around_.directory->session_count();
  facts.web_connections = server_->connections();
  return facts;
}

}  // namespace gpupool
