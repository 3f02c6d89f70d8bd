#include "actors/worker/executor_sandbox.h"

#include <algorithm>

#include "actors/worker/process.h"

namespace gpupool {

bool needs_sandbox(const Config& config) {
  return std::any_of(config.apps.begin(), config.apps.end(), [](const AppConfig& app) {
    return app.executor == ExecutorKind::command && app.command.sandbox != SandboxKind::none;
  });
}

Status check_sandbox(const std::filesystem::path& program, const std::string& run_as) {
  const Finished checked = run_to_end({program.string(), "--check", "--run-as", run_as});
  if (checked.good) return ok();
  std::string why = checked.said;
  std::replace(why.begin(), why.end(), '\n', ' ');
  return Error{.code = Errc::unsupported,
               .detail = why.empty() ? "the sandbox could not be made" : std::move(why)};
}

}  // namespace gpupool
