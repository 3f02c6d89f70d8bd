#include "actors/worker/worker_actor.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "actors/core_actor.h"
#include "actors/describe.h"
#include "actors/network.h"
#include "actors/worker/broker_search.h"
#include "actors/worker/nvml.h"
#include "actors/worker/probe_actor.h"
#include "actors/worker/worker.h"
#include "base/clock.h"
#include "base/pack.h"

namespace gpupool {
namespace {

// One attempt to reach the broker; the middleman itself has no timeout of its own (caf.md).
constexpr auto connect_limit = std::chrono::seconds(5);

class WorkerActor : public CoreActor<Worker, ToWorker> {
 public:
  WorkerActor(caf::actor_config& config, Surroundings around, WorkerEvents events,
              const WorkerParts& parts, std::unique_ptr<Worker> core, Prng jitter)
      : CoreActor(config, std::move(around), std::move(core)),
        events_(std::move(events)),
        results_(parts.results),
        executors_(parts.executors),
        search_(this->around().config.current().worker.broker_addresses, jitter) {
    set_down_handler([this](const caf::down_msg& down) {
      if (down.source == broker_) leave("its connection was closed");
    });
  }

 private:
  void take(const ToWorker& message) override {
    if (const auto* fetch = std::get_if<FetchResult>(&message))
      return answer(read_chunk(*results_, *fetch));
    if (const auto* fetch = std::get_if<FetchLog>(&message)) return answer(read_log(*fetch));
    if (const auto* joined = std::get_if<Joined>(&message)) tell(*joined);
    if (std::holds_alternative<Tick>(message)) results_->drop_old(wall_time());
    // The first message is the Tick of spawn_worker(), sent once the executors can report here.
    if (std::exchange(started_, true))
      CoreActor::take(message);
    else
      carry_out(core().start(around().now()));
    dial_if_due();
    if (core().stopped() && events_.stopped) std::exchange(events_.stopped, nullptr)();
  }

  void answer(ToSession chunk) {
    if (current_sender())
      send(caf::actor_cast<SessionHandle>(current_sender()), Envelope<ToSession>{std::move(chunk)});
  }

  // A run whose executor has not been told of it yet has written nothing so far.
  LogChunk read_log(const FetchLog& fetch) {
    const std::shared_ptr<ExecutorHost> executors = executors_.lock();
    if (!executors)
      return {.query = fetch.query,
              .session = fetch.session,
              .job = fetch.job,
              .error = Errc::result_gone};
    LogChunk chunk = executors->logs().read(fetch, *results_);
    if (fetch.hash.empty() && core().carries(fetch.job, fetch.attempt)) chunk.error = {};
    return chunk;
  }

  // Where this node stands with the broker, for people. A refused worker asks again and again; it
  // is told once, until a broker takes it.
  void tell(const Joined& joined) {
    if (joined.refused == Errc::node_lost) return;  // it may join, and does
    if (joined.refused != Errc{})
      return tell_once(describe({.code = joined.refused, .detail = joined.detail}), [&] {
        if (events_.refused) events_.refused({.code = joined.refused, .detail = joined.detail});
      });
    told_.clear();
    if (!std::exchange(joined_, true) && events_.joined) events_.joined();
  }

  void tell_unreachable(const std::string& address, const caf::error& error) {
    const Error why{.code = Errc::not_connected, .detail = system().render(error)};
    tell_once(address + why.detail, [&] {
      if (events_.unreachable) events_.unreachable(address, why);
    });
  }

  void tell_once(const std::string& what, const std::function<void()>& tell) {
    constexpr std::size_t told_max = 64;
    if (told_.size() < told_max && told_.insert(what).second) tell();
    joined_ = false;
  }

  // ---- Brokers, in a process of its own ---------------------------------------------------------

  BrokerSearch::Present present() {
    return core().seeks_broker() ? BrokerSearch::Present::silent : BrokerSearch::Present::answers;
  }

  void dial_if_due() {
    for (const std::size_t which : search_.due(around().now(), present())) probe(which);
    wake_at(search_.next(present()));
  }

  void probe(std::size_t which) {
    const auto peer = parse_address(search_.address(which));
    if (!peer) return;  // the configuration was checked at the start
    request(spawn_probe(system()), connect_limit, caf::connect_atom::value, peer->host, peer->port)
        .then(
            [this, which, peer = *peer](bool listens) {
              if (listens) return connect(which, peer);
              fail(which, caf::sec::cannot_connect_to_node);
            },
            [this, which](const caf::error& error) { fail(which, error); });
  }

