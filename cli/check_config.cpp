#include "cli/check_config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "actors/ledger/open_journal.h"
#include "actors/worker/executor.h"
#include "actors/worker/executor_sandbox.h"
#include "actors/worker/process.h"
#include "base/clock.h"
#include "cli/certificates.h"
#include "cli/devices_command.h"
#include "net/gateway_socket.h"

namespace gpupool {
namespace {

namespace fs = std::filesystem;

Error wrong(const std::string& key, const std::string& what) {
  return {.code = Errc::config_invalid, .detail = key + ": " + what};
}

std::string row(const std::string& name, const std::string& text) {
  return "  " + name + std::string(name.size() < 8 ? 8 - name.size() : 1, ' ') + text + "\n";
}

// Writing there for a moment is the only honest answer: modes say nothing on a read-only disk.
Status check_folder(const std::string& key, const fs::path& folder) {
  std::string probe = (folder / ".gpupool-check-XXXXXX").string();
  const int file = ::mkostemp(probe.data(), O_CLOEXEC);
  if (file < 0)
    return wrong(key, "cannot write in " + folder.string() + ": " + std::strerror(errno));
  ::close(file);
  ::unlink(probe.c_str());
  return ok();
}

fs::path folder_of(const fs::path& file) {
  return file.parent_path().empty() ? fs::path(".") : file.parent_path();
}

// Where a file that may be left out is to be made.
Status check_folder_of(const std::string& key, const std::string& file) {
  return file.empty() ? ok() : check_folder(key, folder_of(file));
}

Result<std::string> check_ledger(const std::string& path) {
  if (const Status writable = check_folder("ledger.path", folder_of(path)); !writable)
    return writable.error();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return row("ledger", path + ", to be made");
  if (!fs::is_regular_file(path, ignored))
    return wrong("ledger.path", path + " is no file; name the journal's file, not a folder");
  std::ifstream file(path, std::ios::binary);
  std::string magic(16, '\0');
  file.read(magic.data(), static_cast<std::streamsize>(magic.size()));
  if (!file.is_open()) return wrong("ledger.path", path + " cannot be read");
  if (file.gcount() != 0 && magic != std::string("SQLite format 3\0", 16))
    return wrong("ledger.path", path + " is not a gpupool ledger");
  return row("ledger", path);
}

Result<std::string> check_journal(const Config& config) {
  if (config.ledger.journal == JournalKind::sqlite) return check_ledger(config.ledger.path);
  auto found = check_postgres(config);
  if (!found) return wrong("ledger.postgres", found.error().detail);
  return row("ledger", *found);
}

Result<std::string> check_endpoint(const Config& config) {
  const std::string& endpoint = config.broker.client_endpoint;
  if (const Status bindable = can_listen_at(endpoint); !bindable)
    return wrong("broker.client_endpoint",
                 bindable.error().detail + "; name an address of this machine, such as 127.0.0.1");
  if (endpoint.starts_with("ipc://"))
    if (const Status writable =
            check_folder("broker.client_endpoint", folder_of(endpoint.substr(6)));
        !writable)
      return writable.error();
  return row("clients", endpoint);
}

// Of a node that lends none the driver is not asked.
Status check_gpus(const WorkerConfig& worker) {
  if (std::none_of(worker.devices.begin(), worker.devices.end(),
                   [](const DeviceConfig& one) { return one.kind == DeviceKind::cuda; }))
    return ok();
  const Machine machine = look_around();
  if (!machine.gpus) return wrong("worker.devices", machine.without);
  const auto problems = mismatches(worker, &*machine.gpus);
  if (problems.empty()) return ok();
  return Error{.code = Errc::config_invalid, .detail = problems.front()};
}

// The worker makes its folder itself, so the nearest one that is there counts.
Result<std::string> check_worker(const WorkerConfig& worker) {
  fs::path folder = fs::absolute(worker.folder);
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  if (const Status writable = check_folder("worker.folder", folder); !writable)
    return writable.error();
  if (const Status there = check_gpus(worker); !there) return there.error();
  std::uint32_t slots = 0;
  for (const DeviceConfig& device : worker.devices) slots += device.slots;
  return row("worker", worker.name + ", slots: " + std::to_string(slots) + ", devices: " +
                           std::to_string(worker.devices.size()) + ", folder " + worker.folder);
}

Result<std::string> check_cluster(const ClusterConfig& cluster) {
  if (!cluster.has_tls()) return row("cluster", "no certificates: all of it on this machine");
  const auto files = read_membership(cluster);
  if (!files) return files.error();
  const Instant now = wall_time();
  const auto membership = check_membership(*files, cluster, now);
  if (!membership) return membership.error();
  const std::string warning = expiry_warning(*membership, now);
  return row("cluster", text_of(*membership, now) + (warning.empty() ? "" : "; " + warning));
}

// Whether its runs would get the sandbox that they are promised.
Result<std::string> check_command(const ExecutorPrograms& programs, const WorkerConfig& worker,
                                  const AppConfig& app) {
  if (app.command.sandbox == SandboxKind::none)
    return row("app",
               app.name + ", WITHOUT a sandbox: its commands can do whatever their user can");
  const Status there = check_sandbox(programs.command, worker.run_as);
  if (!there) return wrong("apps." + app.name + ".sandbox", there.error().detail);
  return row("app", app.name + ", in a sandbox of bubblewrap");
}

// The executor's own program reads the weights, as it will for a job.
Result<std::string> check_app(const WorkerConfig& worker, const AppConfig& app) {
  const auto programs = ExecutorPrograms::beside_this_program();
  if (app.executor == ExecutorKind::command) return check_command(programs, worker, app);
  if (app.executor != ExecutorKind::diffusion) return row("app", app.name);
  const Finished checked = run_to_end({programs.diffusion.string(), "--check", app.model});
  if (!checked.good) return wrong("apps." + app.name + ".model", checked.said);
  return row("app", app.name + ", its weights in " + app.model + " are whole");
}

template <class Named>
std::string names_of(const std::vector<Named>& all, std::string Named::*name) {
  std::string names;
  for (const Named& one : all) names += (names.empty() ? "" : ", ") + one.*name;
  return names.empty() ? "none" : names;
}

}  // namespace

Result<std::string> check_surroundings(const Config& config) {
  std::string found = row("pool", config.pool);
  const auto add = [&](Result<std::string> part) -> Status {
    if (!part) return part.error();
    found += *part;
    return ok();
  };
  if (const Status good = check_folder_of("daemon.pid_file", config.daemon.pid_file); !good)
    return good.error();
  if (const Status good = add(check_cluster(config.cluster)); !good) return good.error();
  if (config.broker_role) {
    const std::string& ready_file = config.broker.ready_file;
    if (const Status good = check_folder_of("broker.ready_file", ready_file); !good)
      return good.error();
    if (const Status good = add(check_endpoint(config)); !good) return good.error();
    const Status good = add(check_journal(config));
    if (!good) return good.error();
    found += row("tiers", names_of(config.tiers, &TierConfig::name));
    found += row("keys", names_of(config.identity.keys, &KeyConfig::kid));
  }
  if (config.worker_role) {
    if (const Status good = add(check_worker(config.worker)); !good) return good.error();
    for (const AppConfig& app : config.apps)
      if (const Status good = add(check_app(config.worker, app)); !good) return good.error();
  }
  return found;
}

}  // namespace gpupool
