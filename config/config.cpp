#include "config/config.h"

#include <algorithm>
#include <charconv>

namespace gpupool {
namespace {

template <class Named>
const Named* named(const std::vector<Named>& all, const std::string& name) {
  for (const auto& one : all)
    if (one.name == name) return &one;
  return nullptr;
}

}  // namespace

const TierConfig* Config::tier(const std::string& name) const { return named(tiers, name); }
const SizeConfig* Config::size(const std::string& name) const { return named(sizes, name); }
const AppConfig* Config::app(const std::string& name) const { return named(apps, name); }

bool GroupConfig::has(std::string_view account) const {
  constexpr std::string_view prefix = "user:";
  if (!account.starts_with(prefix)) return false;
  const std::string_view user = account.substr(prefix.size());
  return std::any_of(users.begin(), users.end(), [&](const std::string& one) {
    return one.starts_with("*@") ? user.ends_with(std::string_view(one).substr(1)) : one == user;
  });
}

Config default_config() {
  Config config;
  config.tiers = {
      {.name = "anonymous", .allowance = {120'000}, .longest = {120'000}, .rank = 0},
      {.name = "free", .allowance = {210'000}, .longest = {180'000}, .rank = 1},
      {.name = "pro", .allowance = {1'500'000}, .longest = {300'000}, .rank = 2},
  };
  config.sizes = {{.name = "large", .slots = 1, .factor = 1},
                  {.name = "xlarge", .slots = 2, .factor = 2}};
  config.apps = {{.name = "emoji", .model = "models/emoji"}};
  return config;
}

std::string history_path(const Config& config) { return config.ledger.path + "-history"; }

std::string snapshot_path(const Config& config) { return config.ledger.path + "-snapshot"; }

Duration occupancy_of(const Config& config, const AppConfig& app, Duration declared) {
  return declared + app.start_limit + config.worker.kill_grace + config.worker.slot_check;
}

std::string_view word_of(ExecutorKind kind) {
  switch (kind) {
    case ExecutorKind::diffusion:
      return "diffusion";
    case ExecutorKind::noop:
      return "noop";
    case ExecutorKind::command:
      return "command";
    case ExecutorKind::external:
      return "external";
  }
  return "unknown";
}
std::string_view word_of(DeviceKind kind) { return kind == DeviceKind::cuda ? "cuda" : "cpu"; }
std::string_view word_of(Precision precision) {
  return precision == Precision::bf16 ? "bf16" : "f32";
}

Result<HostAndPort> parse_address(const std::string& text) {
  const Error invalid{.code = Errc::config_invalid,
                      .detail = "expected HOST:PORT or [IPV6]:PORT, found \"" + text + "\""};
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return invalid;
  std::string host = text.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return invalid;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string::npos) {
    return invalid;
  }
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc{} || rest != end) return invalid;
  return HostAndPort{std::move(host), port};
}

}  // namespace gpupool
