#include "actors/perform.h"

#include <algorithm>

namespace gpupool {
namespace {

// Sends with `self` as the sender, which is how peers on other nodes learn its handle.
template <class Variant>
void send_to(caf::local_actor& self, const HandleOf<Variant>& handle, Variant message) {
  if (!handle) return;
  handle->eq_impl(caf::make_message_id(), caf::actor_cast<caf::strong_actor_ptr>(&self),
                  self.context(), Envelope<Variant>{std::move(message)});
}

struct Delivery {
  caf::local_actor& self;
  const Directory& directory;
  Address to;

  void operator()(ToBroker&& message) const {
    send_to<ToBroker>(self, directory.broker(), std::move(message));
  }
  void operator()(ToLedger&& message) const {
    send_to<ToLedger>(self, directory.ledger(), std::move(message));
  }
  // Clients have the same fence at the gateway, behind everything that they are told.
  void operator()(ToWorker&& message) const {
    if (directory.may_speak())
      send_to<ToWorker>(self, directory.worker(NodeId{to.id}), std::move(message));
  }
  void operator()(ToSession&& message) const {
    send_to<ToSession>(self, directory.session(SessionId{to.id}), std::move(message));
  }
  void operator()(ToConsole&& message) const {
    send_to<ToConsole>(self, directory.console(), std::move(message));
  }
  void operator()(ToHistory&& message) const {
    send_to<ToHistory>(self, directory.history(), std::move(message));
  }
  void operator()(ToGateway&& message) const {
    if (const auto gateway = directory.gateway()) gateway(message);
  }
  void operator()(ToClient&& message) const {
    if (const auto client = directory.client()) client(SessionId{to.id}, std::move(message));
  }
  void operator()(ToExecutors&& message) const {
    if (const auto executors = directory.executors()) executors(message);
  }
  void operator()(ToDeviceApi&& message) const {
    if (const auto device_api = directory.device_api()) device_api(std::move(message));
  }
};

}  // namespace

void Directory::set_broker(BrokerHandle broker) {
  const std::lock_guard lock(mutex_);
  broker_ = std::move(broker);
}

void Directory::set_ledger(LedgerHandle ledger) {
  const std::lock_guard lock(mutex_);
  ledger_ = std::move(ledger);
}

void Directory::set_worker(NodeId node, WorkerHandle worker) {
  const std::lock_guard lock(mutex_);
  workers_[node] = std::move(worker);
}

void Directory::set_console(ConsoleHandle console) {
  const std::lock_guard lock(mutex_);
  console_ = std::move(console);
}

void Directory::set_history(HistoryHandle history) {
  const std::lock_guard lock(mutex_);
  history_ = std::move(history);
}

void Directory::set_session(SessionId id, SessionHandle session) {
  const std::lock_guard lock(mutex_);
  sessions_[id] = std::move(session);
}

void Directory::forget_session(SessionId id) {
  const std::lock_guard lock(mutex_);
  sessions_.erase(id);
}

void Directory::set_client(std::function<void(SessionId, ToClient)> client) {
  const std::lock_guard lock(mutex_);
  client_ = std::move(client);
}

void Directory::set_gateway(std::function<void(const ToGateway&)> gateway) {
  const std::lock_guard lock(mutex_);
  gateway_ = std::move(gateway);
}

void Directory::set_executors(std::function<void(const ToExecutors&)> executors) {
  const std::lock_guard lock(mutex_);
  executors_ = std::move(executors);
}

void Directory::set_device_api(std::function<void(ToDeviceApi)> device_api) {
  const std::lock_guard lock(mutex_);
  device_api_ = std::move(device_api);
}

void Directory::set_visitors(
    std::function<void(const ToBroker&, const DeviceApiHandle&)> visitors) {
  const std::lock_guard lock(mutex_);
  visitors_ = std::move(visitors);
}

std::size_t Directory::session_count() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

void Directory::log(const Message& message) const {
  if (log_.least == LogLevel::off) return;
  if (const auto line = log_line(message, log_.least)) log_.write(*line);
}

void Directory::clear() {
  const std::lock_guard lock(mutex_);
  broker_ = BrokerHandle{};
  ledger_ = LedgerHandle{};
  workers_.clear();
  sessions_.clear();
  console_ = ConsoleHandle{};
  history_ = HistoryHandle{};
  client_ = {};
  gateway_ = {};
  executors_ = {};
  device_api_ = {};
  visitors_ = {};
}

BrokerHandle Directory::broker() const {
  const std::lock_guard lock(mutex_);
  return broker_;
}

LedgerHandle Directory::ledger() const {
  const std::lock_guard lock(mutex_);
  return ledger_;
}

WorkerHandle Directory::worker(NodeId node) const {
  const std::lock_guard lock(mutex_);
  const auto it = workers_.find(node);
  return it == workers_.end() ? WorkerHandle{} : it->second;
}

ConsoleHandle Directory::console() const {
  const std::lock_guard lock(mutex_);
  return console_;
}

HistoryHandle Directory::history() const {
  const std::lock_guard lock(mutex_);
  return history_;
}

SessionHandle Directory::session(SessionId id) const {
  const std::lock_guard lock(mutex_);
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? SessionHandle{} : it->second;
}

std::function<void(SessionId, ToClient)> Directory::client() const {
  const std::lock_guard lock(mutex_);
  return client_;
}

std::function<void(const ToGateway&)> Directory::gateway() const {
  const std::lock_guard lock(mutex_);
  return gateway_;
}

std::function<void(const ToExecutors&)> Directory::executors() const {
  const std::lock_guard lock(mutex_);
  return executors_;
}

std::function<void(ToDeviceApi)> Directory::device_api() const {
  const std::lock_guard lock(mutex_);
  return device_api_;
}

std::function<void(const ToBroker&, const DeviceApiHandle&)> Directory::visitors() const {
  const std::lock_guard lock(mutex_);
  return visitors_;
}

void perform(caf::local_actor& self, const Directory& directory, std::vector<Send> sends) {
  for (auto& send : sends) {
    directory.log(send.message);
    std::visit(Delivery{self, directory, send.to}, std::move(send.message));
  }
}

Duration Alarm::arm(Instant now, Instant wake_at) {
  if (wake_at >= armed_for_) return Duration{-1};
  armed_for_ = wake_at;
  return std::max(Duration{0}, wake_at - now);
}

void Alarm::rang(Instant now) {
  if (now >= armed_for_) armed_for_ = Instant::never();
}

}  // namespace gpupool
