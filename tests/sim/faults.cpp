#include "tests/sim/faults.h"

#include <algorithm>

namespace gpupool::sim {
namespace {

template <class T>
const T& one_of(Prng& rng, const std::vector<T>& choices) {
  return choices[rng.below(choices.size())];
}

// Half of the seeds have none of it at all, so that plain behaviour is seen too.
std::uint64_t sometimes(Prng& rng, std::uint64_t most) {
  return rng.one_in(2) ? 0 : rng.below(most + 1);
}

Config draw_config(Prng rng, bool combined) {
  Config config = default_config();
  config.broker.worker_address = combined ? "" : "127.0.0.1:1";
  config.broker.queue_max = one_of<std::uint32_t>(rng, {1, 2, 4, 100});
  config.broker.client_grace = seconds(rng.between(5, 30));
  const auto allowance = [&] { return GpuTime{rng.between(5, 200) * 1000}; };
  const auto longest = [&] { return GpuTime{rng.between(5, 40) * 1000}; };
  const auto jobs_max = [&] { return one_of<std::uint32_t>(rng, {1, 1, 2, 4}); };
  config.tiers = {
      {.name = "anonymous", .allowance = allowance(), .longest = longest(), .jobs_max = jobs_max()},
      {.name = "free", .allowance = allowance(), .longest = longest(), .jobs_max = jobs_max()},
      {.name = "pro", .allowance = {1'500'000}, .longest = {300'000}, .rank = 2, .jobs_max = 4},
  };
  const auto app = [&](const char* name, ExecutorKind kind) {
    return AppConfig{
        .name = name,
        .executor = kind,
        .spread = one_of(rng, std::vector{Spread::devices, Spread::device, Spread::nodes}),
        .default_duration = seconds(rng.between(2, 8)),
        .longest = seconds(rng.between(10, 30)),
        .start_limit = seconds(rng.between(2, 5)),
        .stall = seconds(rng.between(1, 3))};
  };
  config.apps = {app("draw", ExecutorKind::diffusion), app("paint", ExecutorKind::diffusion),
                 app("nothing", ExecutorKind::noop), app("secret", ExecutorKind::diffusion)};
  config.apps.back().tiers = {"pro"};
  config.apps.push_back(app("tool", ExecutorKind::command));
  config.apps.back().tiers = {"free", "pro"};
  config.apps.back().spread = Spread::device;
  config.apps.back().command.retries = static_cast<std::uint32_t>(rng.below(3));
  config.apps[1].automatic = rng.one_in(2);
  if (rng.one_in(4)) config.apps[2].partition = "other";
  config.worker.kill_grace = milliseconds(rng.between(200, 2000));
  config.worker.slot_check = milliseconds(rng.between(500, 5000));
  // A simulated monitor speaks when something changes; being hot counts at once.
  config.worker.health_interval = hours(24);
  config.worker.overheat = {};
  for (AppConfig& app : config.apps)
    app.memory_bytes = one_of<std::int64_t>(rng, {0, 50, 50, 100, 150});
  config.window.length = one_of(rng, std::vector<Duration>{seconds(60), seconds(300), hours(24)});
  config.window.kind = rng.one_in(2) ? WindowKind::fixed : WindowKind::rolling;
  config.apps.push_back(app("own", ExecutorKind::external));
  config.apps.back().partition = "own";
  if (config.apps.back().spread == Spread::nodes) config.apps.back().spread = Spread::device;
  return config;
}

// For somebody who may be there or not, on slots that may be there or not.
std::vector<ReservationConfig> draw_reservations(Prng rng, const Plan& plan) {
  std::vector<ReservationConfig> reservations;
  for (std::uint64_t i = sometimes(rng, 2); i > 0; --i) {
    ReservationConfig one{.name = "kept-" + std::to_string(i),
                          .slots = one_of<std::uint32_t>(rng, {1, 1, 2}),
                          .users = {"u" + std::to_string(rng.between(1, 4))}};
    if (rng.one_in(2)) one.from = plan.start + milliseconds(rng.between(0, plan.faults_last.ms));
    if (!rng.one_in(3))
      one.until = std::max(one.from, plan.start) + milliseconds(rng.between(1, 200'000));
    reservations.push_back(std::move(one));
  }
  return reservations;
}

// Two who may share credits, for a time or for good.
std::vector<GroupConfig> draw_groups(Prng rng, const Plan& plan) {
  GroupConfig team{.name = "team", .users = {"u1", "u" + std::to_string(rng.between(2, 4))}};
  if (rng.one_in(4)) team.from = plan.start + milliseconds(rng.between(0, plan.faults_last.ms));
  if (rng.one_in(4))
    team.until = std::max(team.from, plan.start) + milliseconds(rng.between(1, 200'000));
  return {std::move(team)};
}

std::vector<Fault> draw_faults(Prng rng, const Plan& plan) {
  std::vector<Fault> faults;
  const auto draw = [&](FaultKind kind, std::uint64_t most, std::int64_t lasts_s_most) {
    for (std::uint64_t i = sometimes(rng, most); i > 0; --i)
      faults.push_back(
          {.kind = kind,
           .at = plan.start + milliseconds(rng.between(0, plan.faults_last.ms)),
           .lasts = milliseconds(rng.between(1, rng.one_in(3) ? 500 : lasts_s_most * 1000)),
           .node = static_cast<std::uint32_t>(rng.below(plan.nodes))});
  };
  draw(FaultKind::broker_dies, 4, 15);
  draw(FaultKind::commit_lost, 3, 5);
  draw(FaultKind::commit_in_doubt, 3, 5);
  draw(FaultKind::journal_refuses, 2, 60);
  draw(FaultKind::journal_slow, 2, 60);
  draw(FaultKind::worker_dies, 4, 20);
  draw(FaultKind::partition, 4, 30);
  draw(FaultKind::old_worker_speaks, 1, 1);
  draw(FaultKind::rival_leads, 2, 1);
  draw(FaultKind::broker_stops, 2, 20);
  draw(FaultKind::worker_stops, 2, 20);
  draw(FaultKind::commit_torn, 3, 5);
  draw(FaultKind::commit_doubled, 3, 5);
  draw(FaultKind::history_fails, 2, 20);
  draw(FaultKind::device_ails, 4, 30);
  return faults;
}

}  // namespace

Plan draw_plan(std::uint64_t seed) {
  Plan plan{.seed = seed};
  const Prng seeded(seed);
  Prng rng = seeded.fork("plan");
  plan.combined = rng.one_in(5);
  plan.config = draw_config(seeded.fork("config"), plan.combined);
  plan.nodes = plan.combined ? 1 : static_cast<std::uint32_t>(rng.between(1, 3));
  const bool all_small = rng.one_in(4);  // so that jobs of several slots need several nodes
  for (std::uint32_t i = 0; i < plan.nodes; ++i) {
    const auto count = one_of<std::size_t>(rng, {1, 1, 2, 2, 3, 4});
    auto& devices = plan.devices.emplace_back(all_small ? 1 : count);
    for (DeviceConfig& device : devices) {
      device.slots = one_of<std::uint32_t>(rng, {1, 1, 2});
      device.kind = rng.one_in(2) ? DeviceKind::cuda : DeviceKind::cpu;
      device.memory_bytes = one_of<std::int64_t>(rng, {0, 0, 100, 200, 400});
    }
    if (i > 0 && rng.one_in(4)) devices.back().partition = "other";
    if (i == 0)
      devices.push_back({.slots = static_cast<std::uint32_t>(1 + seed % 2), .partition = "own"});
  }
  plan.start = Instant{1'767'225'600'000} + milliseconds(rng.between(0, 86'400'000));
  plan.faults_last = seconds(rng.between(60, 400));
  plan.links = {.lost = sometimes(rng, 150),
                .doubled = sometimes(rng, 150),
                .late = sometimes(rng, 150),
                .late_most = milliseconds(rng.between(10, 6000))};
  const auto one_in = [&] { return one_of<std::uint64_t>(rng, {0, 0, 0, 30, 10, 3}); };
  plan.executors = {.fails_to_start = one_in(),
                    .starts_late = one_in(),
                    .crashes = one_in(),
                    .hangs = one_in(),
                    .ignores_sigterm = one_in(),
                    .program_fails = one_in(),
                    .device_fails = one_in(),
                    .runs_too_long = one_in(),
                    .result_vanishes = one_in()};
  plan.faults = draw_faults(seeded.fork("faults"), plan);
  plan.config.reservations = draw_reservations(seeded.fork("reservations"), plan);
  plan.config.groups = draw_groups(seeded.fork("groups"), plan);
  const std::vector<std::string> tiers{"anonymous", "free", "pro", "pro"};
  const auto accounts = rng.between(1, 4);
  for (std::int64_t i = rng.between(1, 6); i > 0; --i) {
    const std::int64_t account = rng.between(1, accounts);
    const std::string tier = tiers[static_cast<std::size_t>(account) % tiers.size()];
    const std::string name = (tier == "anonymous" ? "address:192.0.2." : "user:u") +
                             std::to_string(account) + (tier == "anonymous" ? "/32" : "");
    plan.clients.push_back({.account = name,
                            .tier = tier,
                            .requests = static_cast<std::uint32_t>(rng.between(1, 60)),
                            .pause = milliseconds(rng.between(50, 3000))});
  }
  return plan;
}

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::broker_dies:
      return "broker dies";
    case FaultKind::commit_lost:
      return "commit lost";
    case FaultKind::commit_in_doubt:
      return "commit in doubt";
    case FaultKind::commit_torn:
      return "commit torn";
    case FaultKind::commit_doubled:
      return "commit doubled";
    case FaultKind::journal_refuses:
      return "journal refuses";
    case FaultKind::journal_slow:
      return "journal slow";
    case FaultKind::worker_dies:
      return "worker dies";
    case FaultKind::partition:
      return "partition";
    case FaultKind::old_worker_speaks:
      return "old worker speaks";
    case FaultKind::rival_leads:
      return "rival leads";
    case FaultKind::broker_stops:
      return "broker stops";
    case FaultKind::worker_stops:
      return "worker stops";
    case FaultKind::history_fails:
      return "history fails";
    case FaultKind::device_ails:
      return "device ails";
  }
  return "";
}

}  // namespace gpupool::sim
