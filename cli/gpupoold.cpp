// gpupoold: a machine's daemon. Its configuration says which roles this process has: broker (with
// the ledger, the sessions and the client socket), worker, or both. This is its manners: the
// command line, the log, the pid file, and what signals and systemd ask of it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "actors/describe.h"
#include "actors/ledger/open_journal.h"
#include "actors/worker/executor.h"
#include "actors/worker/executor_sandbox.h"
#include "base/clock.h"
#include "cli/advice.h"
#include "cli/build.h"
#include "cli/check_config.h"
#include "cli/daemon.h"
#include "cli/daemon_options.h"
#include "cli/devices_command.h"
#include "cli/logging.h"
#include "cli/notify.h"
#include "cli/pid_file.h"
#include "cli/signals.h"
#include "config/load.h"

// jemalloc's settings: what a burst of clients took goes back to the system within a second.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
}

namespace gpupool {
namespace {

constexpr int exit_usage = 2;
enum class OutputForm : std::uint8_t { text = 1, json = 2 };
// Clients that saw their job end come for its result; those who do not say goodbye get no longer.
constexpr Duration farewell_limit = seconds(2);
constexpr Duration farewell_look = milliseconds(20);

std::string roles_of(const Config& config) {
  if (!config.broker_role) return "worker " + config.worker.name;
  return config.worker_role ? "broker and worker" : "broker";
}

// One process from its log's first line to its last.
class Service {
 public:
  Service(const Config& config, std::string file)
      : config_(config), file_(std::move(file)), log_(config.log) {}

  // Does not return: CAF's shutdown can hang, so the process ends where it stands.
  [[noreturn]] void run() {
    log_.say(
        LogLevel::info, "starting",
        "gpupoold " + build_string() + " starts pool " + config_.pool + " as " + roles_of(config_));
    if (const Status started = start(); !started) give_up(started.error());
    notify_ready("pool " + config_.pool +
                 (daemon_->standing_by() ? " is led by another broker: standby" : " has started"));
    serve();
    drain();
    end(0);
  }

 private:
  Status start() {
    if (!config_.daemon.pid_file.empty()) {
      auto taken = PidFile::take(config_.daemon.pid_file);
      if (!taken) return taken.error();
      pid_file_ = std::move(*taken);
    }
    daemon_ = std::make_unique<Daemon>(config_, log_, [this] { signals_.call(); });
    return daemon_->start();
  }

  [[noreturn]] void give_up(const Error& error) {
    log_.say(LogLevel::critical, "cannot_start", cannot_start_text(error, config_));
    end(exit_cannot_start);
  }

  void serve() {
    const auto watchdog = watchdog_interval();
    for (;;) {
      const Duration at_most = daemon_->standing_by() ? JournalCandidate::look_every : hours(1);
      const Wake wake = signals_.wait(std::min(watchdog.value_or(at_most), at_most));
      if (wake == Wake::end) return;
      if (wake == Wake::reload) reload();
      if (daemon_->standing_by())
        if (const Status looked = daemon_->look(); !looked) give_up(looked.error());
      daemon_->watch_certificates();
      if (watchdog && daemon_->is_alive()) notify_alive();
    }
  }

  void reload() {
    if (file_.empty())
      return log_.say(LogLevel::warn, "reload_refused",
                      "SIGHUP: this process was started without --config, so there is nothing to "
                      "read");
    notify_reloading();
    daemon_->reload(load_config(file_));
    notify_ready("pool " + config_.pool + " has read its configuration again");
  }

