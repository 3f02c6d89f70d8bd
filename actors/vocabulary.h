#pragma once
// CAF's view of messages.h: one inspect() for every struct that lists its fields(), and the typed
// handles, derived from the variants that say who accepts what. Included by the shells only; the
// words of CAF 0.17 that a port to 1.x will change (inspect, reacts_to, message types) stand here.

#include <caf/all.hpp>
#include <tuple>
#include <typeinfo>
#include <variant>

#include "actors/messages.h"
#include "base/pack.h"

namespace gpupool {

template <class Inspector, detail::HasFields Struct>
typename Inspector::result_type inspect(Inspector& inspector, Struct& value) {
  return std::apply([&](auto&... field) { return inspector(field...); }, value.fields());
}

namespace detail {

template <class Variant>
struct HandleOf;

template <class... Messages>
struct HandleOf<std::variant<Messages...>> {
  using type = caf::typed_actor<caf::reacts_to<Messages>...>;

  // One pool runs one build, so the compiler's own names of the types identify them on the wire.
  static void announce(caf::actor_system_config& config) {
    (config.add_message_type<Messages>(typeid(Messages).name()), ...);
  }
};

}  // namespace detail

using BrokerHandle = detail::HandleOf<ToBroker>::type;
using LedgerHandle = detail::HandleOf<ToLedger>::type;
using WorkerHandle = detail::HandleOf<ToWorker>::type;
using SessionHandle = detail::HandleOf<ToSession>::type;

inline void announce_messages(caf::actor_system_config& config) {
  detail::HandleOf<ToBroker>::announce(config);
  detail::HandleOf<ToWorker>::announce(config);
  detail::HandleOf<ToSession>::announce(config);
}

}  // namespace gpupool
