#include "tests/postgres/cluster.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

namespace fs = std::filesystem;

constexpr Duration patience = seconds(60);

// Debian keeps each version's programs in a folder of its own; the newest counts.
fs::path find_programs() {
  fs::path newest;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored))
    if (fs::exists(entry.path() / "bin" / "initdb", ignored) && entry.path() / "bin" > newest)
      newest = entry.path() / "bin";
  return newest;
}

int reap(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

Cluster* Cluster::shared() {
  static const bool found = !find_programs().empty();
  if (!found) {
    WARN("SKIPPED: PostgreSQL is not installed (Debian: postgresql)");
    return nullptr;
  }
  static Cluster cluster;
  return &cluster;
}

Cluster::Cluster() : programs_(find_programs()) {
  std::string pattern = (fs::temp_directory_path() / "gpupool-postgres-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  folder_ = pattern;
  user_ = ::geteuid();
  group_ = ::getegid();
  if (user_ == 0) {  // the server refuses to be root
    const passwd* postgres = ::getpwnam("postgres");
    if (postgres == nullptr) throw std::runtime_error("there is no user postgres");
    user_ = postgres->pw_uid;
    group_ = postgres->pw_gid;
    if (::chown(folder_.c_str(), user_, group_) != 0) throw std::runtime_error("chown " + pattern);
  }
  run({programs_ / "initdb", "-D", folder_ / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
       "--locale=C", "--no-sync"});
  start();
  sql("CREATE ROLE gpupool LOGIN");
  sql("CREATE DATABASE ledger OWNER gpupool");
}

Cluster::~Cluster() {
  crash();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

// SIGQUIT is the server's immediate shutdown; it also gets it when this program dies.
pid_t Cluster::spawn(const std::vector<std::string>& command) const {
  std::vector<char*> words;
  for (const auto& one : command) words.push_back(const_cast<char*>(one.c_str()));
  words.push_back(nullptr);
  const std::string log = folder_ / "log";
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("cannot fork");
  if (pid > 0) return pid;
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  ::dup2(out, 1);
  ::dup2(out, 2);
  const bool is_root = ::geteuid() == 0;
  if (is_root && (::setgroups(0, nullptr) != 0 || ::setgid(group_) != 0 || ::setuid(user_) != 0))
    ::_exit(126);
  if (::chdir("/") != 0) ::_exit(126);
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);
  ::execv(words[0], words.data());
  ::_exit(127);
}

void Cluster::run(const std::vector<std::string>& command) const {
  const int code = reap(spawn(command));
  if (code != 0)
    throw std::runtime_error(command[0] + " ended with " + std::to_string(code) + ":\n" +
                             text_of(folder_ / "log"));
}

void Cluster::start() {
  server_ = spawn({programs_ / "postgres", "-D", folder_ / "data", "-c", "listen_addresses=", "-c",
                   "unix_socket_directories=" + folder_.string(), "-c", "max_connections=50", "-c",
                   "shared_buffers=16MB"});
  const std::string asked = conninfo("postgres") + " dbname=postgres";
  if (!wait_until(patience, [&] { return PQping(asked.c_str()) == PQPING_OK; }))
    throw std::runtime_error("the server does not start:\n" + text_of(folder_ / "log"));
}

void Cluster::crash() {
  if (server_ <= 0) return;
  ::kill(server_, SIGQUIT);
  reap(server_);
  server_ = 0;
}

std::string Cluster::conninfo(const std::string& user) const {
  return "host=" + folder_.string() + " user=" + user + " dbname=ledger";
}

PostgresPlace Cluster::place() {
  return {.conninfo = conninfo(),
          .password = "",
          .schema = "test_" + std::to_string(++schemas_),
          .pool = "test"};
}

std::string Cluster::sql(const std::string& statement) const {
  const bool is_about_all =
      statement.starts_with("CREATE ROLE") || statement.starts_with("CREATE DATABASE");
  const std::string where = conninfo("postgres") + (is_about_all ? " dbname=postgres" : "") +
                            " options='-c client_min_messages=warning'";
  PGconn* connection = PQconnectdb(where.c_str());
  PGresult* result = PQexec(connection, statement.c_str());
  const bool good =
      PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;
  const std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  const std::string words = PQerrorMessage(connection);
  PQclear(result);
  PQfinish(connection);
  if (!good) throw std::runtime_error(statement + ": " + words);
  return value;
}

bool Cluster::waits_for_lock(int connections) const {
  return wait_until(patience, [&] {
    return sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") ==
           std::to_string(connections);
  });
}

}  // namespace gpupool::test
