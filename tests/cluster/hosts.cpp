#include "tests/cluster/hosts.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "base/clock.h"
#include "tests/system/pool_process.h"

extern char** environ;

namespace gpupool::test {
namespace {

namespace fs = std::filesystem;

constexpr Duration restart_pause = seconds(1);
constexpr const char* subnet = "10.213.7";
constexpr const char* prefix = "gpt";
constexpr const char* database_megabytes = "96";

// Slots of one device each, told apart by their number of threads (programs/executor.cpp). Accounts
// that never run out, and beside cluster-up's app one whose jobs may be on several nodes.
constexpr const char* more_settings = R"(
[rates]
account_per_s = 0
address_per_s = 0
[[tiers]]
name = "anonymous"
allowance_s = 1
longest_s = 1
[[tiers]]
name = "free"
allowance_s = 1000000
longest_s = 1000
jobs_max = 100
[[apps]]
name = "wide"
spread = "nodes"
)";
constexpr const char* node_settings = R"(
[[worker.devices]]
threads = 1
[[worker.devices]]
threads = 2
)";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (!value) throw std::runtime_error(std::string(name) + " is not set; run this through ctest");
  return value;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string first_line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

pid_t spawn(std::vector<std::string> command, const fs::path& output,
            std::vector<std::string> environment) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  for (char** one = environ; *one; ++one) environment.emplace_back(*one);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, command[0].c_str(), &actions, nullptr,
                                  pointers_to(command).data(), pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed) throw std::runtime_error("cannot start " + command[0]);
  return pid;
}

bool has_ended(pid_t pid) {
  int status = 0;
  return waitpid(pid, &status, WNOHANG) != 0;
}

std::vector<pid_t> executors_of(const std::string& node) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!first_line_of(entry.path() / "comm").starts_with("gpupool-diffusi")) continue;
    const std::string environment = text_of(entry.path() / "environ");
    if (environment.find("GPUPOOL_HOST=" + node + '\0') != std::string::npos)
      found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

CommandEnd run_command(const std::vector<std::string>& command, Duration limit) {
  std::string pattern = (fs::temp_directory_path() / "gpupool-command-XXXXXX").string();
  const int file = mkstemp(pattern.data());
  if (file < 0) throw std::runtime_error("cannot make " + pattern);
  close(file);
  const pid_t pid = spawn(command, pattern, {});
  int status = 0;
  const bool ended = wait_until(limit, [&] { return waitpid(pid, &status, WNOHANG) == pid; });
  if (!ended) {
    ::kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  CommandEnd end{.exit_code = ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                 .output = text_of(pattern)};
  fs::remove(pattern);
  return end;
}

const std::vector<std::string>& Hosts::all() {
  static const std::vector<std::string> names{"database", "broker-1", "broker-2", "node-1",
                                              "node-2"};
  return names;
}
const std::vector<std::string>& Hosts::brokers() {
  static const std::vector<std::string> names{"broker-1", "broker-2"};
  return names;
}
const std::vector<std::string>& Hosts::nodes() {
  static const std::vector<std::string> names{"node-1", "node-2"};
  return names;
}

std::string Hosts::address_of(const std::string& host) {
  static const std::map<std::string, int> last{{"broker-1", 1}, {"broker-2", 2}, {"database", 3},
                                               {"node-1", 11},  {"node-2", 12},  {"client", 254}};
  return std::string(subnet) + "." + std::to_string(last.at(host));
}

std::vector<std::string> Hosts::inside(const std::string& host,
                                       const std::vector<std::string>& command) {
  std::vector<std::string> whole{"nsenter", "--net=/run/netns/" + std::string(prefix) + "-" + host,
                                 "--"};
  whole.insert(whole.end(), command.begin(), command.end());
  return whole;
}

Hosts::Hosts() {
  std::string pattern = variable("GPUPOOL_BUILD_DIR") + "/cluster-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make " + pattern);
  folder_ = pattern;
  // PostgreSQL's user has to pass through it.
  fs::permissions(folder_, fs::perms::owner_all | fs::perms::others_exec);
  make_programs();
  const CommandEnd made =
      run_command({variable("GPUPOOL_SOURCE_DIR") + "/deploy/cluster-up", "--prepare", "--dir",
                   folder_ / "cluster", "--bin", folder_ / "bin", "--name", prefix, "--subnet",
                   subnet, "--nodes", "2", "--ram-disk", database_megabytes});
  if (made.exit_code != 0) throw std::runtime_error("cluster-up failed:\n" + made.output);
  settle_configurations();
  for (const std::string& host : all()) programs_[host];
  keeper_ = std::thread([this] { keep(); });
}

