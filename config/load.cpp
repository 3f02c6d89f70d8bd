#include "config/load.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "config/cluster.h"
#include "config/command.h"
#include "config/devices.h"
#include "config/identity.h"
#include "config/key_file.h"
#include "config/limits.h"
#include "config/section.h"
#include "config/small_file.h"
#include "config/spaces.h"
#include "config/text_rules.h"

namespace gpupool {
namespace {

constexpr std::int64_t file_bytes_max = 1024 * 1024;
constexpr std::int64_t secret_bytes_min = 32;
constexpr std::int64_t secret_bytes_max = 4096;

constexpr Range duration_range{1, limits::duration_ms_max};
constexpr Range pause_range{0, limits::duration_ms_max};
// A window's worth of every slot that a node can have.
constexpr Range amount_range{0, limits::duration_ms_max* limits::slots_per_node_max};
constexpr Range slots_range{1, limits::slots_per_node_max};
constexpr Range factor_range{1, 1024};
static_assert(limits::duration_ms_max <= std::numeric_limits<std::int64_t>::max() / 1024,
              "the cost of any duration at any factor fits");

std::string seconds_of(std::int64_t ms) {
  std::string text = std::to_string(ms / 1000);
  if (ms % 1000 != 0) text += "." + std::to_string(1000 + ms % 1000).substr(1);
  return text + " s";
}

void read_pool(Section section, Config& config) {
  section.text("name", config.pool, name_rule);
  std::vector<std::string> names;
  if (config.broker_role) names.emplace_back("broker");
  if (config.worker_role) names.emplace_back("worker");
  section.texts("roles", names, role_rule);
  config.broker_role = std::find(names.begin(), names.end(), "broker") != names.end();
  config.worker_role = std::find(names.begin(), names.end(), "worker") != names.end();
  if (names.empty()) section.reject("roles", "at least one role", "none");
  section.finish();
}

void read_curve_secret(Section& section, std::string& secret) {
  constexpr std::string_view expected =
      "a file with 40 characters of Z85 that only its owner may read (gpupool keys curve)";
  std::string file;
  section.path("curve_secret_file", file);
  if (file.empty()) return;
  auto text = read_secret(file);
  if (!text)
    section.reject("curve_secret_file", expected, text.error().detail);
  else if (!is_z85_key(*text))
    section.reject("curve_secret_file", expected, file + ", which holds something else");
  else
    secret = *std::move(text);
}

void read_broker(Section section, Config& config) {
  auto& broker = config.broker;
  section.text("client_endpoint", broker.client_endpoint, client_rule);
  read_curve_secret(section, broker.curve_secret);
  section.text("worker_address", broker.worker_address, worker_address_rule);
  section.path("ready_file", broker.ready_file);
  section.count("queue_max", broker.queue_max, {1, limits::jobs_max});
  section.duration("client_grace_s", broker.client_grace, pause_range);
  section.duration("rejoin_grace_s", broker.rejoin_grace, pause_range);
  section.duration("heartbeat_suspect_s", broker.heartbeat_suspect, duration_range);
  section.duration("heartbeat_loss_s", broker.heartbeat_loss, duration_range);
  if (broker.heartbeat_suspect > broker.heartbeat_loss)
    section.reject("heartbeat_suspect_s",
                   "at most heartbeat_loss_s, which is " + seconds_of(broker.heartbeat_loss.ms),
                   seconds_of(broker.heartbeat_suspect.ms));
  reject_open_address(section, "worker_address", broker.worker_address, config.cluster);
  if (config.broker_role && !config.worker_role && broker.worker_address.empty())
    section.reject("worker_address", "an address for workers, as this process has none itself",
                   "none");
  section.finish();
}

void read_postgres(Section& section, LedgerConfig& ledger) {
  std::string password_file;
  section.text("postgres", ledger.postgres, conninfo_rule);
  section.path("postgres_password_file", password_file);
  section.text("postgres_schema", ledger.postgres_schema, schema_rule);
  if (ledger.journal == JournalKind::postgres && ledger.postgres.empty())
    section.reject("postgres", conninfo_rule.expected, "none");
  if (password_file.empty()) return;
  auto password = read_owners_file(password_file, secret_bytes_max);
  if (password && !password->empty())
    ledger.postgres_password = *std::move(password);
  else
    section.reject("postgres_password_file",
                   "a file with the password of the role, which only its owner may read",
                   password ? password_file + ", which is empty" : password.error().detail);
}

void read_ledger(Section section, Config& config) {
  std::string journal = "sqlite";
  section.text("journal", journal, journal_rule);
  config.ledger.journal = journal == "postgres" ? JournalKind::postgres : JournalKind::sqlite;
  section.path("path", config.ledger.path);
  if (config.ledger.path.empty()) section.reject("path", "a file for the journal", "none");
  section.bytes("reserve_bytes", config.ledger.reserve_bytes, {0, std::int64_t{1} << 30U});
  section.count("snapshot_records", config.ledger.snapshot_records, {0, 1'000'000'000});
  read_postgres(section, config.ledger);
  section.finish();
}

void check_heartbeats(Section& section, const Config& config) {
  const auto& worker = config.worker;
  const auto loss = config.broker.heartbeat_loss;
  if (worker.heartbeat_stale >= loss)
    section.reject("heartbeat_stale_s",
                   "less than broker.heartbeat_loss_s, which is " + seconds_of(loss.ms),
                   seconds_of(worker.heartbeat_stale.ms));
  if (worker.heartbeat_interval >= worker.heartbeat_stale)
    section.reject("heartbeat_interval_s",
                   "less than heartbeat_stale_s, which is " + seconds_of(worker.heartbeat_stale.ms),
                   seconds_of(worker.heartbeat_interval.ms));
}

void read_worker(Section section, Config& config) {
  auto& worker = config.worker;
  section.text("name", worker.name, name_rule);
  read_broker_addresses(section, config);
  section.text("rank_address", worker.rank_address, rank_address_rule);
  section.path("folder", worker.folder);
  section.duration("kill_grace_s", worker.kill_grace, pause_range);
  section.duration("slot_check_s", worker.slot_check, pause_range);
  section.duration("heartbeat_interval_s", worker.heartbeat_interval, duration_range);
  section.duration("heartbeat_stale_s", worker.heartbeat_stale, duration_range);
  section.duration("result_keep_s", worker.result_keep, duration_range);
  section.bytes("result_bytes_max", worker.result_bytes_max,
                {limits::result_bytes_max, std::int64_t{1} << 50U});
  section.duration("health_interval_s", worker.health_interval, duration_range);
  section.duration("overheat_s", worker.overheat, pause_range);
  section.text("run_as", worker.run_as, account_name_rule);
  section.list<DeviceConfig>("devices", worker.devices, entries_max,
                             [&](Section& one) { return read_device(one, worker.devices); });
  check_heartbeats(section, config);
  if (worker.folder.empty()) section.reject("folder", "a folder for results", "none");
  if (config.broker_role && !worker.broker_addresses.empty())
    section.reject("broker_address", "nothing, as the broker is in this process",
                   "\"" + worker.broker_addresses.front() + "\"");
  if (!config.broker_role && worker.broker_addresses.empty())
    section.reject("broker_address", "the broker's worker_address, as no broker is in this process",
                   "none");
  std::int64_t slots = 0;
  for (const auto& device : worker.devices) slots += device.slots;
  if (slots > limits::slots_per_node_max)
    section.reject("devices",
                   "at most " + std::to_string(limits::slots_per_node_max) + " slots on a node",
                   std::to_string(slots));
  section.finish();
}

// Fixed windows have to meet midnight, or the time of day at which they start, on every day.
void read_window(Section section, Config& config) {
  auto& window = config.window;
  std::string kind = "rolling";
  std::string starts = "00:00";
  section.text("kind", kind, window_rule);
  section.duration("length_s", window.length, duration_range);
  section.text("starts", starts, time_of_day_rule);
  if (kind == "fixed") window.kind = WindowKind::fixed;
  const auto digits = [&starts](std::size_t place) {
    return std::int64_t{starts[place] - '0'} * 10 + (starts[place + 1] - '0');
  };
  if (is_time_of_day(starts)) window.starts = seconds(digits(0) * 3600 + digits(3) * 60);
  constexpr std::int64_t day_ms = hours(24).ms;
  const bool meets_days =
      window.length.ms > 0 && (day_ms % window.length.ms == 0 || window.length.ms % day_ms == 0);
  if (window.kind == WindowKind::fixed && !meets_days)
    section.reject("length_s", "of fixed windows, a part of 86400 s such as 28800, or whole days",
                   seconds_of(window.length.ms));
  if (window.kind == WindowKind::rolling && window.starts > Duration{})
    section.reject("starts", "nothing, as rolling windows start with an account's first request",
                   "\"" + starts + "\"");
  section.finish();
}

void read_daemon(Section section, Config& config) {
  section.path("pid_file", config.daemon.pid_file);
  section.duration("drain_limit_s", config.daemon.drain_limit, pause_range);
  section.finish();
}

void read_log(Section section, Config& config) {
  section.text("level", config.log.level, level_rule);
  section.flag("json", config.log.json);
  section.finish();
}

TierConfig read_tier(Section& section, const std::vector<TierConfig>& before) {
  TierConfig tier;
  section.text("name", tier.name, name_rule, Need::required);
  section.amount("allowance_s", tier.allowance, amount_range, Need::required);
  section.amount("longest_s", tier.longest, duration_range, Need::required);
  section.count("rank", tier.rank, {0, 1000});
  section.count("jobs_max", tier.jobs_max, {1, limits::jobs_max});
  reject_repeat(section, before, "name", &TierConfig::name, tier);
  return tier;
}

SizeConfig read_size(Section& section, const std::vector<SizeConfig>& before) {
  SizeConfig size;
  section.text("name", size.name, name_rule, Need::required);
  section.count("slots", size.slots, slots_range, Need::required);
  section.count("factor", size.factor, factor_range, Need::required);
  reject_repeat(section, before, "name", &SizeConfig::name, size);
  return size;
}

// What an app says must agree with itself and with the sizes, tiers and times around it.
void check_app(Section& section, const Config& config, const AppConfig& app) {
  if (config.size(app.size) == nullptr)
    section.reject("size", "the name of a size", "\"" + app.size + "\"");
  for (const auto& tier : app.tiers)
    if (config.tier(tier) == nullptr) section.reject("tiers", "names of tiers", "\"" + tier + "\"");
  // Where all slots of the pool are known, one of them must be of its partition.
  const bool knows_slots =
      config.broker_role && config.worker_role && config.broker.worker_address.empty();
  const auto has_slots = [&app](const DeviceConfig& one) { return one.partition == app.partition; };
  if (knows_slots &&
      std::none_of(config.worker.devices.begin(), config.worker.devices.end(), has_slots))
    section.reject("partition", "a partition of some [[worker.devices]], or no job would ever run",
                   "\"" + app.partition + "\"");
  if (config.worker_role) check_memory(section, config.worker.devices, app);
  if (app.default_duration > app.longest)
    section.reject("default_duration_s",
                   "at most longest_s, which is " + seconds_of(app.longest.ms),
                   seconds_of(app.default_duration.ms));
  const auto occupancy = occupancy_of(config, app, app.longest);
  if (occupancy.ms > limits::duration_ms_max)
    section.reject("longest_s",
                   "with start limit, kill grace and slot check at most " +
                       seconds_of(limits::duration_ms_max),
                   seconds_of(occupancy.ms));
  check_concurrency(section, config, app);
  if (app.executor == ExecutorKind::command) check_command(section, config, app);
  if (app.executor != ExecutorKind::diffusion) return;
  if (app.stall > app.longest)
    section.reject("stall_s", "at most longest_s, which is " + seconds_of(app.longest.ms),
                   seconds_of(app.stall.ms));
  std::error_code none;
  if (config.worker_role && !std::filesystem::is_directory(app.model, none))
    section.reject("model", "the folder of the weights", "\"" + app.model + "\", not a folder");
}

AppConfig read_app(Section& section, const Config& config) {
  AppConfig app;
  std::string executor = "diffusion";
  std::string spread = "devices";
  std::string duration = "declared";
  section.text("name", app.name, name_rule, Need::required);
  section.text("executor", executor, executor_rule);
  section.text("partition", app.partition, name_rule);
  section.text("size", app.size, name_rule);
  section.text("spread", spread, spread_rule);
  section.text("duration", duration, app_duration_rule);
  section.duration("default_duration_s", app.default_duration, duration_range);
  section.duration("longest_s", app.longest, duration_range);
  section.duration("start_limit_s", app.start_limit, duration_range);
  section.duration("stall_s", app.stall, duration_range);
  section.path("model", app.model);
  section.texts("tiers", app.tiers, name_rule);
  section.bytes("memory_bytes", app.memory_bytes, memory_range);
  section.count("concurrency", app.concurrency, {0, limits::slots_per_node_max});
  if (executor == "noop") app.executor = ExecutorKind::noop;
  if (executor == "command") app.executor = ExecutorKind::command;
  if (executor == "external") app.executor = ExecutorKind::external;
  read_command(section, app);
  // A command runs on one device, whatever its size.
  const bool is_command = app.executor == ExecutorKind::command;
  if (spread == "device" || (is_command && !section.has("spread"))) app.spread = Spread::device;
  if (spread == "nodes") app.spread = Spread::nodes;
  check_external(section, config, app);
  app.automatic = duration == "auto";
  reject_repeat(section, config.apps, "name", &AppConfig::name, app);
  check_app(section, config, app);
  return app;
}

void read_apps(Section& root, Section defaults, Config& config) {
  bool listed = false;
  root.list<AppConfig>("apps", config.apps, entries_max, [&](Section& one) {
    listed = true;
    return read_app(one, config);
  });
  // The default apps, too, need the sizes and tiers that the file may have replaced.
  if (!listed)
    for (const auto& app : config.apps) check_app(defaults, config, app);
}

ReservationConfig read_reservation(Section& section, const Config& config) {
  ReservationConfig reservation;
  section.text("name", reservation.name, name_rule, Need::required);
  section.text("partition", reservation.partition, name_rule);
  section.count("slots", reservation.slots, slots_range, Need::required);
  section.texts("users", reservation.users, user_rule);
  section.moment("from", reservation.from);
  section.moment("until", reservation.until);
  reject_repeat(section, config.reservations, "name", &ReservationConfig::name, reservation);
  const auto is_partition = [&config](const std::string& name) {
    return std::any_of(config.apps.begin(), config.apps.end(),
                       [&](const AppConfig& app) { return app.partition == name; });
  };
  const auto& devices = config.worker.devices;
  const bool is_of_device =
      std::any_of(devices.begin(), devices.end(),
                  [&](const DeviceConfig& device) { return device.partition == reservation.name; });
  if (is_partition(reservation.name) || is_of_device)
    section.reject("name", "a name that no partition has", "\"" + reservation.name + "\"");
  if (!is_partition(reservation.partition))
    section.reject("partition", "the partition of some app", "\"" + reservation.partition + "\"");
  if (reservation.users.empty()) section.reject("users", "at least one user", "none");
  if (reservation.until <= reservation.from)
    section.reject("until", "a moment after \"from\"", "one that is not");
  return reservation;
}

// In an order in which each part finds what it refers to; findings are told in the file's order.
// What is missing from the file is missing at its last line, so that the mistake which made it
// matter is told first.
Config read_document(std::string_view text, Findings& findings) {
  const toml::table document = toml::parse(text, std::string_view{});
  const auto last_line = 1 + std::count(text.begin(), text.end(), '\n') - text.ends_with('\n');
  Config config = default_config();
  Section root{&document, {.line = last_line, .key = ""}, findings};
  root.list<TierConfig>("tiers", config.tiers, entries_max,
                        [&](Section& one) { return read_tier(one, config.tiers); });
  root.list<SizeConfig>("sizes", config.sizes, entries_max,
                        [&](Section& one) { return read_size(one, config.sizes); });
  read_pool(root.section("pool"), config);
  read_cluster(root.section("cluster"), config);
  read_broker(root.section("broker"), config);
  read_ledger(root.section("ledger"), config);
  read_worker(root.section("worker"), config);
  read_window(root.section("window"), config);
  read_identity(root.section("identity"), config);
  read_rates(root.section("rates"), config);
  read_daemon(root.section("daemon"), config);
  read_http(root.section("http"), config);
  read_web(root.section("web"), config);
  read_log(root.section("log"), config);
  read_apps(root, {nullptr, {.line = last_line, .key = "apps"}, findings}, config);
  root.list<SpaceConfig>("spaces", config.spaces, entries_max,
                         [&](Section& one) { return read_space(one, config); });
  root.list<ReservationConfig>("reservations", config.reservations, entries_max,
                               [&](Section& one) { return read_reservation(one, config); });
  root.list<GroupConfig>("groups", config.groups, entries_max,
                         [&](Section& one) { return read_group(one, config); });
  root.finish();
  return config;
}

}  // namespace

Result<std::string> read_secret(const std::filesystem::path& file) {
  auto text = read_owners_file(file, secret_bytes_max);
  if (!text) return text;
  std::string secret = *std::move(text);
  const auto size = static_cast<std::int64_t>(secret.size());
  if (size < secret_bytes_min || size > secret_bytes_max)
    return unreadable(file, std::to_string(size) + " bytes");
  return secret;
}

Result<Config> parse_config(std::string_view text, const std::filesystem::path& file) {
  Findings findings(file);
  try {
    Config config = read_document(text, findings);
    if (findings.first()) return *findings.first();
    return config;
  } catch (const toml::parse_error& error) {
    findings.add({.line = static_cast<std::int64_t>(error.source().begin.line), .key = ""}, "TOML",
                 std::string(error.description()));
    return *findings.first();
  }
}

Result<Config> load_config(const std::filesystem::path& file) {
  const auto text = read_small_file(file, file_bytes_max);
  if (!text) return text.error();
  return parse_config(*text, file);
}

std::vector<std::string> config_keys() {
  // Reading a file with one entry in each list asks for every key; what it finds wrong is no
  // matter.
  Findings findings{std::filesystem::path{}};
  (void)read_document(
      "[[tiers]]\n[[sizes]]\n[[apps]]\n[[apps.parameters]]\n[[apps.secrets]]\n"
      "[[worker.devices]]\n[[identity.keys]]\n[[identity.issuers]]\n"
      "[[identity.issuers.tiers]]\n[[reservations]]\n[[groups]]\n[[spaces]]\n",
      findings);
  return {findings.known_keys().begin(), findings.known_keys().end()};
}

}  // namespace gpupool
