#include "actors/console/console_actor.h"

#include "actors/console/console.h"
#include "actors/core_actor.h"

namespace gpupool {
namespace {

class ConsoleActor : public CoreActor<Console, ToConsole> {
 public:
  ConsoleActor(caf::actor_config& config, Surroundings around)
      : CoreActor(config, around, std::make_unique<Console>(around.config.current())) {}

 private:
  behavior_type make_behavior() override {
    // Before it speaks, so that no answer can come too early for the directory.
    around().directory->set_console(
        caf::actor_cast<ConsoleHandle>(caf::actor_cast<caf::strong_actor_ptr>(this)));
    carry_out(core().start(around().now()));
    return CoreActor::make_behavior();
  }
};

}  // namespace

void spawn_console(caf::actor_system& system, Surroundings around) {
  system.spawn<ConsoleActor>(std::move(around));
}

}  // namespace gpupool
