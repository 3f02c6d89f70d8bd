// Any text as a configuration: a Config that agrees with itself, or one error with its line.

#include <cstdint>
#include <string>

#include "base/ensure.h"
#include "config/load.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace gpupool;
  const std::string text{reinterpret_cast<const char*>(bytes), size};
  const Result<Config> config = parse_config(text, "folder-that-is-not-there/gpupool.toml");
  if (!config) {
    GPUPOOL_ENSURE(config.error().code == Errc::config_invalid,
                   static_cast<int>(config.error().code));
    GPUPOOL_ENSURE(!config.error().detail.empty() && config.error().want > 0, config.error().want);
    return 0;
  }
  GPUPOOL_ENSURE(config->broker_role || config->worker_role);
  GPUPOOL_ENSURE(!config->tiers.empty() && !config->sizes.empty());
  for (const AppConfig& app : config->apps) {
    GPUPOOL_ENSURE(config->size(app.size) && app.default_duration <= app.longest, app.name);
    for (const std::string& tier : app.tiers) GPUPOOL_ENSURE(config->tier(tier), app.name);
  }
  for (const KeyConfig& key : config->identity.keys)
    GPUPOOL_ENSURE(!key.secret.empty() || key.public_key.size() == 32, key.kid);
  return 0;
}
