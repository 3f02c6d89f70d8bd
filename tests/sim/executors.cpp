#include "tests/sim/executors.h"

#include <algorithm>
#include <utility>

#include "actors/worker/command_arguments.h"

namespace gpupool::sim {

Executors::Executors(Schedule& schedule, Checks& checks, ExecutorPlan plan, Prng rng, NodeId node,
                     const Config& config, Instant boot, Report report)
    : schedule_(schedule),
      checks_(checks),
      plan_(plan),
      rng_(rng),
      node_(node),
      config_(config),
      boot_(boot),
      report_(std::move(report)) {}

void Executors::perform(const ToExecutors& command) {
  std::visit([this](const auto& one) { on(one); }, command);
}

void Executors::die() {
  slots_.clear();
  aside_.clear();
  processes_.clear();
  ++generation_;
}

// Reports leave through one pipe, in order, and die with the worker that would read them.
void Executors::say(ToWorker report) {
  pipe_.deliver(schedule_, draw(0, 2),
                [this, generation = generation_, report = std::move(report)] {
                  if (generation == generation_) report_(report);
                });
}

void Executors::later(SlotIndex slot, Duration delay, std::function<void()> what) {
  schedule_.after(delay, [this, slot, serial = slots_[slot].serial, generation = generation_,
                          what = std::move(what)] {
    if (generation == generation_ && slots_[slot].serial == serial) what();
  });
}

void Executors::on(const StartExecutor& start) {
  Executor& executor = slots_[start.slot];
  require(executor.life == Life::absent, "an executor starts on an empty slot only", node_,
          start.slot);
  if (const auto kept = aside_.find({start.slot, start.app}); kept != aside_.end())
    return take_up(start.slot, aside_.extract(kept).mapped());
  executor = {.life = Life::starting, .app = start.app, .process = ++serial_};
  check_memory(start.slot);
  executor.serial = executor.process;
  if (chance(plan_.fails_to_start)) {
    if (rng_.one_in(2)) later(start.slot, draw(1, 1000), [=, this] { exit(start.slot, 0, 3); });
    return;  // or it hangs until somebody kills it
  }
  const Duration delay = chance(plan_.starts_late) ? draw(1000, 8000) : draw(5, 400);
  later(start.slot, delay, [=, this] {
    slots_[start.slot].life = Life::ready;
    say(ExecutorReady{.slot = start.slot, .app = start.app});
  });
}

void Executors::on(const StartRun& start) {
  Executor& executor = slots_[start.slot];
  if (executor.life == Life::absent) return;  // it just exited; its worker will hear of that
  require(executor.life == Life::ready, "a slot carries one run at a time", node_, start.slot,
          start.job);
  require(executor.app == start.app, "a run goes to its own app's executor", start.app);
  executor.life = Life::running;
  executor.run = start;
  executor.found = 0;
  executor.ignores_sigterm = chance(plan_.ignores_sigterm);
  executor.began = {};
  if (chance(plan_.hangs)) return;
  executor.is_fetching = !files_of(config_.app(start.app)->command, start.body->arguments).empty();
  if (executor.is_fetching) return fetch_files(start.slot);
  if (start.ranks == 1)
    return later(start.slot, draw(1, 50), [this, slot = start.slot] { begin(slot); });
  say(RankLeft{.slot = start.slot,
               .job = start.job,
               .attempt = start.attempt,
               .key = std::to_string(start.rank),
               .value = "its address"});
}

// What gets lost on the way is asked for again.
void Executors::fetch_files(SlotIndex slot) {
  const Executor& executor = slots_[slot];
  if (!executor.is_fetching) return;
  say(FetchFiles{.slot = slot, .job = executor.run.job, .attempt = executor.run.attempt});
  later(slot, seconds(1), [this, slot] { fetch_files(slot); });
}

void Executors::on(const FilesPiece& piece) {
  Executor& executor = slots_[piece.slot];
  const StartRun& run = executor.run;
  if (executor.life != Life::running || run.job != piece.job || run.attempt != piece.attempt ||
      !std::exchange(executor.is_fetching, false))
    return;
  if (piece.error != Errc{}) return done(piece.slot, {.cause = Errc::executor_crashed});
  require(piece.bytes == files_of(config_.app(run.app)->command, run.body->arguments).substr(0, 5),
          "a run gets its own files", run.job, piece.bytes);
  later(piece.slot, draw(1, 50), [this, slot = piece.slot] { begin(slot); });
}

// A rank begins when it has found all the others.
void Executors::on(const RankFound& found) {
  Executor& executor = slots_[found.slot];
  const StartRun& run = executor.run;
  if (executor.life != Life::running || run.job != found.job || run.attempt != found.attempt)
    return;
  if (++executor.found == run.ranks - 1)
    later(found.slot, draw(1, 50), [this, slot = found.slot] { begin(slot); });
}

void Executors::begin(SlotIndex slot) {
  Executor& executor = slots_[slot];
  executor.began = schedule_.now();
  say(ExecutorBegan{.slot = slot, .job = executor.run.job, .attempt = executor.run.attempt});
  const auto of_steps = static_cast<std::uint32_t>(rng_.between(1, 20));
  const bool too_long = chance(plan_.runs_too_long);
  later(slot, draw(1, 300),
        [=, this] { step(slot, 1, of_steps, too_long ? draw(500, 900) : draw(1, 200)); });
}

void Executors::step(SlotIndex slot, std::uint32_t number, std::uint32_t of_steps, Duration each) {
  const StartRun& run = slots_[slot].run;
  if (chance(plan_.crashes) && rng_.one_in(4)) return exit(slot, 11, 0);
  if (chance(plan_.hangs) && rng_.one_in(4)) return;
  say(ExecutorStep{
      .slot = slot, .job = run.job, .attempt = run.attempt, .step = number, .of_steps = of_steps});
  later(slot, each, [=, this] {
    number < of_steps ? step(slot, number + 1, of_steps, each) : give_result(slot);
  });
}

void Executors::give_result(SlotIndex slot) {
  if (chance(plan_.program_fails))
    return done(slot, {.cause = Errc::program_failed, .detail = "it said no"});
  if (chance(plan_.device_fails))
    return done(slot, {.cause = rng_.one_in(2) ? Errc::device_failed : Errc::result_not_stored});
  const StartRun& run = slots_[slot].run;
  if (run.rank > 0) return done(slot, {});
  const std::string bytes = "result of job " + std::to_string(run.job.value);
  const std::string hash = "hash-" + std::to_string(node_.value) + "-" + std::to_string(++serial_);
  if (!chance(plan_.result_vanishes)) results_[hash] = bytes;
  done(slot, {.result = {.hash = hash,
                         .bytes = static_cast<std::int64_t>(bytes.size()),
                         .media_type = "image/png",
                         .node = node_}});
}

// Every other run wrote something.
ResultRef Executors::store_log(const StartRun& run) {
  if (rng_.one_in(2)) return {};
  const std::string bytes = "log of job " + std::to_string(run.job.value);
  const std::string hash = "log-" + std::to_string(node_.value) + "-" + std::to_string(++serial_);
  results_[hash] = bytes;
  return {.hash = hash,
          .bytes = static_cast<std::int64_t>(bytes.size()),
          .media_type = "text/plain",
          .node = node_};
}

void Executors::done(SlotIndex slot, ExecutorDone how) {
  Executor& executor = slots_[slot];
  how.log = store_log(executor.run);
  how.slot = slot;
  how.job = executor.run.job;
  how.attempt = executor.run.attempt;
  if (executor.began) how.ran = schedule_.now() - executor.began;
  executor.life = Life::ready;
  executor.serial = ++serial_;  // whatever this run had planned is void
  executor.timer = 0;
  say(how);
}

void Executors::exit(SlotIndex slot, std::int32_t signal, std::int32_t code) {
  const Executor gone = std::exchange(slots_[slot], {});
  const ResultRef log = gone.life == Life::running ? store_log(gone.run) : ResultRef{};
  say(ExecutorExited{
      .slot = slot, .signal = signal, .exit_code = code, .log = log, .app = gone.app});
}

void Executors::on(const SetAside& aside) {
  Executor& executor = slots_[aside.slot];
  if (executor.life == Life::absent) return;  // it just exited; its worker will hear of that
  require(executor.life == Life::ready, "only an idle executor is set aside", node_, aside.slot);
  const std::string app = executor.app;
  const std::uint64_t process = executor.process;
  aside_[{aside.slot, app}] = std::exchange(executor, {});
  if (!chance(plan_.crashes)) return;
  schedule_.after(draw(1, 5000), [this, slot = aside.slot, app, process, generation = generation_] {
    const auto found = aside_.find({slot, app});
    if (generation == generation_ && found != aside_.end() && found->second.process == process)
      exit_aside(slot, app);
  });
}

void Executors::take_up(SlotIndex slot, Executor executor) {
  slots_[slot] = std::move(executor);
  slots_[slot].serial = ++serial_;
  say(ExecutorReady{.slot = slot, .app = slots_[slot].app});
}

void Executors::exit_aside(SlotIndex slot, const std::string& app) {
  if (aside_.erase({slot, app}) > 0)
    say(ExecutorExited{.slot = slot, .signal = 9, .exit_code = 0, .app = app});
}

// Executors that are warm beside each other never take more than their slot has.
void Executors::check_memory(SlotIndex slot) const {
  std::int64_t total = config_.app(slots_.at(slot).app)->memory_bytes;
  std::size_t others = 0;
  for (const auto& [place, executor] : aside_) {
    if (place.first != slot) continue;
    total += config_.app(place.second)->memory_bytes;
    ++others;
  }
  std::uint32_t first = 0;
  for (const DeviceConfig& device : config_.worker.devices) {
    const bool is_its = slot.value >= first && slot.value < first + device.slots;
    require(!is_its || others == 0 || total <= device.slot_memory(),
            "what is warm on a slot fits into it", node_, slot, total);
    first += device.slots;
  }
}

void Executors::on(const EndBy& end) {
  Executor& executor = slots_[end.slot];
  if (executor.life == Life::absent) return;
  const std::uint64_t timer = executor.timer = ++serial_;
  const auto still_counts = [this, slot = end.slot, timer] { return slots_[slot].timer == timer; };
  const auto after = [this](Instant at) { return std::max(Duration{}, at - now()); };
  schedule_.after(after(end.at), [=, this, generation = generation_] {
    if (generation != generation_ || !still_counts()) return;
    const Executor& ended = slots_[end.slot];
    if (ended.life != Life::running || ended.ignores_sigterm || end.at == end.kill_at) return;
    done(end.slot, {.stopped = true});
  });
  schedule_.after(after(end.kill_at), [=, this, generation = generation_] {
    if (generation == generation_ && still_counts()) exit(end.slot, 9, 0);
  });
}

void Executors::on(const Disarm& disarm) { slots_[disarm.slot].timer = 0; }

// A caller's process, which may end by itself at any time.
void Executors::on(const WatchProcess& watch) {
  processes_.push_back(watch);
  if (chance(plan_.crashes))
    schedule_.after(draw(1, 20'000), [this, watch, generation = generation_] {
      if (generation == generation_) on(KillProcess{watch.slot, watch.process});
    });
}

void Executors::on(const KillProcess& kill) {
  schedule_.after(draw(1, 20), [this, kill, generation = generation_] {
    if (generation != generation_) return;
    const auto killed =
        std::find_if(processes_.begin(), processes_.end(),
                     [&](const WatchProcess& one) { return one.process == kill.process; });
    if (killed == processes_.end()) return;
    const SlotIndex slot = killed->slot;
    processes_.erase(killed);
    say(ProcessGone{.slot = slot, .process = kill.process});
  });
}

void Executors::on(const KillExecutor& kill) {
  if (!kill.app.empty()) {
    const auto found = aside_.find({kill.slot, kill.app});
    if (found == aside_.end()) return;
    return schedule_.after(draw(1, 20), [this, kill, process = found->second.process,
                                         generation = generation_] {
      const auto killed = aside_.find({kill.slot, kill.app});
      if (generation == generation_ && killed != aside_.end() && killed->second.process == process)
        exit_aside(kill.slot, kill.app);
    });
  }
  const std::uint64_t process = slots_[kill.slot].process;
  schedule_.after(draw(1, 20), [this, slot = kill.slot, process, generation = generation_] {
    const Executor& killed = slots_[slot];
    if (generation == generation_ && killed.life != Life::absent && killed.process == process)
      exit(slot, 9, 0);
  });
}

}  // namespace gpupool::sim
