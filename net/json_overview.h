#pragma once
// The operator's view and the pool's offer as JSON, in the manner of net/json_output.h. Pure.

#include "actors/messages.h"
#include "net/json_output.h"

namespace gpupool {

Json json_of(const Overview& overview);

// What a caller can ask of this pool: its apps with their parameters, sizes, tiers and window.
Json json_of_offer(const Config& config, const Caller& caller);

}  // namespace gpupool
