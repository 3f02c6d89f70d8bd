#pragma once
// Whether anybody listens at an address, found out in a thread of its own that ends with the
// answer. CAF's middleman connects to one address after the other and has no limit of its own: one
// that swallows every packet would hold up all others for minutes, so it is given none that did not
// answer here.

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <cstdint>
#include <string>

#include "base/time.h"

namespace gpupool {

// Outlives the loss of one packet, which is sent again after a second.
inline constexpr Duration probe_limit = seconds(2);

using ProbeHandle =
    caf::typed_actor<caf::replies_to<caf::connect_atom, std::string, std::uint16_t>::with<bool>>;

// Answers one question.
ProbeHandle spawn_probe(caf::actor_system& system);

}  // namespace gpupool