Hosts::~Hosts() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  keeper_.join();
  for (auto& [host, program] : programs_)
    if (program.pid > 0) ::kill(program.pid, SIGKILL);
  for (const std::string& node : nodes())
    for (const pid_t pid : executors_of(node)) ::kill(pid, SIGKILL);
  (void)run_command({variable("GPUPOOL_SOURCE_DIR") + "/deploy/cluster-up", "--down", "--dir",
                     folder_ / "cluster"});
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

// A daemon looks for its executors beside itself, wherever a link to it stands: so it gets a folder
// with itself, and our executor under the name of the real one.
void Hosts::make_programs() {
  const fs::path bin = folder_ / "bin";
  fs::create_directories(bin);
  const auto put = [&](const std::string& from, const std::string& as) {
    std::error_code failed;
    fs::create_hard_link(program(from), bin / as, failed);
    if (failed) fs::copy_file(program(from), bin / as);
  };
  for (const char* name : {"gpupoold", "gpupool", "gpupool-supervisor"}) put(name, name);
  put("gpupool-cluster-executor", "gpupool-diffusion");
}

void Hosts::settle_configurations() const {
  for (const std::string& host : all()) {
    std::ofstream(folder_ / "cluster" / host / "clock") << std::string(8, '\0');
    if (host == "database") continue;
    std::ofstream settings(folder_ / "cluster" / host / "gpupool.toml", std::ios::app);
    settings << more_settings << "model = \"" << variable("GPUPOOL_SOURCE_DIR")
             << "/models/emoji\"\n";
    if (host.starts_with("node")) settings << node_settings;
  }
}

// ---- Keeping it running ----------------------------------------------------------------------

void Hosts::start(const std::string& host, Program& program) {
  const fs::path own = folder_ / "cluster" / host;
  std::vector<std::string> environment{"GPUPOOL_HOST=" + host,
                                       "GPUPOOL_RUNS=" + (own / "runs").string()};
  if (host != "database") {
    environment.push_back("LD_PRELOAD=" + test::program("clock_step.so").string());
    environment.push_back("GPUPOOL_CLOCK=" + (own / "clock").string());
  }
  std::error_code ignored;
  fs::remove(own / "ready", ignored);
  program.pid = spawn({own / "run"}, own / "log", environment);
}

