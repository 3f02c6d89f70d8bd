#include "cli/daemon.h"

#include <sodium.h>

#include <atomic>
#include <caf/all.hpp>
#include <filesystem>
#include <mutex>

#include "actors/broker/broker_actor.h"
#include "actors/console/command_line.h"
#include "actors/console/console_actor.h"
#include "actors/describe.h"
#include "actors/ledger/history_actor.h"
#include "actors/ledger/history_sqlite.h"
#include "actors/ledger/ledger_actor.h"
#include "actors/ledger/ledger_clock.h"
#include "actors/ledger/open_journal.h"
#include "actors/ledger/snapshot_file.h"
#include "actors/network.h"
#include "actors/worker/process.h"
#include "actors/worker/worker_actor.h"
#include "base/clock.h"
#include "cli/advice.h"
#include "cli/build.h"
#include "cli/certificates.h"
#include "cli/fence.h"
#include "cli/liveness.h"
#include "cli/notify.h"
#include "cli/ready_file.h"
#include "cli/socket_file.h"
#include "config/reload.h"
#include "net/certificate_handshakes.h"
#include "net/device_api_server.h"
#include "net/gateway.h"
#include "net/web_server.h"

namespace gpupool {
namespace {

ClockStamp read_stamp() {
  static const std::string id = boot_id();
  return {.wall = wall_time(), .boot = boot_time(), .boot_id = id};
}

}  // namespace

// In the order in which it is built; torn down in reverse.
class Daemon::Parts {
 public:
  Parts(Config config, Log& log, std::function<void()> call)
      : live_(std::move(config)), log_(log), call_(std::move(call)) {
    directory_->set_log(
        {.least = log.least(), .write = [&log](const LogLine& line) { log.write(line); }});
    if (config_.cluster.has_tls())
      handshakes_.emplace([&log](const HandshakeNews& news) { log.write(log_line(news)); });
  }

  Status start();
  bool standing_by() const { return candidate_ != nullptr; }
  Status look();
  void reload(const Result<Config>& fresh);
  void drain(Duration limit);
  bool drained() const { return drained_; }
  std::size_t clients() const { return directory_->session_count(); }
  bool is_alive();
  void watch_certificates();
  void stop();

 private:
  enum class State : std::uint8_t { standby, starting, ready };

  Status enter();
  Status begin();
  Status stand_by();
  Status start_broker();
  Status start_clock();
  Status recover(GroupCommit& commits);
  void keep(const GroupCommit::Frozen& frozen);
  Status start_history(const Surroundings& around);
  Status open_client_socket(const Surroundings& around, const Standing& standing);
  Status publish(const BrokerHandle& broker);
  Status start_worker();
  LedgerEvents ledger_events();
  BrokerEvents broker_events();
  WorkerEvents worker_events();
  void announce_ready();
  Status write_ready_file(State state);
  void note_drained();
  void end_ledger();
  [[noreturn]] void end_without_journal(const Error& error);
  [[noreturn]] void end_now(int code, std::string_view event, const std::string& text);

