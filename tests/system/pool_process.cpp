#include "tests/system/pool_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "net/token.h"

extern char** environ;

namespace gpupool::test {
namespace {

constexpr Duration patience = seconds(60);
constexpr Duration command_patience = seconds(150);  // one run of gpupool
const std::string secret = "a secret of these tests, 40 bytes long..";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  if (!value) throw std::runtime_error(std::string(name) + " is not set; run this through ctest");
  return value;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Spawn {
  std::vector<std::string> command;
  std::filesystem::path out;
  std::filesystem::path error;
  std::vector<std::string> environment;  // NAME=value, before the inherited ones
};

pid_t spawn(const Spawn& what) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, what.out.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  posix_spawn_file_actions_addopen(&actions, 2, what.error.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0600);
  std::vector<char*> arguments;
  for (const auto& one : what.command) arguments.push_back(const_cast<char*>(one.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (const auto& one : what.environment) environment.push_back(const_cast<char*>(one.c_str()));
  for (char** one = environ; *one; ++one) environment.push_back(*one);
  environment.push_back(nullptr);
  pid_t pid = 0;
  const int failed =
      posix_spawn(&pid, arguments[0], &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (failed) throw std::runtime_error("cannot start " + what.command[0]);
  return pid;
}

int reap(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void kill_and_reap(pid_t& pid, int signal) {
  if (pid <= 0) return;
  kill(pid, signal);
  if (signal != SIGKILL) {
    int status = 0;
    const bool gone =
        wait_until(seconds(20), [&] { return waitpid(pid, &status, WNOHANG) == pid; });
    if (gone) {
      pid = 0;
      return;
    }
    kill(pid, SIGKILL);
  }
  reap(pid);
  pid = 0;
}

// Reaps the process if it ends within the limit; its pid is 0 then.
std::optional<int> ended(pid_t& pid, Duration limit) {
  int status = 0;
  if (!wait_until(limit, [&] { return waitpid(pid, &status, WNOHANG) == pid; })) return {};
  pid = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The pids whose command line names `folder` and whose program is gpupool-diffusion.
std::vector<pid_t> executors_of(const std::filesystem::path& folder) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = read_file(entry.path() / "cmdline");
    if (line.find("gpupool-diffusion") == std::string::npos) continue;
    if (line.find("gpupool-supervisor") != std::string::npos) continue;
    const std::string environment = read_file(entry.path() / "environ");
    if (environment.find("GPUPOOL_TEST_FOLDER=" + folder.string()) == std::string::npos) continue;
    found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

}  // namespace

bool wait_until(Duration limit, const std::function<bool()>& done) {
  const Instant give_up = boot_time() + limit;
  while (!done()) {
    if (boot_time() > give_up) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

std::filesystem::path program(const std::string& name) {
  return std::filesystem::path(variable("GPUPOOL_BUILD_DIR")) / name;
}

PoolProcess::PoolProcess(PoolOptions options) : options_(std::move(options)) {
  std::string pattern = variable("GPUPOOL_BUILD_DIR") + "/pool-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make " + pattern);
  folder_ = pattern;
  std::ofstream(folder_ / "key.secret") << secret;
  chmod((folder_ / "key.secret").c_str(), 0600);
}

PoolProcess::~PoolProcess() {
  signal_executors(SIGCONT);  // a stopped one would outlive the test
  for (auto& [name, pid] : others_) kill_and_reap(pid, SIGKILL);
  kill_and_reap(worker_, SIGKILL);
  kill_and_reap(broker_, SIGKILL);
  wait_until(seconds(10), [this] { return executors_of(folder_).empty(); });
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void PoolProcess::write_config(const std::string& name, const std::string& roles,
                               const std::string& node, const std::string& pki) const {
  std::ofstream file(folder_ / name);
  const bool broker = roles.find("broker") != std::string::npos;
  const bool worker = roles.find("worker") != std::string::npos;
  file << "[pool]\nname = \"test\"\nroles = [" << roles << "]\n[broker]\n"
       << "client_endpoint = \"" << client_endpoint_ << "\"\n";
  if (broker) file << "ready_file = \"ready\"\n" << options_.broker_settings;
  if (options_.two_processes && broker) file << "worker_address = \"" << worker_address_ << "\"\n";
  file << "[daemon]\n" << options_.daemon_settings << "[log]\n" << options_.log_settings;
  file << "[ledger]\npath = " << ledger() << "\n"
       << options_.ledger_settings << "[worker]\nname = \"" << node << "\"\nfolder = \""
       << (node == "node-1" ? "worker" : node) << "\"\n";
  const std::string& dialled =
      options_.broker_addresses.empty() ? worker_address_ : options_.broker_addresses;
  if (worker && !broker) file << "broker_address = \"" << dialled << "\"\n";
  if (worker) file << options_.worker_settings;
  if (!pki.empty()) {
    const std::string own = pki + "/" + (broker ? "broker" : node);
    file << "[cluster]\nca_file = \"" << pki << "/ca.certificate\"\ncertificate_file = \"" << own
         << ".certificate\"\nkey_file = \"" << own << ".key\"\n";
  }
  file << "[window]\n" << options_.window_settings;
  file << "[[identity.keys]]\nkid = \"k1\"\nsecret_file = \"key.secret\"\n";
  if (options_.settings.find("[[apps]]") == std::string::npos)
    file << "[[apps]]\nname = \"emoji\"\nmodel = \"" << variable("GPUPOOL_SOURCE_DIR")
         << "/models/emoji\"\n";
  file << options_.settings;
}

void PoolProcess::start_broker() {
  std::filesystem::remove(folder_ / "ready");
  const std::string roles = options_.two_processes ? "\"broker\"" : "\"broker\", \"worker\"";
  write_config("broker.toml", roles, "node-1", options_.pki);
  broker_ = spawn({.command = {program("gpupoold"), "--config", folder_ / "broker.toml"},
                   .out = folder_ / "broker.log",
                   .error = folder_ / "broker.log",
                   .environment = {"GPUPOOL_TEST_FOLDER=" + folder_.string()}});
}

pid_t PoolProcess::spawn_worker(const std::string& node, const Stranger& how) const {
  const std::string name = node == "node-1" ? "worker.toml" : node + ".toml";
  write_config(name, "\"worker\"", node, how.pki);
  const auto daemon = how.program.empty() ? program("gpupoold") : how.program;
  return spawn({.command = {daemon, "--config", folder_ / name},
                .out = folder_ / "worker.log",
                .error = folder_ / "worker.log",
                .environment = {"GPUPOOL_TEST_FOLDER=" + folder_.string()}});
}

void PoolProcess::start_worker() {
  worker_ = spawn_worker("node-1", {.pki = options_.pki, .program = {}});
}
void PoolProcess::start_another_worker(const std::string& name) {
  start_another_worker(name, {.pki = options_.pki, .program = {}});
}
void PoolProcess::start_another_worker(const std::string& name, const Stranger& stranger) {
  others_[name] = spawn_worker(name, stranger);
}

void PoolProcess::start() {
  if (broker_ == 0) start_broker();
  // The worker needs the port that the broker got, which a first start leaves to the system.
  if (options_.two_processes) {
    if (!wait_until(patience, [this] { return !ready_value("worker").empty(); }))
      throw std::runtime_error("the broker does not listen for workers:\n" + log());
    worker_address_ = ready_value("worker");
    if (worker_ == 0) start_worker();
  }
  if (!wait_ready()) throw std::runtime_error("the pool is not ready:\n" + log());
}

// Once ready, the endpoints are known and stay the same over restarts.
bool PoolProcess::wait_ready() {
  if (!wait_until(patience, [this] { return ready_value("state") == "ready"; })) return false;
  client_endpoint_ = ready_value("client");
  return true;
}

std::string PoolProcess::ready_value(const std::string& key) const {
  std::istringstream lines(read_file(folder_ / "ready"));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(key + " = ", 0) == 0) return line.substr(key.size() + 3);
  return "";
}

void PoolProcess::kill_broker() { kill_and_reap(broker_, SIGKILL); }
void PoolProcess::kill_worker() { kill_and_reap(worker_, SIGKILL); }
void PoolProcess::kill_another_worker(const std::string& name) {
  kill_and_reap(others_.at(name), SIGKILL);
}

void PoolProcess::stop() {
  for (auto& [name, pid] : others_) kill_and_reap(pid, SIGTERM);
  kill_and_reap(worker_, SIGTERM);
  kill_and_reap(broker_, SIGTERM);
}

bool PoolProcess::kill_an_executor(std::uint64_t choice, int signal) {
  const auto found = executors_of(folder_);
  return !found.empty() && kill(found[choice % found.size()], signal) == 0;
}

std::filesystem::path PoolProcess::ledger() const {
  return (options_.ledger_folder.empty() ? folder_ : options_.ledger_folder) / "ledger.sqlite";
}

void PoolProcess::signal_broker(int signal) const { kill(broker_, signal); }
void PoolProcess::signal_worker(int signal) const { kill(worker_, signal); }

bool PoolProcess::broker_is_stopped(Duration limit) const {
  const std::filesystem::path tasks = "/proc/" + std::to_string(broker_) + "/task";
  return wait_until(limit, [&] {
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      const std::string stat = read_file(task.path() / "stat");
      const std::size_t name_ends = stat.rfind(") ");
      if (name_ends == std::string::npos || stat[name_ends + 2] != 'T') return false;
    }
    return true;
  });
}

int PoolProcess::signal_executors(int signal) const {
  const auto found = executors_of(folder_);
  for (const pid_t pid : found) kill(pid, signal);
  return static_cast<int>(found.size());
}

std::optional<int> PoolProcess::broker_ended(Duration limit) { return ended(broker_, limit); }
std::optional<int> PoolProcess::worker_ended(Duration limit) { return ended(worker_, limit); }

bool PoolProcess::log_says(const std::string& words, Duration limit) const {
  return wait_until(limit, [&] { return log().find(words) != std::string::npos; });
}

void PoolProcess::use_settings(const std::string& settings) {
  options_.settings = settings;
  write_config("broker.toml", options_.two_processes ? "\"broker\"" : "\"broker\", \"worker\"",
               "node-1", options_.pki);
  if (options_.two_processes) write_config("worker.toml", "\"worker\"", "node-1", options_.pki);
}

Output PoolProcess::gpupoold(const std::vector<std::string>& arguments,
                             std::vector<std::string> before) const {
  const auto out = folder_ / "gpupoold.out";
  const auto error = folder_ / "gpupoold.error";
  std::filesystem::remove(out);
  std::filesystem::remove(error);
  std::vector<std::string> command = std::move(before);
  command.push_back(program("gpupoold"));
  command.insert(command.end(), arguments.begin(), arguments.end());
  pid_t pid = spawn({.command = command, .out = out, .error = error, .environment = {}});
  const auto code = ended(pid, seconds(20));
  kill_and_reap(pid, SIGKILL);
  return {.exit_code = code.value_or(-1), .out = read_file(out), .error = read_file(error)};
}

std::string PoolProcess::endpoint() const {
  return options_.client_dials.empty() ? client_endpoint_ : options_.client_dials;
}

std::string PoolProcess::log() const {
  return read_file(folder_ / "broker.log") + read_file(folder_ / "worker.log");
}

std::string PoolProcess::token(const std::string& user, Duration valid) const {
  const Instant now = wall_time();
  const auto token =
      mint({.kid = "k1", .algorithm = "HS256", .secret = secret},
           {.subject = user, .is_operator = user == "root", .issued = now, .expires = now + valid});
  if (!token) throw std::runtime_error(token.error().detail);
  return *token;
}

std::unique_ptr<Client> PoolProcess::client(const std::string& user, std::uint64_t seed) const {
  auto client = Client::connect({.endpoint = endpoint(),
                                 .token = token(user),
                                 .seed = seed,
                                 .connect_timeout = seconds(20),
                                 .answer_timeout = seconds(60)});
  if (!client) throw std::runtime_error("no client: " + client.error().detail);
  return std::move(*client);
}

Output PoolProcess::gpupool(const std::string& user,
                            const std::vector<std::string>& arguments) const {
  return gpupool_with_token(user.empty() ? "" : token(user), arguments);
}

Output PoolProcess::gpupool_with_token(const std::string& token,
                                       const std::vector<std::string>& arguments) const {
  const auto out = folder_ / "gpupool.out";
  const auto error = folder_ / "gpupool.error";
  std::filesystem::remove(out);
  std::filesystem::remove(error);
  std::vector<std::string> command{program("gpupool"), "--endpoint", endpoint()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  pid_t pid = spawn(
      {.command = command, .out = out, .error = error, .environment = {"GPUPOOL_TOKEN=" + token}});
  const auto code = ended(pid, command_patience);
  kill_and_reap(pid, SIGKILL);
  Output output{.exit_code = code.value_or(-1), .out = read_file(out), .error = read_file(error)};
  if (code) return output;
  std::string text = "no end of";
  for (const std::string& word : command) text += " " + word;
  throw std::runtime_error(text + ":\n" + output.out + output.error + log());
}

pid_t PoolProcess::gpupool_in_background(const std::string& user,
                                         const std::vector<std::string>& arguments,
                                         const std::filesystem::path& log) const {
  std::vector<std::string> command{program("gpupool"), "--endpoint", endpoint()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return spawn({.command = command,
                .out = log,
                .error = log,
                .environment = {"GPUPOOL_TOKEN=" + token(user)}});
}

}  // namespace gpupool::test
