#pragma once
// The console's shell: starts and steps the core, and decides nothing.

#include "actors/perform.h"

namespace gpupool {

// Puts itself into the directory, which knows ledger, broker and gateway already: the console
// speaks to them at once.
void spawn_console(caf::actor_system& system, Surroundings around);

}  // namespace gpupool
