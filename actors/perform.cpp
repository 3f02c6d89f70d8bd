#include "actors/perform.h"

#include <algorithm>

namespace gpupool {
namespace {

// Sends with `self` as the sender, which is how peers on other nodes learn its handle.
template <class Handle, class Variant>
void send_to(caf::local_actor& self, const Handle& handle, const Variant& message) {
  if (!handle) return;
  std::visit(
      [&](const auto& one) {
        handle->eq_impl(caf::make_message_id(), caf::actor_cast<caf::strong_actor_ptr>(&self),
                        self.context(), one);
      },
      message);
}

struct Delivery {
  caf::local_actor& self;
  const Directory& directory;
  Address to;

  void operator()(const ToBroker& message) const { send_to(self, directory.broker(), message); }
  void operator()(const ToLedger& message) const { send_to(self, directory.ledger(), message); }
  void operator()(const ToWorker& message) const {
    send_to(self, directory.worker(NodeId{to.id}), message);
  }
  void operator()(const ToSession& message) const {
    send_to(self, directory.session(SessionId{to.id}), message);
  }
  void operator()(const ToClient& message) const {
    if (const auto client = directory.client()) client(SessionId{to.id}, message);
  }
  void operator()(const ToExecutors& message) const {
    if (const auto executors = directory.executors()) executors(message);
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

void Directory::set_executors(std::function<void(const ToExecutors&)> executors) {
  const std::lock_guard lock(mutex_);
  executors_ = std::move(executors);
}

void Directory::clear() {
  const std::lock_guard lock(mutex_);
  broker_ = BrokerHandle{};
  ledger_ = LedgerHandle{};
  workers_.clear();
  sessions_.clear();
  client_ = {};
  executors_ = {};
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

SessionHandle Directory::session(SessionId id) const {
  const std::lock_guard lock(mutex_);
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? SessionHandle{} : it->second;
}

std::function<void(SessionId, ToClient)> Directory::client() const {
  const std::lock_guard lock(mutex_);
  return client_;
}

std::function<void(const ToExecutors&)> Directory::executors() const {
  const std::lock_guard lock(mutex_);
  return executors_;
}

void perform(caf::local_actor& self, const Directory& directory, const std::vector<Send>& sends) {
  for (const auto& send : sends) std::visit(Delivery{self, directory, send.to}, send.message);
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
