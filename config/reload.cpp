#include "config/reload.h"

#include <algorithm>
#include <tuple>

#include "config/limits.h"

namespace gpupool {
namespace {

using Keys = std::vector<std::string>;

template <class Value>
void note(Keys& keys, const std::string& key, const Value& running, const Value& fresh) {
  if (!(running == fresh)) keys.push_back(key);
}

template <class Entry, class Same>
void note_list(Keys& keys, const std::string& key, const std::vector<Entry>& running,
               const std::vector<Entry>& fresh, Same same) {
  if (!std::equal(running.begin(), running.end(), fresh.begin(), fresh.end(), same))
    keys.push_back(key);
}

// Takes one value over, and says so if it was another.
template <class Value>
void take(Keys& changed, const std::string& key, Value& target, const Value& fresh) {
  note(changed, key, target, fresh);
  target = fresh;
}

template <class Named>
Named* named(std::vector<Named>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Named& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

void take_tiers(Reload& reload, const std::vector<TierConfig>& fresh) {
  for (const TierConfig& tier : fresh) {
    const std::string key = "tiers." + tier.name;
    TierConfig* running = named(reload.config.tiers, tier.name);
    if (!running) {
      reload.config.tiers.push_back(tier);
      reload.changed.push_back(key);
      continue;
    }
    take(reload.changed, key + ".allowance_s", running->allowance, tier.allowance);
    take(reload.changed, key + ".longest_s", running->longest, tier.longest);
    take(reload.changed, key + ".rank", running->rank, tier.rank);
    take(reload.changed, key + ".jobs_max", running->jobs_max, tier.jobs_max);
  }
}

void note_command(Keys& keys, const std::string& app, const CommandConfig& running,
                  const CommandConfig& fresh) {
  note(keys, app + ".command", running.words, fresh.words);
  note(keys, app + ".any_command", running.is_any(), fresh.is_any());
  note_list(keys, app + ".parameters", running.parameters, fresh.parameters,
            [](const ParameterConfig& a, const ParameterConfig& b) {
              return std::tie(a.name, a.kind, a.has_default, a.default_value, a.bytes_max,
                              a.pattern, a.choices, a.low, a.high, a.about) ==
                     std::tie(b.name, b.kind, b.has_default, b.default_value, b.bytes_max,
                              b.pattern, b.choices, b.low, b.high, b.about);
            });
  note(keys, app + ".environment", running.environment, fresh.environment);
  note_list(keys, app + ".secrets", running.secrets, fresh.secrets,
            [](const SecretConfig& a, const SecretConfig& b) {
              return std::tie(a.name, a.value) == std::tie(b.name, b.value);
            });
  note(keys, app + ".sandbox", running.sandbox, fresh.sandbox);
  note(keys, app + ".network", running.network, fresh.network);
  note(keys, app + ".read_only", running.read_only, fresh.read_only);
  note(keys, app + ".memory_max_bytes", running.memory_max_bytes, fresh.memory_max_bytes);
  note(keys, app + ".scratch_bytes", running.scratch_bytes, fresh.scratch_bytes);
  note(keys, app + ".processes_max", running.processes_max, fresh.processes_max);
  note(keys, app + ".retries", running.retries, fresh.retries);
}

void take_app(Reload& reload, AppConfig& running, const AppConfig& fresh) {
  const std::string key = "apps." + fresh.name;
  take(reload.changed, key + ".default_duration_s", running.default_duration,
       fresh.default_duration);
  take(reload.changed, key + ".longest_s", running.longest, fresh.longest);
  take(reload.changed, key + ".duration", running.automatic, fresh.automatic);
  take(reload.changed, key + ".tiers", running.tiers, fresh.tiers);
  Keys& waiting = reload.waiting;
  note(waiting, key + ".executor", running.executor, fresh.executor);
  note(waiting, key + ".partition", running.partition, fresh.partition);
  note(waiting, key + ".size", running.size, fresh.size);
  note(waiting, key + ".spread", running.spread, fresh.spread);
  note(waiting, key + ".start_limit_s", running.start_limit, fresh.start_limit);
  note(waiting, key + ".stall_s", running.stall, fresh.stall);
  note(waiting, key + ".model", running.model, fresh.model);
  note(waiting, key + ".memory_bytes", running.memory_bytes, fresh.memory_bytes);
  note(waiting, key + ".concurrency", running.concurrency, fresh.concurrency);
  note_command(waiting, key, running.command, fresh.command);
}

void take_apps(Reload& reload, const std::vector<AppConfig>& fresh) {
  for (const AppConfig& app : fresh)
    if (AppConfig* running = named(reload.config.apps, app.name))
      take_app(reload, *running, app);
    else
      reload.waiting.push_back("apps." + app.name + " (new)");
}

template <class Named>
void note_missing(Keys& keys, const std::string& list, const std::vector<Named>& running,
                  const std::vector<Named>& fresh) {
  for (const Named& one : running)
    if (std::none_of(fresh.begin(), fresh.end(),
                     [&](const Named& other) { return other.name == one.name; }))
      keys.push_back(list + "." + one.name + " (removed)");
}

void take_keys(Reload& reload, const std::vector<KeyConfig>& fresh) {
  note_list(reload.changed, "identity.keys", reload.config.identity.keys, fresh,
            [](const KeyConfig& a, const KeyConfig& b) {
              return std::tie(a.kid, a.algorithm, a.secret, a.public_key) ==
                     std::tie(b.kid, b.algorithm, b.secret, b.public_key);
            });
  reload.config.identity.keys = fresh;
}

void take_issuers(Reload& reload, const std::vector<IssuerConfig>& fresh) {
  const auto same_tier = [](const IssuerTier& a, const IssuerTier& b) {
    return std::tie(a.value, a.tier) == std::tie(b.value, b.tier);
  };
  note_list(reload.changed, "identity.issuers", reload.config.identity.issuers, fresh,
            [&](const IssuerConfig& a, const IssuerConfig& b) {
              return std::tie(a.name, a.issuer, a.audience, a.keys, a.user_claim, a.tier_claim) ==
                         std::tie(b.name, b.issuer, b.audience, b.keys, b.user_claim,
                                  b.tier_claim) &&
                     std::equal(a.tiers.begin(), a.tiers.end(), b.tiers.begin(), b.tiers.end(),
                                same_tier);
            });
  reload.config.identity.issuers = fresh;
}

void take_groups(Reload& reload, const std::vector<GroupConfig>& fresh) {
  note_list(reload.changed, "groups", reload.config.groups, fresh,
            [](const GroupConfig& a, const GroupConfig& b) {
              return std::tie(a.name, a.users, a.from, a.until) ==
                     std::tie(b.name, b.users, b.from, b.until);
            });
  reload.config.groups = fresh;
}

void take_rates(Reload& reload, const RatesConfig& fresh) {
  RatesConfig& running = reload.config.rates;
  take(reload.changed, "rates.account_per_s", running.account.per_s, fresh.account.per_s);
  take(reload.changed, "rates.account_burst", running.account.burst, fresh.account.burst);
  take(reload.changed, "rates.address_per_s", running.address.per_s, fresh.address.per_s);
  take(reload.changed, "rates.address_burst", running.address.burst, fresh.address.burst);
}

// A partition of one that the running apps do not have yet is no matter: nobody stands in it.
void take_reservations(Reload& reload, const std::vector<ReservationConfig>& fresh) {
  note_list(reload.changed, "reservations", reload.config.reservations, fresh,
            [](const ReservationConfig& a, const ReservationConfig& b) {
              return std::tie(a.name, a.partition, a.slots, a.users, a.from, a.until) ==
                     std::tie(b.name, b.partition, b.slots, b.users, b.from, b.until);
            });
  reload.config.reservations = fresh;
}

void note_broker(Keys& keys, const BrokerConfig& running, const BrokerConfig& fresh) {
  note(keys, "broker.client_endpoint", running.client_endpoint, fresh.client_endpoint);
  note(keys, "broker.worker_address", running.worker_address, fresh.worker_address);
  note(keys, "broker.curve_secret_file", running.curve_secret, fresh.curve_secret);
  note(keys, "broker.ready_file", running.ready_file, fresh.ready_file);
  note(keys, "broker.queue_max", running.queue_max, fresh.queue_max);
  note(keys, "broker.client_grace_s", running.client_grace, fresh.client_grace);
  note(keys, "broker.rejoin_grace_s", running.rejoin_grace, fresh.rejoin_grace);
  note(keys, "broker.heartbeat_suspect_s", running.heartbeat_suspect, fresh.heartbeat_suspect);
  note(keys, "broker.heartbeat_loss_s", running.heartbeat_loss, fresh.heartbeat_loss);
}

void note_worker(Keys& keys, const WorkerConfig& running, const WorkerConfig& fresh) {
  note(keys, "worker.name", running.name, fresh.name);
  note(keys, "worker.broker_address", running.broker_addresses, fresh.broker_addresses);
  note(keys, "worker.rank_address", running.rank_address, fresh.rank_address);
  note(keys, "worker.folder", running.folder, fresh.folder);
  note_list(keys, "worker.devices", running.devices, fresh.devices,
            [](const DeviceConfig& a, const DeviceConfig& b) {
              const auto all = [](const DeviceConfig& one) {
                return std::tie(one.kind, one.threads, one.slots, one.partition, one.cores,
                                one.device, one.precision, one.memory_bytes, one.temperature_max);
              };
              return all(a) == all(b);
            });
  note(keys, "worker.health_interval_s", running.health_interval, fresh.health_interval);
  note(keys, "worker.overheat_s", running.overheat, fresh.overheat);
  note(keys, "worker.run_as", running.run_as, fresh.run_as);
  note(keys, "worker.kill_grace_s", running.kill_grace, fresh.kill_grace);
  note(keys, "worker.slot_check_s", running.slot_check, fresh.slot_check);
  note(keys, "worker.heartbeat_interval_s", running.heartbeat_interval, fresh.heartbeat_interval);
  note(keys, "worker.heartbeat_stale_s", running.heartbeat_stale, fresh.heartbeat_stale);
  note(keys, "worker.result_keep_s", running.result_keep, fresh.result_keep);
  note(keys, "worker.result_bytes_max", running.result_bytes_max, fresh.result_bytes_max);
}

void note_rest(Keys& keys, const Config& running, const Config& fresh) {
  note(keys, "pool.name", running.pool, fresh.pool);
  note(keys, "pool.roles", std::pair(running.broker_role, running.worker_role),
       std::pair(fresh.broker_role, fresh.worker_role));
  note(keys, "cluster.ca_file", running.cluster.ca_file, fresh.cluster.ca_file);
  note(keys, "cluster.certificate_file", running.cluster.certificate_file,
       fresh.cluster.certificate_file);
  note(keys, "cluster.key_file", running.cluster.key_file, fresh.cluster.key_file);
  note(keys, "ledger.journal", running.ledger.journal, fresh.ledger.journal);
  note(keys, "ledger.postgres", running.ledger.postgres, fresh.ledger.postgres);
  note(keys, "ledger.postgres_password_file", running.ledger.postgres_password,
       fresh.ledger.postgres_password);
  note(keys, "ledger.postgres_schema", running.ledger.postgres_schema,
       fresh.ledger.postgres_schema);
  note(keys, "ledger.path", running.ledger.path, fresh.ledger.path);
  note(keys, "ledger.reserve_bytes", running.ledger.reserve_bytes, fresh.ledger.reserve_bytes);
  note(keys, "ledger.snapshot_records", running.ledger.snapshot_records,
       fresh.ledger.snapshot_records);
  note(keys, "window.kind", running.window.kind, fresh.window.kind);
  note(keys, "window.length_s", running.window.length, fresh.window.length);
  note(keys, "window.starts", running.window.starts, fresh.window.starts);
  note(keys, "identity.audience", running.identity.audience, fresh.identity.audience);
  note(keys, "identity.anonymous", running.identity.anonymous, fresh.identity.anonymous);
  note(keys, "identity.anonymous_tier", running.identity.anonymous_tier,
       fresh.identity.anonymous_tier);
  note(keys, "identity.default_tier", running.identity.default_tier, fresh.identity.default_tier);
  note(keys, "daemon.pid_file", running.daemon.pid_file, fresh.daemon.pid_file);
  note(keys, "daemon.drain_limit_s", running.daemon.drain_limit, fresh.daemon.drain_limit);
  note(keys, "log.level", running.log.level, fresh.log.level);
  note(keys, "log.json", running.log.json, fresh.log.json);
  note(keys, "http.endpoint", running.http.endpoint, fresh.http.endpoint);
  note(keys, "web.endpoint", running.web.endpoint, fresh.web.endpoint);
  note(keys, "web.metrics", running.web.metrics, fresh.web.metrics);
  note(keys, "web.proxies", running.web.proxies, fresh.web.proxies);
  note_list(keys, "spaces", running.spaces, fresh.spaces,
            [](const SpaceConfig& a, const SpaceConfig& b) {
              return std::tie(a.name, a.prefix, a.app, a.cgroup, a.user) ==
                     std::tie(b.name, b.prefix, b.app, b.cgroup, b.user);
            });
  note_list(keys, "sizes", running.sizes, fresh.sizes,
            [](const SizeConfig& a, const SizeConfig& b) {
              return std::tie(a.name, a.slots, a.factor) == std::tie(b.name, b.slots, b.factor);
            });
}

std::string seconds_of(Duration duration) {
  std::string text = std::to_string(duration.ms / 1000);
  if (duration.ms % 1000 != 0) text += "." + std::to_string(1000 + duration.ms % 1000).substr(1);
  return text + " s";
}

// Both files were checked as they stand; the new durations also have to go with the old limits.
Status check_mixture(const Config& config) {
  const auto reject = [](const AppConfig& app, const std::string& why) {
    return Error{.code = Errc::config_invalid,
                 .detail = "apps." + app.name + ".longest_s: " + why + "; a restart would do"};
  };
  for (const AppConfig& app : config.apps) {
    if (app.executor == ExecutorKind::diffusion && app.stall > app.longest)
      return reject(app, seconds_of(app.longest) + " is below the running stall_s of " +
                             seconds_of(app.stall));
    if (occupancy_of(config, app, app.longest).ms > limits::duration_ms_max)
      return reject(app,
                    seconds_of(app.longest) +
                        " is too long with the running start limit, kill grace and slot check");
  }
  for (const ReservationConfig& one : config.reservations)
    for (const AppConfig& app : config.apps)
      if (app.partition == one.name)
        return Error{.code = Errc::config_invalid,
                     .detail = "reservations." + one.name +
                               ".name: a running app has a partition of this name; a restart "
                               "would do"};
  return ok();
}

}  // namespace

Result<Reload> reload(const Config& running, const Config& fresh) {
  Reload next{.config = running, .changed = {}, .waiting = {}};
  take_tiers(next, fresh.tiers);
  take_apps(next, fresh.apps);
  take_keys(next, fresh.identity.keys);
  take_issuers(next, fresh.identity.issuers);
  take_rates(next, fresh.rates);
  take_reservations(next, fresh.reservations);
  take_groups(next, fresh.groups);
  note_missing(next.waiting, "tiers", running.tiers, fresh.tiers);
  note_missing(next.waiting, "apps", running.apps, fresh.apps);
  note_broker(next.waiting, running.broker, fresh.broker);
  note_worker(next.waiting, running.worker, fresh.worker);
  note_rest(next.waiting, running, fresh);
  if (const Status fits = check_mixture(next.config); !fits) return fits.error();
  return next;
}

}  // namespace gpupool
