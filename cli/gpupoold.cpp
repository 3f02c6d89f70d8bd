// gpupoold: a machine's daemon. Its configuration says which roles this process has: broker (with
// the ledger, the sessions and the client socket), worker, or both. It reads the clocks, opens what
// the cores need, connects the shells, and waits for a signal.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>

#include "actors/broker/broker_actor.h"
#include "actors/describe.h"
#include "actors/ledger/journal_sqlite.h"
#include "actors/ledger/ledger_actor.h"
#include "actors/ledger/ledger_clock.h"
#include "actors/worker/worker_actor.h"
#include "base/clock.h"
#include "config/load.h"
#include "net/gateway.h"

namespace gpupool {
namespace {

constexpr int exit_usage = 2;
constexpr int exit_cannot_start = 1;
constexpr int exit_in_doubt = 75;  // EX_TEMPFAIL: start again, and replay the journal
constexpr int exit_deposed = 76;

const std::string build = GPUPOOL_VERSION;

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

ClockStamp read_stamp() {
  static const std::string id = boot_id();
  return {.wall = wall_time(), .boot = boot_time(), .boot_id = id};
}

struct SystemConfig : caf::actor_system_config {
  SystemConfig() {
    load<caf::io::middleman>();
    announce_messages(*this);
    // Work stealing sleeps 50 us between polls of an idle pool; sharing blocks (caf.md, figures).
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-throughput", std::size_t{100});
    set("middleman.workers", std::size_t{0});
    set("middleman.heartbeat-interval", caf::timespan{std::chrono::seconds(1)});
    set("middleman.connection-timeout", caf::timespan{std::chrono::seconds(5)});
  }
};

// Everything that this process runs, in the order in which it is built; torn down in reverse.
class Daemon {
 public:
  explicit Daemon(Config config) : config_(std::move(config)) {}

  Status start() {
    if (config_.broker_role)
      if (const auto status = start_broker(); !status) return status;
    if (config_.worker_role)
      if (const auto status = start_worker(); !status) return status;
    return ok();
  }

  // The children die and the journal closes; CAF itself is left to the end of the process, since
  // its shutdown can hang (caf.md).
  void stop() {
    directory_->clear();
    gateway_.reset();
    worker_ = {};
    journal_.reset();
    if (!config_.broker.ready_file.empty()) {
      std::error_code ignored;
      std::filesystem::remove(config_.broker.ready_file, ignored);
    }
  }

 private:
  enum class State : std::uint8_t { starting, ready };

  Status start_broker() {
    auto journal = JournalSqlite::open(config_.ledger.path);
    if (!journal) return journal.error();
    journal_ = std::move(*journal);
    if (const auto status = start_clock(); !status) return status;

    auto commits = std::make_unique<GroupCommit>(config_, *journal_);
    if (const auto status = commits->recover(); !status) return status;
    spdlog::info("ledger {}: {} records, {} open holds", config_.ledger.path,
                 commits->ledger().last_sequence(), commits->ledger().open_holds().size());

    const Surroundings around{config_, ledger_now_, directory_};
    directory_->set_ledger(spawn_ledger(system_, around, ledger_events(), std::move(commits)));
    auto gateway = open_gateway(system_, around, build);
    if (!gateway) return gateway.error();
    gateway_ = std::move(*gateway);
    const auto broker = spawn_broker(system_, around, broker_events(), build);
    directory_->set_broker(broker);
    if (!config_.broker.worker_address.empty())
      if (const auto status = publish(broker); !status) return status;
    write_ready_file(State::starting);
    return ok();
  }

  // Ledger time goes on from the journal's last record (design section 2.9).
  Status start_clock() {
    const auto tail = journal_->tail();
    if (!tail) return tail.error();
    const ClockStamp reading = read_stamp();
    auto clock = LedgerClock::start(
        reading, *tail, config_.ledger.accept_clock ? JumpedClock::accept : JumpedClock::refuse);
    if (!clock) return clock.error();
    if (tail->sequence > 0)
      spdlog::info("{:.1f} s since the ledger's last record{}",
                   static_cast<double>(clock->gap().ms) / 1000.0,
                   clock->same_boot() ? "" : ", on another boot: the wall clock is taken");
    const Instant base = clock->now(reading.boot);
    ledger_now_ = [base, boot = reading.boot] { return base + (boot_time() - boot); };
    return ok();
  }

  static LedgerEvents ledger_events() {
    return {.stamp = read_stamp,
            .refused =
                [](const Error& error) {
                  spdlog::error("the ledger could not be written, so new holds are refused: {}",
                                describe(error));
                },
            .in_doubt =
                [](const Error& error) {
                  spdlog::critical("nobody knows what the ledger wrote; ending to replay it: {}",
                                   describe(error));
                  std::_Exit(exit_in_doubt);
                }};
  }

