#pragma once
// A real pool for tests: gpupoold processes over a folder of their own, on free loopback ports,
// with tokens, clients and the gpupool program. Everything that it started is killed and its folder
// removed when it goes. Waits are bounded and poll.

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/client.h"

namespace gpupool::test {

// Polls until `done` is true; false after `limit`.
bool wait_until(Duration limit, const std::function<bool()>& done);

struct PoolOptions {
  bool two_processes = false;  // broker and worker apart, joined by CAF's network
  std::string settings;        // more TOML: tiers, apps; replaces the defaults of those tables
  std::string worker_settings;
  std::string broker_settings;
  std::string window_settings;
  std::string daemon_settings;  // lines of [daemon]
  std::string log_settings;     // lines of [log]
  std::string ledger_settings;  // lines of [ledger], beside its path
  // A folder of gpupool pki: the broker has broker.* and each worker NODE.* of it; empty: plain.
  std::string pki;
  std::string client_endpoint = "tcp://127.0.0.1:*";
  std::string worker_address = "127.0.0.1:0";  // where workers dial the broker
  std::string broker_addresses{};              // that a worker dials; empty: this broker's
  std::string client_dials{};                  // what clients are given; empty: this endpoint
  std::filesystem::path ledger_folder;         // empty: the pool's own
};

struct Output {
  int exit_code = -1;
  std::string out;
  std::string error;
};

class PoolProcess {
 public:
  explicit PoolProcess(PoolOptions options = {});
  ~PoolProcess();
  PoolProcess(const PoolProcess&) = delete;
  PoolProcess& operator=(const PoolProcess&) = delete;

  // Starts what is not running and waits until the pool says that it is ready.
  void start();
  void start_broker();
  void start_worker();
  // Another node, of its own name; with two_processes, once the broker listens.
  void start_another_worker(const std::string& name);
  // With certificates of another folder, or without (""), or of another program.
  struct Stranger {
    std::string pki;
    std::filesystem::path program;  // empty: this build's
  };
  void start_another_worker(const std::string& name, const Stranger& stranger);
  void kill_another_worker(const std::string& name);
  bool wait_ready();
  // kill -9, and reaps.
  void kill_broker();
  void kill_worker();
  // A signal to one of the processes, and to every executor.
  void signal_broker(int signal) const;
  pid_t broker_pid() const { return broker_; }
  // Where workers dial.
  std::string worker_address() const { return worker_address_; }
  void signal_worker(int signal) const;
  int signal_executors(int signal) const;  // how many there were
  // After SIGSTOP: none of its threads runs any more.
  bool broker_is_stopped(Duration limit) const;
  // The exit code, once the process has ended by itself; 128 + signal if one ended it.
  std::optional<int> broker_ended(Duration limit);
  std::optional<int> worker_ended(Duration limit);
  // SIGKILL to one executor process of this pool, if there is one, or another signal.
  bool kill_an_executor(std::uint64_t choice, int signal = 9);
  // SIGTERM, and waits until both are gone.
  void stop();

  // Of the ready file: "standby", "starting", "ready"; "" if there is none.
  std::string state() const { return ready_value("state"); }
  std::string endpoint() const;
  std::filesystem::path folder() const { return folder_; }
  std::filesystem::path ledger() const;
  std::filesystem::path config() const { return folder_ / "broker.toml"; }
  std::string log() const;
  bool log_says(const std::string& words, Duration limit = seconds(20)) const;
  // Rewrites the configuration with these tiers and apps; a running process reads it at SIGHUP.
  void use_settings(const std::string& settings);
  // Runs gpupoold with these arguments, behind the words of `before`, until it ends by itself; one
  // that runs on is killed after some seconds, with exit code -1.
  Output gpupoold(const std::vector<std::string>& arguments,
                  std::vector<std::string> before = {}) const;

  // The user "root" is an operator.
  std::string token(const std::string& user, Duration valid = hours(1)) const;
  std::unique_ptr<Client> client(const std::string& user, std::uint64_t seed = 1) const;
  // Runs gpupool as `user` against this pool; empty: without a token.
  Output gpupool(const std::string& user, const std::vector<std::string>& arguments) const;
  // The same, going on beside the test: returns its pid; its output goes to `log`.
  pid_t gpupool_in_background(const std::string& user, const std::vector<std::string>& arguments,
                              const std::filesystem::path& log) const;
  Output gpupool_with_token(const std::string& token,
                            const std::vector<std::string>& arguments) const;

 private:
  std::string ready_value(const std::string& key) const;
  void write_config(const std::string& name, const std::string& roles, const std::string& node,
                    const std::string& pki) const;
  pid_t spawn_worker(const std::string& node, const Stranger& how) const;

  PoolOptions options_;
  std::filesystem::path folder_;
  std::string client_endpoint_ = options_.client_endpoint;
  std::string worker_address_ = options_.worker_address;
  pid_t broker_ = 0;
  pid_t worker_ = 0;
  std::map<std::string, pid_t> others_;  // by their nodes' names
};

// The programs of this build.
std::filesystem::path program(const std::string& name);

}  // namespace gpupool::test
