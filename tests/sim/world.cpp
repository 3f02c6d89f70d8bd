// Processes and faults: what lives when, and what has to be true then.
#include "tests/sim/world.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "actors/ledger/audit.h"
#include "base/pack.h"

namespace gpupool::sim {
namespace {

constexpr const char* build = "build 1";
constexpr std::size_t events_most = 400'000;

}  // namespace

Status World::WatchedJournal::append(std::span<const Record> batch, const ClockStamp& stamp) {
  return watch(batch, [&] { return memory_.append(batch, stamp); });
}

Status World::WatchedJournal::append_from_reserve(std::span<const Record> batch,
                                                  const ClockStamp& stamp) {
  for (const Record& record : batch)
    require(std::holds_alternative<HoldSettled>(record.body), "the reserve is for settles only");
  return watch(batch, [&] { return memory_.append_from_reserve(batch, stamp); });
}

template <class Append>
Status World::WatchedJournal::watch(std::span<const Record> batch, const Append& append) {
  const auto before = memory_.tail();
  const Status written = append();
  const auto after = memory_.tail();
  require(before && after, "the journal can be read");
  require(bool{written} == (after->sequence == before->sequence + batch.size()) ||
              written.error().code == Errc::outcome_unknown,
          "an append that succeeded is durable");
  if (after->sequence > before->sequence)
    for (const Record& record : batch) checks_.durable(record);
  checks_.beside_the_records(memory_.blobs());
  if (written && !batch.empty() && std::exchange(doubles_, false)) {
    const Status again = append();
    require(!again && again.error().code == Errc::journal_refused &&
                memory_.tail()->sequence == after->sequence,
            "a batch is written once, however often it arrives");
  }
  return written;
}

World::World(std::uint64_t seed, std::ostream* trace)
    : plan_(draw_plan(seed)),
      trace_(trace),
      rng_(Prng(seed).fork("world")),
      schedule_(plan_.start, Prng(seed).fork("schedule")),
      checks_(plan_.config),
      journal_(checks_),
      link_(plan_.links, Prng(seed).fork("links")),
      operator_(schedule_, plan_, Prng(seed).fork("operator"),
                {.to_ledger = [this](const ToLedger& message) { from_console(message); },
                 .to_broker = [this](const ToBroker& message) { from_console(message); }}) {
  nodes_.resize(plan_.nodes);
  for (std::uint32_t i = 0; i < plan_.nodes; ++i) {
    NodeProcess& node = nodes_[i];
    node.config = plan_.config;
    node.config.worker.name = "node-" + std::to_string(i + 1);
    node.config.worker.devices = plan_.devices[i];
    node.id = NodeId{hash_of(node.config.worker.name)};
    node.boot = plan_.start - milliseconds(rng_.between(1000, 5'000'000'000));
    node.executors = std::make_unique<Executors>(
        schedule_, checks_, plan_.executors, Prng(seed).fork(node.config.worker.name), node.id,
        node.config, node.boot, [this, &node](const ToWorker& report) {
          checks_.executor_said(now(), node.id, report);
          deliver(node, report);
        });
  }
  for (std::size_t i = 0; i < plan_.clients.size(); ++i) {
    const Client::Gateway gateway{
        .open = [this, i](const Caller& caller) { return open_session(*clients_[i], caller); },
        .say =
            [this](SessionId id, const ToSession& message) {
              if (!pool_ || !pool_->sessions.contains(id)) return;
              in_pool(pool_->sessions.at(id).from_client,
                      [this, id, message] { deliver(id, message); });
            },
        .say_on =
            [this](const std::string& name, const ToWorker& message) {
              for (NodeProcess& node : nodes_)
                if (node.config.worker.name == name) deliver(node, message);
            }};
    clients_.push_back(std::make_unique<Client>(schedule_, checks_, plan_.clients[i],
                                                Prng(seed).fork("client " + std::to_string(i)),
                                                gateway));
    clients_.back()->start();
  }
  operator_.start();
  extend_later();
  for (const Fault& fault : plan_.faults) schedule_.at(fault.at, [this, fault] { strike(fault); });
}

void World::start_pool() {
  if (pool_) return;
  happened("the broker's process starts");
  pool_ = std::make_unique<Pool>();
  pool_->generation = ++generation_;
  journal_.restart();
  pool_->ledger = std::make_unique<GroupCommit>(plan_.config, journal_);
  const Status recovered = pool_->ledger->recover(snapshot_);
  require(bool{recovered}, "the journal replays");
  require(pool_->ledger->snapshot_used() == snapshot_.has_value(), "a snapshot is of its journal");
  if (snapshot_) happened("a start from a snapshot");
  checks_.replayed(pool_->ledger->ledger());
  if (rng_.one_in(5) && history_store_.clear()) happened("the history is taken away");
  pool_->history = std::make_unique<History>(history_store_);
  perform("history", nullptr, pool_->history->step(Tick{}));
  pool_->broker = std::make_unique<Broker>(plan_.config, build);
  const Effects effects = pool_->broker->start(now());
  perform("broker", nullptr, effects);
  arm_broker(effects.wake_at);
  pool_->console = std::make_unique<Console>(plan_.config);
  const Effects first_words = pool_->console->start(now());
  perform("console", nullptr, first_words);
  arm_console(first_words.wake_at);
  operator_.pool_started();
  if (plan_.combined) start_worker(nodes_.front());
}

// As a broker does for holds that grow, at random, and also for what it may not have.
void World::extend_later() {
  schedule_.after(milliseconds(rng_.between(1, 4'000)), [this] {
    const Extend extend = checks_.next_extension(rng_.below(std::uint64_t{1} << 40U));
    if (pool_ && pool_->broker->leading() && extend.job) {
      note("broker", "ledger", ToLedger{extend});
      in_pool(pool_->to_ledger, [this, extend] { deliver(ToLedger{extend}); });
    }
    if (!calm_) extend_later();
  });
}

void World::pool_dies(Duration down) {
  if (!pool_) return;
  happened("the broker's process dies");
  pool_.reset();
  operator_.pool_died();
  for (const auto& client : clients_) client->connection_lost();
  schedule_.after(down, [this] { start_pool(); });
  if (!plan_.combined) return;
  nodes_.front().core.reset();
  nodes_.front().executors->die();
  checks_.worker_died(nodes_.front().id);
}

void World::start_worker(NodeProcess& node) {
  if (node.core) return;
  happened(node.config.worker.name + " starts");
  const bool other_build = !calm_ && node.incarnation > 0 && !plan_.combined && rng_.one_in(6);
  if (other_build) schedule_.after(seconds(10), [this, &node] { worker_dies(node, seconds(1)); });
  node.incarnation += 1;
  Prng own = rng_.fork("secret of " + node.config.worker.name);  // all other draws stay as they are
  std::string secret(32, 's');
  for (char& byte : secret) byte = static_cast<char>(own.below(256));
  node.core = std::make_unique<Worker>(node.config, node.id, Incarnation{node.incarnation},
                                       other_build ? "build 2" : build, secret);
  const Effects effects = node.core->start(node.local(now()));
  perform(node.config.worker.name, &node, effects);
  arm_worker(node, effects.wake_at);
}

void World::worker_dies(NodeProcess& node, Duration down) {
  if (!node.core) return;
  happened(node.config.worker.name + " dies");
  node.core.reset();
  node.executors->die();
  checks_.worker_died(node.id);
  schedule_.after(down, [this, &node] { start_worker(node); });
}

void World::strike(const Fault& fault) {
  happened(name_of(fault.kind));
  NodeProcess& node = nodes_[fault.node];
  switch (fault.kind) {
    case FaultKind::broker_dies:
      return pool_dies(fault.lasts);
    case FaultKind::commit_lost:
      return journal_.set_fault(JournalFault::in_doubt_lost);
    case FaultKind::commit_in_doubt:
      return journal_.set_fault(JournalFault::in_doubt_written);
    case FaultKind::commit_torn:
      journal_.tear_at(rng_.next());
      return journal_.set_fault(JournalFault::torn);
    case FaultKind::commit_doubled:
      return journal_.double_next();
    case FaultKind::journal_refuses:
      journal_.set_fault(JournalFault::refused);
      journal_.set_reserve(fault.node % 2 == 0 ? 3 : 0);
      return schedule_.after(fault.lasts, [this] { journal_.set_fault(JournalFault::none); });
    case FaultKind::journal_slow:
      slow_journal_ = true;
      return schedule_.after(fault.lasts, [this] { slow_journal_ = false; });
    case FaultKind::worker_dies:
      if (!plan_.combined) worker_dies(node, fault.lasts);
      return;
    case FaultKind::partition:
      if (!plan_.combined) node.cut_off_until = now() + fault.lasts;
      return;
    case FaultKind::old_worker_speaks:
      if (node.old_join && pool_) deliver(ToBroker{*node.old_join});
      return;
    case FaultKind::worker_stops:
      if (!plan_.combined) deliver(node, ToWorker{Stop{node.local(now() + fault.lasts)}});
      return;
    case FaultKind::broker_stops:
      if (!pool_) return;
      deliver(ToBroker{Stop{now() + fault.lasts}});
      if (plan_.combined) deliver(node, ToWorker{Stop{node.local(now() + fault.lasts)}});
      return;
    case FaultKind::history_fails:
      history_store_.set_failing(true);
      return schedule_.after(fault.lasts, [this] { history_store_.set_failing(false); });
    case FaultKind::device_ails:
      return ail(node, fault.lasts);
    case FaultKind::rival_leads:
      if (!pool_) return;
      rival_ = true;
      return deliver(ToLedger{Lead{.ticket = std::numeric_limits<std::uint64_t>::max()}});
  }
}

void World::ail(NodeProcess& node, Duration lasts) {
  DeviceHealth health{
      .device = static_cast<std::uint32_t>(rng_.below(node.config.worker.devices.size())),
      .temperature = 50,
      .uncorrected_errors = static_cast<std::uint64_t>(now().ms)};
  DeviceHealth better = health;
  if (rng_.one_in(3)) {
    health.temperature = 100;
    better.uncorrected_errors = health.uncorrected_errors = 0;
  } else if (rng_.one_in(2)) {
    health.lost = true;
  }
  deliver(node, ToWorker{health});
  schedule_.after(lasts, [this, &node, better] { deliver(node, ToWorker{better}); });
}

void World::heal() {
  happened("everything heals");
  calm_ = true;
  link_.heal();
  journal_.set_fault(JournalFault::none);
  slow_journal_ = false;
  history_store_.set_failing(false);
  for (NodeProcess& node : nodes_) {
    node.cut_off_until = {};
    node.executors->heal();
    for (std::uint32_t device = 0; device < node.config.worker.devices.size(); ++device)
      deliver(node, ToWorker{DeviceHealth{.device = device, .temperature = 50}});
  }
  for (const auto& client : clients_) client->settle_down();
  operator_.settle_down();
}

bool World::everything_ended() const {
  return checks_.open_count() == 0 && operator_.at_rest() &&
         std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& client) { return client->knows_everything(); });
}

void World::check_everything() {
  for (NodeProcess& node : nodes_)
    if (!plan_.combined && node.core && node.core->stopped())
      worker_dies(node, milliseconds(rng_.between(1, 5000)));
  if (!pool_) return;
  pool_->broker->check_invariants();
  if (pool_->broker->stopped()) return pool_dies(milliseconds(rng_.between(1, 5000)));
  if (!pool_->broker->deposed()) return;
  require(rival_, "only a rival deposes a broker");
  rival_ = false;
  pool_dies(milliseconds(rng_.between(1, 1000)));
}

void World::run_until(Instant end, const std::function<bool()>& early) {
  for (std::size_t events = 0; !schedule_.empty() && schedule_.next_at() <= end; ++events) {
    require(events < events_most, "time goes on");
    schedule_.pop()();
    check_everything();
    if (early()) return;
  }
}

void World::run() {
  start_pool();
  if (!plan_.combined)
    for (NodeProcess& node : nodes_) start_worker(node);
  const auto never = [] { return false; };
  run_until(plan_.start + plan_.faults_last, never);
  heal();
  // Every open job may need three whole attempts on one slot, the processes have to come back, and
  // whoever is still to be told asks again within a few of its pauses.
  Duration longest{};
  for (const char* partition : {"default", "other", "own"})
    longest = std::max(longest, longest_occupancy(plan_.config, partition));
  const auto open = static_cast<std::int64_t>(checks_.open_count()) + 1;
  run_until(now() + longest * (3 * open) + seconds(180), [this] { return everything_ended(); });
  std::string unresolved;
  for (const auto& client : clients_) unresolved += client->unresolved();
  require(everything_ended(), "every job ends once the faults stop", checks_.open_count(),
          unresolved);
  run_until(now() + seconds(60), never);  // what is still under way comes to rest
  require(now() - quiet_since_ > seconds(10), "an end that was acknowledged is not sent again");
  require(pool_ && pool_->broker->jobs().empty(), "the broker forgets what ended");
  for (const NodeProcess& node : nodes_)
    for (const SlotReport& slot : node.core->slot_reports())
      require(!slot.job, "no slot is held for what ended", node.id, slot.slot, slot.job);
  checks_.compare(now(), pool_->ledger->ledger());
  audit();
}

// As `gpupool audit` does it with a ledger's file.
void World::audit() {
  // A history whose store failed reads on with the next question.
  deliver(ToLedger{ReceiptsQuery{.session = {1}, .query = 1, .account = {"user:nobody"}}});
  run_until(now() + seconds(10), [] { return false; });
  require(pool_->history->applied() == pool_->ledger->ledger().last_sequence(),
          "the history catches up", pool_->history->applied());
  checks_.compare(history_store_);
  Audit audit(plan_.config, plan_.config.window);
  const Status read = journal_.read([&audit](const StoredRecord& stored) {
    audit.read(stored);
    return ok();
  });
  require(bool{read}, "the journal can be read");
  for (const JobId job : audit.blobs_wanted()) audit.read_blob(job, *journal_.blob(job));
  const AuditReport report = audit.finish();
  for (const std::string& finding : report.findings) require(false, "an audit", finding);
  require(report.digest == pool_->ledger->ledger().state_digest(),
          "an audit rebuilds the state of the ledger");
}

}  // namespace gpupool::sim