void Hosts::keep() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      for (auto& [host, program] : programs_) {
        if (program.pid > 0 && has_ended(program.pid)) {
          program.pid = 0;
          program.start_at = boot_time() + restart_pause;
        }
        if (program.pid == 0 && !program.held && boot_time() >= program.start_at)
          start(host, program);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void Hosts::signal(const std::string& host, int signal) {
  const std::lock_guard lock(mutex_);
  if (const pid_t pid = programs_.at(host).pid; pid > 0) ::kill(pid, signal);
}

void Hosts::hold(const std::string& host) {
  const std::lock_guard lock(mutex_);
  programs_.at(host).held = true;
}

void Hosts::kill_and_hold(const std::string& host) {
  hold(host);
  signal(host, SIGKILL);
}

void Hosts::release(const std::string& host) {
  const std::lock_guard lock(mutex_);
  programs_.at(host).held = false;
}

std::string Hosts::leader() const {
  for (const std::string& broker : brokers())
    if (text_of(folder_ / "cluster" / broker / "ready").find("state = ready") != std::string::npos)
      return broker;
  return "";
}

bool Hosts::has_every_node() const {
  const CommandEnd told =
      run_command({folder_ / "bin" / "gpupool", "nodes", "--json", "--endpoint", endpoints(),
                   "--server-key", "@" + (folder_ / "cluster" / "pool.public").string(),
                   "--token-file", folder_ / "cluster" / "root.token"},
                  seconds(15));
  const auto says = [&](const std::string& word) {
    return told.output.find("\"" + word + "\"") != std::string::npos;
  };
  return told.exit_code == 0 && std::all_of(nodes().begin(), nodes().end(), says) &&
         !says("lost") && !says("suspected");
}

bool Hosts::wait_until_well(Duration limit) {
  return wait_until(limit, [this] { return !leader().empty() && has_every_node(); });
}

// ---- What the nemesis does to it -------------------------------------------------------------

pid_t Hosts::signal_executor(const std::string& node, std::uint64_t choice, int signal) {
  const auto found = executors_of(node);
  if (found.empty()) return 0;
  const pid_t pid = found[choice % found.size()];
  ::kill(pid, signal);
  return pid;
}

void Hosts::step_clock(const std::string& host, std::int64_t seconds) {
  const int file = ::open((folder_ / "cluster" / host / "clock").c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0 || ::pwrite(file, &seconds, sizeof seconds, 0) != sizeof seconds)
    throw std::runtime_error("cannot step the clock of " + host);
  ::close(file);
}

void Hosts::fill_disk(std::int64_t rest) {
  const fs::path disk = folder_ / "cluster" / "database" / "data";
  struct statvfs space {};
  if (::statvfs(disk.c_str(), &space) != 0) throw std::runtime_error("no disk at " + disk.string());
  const auto free = static_cast<std::int64_t>(space.f_bavail * space.f_frsize);
  const int file = ::open((disk / "ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || (free > rest && ::posix_fallocate(file, 0, free - rest) != 0))
    throw std::runtime_error("cannot fill " + disk.string());
  ::close(file);
}

void Hosts::free_disk() {
  std::error_code ignored;
  fs::remove(folder_ / "cluster" / "database" / "data" / "ballast", ignored);
}

// ---- What it tells ---------------------------------------------------------------------------

std::unique_ptr<Client> Hosts::connect(const std::string& user, std::uint64_t seed) const {
  ClientOptions options = options_for(user, seed);
  options.connect_timeout = seconds(10);
  options.answer_timeout = seconds(30);
  auto client = Client::connect(std::move(options));
  if (!client) throw std::runtime_error("no broker answers " + user);
  return *std::move(client);
}

std::string Hosts::endpoints() {
  std::string all;
  for (const std::string& broker : brokers())
    all += (all.empty() ? "" : ",") + ("tcp://" + address_of(broker) + ":7400");
  return all;
}

ClientOptions Hosts::options_for(const std::string& user, std::uint64_t seed) const {
  const fs::path token = folder_ / ("token-" + user);
  if (!fs::exists(token)) {
    const CommandEnd minted = run_command({folder_ / "bin" / "gpupool", "token", "mint", "--config",
                                           folder_ / "cluster" / "broker-1" / "gpupool.toml",
                                           "--user", user, "--expires", "1d"});
    if (minted.exit_code != 0) throw std::runtime_error("no token: " + minted.output);
    std::ofstream(token) << minted.output;
  }
  return {.endpoint = endpoints(),
          .token = first_line_of(token),
          .server_key = first_line_of(folder_ / "cluster" / "pool.public"),
          .seed = seed};
}

std::string Hosts::runs_of(const std::string& node) const {
  return text_of(folder_ / "cluster" / node / "runs");
}

std::string Hosts::log_of(const std::string& host) const {
  return text_of(folder_ / "cluster" / host / "log");
}

std::string Hosts::audit() const {
  const CommandEnd audited =
      run_command({folder_ / "bin" / "gpupool", "audit", "--ledger", "postgres:", "--config",
                   folder_ / "cluster" / "broker-1" / "gpupool.toml"});
  return audited.exit_code == 0 ? "" : audited.output;
}

fs::path Hosts::keep_logs(const std::string& name) const {
  const fs::path kept = fs::path(variable("GPUPOOL_BUILD_DIR")) / ("cluster-failed-" + name);
  std::error_code ignored;
  fs::remove_all(kept, ignored);
  fs::create_directories(kept, ignored);
  for (const std::string& host : all())
    for (const char* file : {"log", "runs"})
      fs::copy_file(folder_ / "cluster" / host / file, kept / (host + "." + file), ignored);
  return kept;
}

}  // namespace gpupool::test
