#pragma once
// Hosts: a cluster of network namespaces made by deploy/cluster-up, with a program on each that is
// kept running as systemd would keep it: what ends starts again a second later, unless it is held
// down. Every host's daemon has a wall clock of its own, and the nodes' executors are stand-ins
// that write down when they ran (programs/). Lives inside of world.h, so everything it starts and
// makes goes with the test program. One thread drives it; keep() is called from another.

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/time.h"
#include "net/client.h"

namespace gpupool::test {

struct CommandEnd {
  int exit_code = -1;
  std::string output;  // both streams
};

// Runs a program to its end; one that takes longer than `limit` is killed.
CommandEnd run_command(const std::vector<std::string>& command, Duration limit = seconds(60));

class Hosts {
 public:
  Hosts();
  ~Hosts();
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  static const std::vector<std::string>& all();      // "database", "broker-1", ...
  static const std::vector<std::string>& brokers();  // those of a role
  static const std::vector<std::string>& nodes();
  static std::string address_of(const std::string& host);  // "client": the tests' own

  // Everything runs, one broker leads, and every node has joined it.
  bool wait_until_well(Duration limit);
  // The broker that says it is ready; empty: none does.
  std::string leader() const;

  void signal(const std::string& host, int signal);
  // kill -9, and not started again before release().
  void kill_and_hold(const std::string& host);
  void hold(const std::string& host);
  void release(const std::string& host);
  // A signal to one of a node's executors; 0: it has none. Returns its pid.
  pid_t signal_executor(const std::string& node, std::uint64_t choice, int signal);
  void step_clock(const std::string& host, std::int64_t seconds);
  // Fills what is left of the database's disk, but for so many bytes; and frees it again.
  void fill_disk(std::int64_t rest);
  void free_disk();
  // Runs a program in a host's network namespace; "switch" is the bridge's.
  static std::vector<std::string> inside(const std::string& host,
                                         const std::vector<std::string>& command);

  std::unique_ptr<Client> connect(const std::string& user, std::uint64_t seed) const;
  ClientOptions options_for(const std::string& user, std::uint64_t seed) const;
  static std::string endpoints();                      // as a client names them
  std::string runs_of(const std::string& node) const;  // the lines of its executors
  std::string audit() const;                           // what it found; empty: it is clean
  std::string log_of(const std::string& host) const;
  const std::filesystem::path& folder() const { return folder_; }
  // Keeps the logs of a failure, outside of what is removed. Returns where.
  std::filesystem::path keep_logs(const std::string& name) const;

 private:
  struct Program {
    pid_t pid = 0;
    bool held = false;
    Instant start_at{};  // not before
  };

  void make_programs();
  void settle_configurations() const;
  void start(const std::string& host, Program& program);
  void keep();
  bool has_every_node() const;

  std::filesystem::path folder_;
  mutable std::mutex mutex_;
  std::map<std::string, Program> programs_;
  bool ending_ = false;
  std::thread keeper_;  // last: it uses the others
};

}  // namespace gpupool::test