  LiveConfig live_;
  const Config& config_ = live_.current();  // as at the start
  Log& log_;
  const std::function<void()> call_;
  std::unique_ptr<JournalCandidate> candidate_;  // until the journal is this process's
  std::string told_leader_;                      // whom the log named last
  std::unique_ptr<Journal> journal_;
  Fence fence_{[this](const Error& error) { end_without_journal(error); }};
  std::mutex ending_;         // whoever has it ends the process
  bool made_ledger_ = false;  // a file that was not there
  std::function<Instant()> ledger_now_;
  std::shared_ptr<Directory> directory_ = std::make_shared<Directory>();
  const Result<OwnCertificates> certificates_ =
      OwnCertificates::load(config_.cluster, wall_time());  // an error is start()'s
  Instant certificates_told_{};
  std::optional<HandshakeGuard> handshakes_;
  NetworkConfig system_config_{certificates_ ? certificates_->files() : ClusterConfig{}};
  caf::actor_system system_{system_config_};
  std::shared_ptr<GatewaySocket> gateway_;
  std::string worker_endpoint_;
  std::mutex ready_mutex_;
  State state_ = State::standby;   // guarded by ready_mutex_
  bool wrote_ready_file_ = false;  // guarded by ready_mutex_
  WorkerParts worker_;
  std::unique_ptr<DeviceApiServer> device_api_;
  std::unique_ptr<WebServer> web_;
  std::unique_ptr<Liveness> liveness_;
  std::atomic<bool> drained_ = false;
};

Status Daemon::Parts::start() {
  if (!certificates_) return certificates_.error();
  watch_certificates();
  if (!config_.broker_role) return begin();
  if (const auto status = enter(); !status) return status;
  return look();
}

// At the start, and then once a day.
void Daemon::Parts::watch_certificates() {
  const Instant now = boot_time();
  if (certificates_told_ && now - certificates_told_ < hours(24)) return;
  certificates_told_ = now;
  if (const auto line = certificates_->word(wall_time())) log_.write(*line);
}

// Everything else waits for the journal: what this process would say before is not its to say.
Status Daemon::Parts::look() {
  auto journal = candidate_->look();
  if (!journal) return journal.error();
  if (*journal == nullptr) return stand_by();
  if (!told_leader_.empty()) log_.say(LogLevel::warn, "leads", "this process leads from now on");
  journal_ = std::move(*journal);
  candidate_.reset();
  return begin();
}

Status Daemon::Parts::stand_by() {
  const std::string leader = candidate_->leader();
  if (std::exchange(told_leader_, leader) == leader) return ok();
  log_.say(LogLevel::info, "standby", "waiting: the pool is led by " + leader);
  notify_status("standby: pool " + config_.pool + " is led by " + leader);
  return write_ready_file(State::standby);
}

Status Daemon::Parts::begin() {
  if (config_.broker_role)
    if (const auto status = start_broker(); !status) return status;
  if (config_.worker_role)
    if (const auto status = start_worker(); !status) return status;
  if (watchdog_interval())
    liveness_ = std::make_unique<Liveness>(system_, directory_, worker_.actor);
  return ok();
}

Status Daemon::Parts::start_broker() {
  if (fence_.raise(journal_->sure_until()))
    directory_->set_fence([this] { return fence_.may_speak(); });
  if (const auto status = start_clock(); !status) return status;
  const std::string ledger = journal_name(config_.ledger);
  auto commits = std::make_unique<GroupCommit>(live_.current(), *journal_);
  if (auto status = recover(*commits); !status) {
    Error error = status.error();
    error.detail = ledger + ": " + error.detail;
    return error;
  }
  log_.say(LogLevel::info, "ledger_opened",
           ledger + ": " + std::to_string(commits->ledger().last_sequence()) + " records, " +
               std::to_string(commits->ledger().open_holds().size()) + " open holds");

  // What operators have set holds from the first hello on.
  const Standing standing = commits->ledger().orders().standing(ledger_now_());
  const Surroundings around{live_, ledger_now_, directory_};
  directory_->set_ledger(spawn_ledger(system_, around, ledger_events(), std::move(commits)));
  if (const auto status = start_history(around); !status) return status;
  if (const auto status = open_client_socket(around, standing); !status) return status;
  const auto broker = spawn_broker(system_, around, broker_events(), build_string());
  directory_->set_broker(broker);
  spawn_console(system_, around);
  if (!config_.broker.worker_address.empty())
    if (const auto status = publish(broker); !status) return status;
  return write_ready_file(State::starting);
}

// From the last snapshot if there is one that can be used; without one it only takes longer.
Status Daemon::Parts::recover(GroupCommit& commits) {
  auto snapshot = read_snapshot(snapshot_path(config_), build_string());
  if (!snapshot) {
    log_.say(LogLevel::info, "snapshot_passed_over",
             describe(snapshot.error()) + "; the whole journal is read");
    return commits.recover();
  }
  const Status recovered = commits.recover(*snapshot);
  if (*snapshot && recovered && !commits.snapshot_used())
    log_.say(LogLevel::warn, "snapshot_passed_over",
             snapshot_path(config_) + " is not of this ledger; the whole journal was read");
  return recovered;
}

void Daemon::Parts::keep(const GroupCommit::Frozen& frozen) {
  RowWriter rows;
  frozen.ledger->write_state(rows);
  const Status kept = write_snapshot(snapshot_path(config_),
                                     {.at = frozen.at, .state = rows.take()}, build_string());
  if (!kept)
    log_.say(LogLevel::warn, "snapshot_not_kept",
             "the next start reads more of the journal: " + describe(kept.error()));
}

Status Daemon::Parts::enter() {
  std::error_code ignored;
  made_ledger_ = config_.ledger.journal == JournalKind::sqlite &&
                 !std::filesystem::exists(config_.ledger.path, ignored);
  auto candidate =
      enter_for_journal(config_, [this](const Error& error) { end_without_journal(error); });
  if (!candidate) return candidate.error();
  candidate_ = std::move(*candidate);
  return ok();
}

// Ledger time goes on from the journal's last record (design section 2.9).
Status Daemon::Parts::start_clock() {
  const auto tail = journal_->tail();
  if (!tail) return tail.error();
  const ClockStamp reading = read_stamp();
  auto clock = LedgerClock::start(
      reading, *tail, config_.ledger.accept_clock ? JumpedClock::accept : JumpedClock::refuse);
  if (!clock) return clock.error();
  if (tail->sequence > 0)
    log_.say(LogLevel::info, "clock",
             seconds_text(clock->gap(), Rounding::down) + " since the ledger's last record" +
                 (clock->same_boot() ? "" : ", on another boot: the wall clock is taken"));
  const Instant base = clock->now(reading.boot);
  ledger_now_ = [base, boot = reading.boot] { return base + (boot_time() - boot); };
  return ok();
}

Status Daemon::Parts::start_history(const Surroundings& around) {
  auto store = HistorySqlite::open(history_path(config_));
  if (!store) return store.error();
  const auto trouble = [this](const Error& error) {
    log_.say(LogLevel::error, "history_unavailable",
             "receipts, stories and usage cannot be read until this is mended; jobs and charges "
             "are not touched: " +
                 describe(error));
  };
  const auto rebuilt = [this] {
    log_.say(LogLevel::warn, "history_rebuilt",
             history_path(config_) + " was not of this ledger and is made anew from it");
  };
  spawn_history(system_, around, {.trouble = trouble, .rebuilt = rebuilt}, std::move(*store));
  return ok();
}

Status Daemon::Parts::open_client_socket(const Surroundings& around, const Standing& standing) {
  if (const auto clear = clear_socket_file(config_.broker.client_endpoint); !clear) return clear;
  const FileMode mode(socket_file_mode);
  auto gateway = open_gateway(system_, around, build_string(), standing);
  if (!gateway) return gateway.error();
  gateway_ = std::move(gateway->socket);
  if (!config_.web.is_on()) return ok();
  auto web = WebServer::open(around, gateway->web, build_string());
  if (!web) return web.error();
  web_ = std::move(*web);
  log_.say(LogLevel::info, "listening", "the page is at http://" + web_->endpoint());
  return ok();
}

LedgerEvents Daemon::Parts::ledger_events() {
  return {.stamp = read_stamp,
          .refused =
              [this](const Error& error) {
                log_.say(LogLevel::error, "ledger_unavailable",
                         "the ledger cannot be written, so new holds are refused until it can: " +
                             describe(error));
              },
          .in_doubt = [this](const Error& error) { end_without_journal(error); },
          .keep = [this](const GroupCommit::Frozen& frozen) { keep(frozen); },
          .steady_us = steady_us,
          .snapshot_records = config_.ledger.snapshot_records};
}

void Daemon::Parts::end_without_journal(const Error& error) {
  if (error.code == Errc::journal_fenced)
    end_now(exit_deposed, "deposed", "this process leads no more; ending: " + describe(error));
  end_now(exit_in_doubt, "ledger_in_doubt",
          "nobody knows what the ledger wrote; ending, so that a restart replays it: " +
              describe(error));
}

BrokerEvents Daemon::Parts::broker_events() {
  return {.ready = [this] { announce_ready(); },
          .deposed =
              [this] {
                end_now(exit_deposed, "deposed", "another broker took the lead of this ledger");
              },
          .stopped = [this] { note_drained(); }};
}

// Several threads may find out at once: one has the last word, the others wait for its end.
void Daemon::Parts::end_now(int code, std::string_view event, const std::string& text) {
  ending_.lock();
  log_.say(LogLevel::critical, event, text);
  log_.end();
  std::_Exit(code);
}

void Daemon::Parts::announce_ready() {
  log_.say(LogLevel::info, "ready",
           "pool " + config_.pool + " can run jobs; clients: " + gateway_->endpoint());
  notify_status("pool " + config_.pool + " is ready, clients: " + gateway_->endpoint());
  if (const Status written = write_ready_file(State::ready); !written)
    log_.say(LogLevel::error, "ready_file", describe(written.error()));
}

Status Daemon::Parts::write_ready_file(State state) {
  const std::lock_guard lock(ready_mutex_);
  state_ = std::max(state_, state);  // a worker may have been quicker than the end of the start
  if (config_.broker.ready_file.empty()) return ok();
  constexpr const char* names[] = {"standby", "starting", "ready"};
  const Status written = gpupool::write_ready_file(
      config_.broker.ready_file, {{"state", names[static_cast<std::size_t>(state_)]},
                                  {"client", gateway_ ? gateway_->endpoint() : ""},
                                  {"build", build_string()},
                                  {"worker", worker_endpoint_},
                                  {"server_key", gateway_ ? gateway_->server_key() : ""},
                                  {"http", device_api_ ? device_api_->endpoint() : ""},
                                  {"web", web_ ? web_->endpoint() : ""}});
  wrote_ready_file_ = wrote_ready_file_ || written;
  return written;
}

Status Daemon::Parts::publish(const BrokerHandle& broker) {
  const auto address = parse_address(config_.broker.worker_address);
  if (!address) return address.error();
  const auto port = gpupool::publish(system_, broker, *address);
  if (!port) return port.error();
  worker_endpoint_ = address->host + ":" + std::to_string(*port);
  log_.say(LogLevel::info, "listening", "workers dial " + worker_endpoint_);
  return ok();
}

WorkerEvents Daemon::Parts::worker_events() {
  const auto node = [this](LogLevel level, std::string_view event, std::string text) {
    log_.write(
        {.level = level, .event = event, .text = std::move(text), .node = config_.worker.name});
  };
  return {.stopped =
              [this] {
                if (!config_.broker_role) note_drained();
              },
          .blind =
              [this](const Error& error) {
                log_.say(LogLevel::warn, "health_unwatched",
                         "the health of this node's GPUs cannot be seen: " + error.detail);
              },
          .unreachable =
              [this, node](const std::string& address, const Error& error) {
                node(LogLevel::warn, "broker_unreachable",
                     unreachable_text(address, error, config_.cluster));
              },
          .refused =
              [node](const Error& error) { node(LogLevel::error, "refused", refused_text(error)); },
          .joined =
              [this, node] {
                if (!config_.broker_role) node(LogLevel::info, "joined", "the broker takes it");
              },
          .met =
              [node](const std::string& address) {
                node(LogLevel::info, "broker_met", "it asks the broker at " + address);
              },
          .lost =
              [node](const std::string& why) {
                node(LogLevel::warn, "broker_lost", why + "; its runs go on, it dials them all");
              }};
}

Status Daemon::Parts::start_worker() {
  std::string secret(32, '\0');
  randombytes_buf(secret.data(), secret.size());
  const Surroundings around{live_, boot_time, directory_};
  auto worker = spawn_worker(system_, around, worker_events(), build_string(), secret);
  if (!worker) return worker.error();
  worker_ = std::move(*worker);
  if (!config_.http.is_on()) return ok();
  auto api = DeviceApiServer::open(system_, around, worker_.actor);
  if (!api) return api.error();
  log_.say(LogLevel::info, "listening", "Spaces use http://" + (*api)->endpoint());
  std::unique_lock lock(ready_mutex_);
  device_api_ = std::move(*api);
  lock.unlock();
  return config_.broker_role ? write_ready_file(State::starting) : ok();
}

void Daemon::Parts::reload(const Result<Config>& fresh) {
  const auto keep = [this](const Error& error) {
    log_.say(LogLevel::error, "reload_refused",
             "the configuration stays as it was: " + describe(error));
  };
  if (!fresh) return keep(fresh.error());
  auto next = gpupool::reload(live_.current(), *fresh);
  if (!next) return keep(next.error());
  if (!next->waiting.empty())
    log_.say(LogLevel::warn, "reload_waiting",
             "these differ and need a restart: " + list_of(next->waiting));
  if (next->changed.empty())
    return log_.say(LogLevel::info, "reloaded", "nothing that a reload takes over has changed");
  if (!live_.replace(std::move(next->config)))
    return log_.say(LogLevel::error, "reload_refused",
                    "too many reloads for one process (" +
                        std::to_string(LiveConfig::versions_max) + "); restart it");
  if (const auto console = directory_->console())
    post<ToConsole>(console, ConfigReloaded{.ticket = live_.version()});
  log_.say(LogLevel::info, "reloaded", "from now on: " + list_of(next->changed));
}

void Daemon::Parts::drain(Duration limit) {
  liveness_.reset();
  if (standing_by()) return note_drained();
  if (const auto broker = directory_->broker(); config_.broker_role && broker)
    post<ToBroker>(broker, Stop{.by = ledger_now_() + limit});
  else if (worker_.actor)
    post<ToWorker>(worker_.actor, Stop{.by = boot_time() + limit});
}

void Daemon::Parts::note_drained() {
  drained_ = true;
  call_();
}

bool Daemon::Parts::is_alive() { return !liveness_ || liveness_->ask(); }

// Their files are closed after them. What the ledger has not committed yet was never answered.
void Daemon::Parts::end_ledger() {
  const auto ledger = directory_->ledger();
  const auto history = directory_->history();
  caf::scoped_actor self(system_);
  if (history) {
    caf::anon_send_exit(history, caf::exit_reason::user_shutdown);
    self->wait_for(history);
  }
  if (!ledger) return;
  caf::anon_send_exit(ledger, caf::exit_reason::user_shutdown);
  self->wait_for(ledger);
}

void Daemon::Parts::stop() {
  fence_.be_silent();
  liveness_.reset();
  end_ledger();
  directory_->clear();
  candidate_.reset();
  device_api_.reset();
  web_.reset();
  if (gateway_) remove_socket_file(config_.broker.client_endpoint);
  gateway_.reset();
  worker_ = {};
  const bool is_empty =
      journal_ && made_ledger_ && journal_->tail() && journal_->tail()->sequence == 0;
  journal_.reset();
  std::error_code ignored;
  if (is_empty)
    for (const char* suffix :
         {"", "-wal", "-shm", "-reserve", "-history", "-history-wal", "-history-shm", "-snapshot"})
      std::filesystem::remove(config_.ledger.path + suffix, ignored);
  const std::lock_guard lock(ready_mutex_);
  if (wrote_ready_file_) std::filesystem::remove(config_.broker.ready_file, ignored);
}

Daemon::Daemon(Config config, Log& log, std::function<void()> call)
    : parts_(std::make_unique<Parts>(std::move(config), log, std::move(call))) {}
Daemon::~Daemon() = default;

Status Daemon::start() { return parts_->start(); }
bool Daemon::standing_by() const { return parts_->standing_by(); }
Status Daemon::look() { return parts_->look(); }
void Daemon::reload(const Result<Config>& fresh) { parts_->reload(fresh); }
void Daemon::drain(Duration limit) { parts_->drain(limit); }
bool Daemon::drained() const { return parts_->drained(); }
std::size_t Daemon::clients() const { return parts_->clients(); }
bool Daemon::is_alive() { return parts_->is_alive(); }
void Daemon::watch_certificates() { parts_->watch_certificates(); }
void Daemon::stop() { parts_->stop(); }

}  // namespace gpupool
