#include "cli/daemon_options.h"

namespace gpupool {
namespace {

constexpr const char* signals =
    "Signals: SIGTERM and SIGINT end it when what runs has ended (daemon.drain_limit_s), a\n"
    "second one at once; SIGHUP reads tiers, durations of apps and keys again.\n";
constexpr const char* exit_codes =
    "Exit codes: 0 ended, 1 cannot start, 2 usage or configuration, 75 the ledger's state is in\n"
    "doubt (start again), 76 another broker leads, or may (start again, as a standby).\n";

ManualPart signals_part() {
  return {.title = "SIGNALS",
          .entries = {{"SIGTERM, SIGINT",
                       "Nothing new starts; what runs has daemon.drain_limit_s to end, and the "
                       "process ends. A second one ends it at once. What was cut runs again after "
                       "the restart, uncharged."},
                      {"SIGHUP",
                       "The configuration is read again: tiers, durations and tiers of apps, "
                       "reservations, groups, rates, keys and issuers. A file with a mistake "
                       "changes nothing; what needs a restart is named in the log."}}};
}

ManualPart files_part() {
  return {
      .title = "FILES",
      .entries = {{"/etc/gpupool/gpupool.toml", "The configuration, as the package installs it."},
                  {"/usr/share/doc/gpupoold/examples/gpupool.toml",
                   "Every key of the configuration at its default, with what it means."},
                  {"/var/lib/gpupool", "The ledger and the results of jobs, of an installed pool."},
                  {"/run/gpupool/ready",
                   "The state of the broker and where clients reach it "
                   "(broker.ready_file)."}}};
}

ManualPart environment_part() {
  return {.title = "ENVIRONMENT",
          .entries = {{"NOTIFY_SOCKET, WATCHDOG_USEC",
                       "Set by systemd: it is told when the daemon is ready, reloads and stops, "
                       "and that it is alive."},
                      {"GPUPOOL_NVML",
                       "NVIDIA's management library, if it is another file than "
                       "libnvidia-ml.so.1."}}};
}

ManualPart examples_part() {
  return {.title = "EXAMPLES",
          .lines =
              "  gpupoold --config pool.toml --check-config\n"
              "  gpupoold --config pool.toml\n"
              "  gpupoold devices --config pool.toml\n"};
}

}  // namespace

void add_daemon_options(CLI::App& app, DaemonOptions& options) {
  app.add_option("--config", options.file, "TOML file; every key stands in config/gpupool.toml")
      ->type_name("FILE");
  app.add_flag("--check-config", options.only_check,
               "read the configuration and what it names, say what was found, and end");
  app.add_flag("--accept-clock", options.accept_clock,
               "start although the wall clock jumped since the ledger's last record");
  // Not for people: the build makes the manual with it.
  app.add_flag("--manual", options.manual, "print the manual's page, in roff")->group("");
  CLI::App& devices = *app.add_subcommand(
      "devices", "list the CPU and GPUs of this machine, and how --config cuts them into slots");
  devices.add_option("--config", options.file, "TOML file, to see what it lends")
      ->type_name("FILE");
  devices.add_flag("--json", options.json, "one JSON object");
  options.devices = &devices;
  app.footer(signals + std::string(exit_codes));
}

ManualText daemon_manual() {
  return {.section = "8",
          .summary = "daemon of a pool that lends GPUs by the second",
          .version = GPUPOOL_VERSION,
          .paragraphs = {"A machine's part of a pool. Its configuration says which roles the "
                         "process has: broker (the ledger, the queue, the client socket), worker "
                         "(the devices of this machine and what runs on them), or both.",
                         "Without --config every key has its default: a pool on this machine "
                         "alone, for callers on this machine.",
                         "Log lines go to standard error."},
          .common_footer = "",
          .exit_codes = exit_codes,
          .parts = {signals_part(), files_part(), environment_part(), examples_part()},
          .see_also = {"gpupool(1)"}};
}

}  // namespace gpupool
