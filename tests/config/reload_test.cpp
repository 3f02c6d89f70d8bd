#include "config/reload.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "config/load.h"

using namespace gpupool;

namespace {

using Keys = std::vector<std::string>;

Reload reloaded(const Config& running, const Config& fresh) {
  auto next = reload(running, fresh);
  INFO((next ? "" : next.error().detail));
  REQUIRE(next);
  return *std::move(next);
}

}  // namespace

TEST_CASE("A file that says the same again changes nothing") {
  const Reload next = reloaded(default_config(), default_config());
  CHECK(next.changed.empty());
  CHECK(next.waiting.empty());
}

TEST_CASE("A reload takes over tiers, the durations and tiers of apps, and keys") {
  const Config running = default_config();
  Config fresh = running;
  fresh.tiers[1].allowance = {999'000};
  fresh.tiers[2].jobs_max = 9;
  fresh.tiers.push_back({.name = "staff", .allowance = {1'000}, .longest = {1'000}});
  fresh.apps[0].longest = seconds(77);
  fresh.apps[0].default_duration = seconds(7);
  fresh.apps[0].tiers = {"pro", "staff"};
  fresh.identity.keys = {{.kid = "new", .secret = std::string(32, 'x')}};
  const Reload next = reloaded(running, fresh);
  CHECK(next.changed == Keys{"tiers.free.allowance_s", "tiers.pro.jobs_max", "tiers.staff",
                             "apps.emoji.default_duration_s", "apps.emoji.longest_s",
                             "apps.emoji.tiers", "identity.keys"});
  CHECK(next.waiting.empty());
  CHECK(next.config.tier("free")->allowance == GpuTime{999'000});
  CHECK(next.config.tier("staff") != nullptr);
  CHECK(next.config.app("emoji")->longest == seconds(77));
  CHECK(next.config.app("emoji")->default_duration == seconds(7));
  CHECK(next.config.app("emoji")->tiers == Keys{"pro", "staff"});
  CHECK(next.config.identity.keys.at(0).kid == "new");
}

TEST_CASE("What a reload leaves alone is named and keeps its value") {
  const Config running = default_config();
  Config fresh = running;
  fresh.broker.queue_max = 7;
  fresh.apps[0].model = "elsewhere";
  fresh.sizes[1].factor = 3;
  fresh.worker.devices[0].threads = 4;
  fresh.identity.audience = "others";
  const Reload next = reloaded(running, fresh);
  CHECK(next.changed.empty());
  CHECK(next.waiting == Keys{"apps.emoji.model", "broker.queue_max", "worker.devices",
                             "identity.audience", "sizes"});
  CHECK(next.config.broker.queue_max == running.broker.queue_max);
  CHECK(next.config.apps[0].model == running.apps[0].model);
  CHECK(next.config.size("xlarge")->factor == 2);
}

TEST_CASE("Tiers and apps that are gone from the file stay, since open jobs may use them") {
  Config running = default_config();
  running.apps.push_back({.name = "old", .executor = ExecutorKind::noop});
  Config fresh = default_config();
  fresh.tiers.pop_back();
  fresh.apps.push_back({.name = "new", .executor = ExecutorKind::noop});
  const Reload next = reloaded(running, fresh);
  CHECK(next.changed.empty());
  CHECK(next.waiting == Keys{"apps.new (new)", "tiers.pro (removed)", "apps.old (removed)"});
  CHECK(next.config.tier("pro") != nullptr);
  CHECK(next.config.app("old") != nullptr);
  CHECK(next.config.app("new") == nullptr);
}

TEST_CASE("Durations that contradict what waits for a restart are refused as a whole") {
  Config running = default_config();
  running.apps[0].stall = seconds(50);
  Config fresh = default_config();
  fresh.apps[0].longest = seconds(40);
  fresh.apps[0].default_duration = seconds(40);
  const auto next = reload(running, fresh);
  REQUIRE_FALSE(next);
  CHECK(next.error().code == Errc::config_invalid);
  CHECK(next.error().detail ==
        "apps.emoji.longest_s: 40 s is below the running stall_s of 50 s; a restart would do");
}

// In which every key has another value than in the default one.
Config another_config() {
  Config other = default_config();
  other.pool = "other";
  other.worker_role = false;
  other.broker = {.client_endpoint = "tcp://127.0.0.1:1",
                  .worker_address = "127.0.0.1:2",
                  .curve_secret = "z",
                  .ready_file = "r",
                  .queue_max = 1,
                  .client_grace = seconds(1),
                  .rejoin_grace = seconds(1),
                  .heartbeat_suspect = seconds(40),
                  .heartbeat_loss = seconds(50)};
  other.cluster = {.ca_file = "ca", .certificate_file = "c", .key_file = "k"};
  other.ledger = {.journal = JournalKind::postgres,
                  .path = "l",
                  .reserve_bytes = 1,
                  .snapshot_records = 1,
                  .postgres = "dbname=l",
                  .postgres_password = "p",
                  .postgres_schema = "s"};
  other.worker = {.name = "n",
                  .broker_addresses = {"127.0.0.1:3"},
                  .rank_address = "a",
                  .folder = "f",
                  .devices = {},
                  .kill_grace = seconds(1),
                  .slot_check = seconds(1),
                  .heartbeat_interval = seconds(1),
                  .heartbeat_stale = seconds(1),
                  .result_keep = seconds(1),
                  .result_bytes_max = 1,
                  .health_interval = seconds(1),
                  .overheat = seconds(1),
                  .run_as = "r"};
  other.identity = {.keys = {KeyConfig{}},
                    .issuers = {{.name = "i"}},
                    .audience = "a",
                    .anonymous = false,
                    .anonymous_tier = "free",
                    .default_tier = "pro"};
  other.window = {WindowKind::fixed, seconds(1), seconds(60)};
  other.daemon = {.pid_file = "p", .drain_limit = seconds(1)};
  other.log = {.level = "off", .json = true};
  other.sizes.pop_back();
  other.tiers[0] = {.name = "anonymous", .rank = 5, .jobs_max = 5};
  other.apps[0] = {.name = "emoji",
                   .executor = ExecutorKind::noop,
                   .partition = "p",
                   .size = "xlarge",
                   .spread = Spread::device,
                   .default_duration = seconds(1),
                   .longest = seconds(100),
                   .start_limit = seconds(1),
                   .stall = seconds(1),
                   .model = "m",
                   .tiers = {"pro"},
                   .automatic = true,
                   .memory_bytes = 1,
                   .command = {.words = {"x"},
                               .parameters = {{.name = "p"}},
                               .environment = {"A=b"},
                               .secrets = {{.name = "S", .value = "v"}},
                               .sandbox = SandboxKind::none,
                               .network = true,
                               .read_only = {"/x"},
                               .memory_max_bytes = 1,
                               .scratch_bytes = 1,
                               .processes_max = 1,
                               .retries = 1},
                   .concurrency = 1};
  other.rates = {.account = {1, 2}, .address = {3, 4}};
  other.reservations = {{.name = "r"}};
  other.groups = {{.name = "g"}};
  other.http.endpoint = "h";
  other.web = {.endpoint = "w", .metrics = false, .proxies = {"127.0.0.1"}};
  other.spaces = {{.name = "s"}};
  return other;
}

// Every key of a file either is taken over or waits: none is forgotten in silence.
TEST_CASE("A reload knows every key that a configuration file may hold") {
  const Config running = default_config();
  const Config other = another_config();
  const Reload next = reloaded(running, other);
  std::set<std::string> told(next.changed.begin(), next.changed.end());
  told.insert(next.waiting.begin(), next.waiting.end());

  const std::set<std::string> whole{
      "sizes",  "worker.devices", "identity.keys",         "identity.issuers",  "reservations",
      "groups", "spaces",         "apps.emoji.parameters", "apps.emoji.secrets"};
  for (std::string key : config_keys()) {
    for (const auto& [table, entry] :
         {std::pair<std::string, std::string>{"tiers.", "anonymous"}, {"apps.", "emoji"}})
      if (key.starts_with(table)) key = table + entry + "." + key.substr(table.size());
    // The name of an entry says which one it is; it is no setting of it.
    if (key == "tiers.anonymous.name" || key == "apps.emoji.name") continue;
    const bool is_known =
        told.contains(key) || std::any_of(whole.begin(), whole.end(), [&](const std::string& one) {
          return told.contains(one) && key.starts_with(one);
        });
    const bool is_table = std::any_of(told.begin(), told.end(), [&](const std::string& one) {
      return one.starts_with(key + ".");
    });
    INFO(key);
    CHECK((is_known || is_table));
  }
}
