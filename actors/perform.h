#pragma once
// How the effects of a core are carried out: the directory knows the handle behind every address of
// this process, perform() sends. Written by the shells as peers appear, read by all of them;
// guarded by one mutex, which is held for look-ups only. Everything sent passes the log. An address
// without a handle drops the message: every command that matters is sent again by its core.

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "actors/effects.h"
#include "actors/log_line.h"
#include "actors/vocabulary.h"
#include "config/live.h"

namespace gpupool {

// Where the happenings of this process are told. Thread-safe, and quick: actors call it.
struct LogTo {
  LogLevel least = LogLevel::off;
  std::function<void(const LogLine&)> write;
};

class Directory {
 public:
  // Before any actor runs.
  void set_log(LogTo log) { log_ = std::move(log); }
  // Whether what is to leave this process may still be said: a broker that leads no more is silent.
  void set_fence(std::function<bool()> may_speak) { may_speak_ = std::move(may_speak); }
  bool may_speak() const { return !may_speak_ || may_speak_(); }
  // Tells what this message makes known, if that is a happening.
  void log(const Message& message) const;

  void set_broker(BrokerHandle broker);
  void set_ledger(LedgerHandle ledger);
  void set_worker(NodeId node, WorkerHandle worker);
  void set_console(ConsoleHandle console);
  void set_history(HistoryHandle history);
  void set_session(SessionId id, SessionHandle session);
  void forget_session(SessionId id);
  // What hands a message to a client's socket, to the gateway itself, and to this node's executors.
  // Thread-safe.
  void set_client(std::function<void(SessionId, ToClient)> client);
  void set_gateway(std::function<void(const ToGateway&)> gateway);
  void set_executors(std::function<void(const ToExecutors&)> executors);
  // What this node's device API hears, and what takes in the visitors of device APIs, with whom to
  // answer. Both thread-safe.
  void set_device_api(std::function<void(ToDeviceApi)> device_api);
  void set_visitors(std::function<void(const ToBroker&, const DeviceApiHandle&)> visitors);
  // Clients that are connected now.
  std::size_t session_count() const;
  // Drops every handle, so that no cycle of handles keeps actors alive at the end.
  void clear();

  BrokerHandle broker() const;
  LedgerHandle ledger() const;
  WorkerHandle worker(NodeId node) const;
  ConsoleHandle console() const;
  HistoryHandle history() const;
  SessionHandle session(SessionId id) const;
  std::function<void(SessionId, ToClient)> client() const;
  std::function<void(const ToGateway&)> gateway() const;
  std::function<void(const ToExecutors&)> executors() const;
  std::function<void(ToDeviceApi)> device_api() const;
  std::function<void(const ToBroker&, const DeviceApiHandle&)> visitors() const;

 private:
  LogTo log_;
  std::function<bool()> may_speak_;
  mutable std::mutex mutex_;
  BrokerHandle broker_;
  LedgerHandle ledger_;
  ConsoleHandle console_;
  HistoryHandle history_;
  std::unordered_map<NodeId, WorkerHandle, IdHash> workers_;
  std::unordered_map<SessionId, SessionHandle, IdHash> sessions_;
  std::function<void(SessionId, ToClient)> client_;
  std::function<void(const ToGateway&)> gateway_;
  std::function<void(const ToExecutors&)> executors_;
  std::function<void(ToDeviceApi)> device_api_;
  std::function<void(const ToBroker&, const DeviceApiHandle&)> visitors_;
};

// What every shell on a node shares.
struct Surroundings {
  const LiveConfig& config;
  std::function<Instant()> now;  // ledger time; on a worker, CLOCK_BOOTTIME
  std::shared_ptr<Directory> directory;
};

// Sends on behalf of `self`; the journal part of the effects is the ledger shell's business.
void perform(caf::local_actor& self, const Directory& directory, std::vector<Send> sends);

// A timer of one actor: at most one useful delayed Tick is under way. CAF can't cancel a delayed
// message, so a Tick that comes early only steps the core once more.
class Alarm {
 public:
  // The delay after which the shell must send itself a Tick, or a negative one if none is needed.
  Duration arm(Instant now, Instant wake_at);
  void rang(Instant now);

 private:
  Instant armed_for_ = Instant::never();
};

}  // namespace gpupool
