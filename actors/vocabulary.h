#pragma once
// CAF's view of messages.h: what is sent to a role is one Envelope that carries the role's variant,
// so CAF knows one message type a role, and the typed handles follow from the variants. Between
// nodes it travels as its packed bytes (base/pack.h); inside a process it is moved. Included
// by the shells only; the words of CAF 0.17 that a port to 1.x will change (inspect, reacts_to,
// message types) stand here.

#include <caf/all.hpp>
#include <string>

#include "actors/messages.h"
#include "base/pack.h"

namespace gpupool {

template <class Variant>
struct Envelope {
  Variant message;
};

// What cannot be unpacked is refused by CAF, which then drops the connection that it came by.
template <class Inspector, class Variant>
typename Inspector::result_type inspect(Inspector& inspector, Envelope<Variant>& envelope) {
  std::string bytes;
  if constexpr (Inspector::reads_state) bytes = pack(envelope.message);
  const auto load = [&]() -> caf::error {
    auto message = unpack<Variant>(bytes);
    if (!message) return caf::sec::invalid_argument;
    envelope.message = std::move(*message);
    return caf::none;
  };
  return inspector(bytes, caf::meta::load_callback(load));
}

template <class Variant>
using HandleOf = caf::typed_actor<caf::reacts_to<Envelope<Variant>>>;

using BrokerHandle = HandleOf<ToBroker>;
using LedgerHandle = HandleOf<ToLedger>;
using WorkerHandle = HandleOf<ToWorker>;
using SessionHandle = HandleOf<ToSession>;
using ConsoleHandle = HandleOf<ToConsole>;
using HistoryHandle = HandleOf<ToHistory>;
using DeviceApiHandle = HandleOf<ToDeviceApi>;

// The names identify the types on the wire between nodes; one pool runs one build.
inline void announce_messages(caf::actor_system_config& config) {
  config.add_message_type<Envelope<ToBroker>>("gpupool.to_broker")
      .add_message_type<Envelope<ToLedger>>("gpupool.to_ledger")
      .add_message_type<Envelope<ToWorker>>("gpupool.to_worker")
      .add_message_type<Envelope<ToSession>>("gpupool.to_session")
      .add_message_type<Envelope<ToConsole>>("gpupool.to_console")
      .add_message_type<Envelope<ToHistory>>("gpupool.to_history")
      .add_message_type<Envelope<ToDeviceApi>>("gpupool.to_device_api");
}

// Outside of any actor: a message to a role of this process.
template <class Variant, class Message>
void post(const HandleOf<Variant>& handle, Message message) {
  caf::anon_send(handle, Envelope<Variant>{Variant{std::move(message)}});
}

}  // namespace gpupool
