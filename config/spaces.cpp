#include "config/spaces.h"

#include <algorithm>
#include <string>

#include "config/text_rules.h"

namespace gpupool {
namespace {

// As long as the pool waits for the process of a caller who was granted a slot (design 2.3).
constexpr Duration external_start_limit = seconds(5);

// What a URL may have as it is, so that everybody writes it alike.
bool is_path_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_name(std::string_view(&c, 1)) ||
           std::string_view("-_./~").find(c) != std::string_view::npos;
  });
}

constexpr std::size_t prefix_bytes_min = 16;
constexpr TextRule prefix_rule{
    .expected = "a path of 16 to 128 letters, digits and -_./~ that nobody guesses, \"/\" first",
    .allows = [](std::string_view text) {
      return text.size() >= prefix_bytes_min && text.size() <= 128 && text.starts_with('/') &&
             !text.ends_with('/') && text.find("//") == text.npos && is_path_text(text);
    }};
constexpr TextRule http_rule{
    .expected = "nothing, or an address such as \"127.0.0.1:7480\", port 0 for a free one",
    .allows = [](std::string_view text) {
      return text.empty() || bool{parse_address(std::string(text))};
    }};
constexpr TextRule proxy_rule{
    .expected = "the network address of a proxy, such as \"127.0.0.1\"",
    .allows = [](std::string_view text) {
      return text.find_first_of("0123456789") != text.npos && text.size() <= 45 &&
             text.find_first_not_of("0123456789abcdefABCDEF.:") == text.npos;
    }};
constexpr TextRule cgroup_rule{
    .expected = "nothing, or the path of a cgroup such as \"/space.slice/demo\"",
    .allows = [](std::string_view text) {
      return text.empty() ||
             (text.size() <= 255 && text.size() > 1 && text.front() == '/' && !text.ends_with('/'));
    }};
constexpr TextRule system_user_rule{.expected = "nothing, or the name of a user of this system",
                                    .allows = [](std::string_view text) {
                                      return text.size() <= 32 &&
                                             (text.empty() || is_name(text) || text.front() == '_');
                                    }};

bool is_external(const AppConfig& app) { return app.executor == ExecutorKind::external; }

}  // namespace

void read_http(Section section, Config& config) {
  section.text("endpoint", config.http.endpoint, http_rule);
  if (config.http.is_on() && !config.worker_role)
    section.reject("endpoint", "nothing, as this process has no slots of its own to lend",
                   "\"" + config.http.endpoint + "\"");
  section.finish();
}

void read_web(Section section, Config& config) {
  section.text("endpoint", config.web.endpoint, http_rule);
  section.flag("metrics", config.web.metrics);
  section.texts("proxies", config.web.proxies, proxy_rule);
  if (config.web.is_on() && !config.broker_role)
    section.reject("endpoint", "nothing, as the page is served by the broker's process",
                   "\"" + config.web.endpoint + "\"");
  section.finish();
}

SpaceConfig read_space(Section& section, const Config& config) {
  SpaceConfig space;
  section.text("name", space.name, name_rule, Need::required);
  section.text("prefix", space.prefix, prefix_rule, Need::required);
  section.text("app", space.app, name_rule, Need::required);
  section.text("cgroup", space.cgroup, cgroup_rule);
  section.text("user", space.user, system_user_rule);
  for (const SpaceConfig& other : config.spaces) {
    if (other.name == space.name)
      section.reject("name", "a name that no other entry has", "\"" + space.name + "\" again");
    // One that is the beginning of another would give away its name.
    if (space.prefix.starts_with(other.prefix) || other.prefix.starts_with(space.prefix))
      section.reject("prefix", "one that no other space's begins with, nor the other way round",
                     "one that does");
  }
  const AppConfig* app = config.app(space.app);
  if (app == nullptr || !is_external(*app))
    return section.reject("app", "the name of an app with executor = \"external\"",
                          "\"" + space.app + "\""),
           space;
  const auto& devices = config.worker.devices;
  if (config.worker_role &&
      std::none_of(devices.begin(), devices.end(),
                   [&](const DeviceConfig& one) { return one.partition == app->partition; }))
    section.reject("app", "one whose partition is of this node's [[worker.devices]]",
                   "\"" + space.app + "\", of partition \"" + app->partition + "\"");
  return space;
}

void check_external(Section& section, const Config& config, AppConfig& app) {
  if (is_external(app) && !section.has("start_limit_s")) app.start_limit = external_start_limit;
  for (const AppConfig& other : config.apps) {
    const bool mixes =
        other.partition == app.partition && is_external(other) != is_external(app) &&
        (other.executor == ExecutorKind::diffusion || app.executor == ExecutorKind::diffusion);
    if (mixes)
      section.reject("partition",
                     "another one than that of app " + other.name +
                         ": pictures and callers' own processes do not share slots",
                     "\"" + app.partition + "\"");
  }
  if (is_external(app) && app.spread == Spread::nodes)
    section.reject("spread", "\"devices\" or \"device\": a caller's process is on one node",
                   "\"nodes\"");
}

}  // namespace gpupool
