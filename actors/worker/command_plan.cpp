#include "actors/worker/command_plan.h"

#include <algorithm>

#include "actors/worker/command_arguments.h"

namespace gpupool {
namespace {

constexpr Duration cpu_time_margin = seconds(10);

std::string seconds_of(Duration duration) {
  return std::to_string(duration.ms / 1000) + "." +
         std::to_string(1000 + duration.ms % 1000).substr(1);
}

// What the app says counts; of a name that stands twice in an environment the first is found.
void add(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  const std::string start = name + "=";
  if (std::none_of(environment.begin(), environment.end(),
                   [&](const std::string& one) { return one.starts_with(start); }))
    environment.push_back(start + value);
}

}  // namespace

Result<CommandPlan> plan_of(const Config& config, const AppConfig& app, const SlotShare& share,
                            const StartRun& run) {
  auto words = command_words(app.command, run.body->arguments);
  if (!words) return words.error();
  const CommandConfig& command = app.command;
  const std::uint32_t threads = std::max(share.threads * run.slots, 1U);
  CommandPlan plan{.words = *std::move(words),
                   .environment = command.environment,
                   .sandbox = command.sandbox,
                   .network = command.network,
                   .read_only = command.read_only,
                   .device = share.device,
                   .cores = run.slots == 1 ? share.cores : std::vector<std::uint32_t>{},
                   .memory_max_bytes = command.memory_max_bytes,
                   .scratch_bytes = command.scratch_bytes,
                   .processes_max = command.processes_max,
                   .cpu_time_max = run.declared * threads + cpu_time_margin,
                   .kill_after = Duration{config.worker.kill_grace.ms * 3 / 4},
                   .files = files_of(command, run.body->arguments)};
  auto& environment = plan.environment;
  for (const SecretConfig& secret : command.secrets)
    environment.push_back(secret.name + "=" + secret.value);
  add(environment, "PATH", "/usr/local/bin:/usr/bin:/bin");
  add(environment, "LANG", "C.UTF-8");
  add(environment, "OMP_NUM_THREADS", std::to_string(threads));
  environment.insert(environment.end(), share.environment.begin(), share.environment.end());
  if (share.device.empty()) add(environment, "CUDA_VISIBLE_DEVICES", "");
  const std::string size = run.body->size.empty() ? app.size : run.body->size;
  const std::pair<const char*, std::string> own[] = {
      {"GPUPOOL_JOB", std::to_string(run.job.value)},
      {"GPUPOOL_ATTEMPT", std::to_string(run.attempt)},
      {"GPUPOOL_APP", app.name},
      {"GPUPOOL_SIZE", size},
      {"GPUPOOL_SLOTS", std::to_string(run.slots)},
      {"GPUPOOL_THREADS", std::to_string(threads)},
      {"GPUPOOL_DEVICE", share.device.empty() ? "cpu" : share.device},
      {"GPUPOOL_NODE", config.worker.name},
      {"GPUPOOL_DURATION_S", seconds_of(run.declared)}};
  for (const auto& [name, value] : own) add(environment, name, value);
  return plan;
}

}  // namespace gpupool