  BrokerEvents broker_events() {
    return {.ready = [this] { announce_ready(); },
            .deposed =
                [] {
                  spdlog::critical("another broker took the lead of this ledger; ending");
                  std::_Exit(exit_deposed);
                }};
  }

  void announce_ready() {
    spdlog::info("pool {} is ready; clients: {}", config_.pool, gateway_->endpoint());
    write_ready_file(State::ready);
  }

  // For scripts: where the pool can be reached, on ports that the system may have chosen. Replaced
  // whole, so that no reader sees half of it.
  void write_ready_file(State state) {
    const std::lock_guard lock(ready_mutex_);
    state_ = std::max(state_, state);  // a worker may have been quicker than the end of the start
    if (config_.broker.ready_file.empty()) return;
    const std::string temporary = config_.broker.ready_file + ".new";
    std::ofstream file(temporary);
    file << "state = " << (state_ == State::ready ? "ready" : "starting")
         << "\nclient = " << gateway_->endpoint() << "\n";
    if (!worker_endpoint_.empty()) file << "worker = " << worker_endpoint_ << "\n";
    file.close();
    std::rename(temporary.c_str(), config_.broker.ready_file.c_str());
  }

  Status publish(const BrokerHandle& broker) {
    const auto address = parse_address(config_.broker.worker_address);
    if (!address) return address.error();
    const auto port =
        system_.middleman().publish(broker, address->port, address->host.c_str(), true);
    if (!port)
      return Error{.code = Errc::system_failed,
                   .detail = "cannot listen for workers on " + config_.broker.worker_address};
    worker_endpoint_ = address->host + ":" + std::to_string(*port);
    spdlog::info("workers dial {}", worker_endpoint_);
    return ok();
  }

  Status start_worker() {
    auto worker = spawn_worker(system_, Surroundings{config_, boot_time, directory_}, build);
    if (!worker) return worker.error();
    worker_ = std::move(*worker);
    return ok();
  }

  const Config config_;
  std::unique_ptr<JournalSqlite> journal_;
  std::function<Instant()> ledger_now_;
  std::shared_ptr<Directory> directory_ = std::make_shared<Directory>();
  SystemConfig system_config_;
  caf::actor_system system_{system_config_};
  std::shared_ptr<GatewaySocket> gateway_;
  std::string worker_endpoint_;
  std::mutex ready_mutex_;
  State state_ = State::starting;
  WorkerParts worker_;
};

void start_logging(const LogConfig& log) {
  auto logger = spdlog::stderr_logger_mt("gpupoold");
  logger->set_level(spdlog::level::from_str(log.level));
  logger->set_pattern(log.json ? R"({"at":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","text":"%v"})"
                               : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                      spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

// Signals are taken by the main thread alone; every later thread inherits the mask.
sigset_t take_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int run(Config config) {
  const sigset_t signals = take_signals();
  start_logging(config.log);
  spdlog::info("gpupoold {} starts pool {}", build, config.pool);
  auto* daemon = new Daemon(std::move(config));  // lives as long as the process, see stop()
  const auto started = daemon->start();
  if (!started) {
    spdlog::critical("cannot start: {}", describe(started.error()));
    daemon->stop();
    std::_Exit(exit_cannot_start);
  }
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("{}: ending", signal == SIGINT ? "SIGINT" : "SIGTERM");
  daemon->stop();
  std::fflush(nullptr);
  std::_Exit(0);
}

}  // namespace
}  // namespace gpupool

int main(int argc, char** argv) {
  using namespace gpupool;
  CLI::App app{"gpupoold: the daemon of a gpupool; its configuration says which roles it has"};
  std::string file;
  bool check_config = false;
  bool accept_clock = false;
  app.add_option("--config", file, "TOML file; every key stands in config/gpupool.toml");
  app.add_flag("--check-config", check_config,
               "read the configuration, say what is wrong, and end");
  app.add_flag("--accept-clock", accept_clock,
               "start although the wall clock jumped since the ledger's last record");
  app.set_version_flag("--version", "gpupoold " + build);
  CLI11_PARSE(app, argc, argv);

  Config config = default_config();
  if (!file.empty()) {
    auto loaded = load_config(file);
    if (!loaded) {
      std::cerr << "gpupoold: " << loaded.error().detail << "\n";
      return exit_usage;
    }
    config = std::move(*loaded);
  }
  config.ledger.accept_clock = config.ledger.accept_clock || accept_clock;
  if (check_config) {
    std::cout << "the configuration is good\n";
    return 0;
  }
  return run(std::move(config));
}