  // Until nothing runs any more, or the limit, or a second signal.
  void drain() {
    const Duration limit = config_.daemon.drain_limit;
    log_.say(LogLevel::info, "draining",
             signals_.last() + ": nothing new starts; what runs has " + seconds_text(limit) +
                 " to end; a second signal ends it at once");
    notify_stopping(limit);
    daemon_->drain(limit);
    const Instant give_up = boot_time() + limit;
    bool told_again = false;
    while (!daemon_->drained() && !told_again && boot_time() < give_up)
      told_again = signals_.wait(give_up - boot_time()) == Wake::end;
    // At the limit the actors call themselves drained, whatever still runs.
    if (told_again || boot_time() >= give_up)
      return log_.say(
          LogLevel::warn, "drain_cut",
          (told_again ? signals_.last() + " again" : seconds_text(limit) + " are over") + ": " +
              fate_of_runs());
    log_.say(LogLevel::info, "drained", "nothing runs any more");
    let_clients_leave();
  }

  std::string fate_of_runs() const {
    if (config_.worker_role)
      return "what still runs is ended and runs again, uncharged, after the restart";
    return "what still runs on the workers goes on, and is taken over after the restart";
  }

  void let_clients_leave() {
    const Instant give_up = boot_time() + farewell_limit;
    while (daemon_->clients() > 0 && boot_time() < give_up)
      if (signals_.wait(farewell_look) == Wake::end) return;
  }

  [[noreturn]] void end(int code) {
    if (daemon_) daemon_->stop();
    pid_file_.reset();
    if (code == 0) log_.say(LogLevel::info, "ended", "gpupoold ends");
    log_.end();
    std::fflush(nullptr);
    std::_Exit(code);
  }

  const Config config_;
  const std::string file_;
  Signals signals_;  // before the log and everything else that has threads
  Log log_;
  std::unique_ptr<PidFile> pid_file_;
  std::unique_ptr<Daemon> daemon_;
};

int check_config(const Config& config, const std::string& file) {
  const auto found = check_surroundings(config);
  if (!found) {
    std::cerr << "gpupoold: " << (file.empty() ? "" : file + ": ") << found.error().detail << "\n";
    return exit_usage;
  }
  std::cout << (file.empty() ? "the default configuration" : file) << " is good\n" << *found;
  return 0;
}

// 0: everything that the configuration lends is there.
int show_devices(const Config& config, const std::string& file, OutputForm form) {
  const Machine machine = look_around();
  std::optional<Cut> cut;
  if (!file.empty()) cut = Cut{.file = file, .worker = &config.worker};
  if (cut && config.worker_role && needs_sandbox(config)) {
    const Status there =
        check_sandbox(ExecutorPrograms::beside_this_program().command, config.worker.run_as);
    cut->has_sandbox = static_cast<bool>(there);
    cut->sandbox = there ? "in a sandbox of bubblewrap"
                         : "no sandbox, so they do not run here: " + there.error().detail;
  }
  std::cout << (form == OutputForm::json ? text_of(json_of(machine, cut)) : text_of(machine, cut));
  const bool lacks = cut && (!cut->has_sandbox || !problems_of(machine, config.worker).empty());
  return lacks ? exit_cannot_start : 0;
}

int run(int argc, char** argv) {
  CLI::App app{"gpupoold: the daemon of a gpupool; its configuration says which roles it has",
               "gpupoold"};
  DaemonOptions options;
  add_daemon_options(app, options);
  app.set_version_flag("--version", "gpupoold " + build_string());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }

  if (options.manual) {
    std::cout << manual_of(command_tree(app), daemon_manual());
    return 0;
  }
  Config config = default_config();
  if (!options.file.empty()) {
    auto loaded = load_config(options.file);
    if (!loaded) {
      std::cerr << "gpupoold: " << loaded.error().detail << "\n";
      return exit_usage;
    }
    config = std::move(*loaded);
  }
  config.ledger.accept_clock = config.ledger.accept_clock || options.accept_clock;
  if (options.devices->parsed())
    return show_devices(config, options.file, options.json ? OutputForm::json : OutputForm::text);
  if (options.only_check) return check_config(config, options.file);
  Service(config, options.file).run();
}

}  // namespace
}  // namespace gpupool

int main(int argc, char** argv) { return gpupool::run(argc, argv); }
