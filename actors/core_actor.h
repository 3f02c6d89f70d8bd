#pragma once
// The shell that every core shares: a typed actor that reads its clock, steps its core and performs
// the effects. It decides nothing. What a role adds (learning handles, ending, batching) overrides
// take(). Runs on CAF's scheduler; a core is only ever touched by its own actor.

#include <chrono>
#include <memory>
#include <utility>

#include "actors/perform.h"

namespace gpupool {

template <class Core, class ToCore>
class CoreActor : public detail::HandleOf<ToCore>::type::base {
 public:
  using Base = typename detail::HandleOf<ToCore>::type::base;
  using behavior_type = typename Base::behavior_type;

  CoreActor(caf::actor_config& config, Surroundings around, std::unique_ptr<Core> core)
      : Base(config), around_(std::move(around)), core_(std::move(core)) {}

 protected:
  behavior_type make_behavior() override { return accept(static_cast<ToCore*>(nullptr)); }

  // One message, already wrapped into the role's variant.
  virtual void take(const ToCore& message) { carry_out(core_->step(around_.now(), message)); }

  void carry_out(const Effects& effects) {
    perform(*this, *around_.directory, effects.send);
    wake_at(effects.wake_at);
  }

  void wake_at(Instant wanted) {
    const Duration delay = alarm_.arm(around_.now(), wanted);
    if (delay >= Duration{}) this->delayed_send(this, std::chrono::milliseconds(delay.ms), Tick{});
  }

  Core& core() { return *core_; }
  const Surroundings& around() const { return around_; }

 private:
  template <class... Messages>
  behavior_type accept(std::variant<Messages...>*) {
    return behavior_type{[this](const Messages& message) {
      if constexpr (std::is_same_v<Messages, Tick>) alarm_.rang(around_.now());
      take(ToCore{message});
    }...};
  }

  const Surroundings around_;
  std::unique_ptr<Core> core_;
  Alarm alarm_;
};

}  // namespace gpupool
