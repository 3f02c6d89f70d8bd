#pragma once
// What a core wants done, in the order in which it is done: `journal`, then `send`, then `wake_at`.
// Nothing leaves before the records behind it are durable. Only the ledger journals. An Address
// names a role and which one of it; the shells know the handles (actors/perform.h), the simulator
// its own objects.

#include <cstdint>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "actors/ledger/records.h"
#include "actors/messages.h"

namespace gpupool {

enum class Role : std::uint8_t {
  broker = 1,
  ledger,
  worker,
  session,
  client,
  executors,
  console,
  gateway,
  history,
  device_api
};

struct Address {
  Role role{};
  std::uint64_t id = 0;  // worker: its NodeId; session and client: the SessionId; otherwise 0
  friend auto operator<=>(const Address&, const Address&) = default;
};

inline Address to_broker() { return {Role::broker}; }
inline Address to_ledger() { return {Role::ledger}; }
inline Address to_history() { return {Role::history}; }
inline Address to_executors() { return {Role::executors}; }
inline Address to_console() { return {Role::console}; }
inline Address to_gateway() { return {Role::gateway}; }
inline Address to_device_api() { return {Role::device_api}; }
inline Address to_worker(NodeId node) { return {Role::worker, node.value}; }
inline Address to_session(SessionId session) { return {Role::session, session.value}; }
inline Address to_client(SessionId session) { return {Role::client, session.value}; }

// The message of a Send: one of the variants of messages.h, matching the role of its address.
using Message = std::variant<ToBroker, ToLedger, ToWorker, ToSession, ToClient, ToExecutors,
                             ToConsole, ToGateway, ToHistory, ToDeviceApi>;

// What a Message takes to be moved or destroyed is made once, in effects.cpp: it is half of the
// work of compiling a core otherwise.
struct Send {
  template <class Variant>
  Send(Address address, std::in_place_type_t<Variant> kind, Variant&& what)
      : to(address), message(kind, std::move(what)) {}
  Send(const Send& other);
  Send(Send&& other) noexcept;
  Send& operator=(const Send& other);
  Send& operator=(Send&& other) noexcept;
  ~Send();

  Address to;
  Message message;
};

struct Effects {
  Effects();
  Effects(const Effects& other);
  Effects(Effects&& other) noexcept;
  Effects& operator=(const Effects& other);
  Effects& operator=(Effects&& other) noexcept;
  ~Effects();

  std::vector<Record> journal;
  std::vector<Send> send;
  Instant wake_at = Instant::never();  // of the whole actor; replaces the earlier one

  // `message`: a new ToBroker, ToLedger, ... that matches the role of the address.
  template <class Variant>
  requires(!std::is_reference_v<Variant>) void to(Address address, Variant&& message);
};

}  // namespace gpupool