  void connect(std::size_t which, const HostAndPort& peer) {
    request(network_of(system()), connect_limit, caf::connect_atom::value, peer.host, peer.port)
        .then(
            [this, which](const caf::node_id&, const caf::strong_actor_ptr& broker,
                          const std::set<std::string>&) {
              if (broker) return meet(which, broker);
              fail(which, caf::sec::no_actor_published_at_port);
            },
            [this, which](const caf::error& error) { fail(which, error); });
  }

  void fail(std::size_t which, const caf::error& error) {
    // While one answers, or is only slow, it is of no interest that a standby does not listen.
    if (!search_.has_broker()) tell_unreachable(search_.address(which), error);
    search_.failed(around().now(), which);
    wake_at(search_.next(present()));
  }

  void meet(std::size_t which, const caf::strong_actor_ptr& broker) {
    if (!search_.found(around().now(), which, present())) return;
    if (broker_) demonitor(broker_);
    broker_ = caf::actor_cast<caf::actor_addr>(broker);
    monitor(broker);
    around().directory->set_broker(caf::actor_cast<BrokerHandle>(broker));
    joined_ = false;
    if (events_.met) events_.met(search_.address(which));
    carry_out(core().meet_broker(around().now()));
  }

  void leave(const std::string& why) {
    search_.lost(around().now());
    broker_ = {};
    joined_ = false;
    around().directory->set_broker(BrokerHandle{});
    if (events_.lost) events_.lost(why);
    dial_if_due();
  }

  WorkerEvents events_;
  const std::shared_ptr<ResultStore> results_;
  // Whoever ends the daemon drops it, though this actor may stay until the process ends.
  const std::weak_ptr<ExecutorHost> executors_;
  std::set<std::string> told_;  // since a broker took this node; bounded
  bool joined_ = false;
  bool started_ = false;
  BrokerSearch search_;
  caf::actor_addr broker_;  // that was met
};

// Tells one run of this node's worker from an earlier one, over reboots too: the wall clock's
// reading, or one more than the last run's, so that it grows whatever was done to that clock.
// Precondition: the folder is this worker's alone.
Incarnation next_incarnation(const std::filesystem::path& file, Instant wall) {
  std::uint64_t last = 0;
  std::ifstream{file} >> last;
  const Incarnation next{std::max(static_cast<std::uint64_t>(wall.ms), last + 1)};
  std::filesystem::path beside = file;
  beside += ".new";
  std::ofstream{beside} << next.value << "\n";
  std::error_code ignored;  // without it the wall clock is as good as it is
  std::filesystem::rename(beside, file, ignored);
  return next;
}

}  // namespace

Result<WorkerParts> spawn_worker(caf::actor_system& system, Surroundings around,
                                 WorkerEvents events, const std::string& build,
                                 const std::string& secret) {
  const WorkerConfig& worker = around.config.current().worker;
  const NodeId node{hash_of(worker.name)};
  WorkerParts parts;
  auto results = ResultStore::open(
      std::filesystem::path(worker.folder) / "results",
      {.keep = worker.result_keep, .bytes_max = worker.result_bytes_max}, wall_time());
  if (!results) return results.error();
  parts.results = std::move(*results);

  // The executors report to the actor through the directory, so that neither needs the other first.
  const auto reports = std::make_shared<Directory>();
  auto executors =
      ExecutorHost::open(around.config.current(), node, ExecutorPrograms::beside_this_program(),
                         *parts.results, [reports, node](const ToWorker& report) {
                           if (const WorkerHandle actor = reports->worker(node))
                             post<ToWorker>(actor, report);
                         });
  if (!executors) return executors.error();
  // Its thread writes to the store until its end.
  parts.executors = std::shared_ptr<ExecutorHost>(
      executors->release(), [results = parts.results](ExecutorHost* host) { delete host; });
  around.directory->set_executors(
      [host = parts.executors](const ToExecutors& command) { host->perform(command); });

  DeviceMonitor::Events monitored{.seen =
                                      [reports, node](const DeviceHealth& health) {
                                        if (const WorkerHandle actor = reports->worker(node))
                                          post<ToWorker>(actor, health);
                                      },
                                  .blind = events.blind};
  const Incarnation incarnation =
      next_incarnation(std::filesystem::path(worker.folder) / "incarnation", wall_time());
  auto core = std::make_unique<Worker>(around.config.current(), node, incarnation, build, secret);
  parts.actor =
      system.spawn<WorkerActor>(std::move(around), std::move(events), parts, std::move(core),
                                Prng{node.value ^ incarnation.value}.fork("brokers"));
  reports->set_worker(node, parts.actor);
  post<ToWorker>(parts.actor, Tick{});
  if (std::any_of(worker.devices.begin(), worker.devices.end(),
                  [](const DeviceConfig& one) { return one.kind == DeviceKind::cuda; }))
    parts.monitor = std::make_shared<DeviceMonitor>(worker, nvml_library(), std::move(monitored));
  return parts;
}

}  // namespace gpupool
